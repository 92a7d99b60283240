package raftlog

import (
	"fmt"

	pb "go.etcd.io/raft/v3/raftpb"
)

// Write is everything one step of a group wants stored. A Storage applies the
// parts in the order of the fields, atomically with all other Writes of the call.
// The receiver must not change what the fields point to.
type Write struct {
	Group GroupID
	// Install replaces the whole log by a staged checkpoint: the log starts after
	// Install.Index, the checkpoint becomes current. Entries up to the last one that history
	// names, in this Write or before, stay; those behind it are deleted.
	Install *Descriptor
	// Entries are contiguous. The first one may be at or below the last stored
	// index: everything from there on is replaced.
	Entries []*pb.Entry
	// HardState is nil when unchanged.
	HardState *HardState
	// History records to store, of entries that are committed and stored; one with the
	// same First is replaced.
	History []Record
	// Checkpoint makes a finished checkpoint file current, see WithCurrent; restarts may begin there.
	Checkpoint *Descriptor
	// CutTo is where the log starts from now on, if it is not 0. Entries at or below it are
	// loaded no more; they stay for history.
	CutTo uint64
	// Sync says that the Write has to be durable, with all Writes before it, before
	// Storage.Write returns.
	Sync bool

	responses []*pb.Message // delivered by Group.Appended
	handedOut uint64        // tick at which Ready returned it
}

// Extent is what a stored log has: entries after Start up to Last, of which history
// names those up to Named.
type Extent struct {
	Start, Last, Named uint64
}

// Fit checks a Write against a log and returns it as it is afterwards. What does not fit
// was made by a caller that broke the order of Writes. What history names is committed:
// no Write replaces it.
func (w *Write) Fit(log Extent) (Extent, error) {
	misfit := func(format string, args ...any) error {
		return fmt.Errorf("raftlog: group %d: a write does not fit a log of entries after %d up to %d, of which history names those up to %d: %s",
			w.Group, log.Start, log.Last, log.Named, fmt.Sprintf(format, args...))
	}
	named := w.Named(log.Named)
	if w.Install != nil {
		if w.Install.Index <= log.Start || w.Install.Index < named {
			return log, misfit("it installs a checkpoint at %d", w.Install.Index)
		}
		log.Start, log.Last = w.Install.Index, w.Install.Index
	}
	if n := len(w.Entries); n > 0 {
		first := w.Entries[0].GetIndex()
		if first <= max(log.Start, log.Named) || first > log.Last+1 {
			return log, misfit("its entries start at %d", first)
		}
		for i, e := range w.Entries {
			if e.GetIndex() != first+uint64(i) {
				return log, misfit("entry %d follows entry %d", e.GetIndex(), first+uint64(i)-1)
			}
		}
		log.Last = first + uint64(n) - 1
	}
	for i := range w.History {
		r := &w.History[i]
		if r.First == 0 || r.First > r.Last || r.Entry <= GenesisIndex || r.Entry > log.Last {
			return log, misfit("its history says that entry %d holds %d to %d", r.Entry, r.First, r.Last)
		}
	}
	log.Named = named
	if w.CutTo > log.Last {
		return log, misfit("it cuts up to %d", w.CutTo)
	}
	log.Start = max(log.Start, w.CutTo)
	return log, nil
}

// Named returns up to where history names entries when this Write is stored, given up to
// where it did before.
func (w *Write) Named(before uint64) uint64 {
	for i := range w.History {
		before = max(before, w.History[i].Entry)
	}
	return before
}
