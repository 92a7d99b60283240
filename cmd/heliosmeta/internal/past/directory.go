package past

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/history"
	"github.com/heliosdb/metadata/history/objects"
	"github.com/heliosdb/metadata/internal/failure"
	"github.com/heliosdb/metadata/projections"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/raftlog"
	"github.com/heliosdb/metadata/raftlog/pebblestore"
	"github.com/heliosdb/metadata/replica"
)

// OpenDirectory opens the directory of a stopped member to read its history. Nothing in it
// is changed. One that a running member uses is a *raftlog.InUseError; one in which nothing
// is stored is NOT_FOUND.
func OpenDirectory(path string) (Past, error) {
	store, err := pebblestore.OpenReadOnly(path, pebblestore.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, err
	}
	d, err := newDirectory(path, store, store.Close)
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	return d, nil
}

// newDirectory returns what a storage holds.
func newDirectory(path string, store raftlog.Storage, closing func() error) (*local, error) {
	if why := store.Condemned(); why != "" {
		return nil, fmt.Errorf("%s is in quarantine: %s; what it holds is not to be relied on", path, why)
	}
	id, err := store.Identity()
	if err != nil {
		return nil, err
	}
	if id == nil {
		return nil, failure.New(metadatav1.ErrorReason_ERROR_REASON_NOT_FOUND, "no member has stored anything in %s", path)
	}
	l := &local{name: path, cluster: id.ClusterName, close: closing}
	l.heads = l.headsOf
	for _, s := range Streams {
		d := &directory{path: path, store: store, group: raftlog.GroupID(s), member: id.Member,
			origin: history.Origin{Stream: s, Cluster: events.ClusterID(id.ClusterID), RecoveryEpoch: id.RecoveryEpoch}}
		opened, err := d.open()
		if err != nil {
			return nil, err
		}
		l.streams = append(l.streams, opened)
	}
	return l, nil
}

// headsOf returns the signed heads that the model of the service stream has.
func (l *local) headsOf(ctx context.Context, id metadatav1.Stream) ([]*metadatav1.SignedHead, error) {
	s, _, err := l.at(ctx, serviceStream, nil)
	if err != nil {
		return nil, err
	}
	var all []*metadatav1.SignedHead
	for h := range s.(state[serviceModel]).of.Model.SignedHeads(id) {
		all = append(all, h.Message())
	}
	return all, nil
}

// directory is one stream in the directory of a member.
type directory struct {
	path   string
	store  raftlog.Storage
	group  raftlog.GroupID
	member uint64
	origin history.Origin
	first  State
	source *recorded
}

func (d *directory) open() (*stream, error) {
	var err error
	if d.first, err = genesis(d.origin); err != nil {
		return nil, err
	}
	d.source = &recorded{path: d.path, store: d.store, group: d.group, origin: d.origin}
	source := recordedBase{d.source, d.nearest, d.headAt}
	w := &watched{Source: source}
	return &stream{
		source:    source,
		watched:   w,
		log:       objects.NewLog(w, objects.NewIndex(w, &marks{store: d.store, group: d.group})),
		models:    modelsFrom(w, d.first, d.nearest),
		beginning: d.beginning,
		said:      d.said,
	}, nil
}

// checkpoints returns those that there are, archived ones too, by revision.
func (d *directory) checkpoints() ([]raftlog.Descriptor, error) {
	archived, err := d.store.Archived(d.group)
	if err != nil {
		return nil, err
	}
	current, err := d.store.Checkpoints(d.group)
	if err != nil {
		return nil, err
	}
	all := slices.DeleteFunc(slices.Concat(archived, current), func(c raftlog.Descriptor) bool { return c.Index == raftlog.GenesisIndex })
	slices.SortFunc(all, func(a, b raftlog.Descriptor) int { return cmp.Compare(a.Seq, b.Seq) })
	return all, nil
}

// headAt returns the head of the checkpoint of a revision; an empty one if there is none.
func (d *directory) headAt(revision uint64) (head projections.Head, err error) {
	all, err := d.checkpoints()
	if err != nil {
		return head, err
	}
	if at := slices.IndexFunc(all, func(c raftlog.Descriptor) bool { return c.Seq == revision }); at >= 0 {
		return projections.ReadHead(all[at].Meta)
	}
	return head, nil
}

