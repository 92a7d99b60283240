package replica

import (
	"context"
	"errors"
	"fmt"

	"github.com/heliosdb/metadata/projections"
	"github.com/heliosdb/metadata/raftlog"
)

// ReadPast reads the model of an own checkpoint, an archived one or one that is still
// current. ErrNoCheckpoint if it was deleted meanwhile. It runs on any goroutine.
func ReadPast[D projections.Domain[D]](s raftlog.Storage, d raftlog.Descriptor, genesis *projections.State[D]) (*projections.State[D], error) {
	if d.Index == raftlog.GenesisIndex && d.Chunks == 0 {
		return genesis, nil
	}
	r, err := OpenPast(s, d.Group, d.Index)
	if err != nil {
		return nil, err
	}
	return readOpened(r, d, genesis)
}

// WriteArchived stores a model that was folded while the past was read as an archived
// checkpoint, so that later reads begin with it. It says nothing of the log and is compared
// with nobody's. It runs on any goroutine, and gives up when ctx ends. The errors are those of
// Storage.CreateArchived; there is nothing to repair after one.
func WriteArchived[D projections.Domain[D]](ctx context.Context, s raftlog.Storage, g raftlog.GroupID, state *projections.State[D]) (raftlog.Descriptor, error) {
	d, err := archivedDescriptor(s, g, state)
	if err != nil {
		return raftlog.Descriptor{}, err
	}
	w, err := s.CreateArchived(g, d)
	if err != nil {
		return raftlog.Descriptor{}, err
	}
	return export(ctx, w, state, 0)
}

// WriteBase is WriteArchived for the model right before a floor: what led to it can be trimmed then,
// so that it may use the reserve of a full disk. The errors are those of Storage.CreateBase.
func WriteBase[D projections.Domain[D]](ctx context.Context, s raftlog.Storage, g raftlog.GroupID, state *projections.State[D]) (raftlog.Descriptor, error) {
	d, err := archivedDescriptor(s, g, state)
	if err != nil {
		return raftlog.Descriptor{}, err
	}
	return WriteBaseAs(ctx, s, d, state)
}

// WriteBaseAs is WriteBase for a model that another member has archived, as it describes it: this one
// need not have the entry that holds its revision.
func WriteBaseAs[D projections.Domain[D]](ctx context.Context, s raftlog.Storage, d raftlog.Descriptor, state *projections.State[D]) (raftlog.Descriptor, error) {
	w, err := s.CreateBase(d.Group, d)
	if err != nil {
		return raftlog.Descriptor{}, err
	}
	return export(ctx, w, state, 0)
}

// FindPast returns the checkpoint of a revision, archived or current. ErrNoCheckpoint if there
// is none.
func FindPast(s raftlog.Storage, g raftlog.GroupID, revision uint64) (raftlog.Descriptor, error) {
	current, err := s.Checkpoints(g) // first: one that is archived between the two is in both
	if err != nil {
		return raftlog.Descriptor{}, err
	}
	archived, err := s.Archived(g)
	if err != nil {
		return raftlog.Descriptor{}, err
	}
	for _, d := range append(archived, current...) {
		if d.Seq == revision && d.Index != raftlog.GenesisIndex {
			return d, nil
		}
	}
	return raftlog.Descriptor{}, fmt.Errorf("replica: group %d, revision %d: %w", g, revision, raftlog.ErrNoCheckpoint)
}

// OpenPast opens a checkpoint, archived or current. ErrNoCheckpoint if it was deleted.
func OpenPast(s raftlog.Storage, g raftlog.GroupID, index uint64) (raftlog.CheckpointReader, error) {
	r, err := s.OpenArchived(g, index)
	if errors.Is(err, raftlog.ErrNoCheckpoint) {
		return s.OpenCheckpoint(g, index) // it has not been replaced
	}
	return r, err
}

// ReadGiven reads the model of a checkpoint that another member gives, and closes it. As
// checksums say nothing of what its sender put in, every object is decoded once.
func ReadGiven[D projections.Domain[D]](r raftlog.CheckpointReader, genesis *projections.State[D]) (*projections.State[D], error) {
	state, err := readOpened(r, r.Descriptor(), genesis)
	if err != nil {
		return nil, err
	}
	return state, state.Verify()
}

// archivedDescriptor describes a model of the past: by the entry that holds its revision.
func archivedDescriptor[D projections.Domain[D]](s raftlog.Storage, g raftlog.GroupID, state *projections.State[D]) (d raftlog.Descriptor, err error) {
	revision := state.Head.Revision
	past, err := s.ReadHistory(g, revision, 1)
	if err != nil {
		return d, err
	}
	if len(past) == 0 {
		return d, fmt.Errorf("replica: no entry of the log holds revision %d", revision)
	}
	current, err := s.Checkpoints(g)
	if err != nil {
		return d, err
	}
	meta, err := headMeta(state)
	if err != nil {
		return d, err
	}
	return raftlog.Descriptor{
		Format: raftlog.DescriptorFormat, Group: g, Index: past[0].Entry, Term: past[0].Term,
		ConfState: current[len(current)-1].ConfState, Seq: revision, Meta: meta,
	}, nil
}
