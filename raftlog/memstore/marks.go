package memstore

import (
	"slices"

	"github.com/heliosdb/metadata/raftlog"
)

// PutMarks implements raftlog.Storage.
func (s *Store) PutMarks(id raftlog.GroupID, segment uint64, all []raftlog.Mark) error {
	sorted, err := raftlog.SortMarks(segment, all)
	if err != nil {
		return err
	}
	if err := s.room(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := s.group(id); err != nil {
		return err
	}
	stored := marks{}
	for _, m := range sorted {
		stored[m.Tag] = append(stored[m.Tag], m.Seq)
	}
	delete(s.damaged, spot{markSpot, id, segment})
	s.take(func(groups map[raftlog.GroupID]*group) { groups[id].marks[segment] = stored })
	return nil
}

// ReadMarks implements raftlog.Storage.
func (s *Store) ReadMarks(id raftlog.GroupID, segment, tag uint64) (seqs []uint64, complete bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g, err := s.group(id)
	if err != nil {
		return nil, false, err
	}
	if s.damaged[spot{markSpot, id, segment}] {
		return nil, false, nil
	}
	stored, complete := g.marks[segment]
	return slices.Clone(stored[tag]), complete, nil
}