// read returns the state that a checkpoint holds.
func (d *directory) read(c raftlog.Descriptor) (State, error) {
	switch first := d.first.(type) {
	case state[schemaModel]:
		return readAs(d.store, c, first)
	case state[topologyModel]:
		return readAs(d.store, c, first)
	}
	return readAs(d.store, c, d.first.(state[serviceModel]))
}

func readAs[D projections.Domain[D]](from raftlog.Storage, c raftlog.Descriptor, first state[D]) (State, error) {
	s, err := replica.ReadPast(from, c, first.of)
	if err != nil {
		return nil, err
	}
	return state[D]{s}, nil
}

// nearest returns the state of the newest checkpoint between two revisions that can be read. One that is
// damaged is passed over, as a running member does (said names it): it is an error only where nothing
// else leads there.
func (d *directory) nearest(_ context.Context, from, to uint64) (State, error) {
	all, err := d.checkpoints()
	if err != nil {
		return nil, err
	}
	var damaged error
	for _, c := range slices.Backward(all) {
		if c.Seq < from || c.Seq > to {
			continue
		}
		read, err := d.read(c)
		if !isDamaged(err) {
			return read, err
		}
		damaged = errors.Join(damaged, err)
	}
	if first, _, err := d.source.run(); err != nil || first <= 1 {
		return nil, err
	}
	return nil, damaged
}

func isDamaged(err error) bool {
	_, damaged := errors.AsType[*raftlog.DamageError](err)
	return damaged
}

// beginning returns the oldest state from which everything that the history has can be
// folded; if it lacks its beginning, that of a checkpoint, and then what lies before that
// is left out. One that is damaged is passed over, and then what lies before the next one is.
func (d *directory) beginning(ctx context.Context) (State, error) {
	bounds, err := d.source.Bounds(ctx)
	if err != nil || bounds.First == 1 {
		return d.first, err
	}
	all, err := d.checkpoints()
	if err != nil {
		return nil, err
	}
	var damaged error
	for _, c := range all {
		if c.Seq+1 < bounds.First {
			continue
		}
		read, err := d.read(c)
		if !isDamaged(err) {
			return read, err
		}
		damaged = errors.Join(damaged, err)
	}
	if damaged != nil {
		return nil, damaged
	}
	return nil, history.Earlier(ctx, d.source, bounds)
}

// said is what the checkpoints say, and at its end the history.
func (d *directory) said(ctx context.Context) ([]Said, error) {
	bounds, err := d.source.Bounds(ctx)
	if err != nil {
		return nil, err
	}
	var all []Said
	checkpoints, err := d.checkpoints()
	if err != nil {
		return nil, err
	}
	for _, c := range checkpoints {
		if c.Seq+1 < bounds.First || c.Seq > bounds.Last {
			continue // the history does not lead there
		}
		by := fmt.Sprintf("checkpoint %d", c.Index)
		read, err := d.read(c)
		if err != nil {
			all = append(all, Said{By: by, Err: err})
			continue
		}
		all = append(all, Said{By: by, Head: headOf(read, d.member)})
	}
	if end, digest, err := d.source.end(); err != nil {
		return nil, err
	} else if end > 0 {
		all = append(all, onlyDigest("history", d.origin, end, digest[:]))
	}
	return bySaid(all), nil
}

// headOf says of a state what a member says of its own.
func headOf(s State, member uint64) *metadatav1.GetHeadResponse {
	head, hash := s.Head(), s.Hash()
	m := &metadatav1.GetHeadResponse{
		MemberId: member, ClusterId: head.Cluster.String(), RecoveryEpoch: head.RecoveryEpoch,
		Revision: head.Revision, Digest: head.Digest[:], FeatureLevel: head.FeatureLevel,
		ModelHash: hash[:], CheckpointFormat: projections.CheckpointFormat,
	}
	if !head.Time.IsZero() {
		m.Time = timestamppb.New(head.Time)
	}
	return m
}

// marks are those that the member has stored, and in memory those that it has not.
type marks struct {
	store raftlog.Storage
	group raftlog.GroupID
	objects.MemoryMarks
}

func (m *marks) ReadMarks(segment, tag uint64) (seqs []uint64, complete bool, err error) {
	seqs, complete, err = m.store.ReadMarks(m.group, segment, tag)
	if err != nil || complete {
		return seqs, complete, err
	}
	return m.MemoryMarks.ReadMarks(segment, tag)
}
