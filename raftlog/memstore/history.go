package memstore

import (
	"slices"

	"github.com/heliosdb/metadata/raftlog"
)

// HistoryBounds implements raftlog.Storage.
func (s *Store) HistoryBounds(id raftlog.GroupID) (first, last uint64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g, err := s.group(id)
	if err != nil {
		return 0, 0, err
	}
	first, last = g.bounds()
	return first, last, nil
}

// bounds returns the first and last sequence of history; 0, 0 when there is none.
func (g *group) bounds() (first, last uint64) {
	first, _, _ = g.history.Min()
	_, newest, _ := g.history.Max()
	return first, newest.Last
}

// ascend calls f with the records from the one that holds a sequence on, while it returns
// true.
func (g *group) ascend(from uint64, f func(raftlog.Record) bool) {
	g.history.Descend(from, func(first uint64, r raftlog.Record) bool {
		if r.Last >= from {
			from = first
		}
		return false
	})
	g.history.Ascend(from, func(_ uint64, r raftlog.Record) bool { return f(r) })
}

// descend calls f with the records that begin below a sequence, newest first, while it
// returns true.
func (g *group) descend(below uint64, f func(raftlog.Record) bool) {
	if below > 0 {
		g.history.Descend(below-1, func(_ uint64, r raftlog.Record) bool { return f(r) })
	}
}

// ReadHistory implements raftlog.Storage.
func (s *Store) ReadHistory(id raftlog.GroupID, from uint64, maxBytes int) ([]raftlog.Past, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g, err := s.group(id)
	if err != nil {
		return nil, err
	}
	first, last := g.bounds()
	if from > last {
		return nil, nil
	}
	var out []raftlog.Past
	size, next := 0, from
	if from >= first {
		g.ascend(from, func(r raftlog.Record) bool {
			if r.First > next {
				return false
			}
			if err = s.readable(id, g, r); err != nil {
				return false
			}
			past := g.pastOf(r)
			if size += len(past.Content); len(out) > 0 && size > maxBytes {
				return false
			}
			out, next = append(out, past), r.Last+1
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

// pastOf adds the entry that a record names.
func (g *group) pastOf(r raftlog.Record) raftlog.Past {
	e := g.entry(r.Entry)
	return raftlog.Past{Record: r, Term: e.GetTerm(), Content: e.GetData()}
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

// ReadHistoryBefore implements raftlog.Storage.
func (s *Store) ReadHistoryBefore(id raftlog.GroupID, below uint64, maxBytes int) ([]raftlog.Past, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g, err := s.group(id)
	if err != nil {
		return nil, err
	}
	first, last := g.bounds()
	if first == 0 || below <= first {
		return nil, nil
	}
	var out []raftlog.Past
	size, next := 0, below
	g.descend(below, func(r raftlog.Record) bool {
		if r.Last >= below {
			err = &raftlog.SplitError{Group: id, Seq: below, First: r.First, Last: r.Last}
		}
		if err != nil || r.Last+1 != next {
			return false
		}
		if err = s.readable(id, g, r); err != nil {
			return false
		}
		past := g.pastOf(r)
		if size += len(past.Content); len(out) > 0 && size > maxBytes {
			return false
		}
		out, next = append(out, past), r.First
		return true
	})
	switch {
	case len(out) > 0:
		slices.Reverse(out)
		return out, nil // damage before it is found by who reads on
	case err != nil:
		return nil, err
	}
	return nil, &raftlog.GapError{Group: id, Seq: below - 1, First: first, Last: last}
}

// HistoryGap implements raftlog.Storage.
func (s *Store) HistoryGap(id raftlog.GroupID, below uint64) (first, last uint64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g, err := s.group(id)
	if err != nil {
		return 0, 0, err
	}
	first = 1
	next := below
	g.descend(below, func(r raftlog.Record) bool {
		if r.Last+1 < next {
			first = r.Last + 1
			return false
		}
		next = min(next, r.First)
		return true
	})
	if first >= next {
		return 0, 0, nil
	}
	return first, next - 1, nil
}

// HistoryBytes implements raftlog.Storage. It counts the bytes of records and entries, and
// leaves nothing out.
func (s *Store) HistoryBytes(id raftlog.GroupID, from uint64) (bytes uint64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g, err := s.group(id)
	if err != nil {
		return 0, err
	}
	g.ascend(from, func(r raftlog.Record) bool {
		bytes += uint64(len(r.Data) + len(g.entry(r.Entry).GetData()))
		return true
	})
	return bytes, nil
}

// FillHistory implements raftlog.Storage.
func (s *Store) FillHistory(id raftlog.GroupID, past []raftlog.Past) error {
	if err := s.room(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	g, err := s.group(id)
	if err != nil || len(past) == 0 {
		return err
	}
	p := raftlog.Place{Group: id, Start: g.start.Index, Seq: g.checkpoints[len(g.checkpoints)-1].Seq}
	g.descend(past[0].First, func(r raftlog.Record) bool { p.Before = r; return false })
	g.history.Ascend(past[0].First, func(_ uint64, r raftlog.Record) bool { p.Behind = r; return false })
	if err := p.Fit(past); err != nil {
		return err
	}
	s.mendPast(id, past)
	past = slices.Clone(past) // the slice is the caller's
	s.take(func(groups map[raftlog.GroupID]*group) { groups[id].fill(past) })
	return nil
}

// TrimHistory implements raftlog.Storage. Archived checkpoints are deleted for good.
func (s *Store) TrimHistory(id raftlog.GroupID, below uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	g, err := s.group(id)
	if err != nil {
		return err
	}
	_, dropped := raftlog.TrimArchive(g.archived, below)
	if len(dropped) > 0 {
		if err := s.trySync(); err != nil {
			return err
		}
	}
	s.take(func(groups map[raftlog.GroupID]*group) { groups[id].trim(below) })
	if len(dropped) > 0 {
		s.sync()
		s.prune()
	}
	return nil
}
