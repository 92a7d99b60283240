package simulation

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/feed"
	"github.com/heliosdb/metadata/history"
	"github.com/heliosdb/metadata/history/objects"
	"github.com/heliosdb/metadata/internal/failure"
	"github.com/heliosdb/metadata/projections"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/raftlog"
	"github.com/heliosdb/metadata/replica"
)

// pastSource is what a member's disk has of a stream's past, for package history: the
// changes behind the last gap.
type pastSource struct {
	m      *member
	stream metadatav1.Stream
	stored feed.History
}

// Origin implements history.Source.
func (p *pastSource) Origin() history.Origin {
	return history.Origin{Stream: p.stream, Cluster: p.m.w.cluster, RecoveryEpoch: recoveryEpoch}
}

// Bounds implements history.Source.
func (p *pastSource) Bounds(context.Context) (b history.Bounds, err error) {
	store, group := p.m.store, groupOf(p.stream)
	_, last, err := store.HistoryBounds(group)
	if err != nil {
		return b, err
	}
	current, err := store.Checkpoints(group)
	if err != nil {
		return b, err
	}
	newest := current[len(current)-1]
	b.Last = max(last, newest.Seq)
	_, gap, err := store.HistoryGap(group, b.Last+1)
	if err != nil {
		return b, err
	}
	b.First = gap + 1
	floor := p.m.run.service.replica.View().Model.Floor(p.stream)
	if b.Floor = floor.OldestRevision(); b.Floor > b.First {
		b.First, b.Previous = floor.OldestRevision(), floor.PreviousDigest() // whether or not it is trimmed already
		b.Last = max(b.Last, b.First-1)
		return b, nil
	}
	b.Previous, err = p.previous(b, newest)
	return b, err
}

// previous returns the digest before the first change: the entry that holds that was decided
// behind it.
func (p *pastSource) previous(b history.Bounds, newest raftlog.Descriptor) (events.Digest, error) {
	if b.First == 1 {
		return events.FirstDigest(p.m.w.cluster, p.stream), nil
	}
	if b.First > b.Last {
		head, err := projections.ReadHead(newest.Meta)
		return head.Digest, err
	}
	past, err := p.m.store.ReadHistory(groupOf(p.stream), b.First, 1)
	if _, damaged := errors.AsType[*raftlog.DamageError](err); damaged {
		err = failure.New(metadatav1.ErrorReason_ERROR_REASON_DAMAGED, "member %d: %v", p.m.id, err)
	}
	if err != nil {
		return events.Digest{}, err
	}
	batch, err := replica.DecodePast(&past[0])
	if err != nil {
		return events.Digest{}, err
	}
	return batch.Previous, nil
}

// Read implements history.Source.
func (p *pastSource) Read(ctx context.Context, from uint64, maxBytes int) ([]*events.Change, error) {
	b, err := p.Bounds(ctx)
	switch {
	case err != nil:
		return nil, err
	case from < b.First && from < p.stored.Oldest():
		return nil, history.Trimmed(p.stream, from, b.First)
	case from < b.First:
		return nil, failure.New(metadatav1.ErrorReason_ERROR_REASON_HISTORY_GAP,
			"member %d lacks revision %d of the %s stream", p.m.id, from, events.StreamName(p.stream))
	}
	return p.stored.Read(from, min(maxBytes, p.m.w.plan.readBytes))
}

// pastBases are the states that a member can fold from: that before the first change, its
// checkpoints, also those that were replaced, and the one that is published.
type pastBases[D projections.Domain[D]] struct{ s *stream[D] }

// Nearest implements history.Bases. A checkpoint that cannot be read is passed over.
func (p pastBases[D]) Nearest(_ context.Context, from, to uint64) (*projections.State[D], error) {
	s := p.s
	if now := s.replica.View(); now.Head.Revision >= from && now.Head.Revision <= to {
		return now, nil
	}
	archived, current, err := checkpointsOf(s.m.store, s.group)
	if err != nil {
		return nil, err
	}
	for _, d := range slices.Backward(slices.Concat(archived, current)) {
		if d.Seq < from || d.Seq > to {
			continue
		}
		state, err := replica.ReadCheckpoint(anyCheckpoint{s.m.store}, d, s.genesis)
		if _, damaged := errors.AsType[*raftlog.DamageError](err); !damaged {
			return state, err
		}
		if err := s.m.store.DropArchived(s.group, d.Index); err != nil && !s.m.disk.failed(err) {
			s.m.w.violate("base", "member %d, %s: a damaged checkpoint is not dropped: %v", s.m.id, s.id, err)
		}
	}
	if from == 0 {
		return s.genesis, nil
	}
	return nil, nil
}

func checkpointsOf(store raftlog.Storage, g raftlog.GroupID) (archived, current []raftlog.Descriptor, err error) {
	if archived, err = store.Archived(g); err != nil {
		return nil, nil, err
	}
	current, err = store.Checkpoints(g)
	return archived, current, err
}

// anyCheckpoint opens archived checkpoints like current ones.
type anyCheckpoint struct{ raftlog.Storage }

// OpenCheckpoint implements raftlog.Storage.
func (a anyCheckpoint) OpenCheckpoint(g raftlog.GroupID, index uint64) (raftlog.CheckpointReader, error) {
	r, err := a.OpenArchived(g, index)
	if errors.Is(err, raftlog.ErrNoCheckpoint) {
		return a.Storage.OpenCheckpoint(g, index)
	}
	return r, err
}

// pastMarks are the marks of an index on a member's disk. Segments are short here, for runs
// are: what is in one goes to the beginning of the storage's segment of that number.
type pastMarks struct {
	store raftlog.Storage
	group raftlog.GroupID
	size  uint64
}

// stored moves a revision of a segment to where the storage has it.
func (k pastMarks) stored(segment, revision uint64) uint64 {
	return revision - segment*k.size + segment*raftlog.MarkSegment
}

// ReadMarks implements objects.Marks.
func (k pastMarks) ReadMarks(segment, tag uint64) (seqs []uint64, complete bool, err error) {
	seqs, complete, err = k.store.ReadMarks(k.group, segment, tag)
	for i := range seqs {
		seqs[i] -= k.stored(segment, 0)
	}
	return seqs, complete, err
}

// PutMarks implements objects.Marks.
func (k pastMarks) PutMarks(segment uint64, marks []objects.Mark) error {
	all := make([]raftlog.Mark, len(marks))
	for i, m := range marks {
		all[i] = raftlog.Mark{Tag: m.Tag, Seq: k.stored(segment, m.Seq)}
	}
	err := k.store.PutMarks(k.group, segment, all)
	if errors.Is(err, raftlog.ErrFull) {
		return fmt.Errorf("%w: %w", objects.ErrFull, err)
	}
	return err
}
