package member

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/history"
	"github.com/heliosdb/metadata/history/retention"
	"github.com/heliosdb/metadata/projections/service"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/raftlog"
	"github.com/heliosdb/metadata/replica"
)

// The model right before a floor is what the models of all kept revisions are folded from. A
// member archives it before it deletes what lies below the floor; one that was given a later
// checkpoint gets it from another.

// maxBaseTicks bounds the pause between two tries to get that model: each may have other members give
// all of theirs.
const maxBaseTicks = 16 * trimTicks

// baseTimer says when it is looked for that model: at once when the floor has moved, then every
// trimTicks, and after failures ever more rarely.
type baseTimer struct {
	floor       uint64
	rest, pause int // ticks until the next look, and after the next failure
}

// due reports, at each tick, whether it is to be looked now.
func (b *baseTimer) due(floor uint64) bool {
	if floor != b.floor {
		*b = baseTimer{floor: floor}
	}
	b.rest--
	return b.rest < 0
}

// ended says how a look ended.
func (b *baseTimer) ended(err error) {
	if err == nil {
		b.pause = 0
	}
	b.pause = min(max(2*b.pause, trimTicks), maxBaseTicks)
	b.rest = b.pause - 1
}

// keepBase sees to it that the member has the model right before the stream's floor, if it
// can be had now. What led to it is trimmed then, see trimPast.
func (p *past[D]) keepBase(ctx context.Context) error {
	s := p.stream
	floor := s.life.floor(s.id)
	todo, err := retention.BaseOf(s.member.store, s.group, floor.OldestRevision())
	switch {
	case err != nil:
	case todo == retention.BaseKept && p.broken.Load() != 0 && p.broken.Load() == floor.OldestRevision()-1:
		err = errBrokenBase
	case todo == retention.BaseFold:
		err = p.foldBase(ctx, floor.OldestRevision()-1)
	case todo == retention.BaseFetch:
		err = p.fetchBase(ctx, floor)
	}
	switch {
	case ctx.Err() != nil:
	case err != nil:
		s.member.log.Warn("there is no model before the oldest revision kept yet; it is tried again", "stream", s.name,
			"oldest", floor.OldestRevision(), "error", err)
		p.lacks.Store(new(err.Error()))
	default:
		p.lacks.Store(nil)
	}
	return err
}

var (
	errBrokenBase = errors.New("its checkpoint is damaged")
	errAlone      = errors.New("there is no other member to ask")
)

// unreadable is told of a checkpoint that a fold passes over.
func (p *past[D]) unreadable(d raftlog.Descriptor, err error) {
	s := p.stream
	s.member.log.Warn("a checkpoint of the past cannot be read; an older one has to do", "stream", s.name, "revision", d.Seq, "error", err)
	if _, damaged := errors.AsType[*raftlog.DamageError](err); damaged {
		p.dropDamaged(d)
	}
}

// dropDamaged deletes an archived checkpoint that cannot be read, so that the model is archived anew if
// it is needed, see keepBase. The model right before the floor stays where nobody else can give it:
// another read may have more luck.
func (p *past[D]) dropDamaged(d raftlog.Descriptor) {
	s := p.stream
	if d.Seq+1 == s.life.floor(s.id).OldestRevision() && len(s.member.others()) == 0 {
		p.broken.Store(d.Seq)
		return
	}
	if err := s.member.store.DropArchived(d.Group, d.Index); err != nil {
		s.member.log.Warn("a damaged checkpoint of the past is not deleted", "stream", s.name, "revision", d.Seq, "error", err)
	}
}

// baseAlarm says that the member has no model right before the floor, and why; nil if it has.
func (p *past[D]) baseAlarm() *metadatav1.Alarm {
	why := p.lacks.Load()
	if why == nil {
		return nil
	}
	m := p.stream.member
	return &metadatav1.Alarm{
		Severity: metadatav1.Severity_SEVERITY_WARNING, MemberId: m.identity.Member,
		Message: fmt.Sprintf("member %d has no model of the %s stream right before revision %d, with which its history begins: %s",
			m.identity.Member, p.stream.name, p.stream.life.floor(p.stream.id).OldestRevision(), *why),
		Advice: "it is tried again by itself; until then this member may not be able to say how things were between that revision and its next checkpoint, or keeps on its disk what was trimmed",
	}
}

// foldBase archives the model of a revision, which the changes below the floor still lead to.
func (p *past[D]) foldBase(ctx context.Context, revision uint64) error {
	state, err := p.models.At(ctx, revision)
	if err == nil {
		_, err = replica.WriteBase(ctx, pacedStore{p.stream.member.store, ctx}, p.stream.group, state)
	}
	if errors.Is(err, raftlog.ErrArchived) {
		return nil
	}
	return err
}

