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
	r, err := s.OpenArchived(d.Group, d.Index)
	if errors.Is(err, raftlog.ErrNoCheckpoint) {
		return readCheckpoint(s, d, genesis) // it has not been replaced
	}
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
