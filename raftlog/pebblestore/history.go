package pebblestore

import (
	"errors"
	"math"
	"slices"

	"github.com/cockroachdb/pebble/v2"
	"github.com/heliosdb/metadata/raftlog"
)

// recordAt reads the history record that an iterator stands at.
func (s *Store) recordAt(g raftlog.GroupID, it *pebble.Iterator) (raftlog.Record, error) {
	value, err := it.ValueAndErr()
	if err != nil {
		return raftlog.Record{}, s.wrap(err)
	}
	content, err := unseal(it.Key(), value)
	if err != nil {
		return raftlog.Record{}, s.damage("%s: %v", s.opts.Name(g), err)
	}
	r, err := parseHistory(indexOf(it.Key()), content)
	if err != nil {
		return r, s.damage("%s: %v", s.opts.Name(g), err)
	}
	return r, nil
}

// newestRecord returns the last record of a group's history; a zero one when there is none.
func (s *Store) newestRecord(g raftlog.GroupID) (newest raftlog.Record, err error) {
	it, err := s.iterate(g, kindHistory, 0)
	if err != nil {
		return newest, err
	}
	if it.Last() {
		newest, err = s.recordAt(g, it)
	}
	return newest, errors.Join(err, s.wrap(it.Close()))
}

// HistoryBounds implements raftlog.Storage.
func (s *Store) HistoryBounds(g raftlog.GroupID) (first, last uint64, err error) {
	st, err := s.group(g)
	if err != nil {
		return 0, 0, err
	}
	return st.held.First, st.held.Last, nil
}

// HistoryGap implements raftlog.Storage.
func (s *Store) HistoryGap(g raftlog.GroupID, below uint64) (first, last uint64, err error) {
	st, err := s.group(g)
	if err != nil {
		return 0, 0, err
	}
	gap := st.held.Gap(below)
	return gap.First, gap.Last, nil
}

// ReadHistory implements raftlog.Storage.
func (s *Store) ReadHistory(g raftlog.GroupID, from uint64, maxBytes int) ([]raftlog.Past, error) {
	return s.noticing(g, from, func(r pebble.Reader, held raftlog.Held) ([]raftlog.Past, error) {
		switch {
		case from > held.Last:
			return nil, nil
		case held.Lacks(from):
			return nil, &raftlog.GapError{Group: g, Seq: from, First: held.First, Last: held.Last}
		}
		out, err := s.readPast(r, g, from, maxBytes)
		if err == nil && len(out) == 0 {
			err = s.damage("%s: the record that holds %d of history is missing", s.opts.Name(g), from)
		}
		return out, err
	})
}

// readPast reads records and entries as of one moment, so that a record whose entry was just
// trimmed is not taken for damage.
func (s *Store) readPast(r pebble.Reader, g raftlog.GroupID, from uint64, maxBytes int) (out []raftlog.Past, err error) {
	records, err := s.iterateIn(r, g, kindHistory, 0)
	if err != nil {
		return nil, err
	}
	defer records.Close()
	entries, err := s.iterateIn(r, g, kindEntry, 0)
	if err != nil {
		return nil, err
	}
	defer entries.Close()
	size, next := 0, from
	for more := seekHolder(records, g, from); more; more = records.Next() {
		record, err := s.recordAt(g, records)
		if err != nil {
			return whole(out, err)
		}
		if record.Last < from {
			continue // it ends before a hole
		}
		if record.First > next || len(out) > 0 && size >= maxBytes {
			return out, nil
		}
		past, err := s.pastOf(g, record, entries)
		if err != nil {
			return whole(out, err)
		}
		if size += len(past.Content); len(out) > 0 && size > maxBytes {
			return out, nil
		}
		out, next = append(out, past), record.Last+1
	}
	return whole(out, s.wrap(errors.Join(records.Error(), entries.Error())))
}

// whole returns what was read before an error; the error is for who reads on.
func whole(out []raftlog.Past, err error) ([]raftlog.Past, error) {
	if len(out) > 0 {
		return out, nil
	}
	return nil, err
}

// seekHolder moves to the last record that begins at or below a sequence; to the first one
// if none does.
func seekHolder(records *pebble.Iterator, g raftlog.GroupID, seq uint64) bool {
	if seq < math.MaxUint64 {
		seq++
	}
	return records.SeekLT(indexKey(g, kindHistory, seq)) || records.First()
}

