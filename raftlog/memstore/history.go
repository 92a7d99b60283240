package memstore

import (
	"bytes"
	"maps"
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
	return g.held.First, g.held.Last, nil
}

// HistoryGap implements raftlog.Storage.
func (s *Store) HistoryGap(id raftlog.GroupID, below uint64) (first, last uint64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g, err := s.group(id)
	if err != nil {
		return 0, 0, err
	}
	gap := g.held.Gap(below)
	return gap.First, gap.Last, nil
}

// HistoryDamage implements raftlog.Storage.
func (s *Store) HistoryDamage(id raftlog.GroupID) ([]raftlog.Span, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := s.group(id); err != nil {
		return nil, err
	}
	return s.known[id], nil
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
	if from > g.held.Last {
		return nil, nil
	}
	var out []raftlog.Past
	size, next := 0, from
	if from >= g.held.First {
		g.ascend(from, func(r raftlog.Record) bool {
			if r.First > next || len(out) > 0 && size >= maxBytes {
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
		s.remember(id, g, from)
		return nil, err
	}
	return nil, &raftlog.GapError{Group: id, Seq: from, First: g.held.First, Last: g.held.Last}
}

// pastOf adds the entry that a record names.
func (g *group) pastOf(r raftlog.Record) raftlog.Past {
	e := g.entry(r.Entry)
	return raftlog.Past{Record: r, Term: e.GetTerm(), Content: e.GetData()}
}

// recordAt fails where a record is damaged.
func (s *Store) recordAt(id raftlog.GroupID, r raftlog.Record) error {
	return s.damageAt(spot{recordSpot, id, r.First})
}

// readable fails where a record or its entry is damaged or missing.
func (s *Store) readable(id raftlog.GroupID, g *group, r raftlog.Record) error {
	if err := s.recordAt(id, r); err != nil {
		return err
	}
	if g.entry(r.Entry) == nil {
		return s.damageOf(spot{entrySpot, id, r.Entry}, "is missing")
	}
	return s.damageAt(spot{entrySpot, id, r.Entry})
}

// remember notes what cannot be read around a sequence.
func (s *Store) remember(id raftlog.GroupID, g *group, seq uint64) {
	if len(s.known[id]) >= raftlog.MaxKnownDamage {
		return
	}
	span := raftlog.Span{First: g.held.First, Last: g.held.Last}
	g.descend(seq+1, func(r raftlog.Record) bool {
		if s.readable(id, g, r) == nil {
			span.First = r.Last + 1
			return false
		}
		return true
	})
	g.history.Ascend(seq+1, func(first uint64, r raftlog.Record) bool {
		if s.readable(id, g, r) == nil {
			span.Last = first - 1
			return false
		}
		return true
	})
	if span.First <= span.Last {
		s.known[id] = raftlog.JoinSpans(s.known[id], span)
	}
}

// ReadHistoryBefore implements raftlog.Storage.
func (s *Store) ReadHistoryBefore(id raftlog.GroupID, below uint64, maxBytes int) ([]raftlog.Past, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g, err := s.group(id)
	if err != nil {
		return nil, err
	}
	if g.held.First == 0 || below <= g.held.First {
		return nil, nil
	}
	var out []raftlog.Past
	size, next := 0, below
	g.descend(below, func(r raftlog.Record) bool {
		if r.Last >= below {
			err = &raftlog.SplitError{Group: id, Seq: below, First: r.First, Last: r.Last}
		}
		if err != nil || r.Last+1 != next || len(out) > 0 && size >= maxBytes {
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
		s.remember(id, g, below-1)
		return nil, err
	}
	return nil, &raftlog.GapError{Group: id, Seq: below - 1, First: g.held.First, Last: g.held.Last}
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
		if s.recordAt(id, r) == nil {
			bytes += uint64(len(r.Data) + len(g.entry(r.Entry).GetData()))
		}
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
	place, left := raftlog.PlaceOf(s.known[id], raftlog.Span{First: past[0].First, Last: past[len(past)-1].Last})
	if err := s.fit(id, g, past, place); err != nil {
		return err
	}
	s.mendPast(id, past, place)
	s.known[id] = left
	past = slices.Clone(past) // the slice is the caller's
	s.take(func(groups map[raftlog.GroupID]*group) { groups[id].fill(past, place) })
	return nil
}

// fit refuses records that do not fit where they are to go.
func (s *Store) fit(id raftlog.GroupID, g *group, past []raftlog.Past, place raftlog.Span) error {
	p := raftlog.Place{
		Group: id, Start: g.start.Index, Seq: g.checkpoints[len(g.checkpoints)-1].Seq,
		InLog: func(p *raftlog.Past) bool {
			e := g.entry(p.Entry)
			return e != nil && !s.damaged[spot{entrySpot, id, p.Entry}] && e.GetTerm() == p.Term && bytes.Equal(e.GetData(), p.Content)
		},
	}
	g.descend(place.First, func(r raftlog.Record) bool { p.Before = r; return false })
	g.history.Ascend(place.Last+1, func(_ uint64, r raftlog.Record) bool { p.Behind = r; return false })
	for _, r := range []raftlog.Record{p.Before, p.Behind} {
		if err := s.recordAt(id, r); err != nil {
			s.remember(id, g, r.First)
			return err
		}
	}
	return p.Fit(past)
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
	damaged := maps.Clone(s.damaged) // a crash may carry it out later
	s.take(func(groups map[raftlog.GroupID]*group) {
		groups[id].trim(below, func(r raftlog.Record) bool { return damaged[spot{recordSpot, id, r.First}] })
	})
	if first := s.now[id].held.First; first > 1 {
		s.known[id] = raftlog.WithoutSpan(s.known[id], raftlog.Span{First: 1, Last: first - 1})
	} else if first == 0 {
		delete(s.known, id)
	}
	if len(dropped) > 0 {
		s.sync()
		s.prune()
	}
	return nil
}
