package memstore

import (
	"fmt"
	"maps"
	"slices"

	"github.com/heliosdb/metadata/raftlog"
)

// Archived implements raftlog.Storage.
func (s *Store) Archived(id raftlog.GroupID) ([]raftlog.Descriptor, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g, err := s.group(id)
	if err != nil {
		return nil, err
	}
	return slices.Clone(g.archived), nil
}

func (g *group) isArchived(index uint64) bool {
	return slices.ContainsFunc(g.archived, func(d raftlog.Descriptor) bool { return d.Index == index })
}

// OpenArchived implements raftlog.Storage.
func (s *Store) OpenArchived(id raftlog.GroupID, index uint64) (raftlog.CheckpointReader, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g, err := s.group(id)
	if err != nil {
		return nil, err
	}
	if !g.isArchived(index) {
		return nil, fmt.Errorf("memstore: %s: group %d, index %d: %w", s.name, id, index, raftlog.ErrNoCheckpoint)
	}
	return reader{f: s.files[fileKey{id, index}], s: s}, nil
}

// CreateArchived implements raftlog.Storage.
func (s *Store) CreateArchived(id raftlog.GroupID, d raftlog.Descriptor) (raftlog.CheckpointWriter, error) {
	return s.createArchived(id, d, &writer{past: true})
}

// CreateBase implements raftlog.Storage.
func (s *Store) CreateBase(id raftlog.GroupID, d raftlog.Descriptor) (raftlog.CheckpointWriter, error) {
	return s.createArchived(id, d, &writer{past: true, base: true})
}

func (s *Store) createArchived(id raftlog.GroupID, d raftlog.Descriptor, w *writer) (raftlog.CheckpointWriter, error) {
	if s.Condemned() != "" {
		return nil, s.condemnedError()
	}
	if err := s.begin(id, d, w); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.now[id]
	if err := raftlog.FitArchived(d, g.checkpoints, g.archived); err != nil {
		return nil, err
	}
	return w, nil
}

// DropArchived implements raftlog.Storage.
func (s *Store) DropArchived(id raftlog.GroupID, index uint64) error {
	if s.Condemned() != "" {
		return s.condemnedError()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := s.group(id); err != nil {
		return err
	}
	s.take(func(groups map[raftlog.GroupID]*group) {
		g := groups[id]
		g.archived = slices.DeleteFunc(slices.Clone(g.archived), func(d raftlog.Descriptor) bool { return d.Index == index })
	})
	s.prune()
	return nil
}

// archive makes the finished file an archived one, durably. It needs mu.
func (w *writer) archive(d raftlog.Descriptor) error {
	s := w.s
	g, err := s.group(d.Group)
	if err != nil {
		return err
	}
	if err := raftlog.FitArchived(d, g.checkpoints, g.archived); err != nil {
		return err
	}
	if err := s.trySync(); err != nil {
		return err
	}
	delete(s.damaged, spot{checkpointSpot, d.Group, d.Index})
	s.files[fileKey{d.Group, d.Index}] = &file{desc: d, chunks: w.chunks}
	s.take(func(groups map[raftlog.GroupID]*group) { groups[d.Group].archive([]raftlog.Descriptor{d}) })
	if w.base {
		s.bases[d.Group] = d.Index
	}
	s.sync()
	s.prune()
	return nil
}

// thinArchives deletes archived checkpoints on a disk that is full up to its reserve.
func (s *Store) thinArchives() {
	if s.free > 0 || s.full || s.broken || s.condemned != "" {
		return
	}
	for _, id := range slices.Sorted(maps.Keys(s.now)) {
		base := s.bases[id]
		for {
			if _, dropped := raftlog.ThinArchive(s.now[id].archived, base); len(dropped) == 0 {
				break
			}
			s.take(func(groups map[raftlog.GroupID]*group) {
				groups[id].archived, _ = raftlog.ThinArchive(groups[id].archived, base)
			})
		}
	}
	s.prune()
}

// dropUnreadable deletes damaged archived checkpoints, as a start does.
func (s *Store) dropUnreadable() {
	for _, groups := range []map[raftlog.GroupID]*group{s.now, s.durable} {
		for id, g := range groups {
			g.archived = slices.DeleteFunc(g.archived, func(d raftlog.Descriptor) bool {
				return s.damaged[spot{checkpointSpot, id, d.Index}]
			})
		}
	}
	for key := range s.files {
		if s.damaged[spot{checkpointSpot, key.group, key.index}] && !s.needed(key) {
			delete(s.files, key)
		}
	}
}
