package pebblestore

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cockroachdb/errors/oserror"
	"github.com/heliosdb/metadata/raftlog"
)

// pruneCheckpoints deletes files that newer current ones have replaced and that are not
// archived, and those that were archived and are dropped. Current ones of earlier
// lives do not count: a damaged one that was passed over replaces nothing. The writes that
// follow do not wait for it: to delete a file of a gigabyte can take a disk a second. A file
// that stays is deleted with the next ones, or at the next start. It is called under writing.
func (s *Store) pruneCheckpoints(dropped ...raftlog.Descriptor) {
	s.pruning.Go(func() {
		if err := s.prune(dropped); err != nil {
			s.opts.Logger.Warn("a replaced checkpoint was not deleted", "error", err)
		}
	})
}

func (s *Store) prune(dropped []raftlog.Descriptor) error {
	names, err := s.fs.List(s.cpDir)
	if err != nil {
		return fmt.Errorf("pebblestore: %w", err)
	}
	for _, name := range names {
		var g raftlog.GroupID
		var index uint64
		if _, err := fmt.Sscanf(name, "%d-%d"+checkpointSuffix, &g, &index); err != nil || strings.HasSuffix(name, tempSuffix) {
			continue
		}
		isDropped := slices.ContainsFunc(dropped, func(d raftlog.Descriptor) bool { return d.Group == g && d.Index == index })
		temp, err := s.takeAway(g, index, isDropped)
		if err == nil && temp != "" {
			err = s.fs.Remove(temp)
		}
		if err != nil && !oserror.IsNotExist(err) {
			return fmt.Errorf("pebblestore: %w", err)
		}
	}
	return nil
}

// takeAway gives a file that nothing needs the name of an unfinished one, and returns that;
// "" if it is needed. What makes a file needed waits for it, but not for the deletion.
func (s *Store) takeAway(g raftlog.GroupID, index uint64, dropped bool) (temp string, err error) {
	s.own.Lock()
	defer s.own.Unlock()
	s.mu.Lock()
	st := s.groups[g]
	s.mu.Unlock()
	if st == nil || st.current(index) || st.isArchived(index) || !dropped && !st.pruned(index) {
		return "", nil
	}
	path := s.checkpointPath(g, index)
	return path + tempSuffix, s.fs.Rename(path, path+tempSuffix)
}

// removeOrphans deletes, at a start, the files nothing points to.
func (s *Store) removeOrphans() error {
	names, err := s.fs.List(s.cpDir)
	if err != nil {
		return fmt.Errorf("pebblestore: %w", err)
	}
	keep := s.neededFiles()
	for _, name := range names {
		if keep[name] != 0 {
			continue
		}
		if err := s.fs.Remove(s.fs.PathJoin(s.cpDir, name)); err != nil && !oserror.IsNotExist(err) {
			return fmt.Errorf("pebblestore: %w", err)
		}
	}
	return nil
}

// fileUse is what a checkpoint file is there for.
type fileUse int

const (
	useCurrent fileUse = iota + 1
	useArchived
)

// neededFiles returns the names of the checkpoint files that are current or archived.
func (s *Store) neededFiles() map[string]fileUse {
	needed := map[string]fileUse{}
	for g, st := range s.groups {
		for _, d := range st.archived {
			needed[checkpointName(g, d.Index)] = useArchived
		}
		for _, d := range st.checkpoints {
			needed[checkpointName(g, d.Index)] = useCurrent
		}
	}
	return needed
}

func (st *groupState) current(index uint64) bool {
	return slices.ContainsFunc(st.checkpoints, func(d raftlog.Descriptor) bool { return d.Index == index })
}

// pruned reports whether the checkpoint at an index was replaced, whether or not its file
// is still there.
func (st *groupState) pruned(index uint64) bool { return index < st.replaced && !st.current(index) }
