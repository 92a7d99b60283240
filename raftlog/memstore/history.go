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

// ascend calls f with the records that are not trimmed, from the one that holds a sequence
// on, while it returns true.
func (s *Store) ascend(id raftlog.GroupID, g *group, from uint64, f func(raftlog.Record) bool) {
	from = max(from, s.trims[id])
	g.history.Descend(from, func(first uint64, r raftlog.Record) bool {
		if r.Last >= from {
			from = first
		}
		return false
	})
	g.history.Ascend(from, func(_ uint64, r raftlog.Record) bool { return f(r) })
}

func (s *Store) bounds(id raftlog.GroupID, g *group) (first, last uint64) {
	s.ascend(id, g, 0, func(r raftlog.Record) bool { first = r.First; return false })
	if first != 0 {
		_, newest, _ := g.history.Max()
		last = newest.Last
	}
	return first, last
}

// ReadHistory implements raftlog.Storage.
func (s *Store) ReadHistory(id raftlog.GroupID, from uint64, maxBytes int) ([]raftlog.Past, error) {
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
	var out []raftlog.Past
	size, next := 0, from
	if from >= first {
		s.ascend(id, g, from, func(r raftlog.Record) bool {
			if r.First > next {
				return false
			}
			if err = s.readable(id, g, r); err != nil {
				return false
			}
			e := g.entry(r.Entry)
			if size += len(e.GetData()); len(out) > 0 && size > maxBytes {
				return false
			}
			out, next = append(out, raftlog.Past{Record: r, Term: e.GetTerm(), Content: e.GetData()}), r.Last+1
			return true
		})
	}
	if len(out) > 0 {
		return out, nil // damage behind it is found by who reads on
	}
	if err != nil {
		return nil, err
	}
	return nil, &raftlog.GapError{Group: id, Seq: from, First: first, Last: last}
}

// readable fails where a record or its entry is damaged or missing.
func (s *Store) readable(id raftlog.GroupID, g *group, r raftlog.Record) error {
	for seq := r.First; seq <= r.Last && len(s.damaged) > 0; seq++ {
		if err := s.damageAt(spot{recordSpot, id, seq}); err != nil {
			return err
		}
	}
	if g.entry(r.Entry) == nil {
		return s.damageOf(spot{entrySpot, id, r.Entry}, "is missing")
	}
	return s.damageAt(spot{entrySpot, id, r.Entry})
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
