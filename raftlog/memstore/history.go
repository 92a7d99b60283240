package memstore

import "github.com/heliosdb/metadata/raftlog"

// HistoryBounds implements raftlog.Storage.
func (s *Store) HistoryBounds(id raftlog.GroupID) (first, last uint64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g, err := s.group(id)
	if err != nil {
		return 0, 0, err
	}
	first, last = s.bounds(id, g)
	return first, last, nil
}

func (s *Store) bounds(id raftlog.GroupID, g *group) (first, last uint64) {
	g.history.Ascend(s.trims[id], func(k uint64, _ []byte) bool { first = k; return false })
	if first != 0 {
		last, _, _ = g.history.Max()
	}
	return first, last
}

// ReadHistory implements raftlog.Storage.
func (s *Store) ReadHistory(id raftlog.GroupID, from uint64, maxBytes int) ([]raftlog.Record, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g, err := s.group(id)
	if err != nil {
		return nil, err
	}
	first, last := s.bounds(id, g)
	if from > last {
		return nil, nil
	}
	var out []raftlog.Record
	size := 0
	if from >= first {
		g.history.Ascend(from, func(k uint64, v []byte) bool {
			size += len(v)
			if k != from+uint64(len(out)) || (len(out) > 0 && size > maxBytes) {
				return false
			}
			out = append(out, raftlog.Record{Seq: k, Data: v})
			return true
		})
	}
	for i, r := range out {
		if err := s.damageAt(spot{recordSpot, id, r.Seq}); err != nil && i == 0 {
			return nil, err
		} else if err != nil {
			return out[:i], nil
		}
	}
	if len(out) == 0 {
		return nil, &raftlog.GapError{Group: id, Seq: from, First: first, Last: last}
	}
	return out, nil
}

// TrimHistory implements raftlog.Storage.
func (s *Store) TrimHistory(id raftlog.GroupID, below uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := s.group(id); err != nil {
		return err
	}
	s.trims[id] = max(s.trims[id], below)
	return nil
}