// pastOf adds the entry that a record names.
func (s *Store) pastOf(g raftlog.GroupID, record raftlog.Record, entries *pebble.Iterator) (raftlog.Past, error) {
	past := raftlog.Past{Record: record}
	if !entries.SeekGE(indexKey(g, kindEntry, record.Entry)) || indexOf(entries.Key()) != record.Entry {
		if err := entries.Error(); err != nil {
			return past, s.wrap(err)
		}
		return past, s.damage("%s: entry %d, which holds %d to %d of history, is missing", s.opts.Name(g), record.Entry, record.First, record.Last)
	}
	value, err := entries.ValueAndErr()
	if err != nil {
		return past, s.wrap(err)
	}
	content, err := unseal(entries.Key(), value)
	if err != nil {
		return past, s.damage("%s: %v", s.opts.Name(g), err)
	}
	e, err := parseEntry(record.Entry, content)
	if err != nil {
		return past, s.damage("%s: %v", s.opts.Name(g), err)
	}
	past.Term, past.Content = e.GetTerm(), e.GetData()
	return past, nil
}

// ReadHistoryBefore implements raftlog.Storage.
func (s *Store) ReadHistoryBefore(g raftlog.GroupID, below uint64, maxBytes int) ([]raftlog.Past, error) {
	return s.noticing(g, below-1, func(r pebble.Reader, held raftlog.Held) ([]raftlog.Past, error) {
		switch {
		case held.First == 0 || below <= held.First:
			return nil, nil
		case below-1 > held.Last || held.Lacks(below-1):
			return nil, &raftlog.GapError{Group: g, Seq: below - 1, First: held.First, Last: held.Last}
		}
		out, err := s.readPastBefore(r, g, below, maxBytes)
		if err == nil && len(out) == 0 {
			err = s.damage("%s: the record that holds %d of history is missing", s.opts.Name(g), below-1)
		}
		return out, err
	})
}

func (s *Store) readPastBefore(r pebble.Reader, g raftlog.GroupID, below uint64, maxBytes int) (out []raftlog.Past, err error) {
	records, err := s.iterateIn(r, g, kindHistory, 0)
	if err != nil {
		return nil, err
	}
	defer records.Close()
	entries, err := s.iterateIn(r, g, kindEntry, 0)
	if err != nil {
		return nil, err
	}
	defer entries.Close()
	size, next := 0, below
	for more := records.SeekLT(indexKey(g, kindHistory, below)); more; more = records.Prev() {
		record, err := s.recordAt(g, records)
		if err == nil && record.Last >= below && len(out) == 0 {
			return nil, &raftlog.SplitError{Group: g, Seq: below, First: record.First, Last: record.Last}
		}
		if err == nil && (record.Last+1 != next || len(out) > 0 && size >= maxBytes) {
			break
		}
		var past raftlog.Past
		if err == nil {
			past, err = s.pastOf(g, record, entries)
		}
		if size += len(past.Content); err != nil || len(out) > 0 && size > maxBytes {
			slices.Reverse(out)
			return whole(out, err)
		}
		out, next = append(out, past), record.First
	}
	slices.Reverse(out)
	return whole(out, s.wrap(errors.Join(records.Error(), entries.Error())))
}

// HistoryBytes implements raftlog.Storage. What Pebble has not put into a table yet, at most
// what two memtables take, is not counted.
func (s *Store) HistoryBytes(g raftlog.GroupID, from uint64) (bytes uint64, err error) {
	s.reading.RLock()
	defer s.reading.RUnlock()
	if _, err := s.group(g); err != nil {
		return 0, err
	}
	first, err := s.holder(g, from)
	if err != nil || first.First == 0 {
		return 0, err
	}
	records, err := s.db.EstimateDiskUsage(indexKey(g, kindHistory, first.First), groupKey(g, kindHistory+1))
	if err != nil {
		return 0, s.wrap(err)
	}
	entries, err := s.db.EstimateDiskUsage(indexKey(g, kindEntry, first.Entry), groupKey(g, kindEntry+1))
	return records + entries, s.wrap(err)
}

// holder returns the record that holds a sequence, or the first one behind it; a zero one if
// there is none. Damaged ones are passed over.
func (s *Store) holder(g raftlog.GroupID, seq uint64) (holder raftlog.Record, err error) {
	records, err := s.iterate(g, kindHistory, 0)
	if err != nil {
		return holder, err
	}
	defer func() { err = errors.Join(err, s.wrap(records.Close())) }()
	for more := seekHolder(records, g, seq); more; more = records.Next() {
		r, err := s.recordAt(g, records)
		if isDamage(err) {
			continue // where Pebble cannot read on, that is what the iterator says in the end
		}
		if err != nil || r.Last >= seq {
			return r, err
		}
	}
	return holder, nil
}