// fetchBase asks the other members for the model right before the floor, once everything behind
// it is filled in. What one gives is kept if the changes lead from it to the model that this
// member has.
func (p *past[D]) fetchBase(ctx context.Context, floor service.Floor) error {
	bounds, err := p.source.Bounds(ctx)
	if err != nil || bounds.First > floor.OldestRevision() {
		return err
	}
	s, revision := p.stream, floor.OldestRevision()-1
	if len(s.member.others()) == 0 {
		return errAlone
	}
	var failed []error
	for _, peer := range s.member.others() {
		d, err := s.askBase(ctx, peer, revision)
		if err == nil {
			err = p.takeBase(ctx, peer, d)
		}
		if err == nil {
			s.member.log.Info("the model before the oldest revision kept was given by another member", "stream", s.name, "revision", revision, "peer", peer)
			return nil
		}
		failed = append(failed, fmt.Errorf("member %d: %w", peer, err))
	}
	return errors.Join(failed...)
}

// takeBase reads the model of another member's checkpoint, and archives it if it is what this
// member's own has come from.
func (p *past[D]) takeBase(ctx context.Context, peer uint64, d raftlog.Descriptor) error {
	s := p.stream
	state, err := replica.ReadGiven(&givenCheckpoint{ctx: ctx, from: peer, ask: s.askBaseChunk, descriptor: d}, p.genesis)
	if err != nil {
		return err
	}
	if err := history.Confirm(ctx, p.source, state, s.replica.View()); err != nil {
		return err
	}
	_, err = replica.WriteBaseAs(ctx, pacedStore{s.member.store, ctx}, d, state)
	return err
}

// askBase asks a member which checkpoint it has of a revision.
func (s *stream[D]) askBase(ctx context.Context, peer, revision uint64) (d raftlog.Descriptor, err error) {
	payload, err := proto.Marshal(&metadatav1.HistoryBaseRequest{Stream: s.id, Revision: revision})
	if err != nil {
		return d, err
	}
	ctx, cancel := context.WithTimeout(ctx, partTimeout)
	defer cancel()
	answer, err := s.member.transport.Call(ctx, peer, methodBase, payload)
	if err != nil {
		return d, err
	}
	if err := d.UnmarshalBinary(answer); err != nil {
		return d, err
	}
	if d.Group != s.group || d.Seq != revision {
		return d, fmt.Errorf("it gives the checkpoint of revision %d, group %d, for that of revision %d", d.Seq, d.Group, revision)
	}
	return d, nil
}

// askBaseChunk asks a member for a chunk of its checkpoint.
func (s *stream[D]) askBaseChunk(ctx context.Context, peer, index uint64, chunk uint32) ([]byte, error) {
	payload, err := proto.Marshal(&metadatav1.CheckpointChunkRequest{Stream: s.id, Index: index, Chunk: chunk})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, chunkTimeout)
	defer cancel()
	return s.member.transport.Call(ctx, peer, methodBaseChunk, payload)
}

// serveBase says which checkpoint this member has of a revision.
func (s *stream[D]) serveBase(q *metadatav1.HistoryBaseRequest) ([]byte, error) {
	d, err := replica.FindPast(s.member.store, s.group, q.GetRevision())
	if err != nil {
		return nil, err
	}
	return d.MarshalBinary()
}

// serveBaseChunk gives a chunk of a checkpoint, archived or current.
func (s *stream[D]) serveBaseChunk(q *metadatav1.CheckpointChunkRequest) ([]byte, error) {
	r, err := replica.OpenPast(s.member.store, s.group, q.GetIndex())
	if err != nil {
		return nil, err
	}
	defer func() { _ = r.Close() }()
	return r.ReadChunk(q.GetChunk())
}

// givenCheckpoint reads a checkpoint of another member, chunk by chunk.
type givenCheckpoint struct {
	ctx        context.Context
	from       uint64
	ask        func(ctx context.Context, peer, index uint64, chunk uint32) ([]byte, error)
	descriptor raftlog.Descriptor
}

// Descriptor implements raftlog.CheckpointReader.
func (c *givenCheckpoint) Descriptor() raftlog.Descriptor { return c.descriptor }

// ReadChunk implements raftlog.CheckpointReader.
func (c *givenCheckpoint) ReadChunk(i uint32) ([]byte, error) {
	return c.ask(c.ctx, c.from, c.descriptor.Index, i)
}

// Close implements raftlog.CheckpointReader.
func (c *givenCheckpoint) Close() error { return nil }
