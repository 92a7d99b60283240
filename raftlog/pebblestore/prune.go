package pebblestore

import (
	"fmt"
	"maps"
	"strings"

	"github.com/cockroachdb/errors/oserror"
	"github.com/heliosdb/metadata/raftlog"
)

// pruneCheckpoints deletes files that newer current ones have replaced. Those of earlier
// lives do not count: a damaged one that was passed over replaces nothing. The writes that
// follow do not wait for it: to delete a file of a gigabyte can take a disk a second. A file
// that stays is deleted with the next ones, or at the next start.
func (s *Store) pruneCheckpoints() {
	groups := maps.Clone(s.groups)
	s.pruning.Go(func() {
		err := s.removeFiles(func(name string) bool {
			var g raftlog.GroupID
			var index uint64
			if _, err := fmt.Sscanf(name, "%d-%d"+checkpointSuffix, &g, &index); err != nil || strings.HasSuffix(name, tempSuffix) {
				return false
			}
			st := groups[g]
			return st != nil && st.pruned(index)
		})
		if err != nil {
			s.opts.Logger.Warn("a replaced checkpoint was not deleted", "error", err)
		}
	})
}

// removeOrphans deletes, at a start, the files nothing points to.
func (s *Store) removeOrphans() error {
	keep := map[string]bool{}
	for g, st := range s.groups {
		for _, d := range st.checkpoints {
			keep[checkpointName(g, d.Index)] = true
		}
	}
	return s.removeFiles(func(name string) bool { return !keep[name] })
}

func (s *Store) removeFiles(which func(name string) bool) error {
	names, err := s.fs.List(s.cpDir)
	if err != nil {
		return fmt.Errorf("pebblestore: %w", err)
	}
	for _, name := range names {
		if !which(name) {
			continue
		}
		if err := s.fs.Remove(s.fs.PathJoin(s.cpDir, name)); err != nil && !oserror.IsNotExist(err) {
			return fmt.Errorf("pebblestore: %w", err)
		}
	}
	return nil
}

func (st *groupState) current(index uint64) bool {
	for _, d := range st.checkpoints {
		if d.Index == index {
			return true
		}
	}
	return false
}

// pruned reports whether the checkpoint at an index was replaced, whether or not its file
// is still there.
func (st *groupState) pruned(index uint64) bool { return index < st.replaced && !st.current(index) }
