package pebblestore

import (
	"errors"
	"math"

	"github.com/cockroachdb/pebble/v2"
	"github.com/heliosdb/metadata/raftlog"
)

// isDamage tells bytes that are not what was written from a disk that cannot be read.
func isDamage(err error) bool {
	_, damage := errors.AsType[*raftlog.DamageError](err)
	return damage
}

// noticing reads history as of one moment. Where it finds damage at a sequence it reads again
// while nothing is filled or trimmed, and remembers what is still damaged then.
func (s *Store) noticing(
	g raftlog.GroupID, seq uint64, read func(pebble.Reader, raftlog.Held) ([]raftlog.Past, error),
) ([]raftlog.Past, error) {
	s.reading.RLock()
	out, err := s.asOfNow(g, read)
	s.reading.RUnlock()
	if !isDamage(err) || s.isKnown(g, seq) {
		return out, err
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	s.reading.RLock()
	defer s.reading.RUnlock()
	out, err = s.asOfNow(g, read)
	if isDamage(err) {
		return out, errors.Join(err, s.remember(g, seq, err))
	}
	return out, err
}

// isKnown reports whether a sequence is known to be damaged.
func (s *Store) isKnown(g raftlog.GroupID, seq uint64) bool {
	st, err := s.group(g)
	return err == nil && raftlog.SpanOf(st.damaged, seq) != (raftlog.Span{})
}

// asOfNow has a read see one moment. It needs reading.
func (s *Store) asOfNow(g raftlog.GroupID, read func(pebble.Reader, raftlog.Held) ([]raftlog.Past, error)) ([]raftlog.Past, error) {
	st, err := s.group(g)
	if err != nil {
		return nil, err
	}
	snapshot := s.db.NewSnapshot()
	defer snapshot.Close()
	return read(snapshot, st.held)
}

// HistoryDamage implements raftlog.Storage.
func (s *Store) HistoryDamage(g raftlog.GroupID) ([]raftlog.Span, error) {
	st, err := s.group(g)
	if err != nil {
		return nil, err
	}
	return st.damaged, nil
}

// remember notes what cannot be read around a sequence. It needs writing and reading.
func (s *Store) remember(g raftlog.GroupID, seq uint64, why error) error {
	st, err := s.group(g)
	if err != nil || len(st.damaged) >= raftlog.MaxKnownDamage {
		return err
	}
	span, err := s.unreadable(g, st.held, seq)
	if err != nil || span.First > span.Last {
		return err
	}
	after := *st
	after.damaged = raftlog.JoinSpans(st.damaged, span)
	s.setGroup(g, &after)
	s.opts.Logger.Error("history is damaged; see to the disk and the memory of this machine", "of", s.opts.Name(g), "first", span.First, "last", span.Last, "error", raftlog.Why(why))
	return nil
}

// unreadable returns how far around a sequence no record can be read with its entry.
func (s *Store) unreadable(g raftlog.GroupID, held raftlog.Held, seq uint64) (raftlog.Span, error) {
	span := raftlog.Span{First: held.First, Last: held.Last}
	before, err := s.soundAround(g, seq, true)
	if err != nil {
		return span, err
	}
	behind, err := s.soundAround(g, seq, false)
	if before.Last != 0 {
		span.First = before.Last + 1
	}
	if behind.First != 0 {
		span.Last = behind.First - 1
	}
	return span, err
}

// soundAround returns the last record that begins at or before a sequence, or the first one
// that begins behind it, that can be read with its entry; a zero one if there is none. Where
// Pebble cannot read on it goes on further off, in longer and longer steps, so that it may pass over
// some that can be read.
func (s *Store) soundAround(g raftlog.GroupID, seq uint64, before bool) (raftlog.Record, error) {
	for step := uint64(1); ; step *= 2 {
		r, err := s.trySound(g, seq, before)
		switch {
		case !isDamage(err):
			return r, err
		case before && seq <= step, !before && seq >= math.MaxUint64-step:
			return raftlog.Record{}, nil
		case before:
			seq -= step
		default:
			seq += step
		}
	}
}

func (s *Store) trySound(g raftlog.GroupID, seq uint64, before bool) (_ raftlog.Record, err error) {
	records, err := s.iterate(g, kindHistory, 0)
	if err != nil {
		return raftlog.Record{}, err
	}
	defer func() { err = errors.Join(err, s.wrap(records.Close())) }()
	entries, err := s.iterate(g, kindEntry, 0)
	if err != nil {
		return raftlog.Record{}, err
	}
	defer entries.Close() // what it has found, pastOf says
	key := indexKey(g, kindHistory, seq)
	if seq < math.MaxUint64 {
		key = indexKey(g, kindHistory, seq+1)
	}
	seek, next := records.SeekGE, records.Next
	if before {
		seek, next = records.SeekLT, records.Prev
	}
	for more := seek(key); more; more = next() {
		r, err := s.recordAt(g, records)
		if err == nil {
			_, err = s.pastOf(g, r, entries)
		}
		if !isDamage(err) {
			return r, err
		}
	}
	return raftlog.Record{}, nil
}
