package pebblestore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"

	"github.com/cockroachdb/pebble/v2"
	"github.com/heliosdb/metadata/raftlog"
	pb "go.etcd.io/raft/v3/raftpb"
)

// FillHistory implements raftlog.Storage. Other fills, trims and Writes wait while it looks
// at the place and stores, so that no hole comes from two of them at once.
func (s *Store) FillHistory(g raftlog.GroupID, past []raftlog.Past) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	if err := s.available(); err != nil {
		return err
	}
	st, err := s.group(g)
	if err != nil || len(past) == 0 {
		return err
	}
	if err := s.needRoom(); err != nil {
		return err
	}
	filled := raftlog.Span{First: past[0].First, Last: past[len(past)-1].Last}
	damaged, left := raftlog.PlaceOf(st.damaged, filled)
	place, err := s.fit(g, st, past, damaged)
	if err != nil {
		return err
	}
	b := s.db.NewBatch()
	defer b.Close()
	held := st.held
	if !damaged.Empty() {
		clearPlace(b, place, damaged)
	}
	if damaged.First < filled.First {
		held = held.Without(raftlog.Span{First: damaged.First, Last: filled.First - 1})
	}
	for i := range past {
		p := &past[i]
		putRecord(b, g, &p.Record)
		if p.Entry <= st.start.Index {
			head := entryHead(&pb.Entry{Term: &p.Term})
			put(b, indexKey(g, kindEntry, p.Entry), head[:], p.Content)
		}
	}
	deleteRange(b, g, kindMark, filled.First/raftlog.MarkSegment, filled.Last/raftlog.MarkSegment+1)
	after := *st
	after.named = max(st.named, past[len(past)-1].Entry)
	after.holds(b, g, held.With(filled))
	after.damaged = left
	if err := s.db.Apply(b, pebble.NoSync); err != nil {
		return s.wrap(err)
	}
	s.setGroup(g, &after)
	return nil
}

// fit refuses records that do not fit where they are to go, see raftlog.PlaceOf. It needs writing.
func (s *Store) fit(g raftlog.GroupID, st *groupState, past []raftlog.Past, place raftlog.Span) (p raftlog.Place, err error) {
	entries, err := s.iterate(g, kindEntry, st.start.Index+1)
	if err != nil {
		return p, err
	}
	defer entries.Close() // what it has found, pastOf says
	p = raftlog.Place{
		Group: g, Start: st.start.Index, Seq: st.checkpoints[len(st.checkpoints)-1].Seq,
		InLog: func(p *raftlog.Past) bool {
			have, err := s.pastOf(g, p.Record, entries)
			return err == nil && have.Term == p.Term && bytes.Equal(have.Content, p.Content)
		},
	}
	if p.Before, p.Behind, err = s.around(g, place); isDamage(err) {
		return p, errors.Join(err, s.rememberAround(g, place, err))
	}
	if err != nil {
		return p, err
	}
	return p, p.Fit(past)
}

// clearPlace deletes what is damaged, with its entries: all between the sound records around it,
// at once. Reads pass over a block of Pebble's of which all is deleted in one go, even one that
// cannot be read. (Pebble's Excise would take the block out of its table for good; but when it meets
// damage on the way it drops what lies before that without a word.)
func clearPlace(b *pebble.Batch, p raftlog.Place, damaged raftlog.Span) {
	deleteRange(b, p.Group, kindHistory, damaged.First, damaged.Last)
	_ = b.Delete(indexKey(p.Group, kindHistory, damaged.Last), nil)
	end := p.Start + 1
	if p.Behind.Entry != 0 {
		end = min(end, p.Behind.Entry)
	}
	if first := p.Before.Entry + 1; first < end {
		deleteRange(b, p.Group, kindEntry, first, end)
	}
}

// rememberAround notes which neighbours of a place cannot be read: they are filled in with it.
func (s *Store) rememberAround(g raftlog.GroupID, place raftlog.Span, why error) error {
	s.reading.RLock()
	defer s.reading.RUnlock()
	return errors.Join(s.remember(g, place.First-1, why), s.remember(g, place.Last+1, why))
}

func putRecord(b *pebble.Batch, g raftlog.GroupID, r *raftlog.Record) {
	var room [2 * binary.MaxVarintLen64]byte
	put(b, indexKey(g, kindHistory, r.First), appendHistoryHead(room[:0], r), r.Data)
}

// around returns the last record that begins before a place and the first one that begins
// behind it; zero ones where there is none.
func (s *Store) around(g raftlog.GroupID, place raftlog.Span) (before, behind raftlog.Record, err error) {
	it, err := s.iterate(g, kindHistory, 0)
	if err != nil {
		return before, behind, err
	}
	defer func() { err = errors.Join(err, s.wrap(it.Close())) }()
	if it.SeekLT(indexKey(g, kindHistory, place.First)) {
		if before, err = s.recordAt(g, it); err != nil {
			return before, behind, err
		}
	}
	if it.SeekGE(indexKey(g, kindHistory, place.Last+1)) {
		behind, err = s.recordAt(g, it)
	}
	return before, behind, err
}

// TrimHistory implements raftlog.Storage. What is at or below the start of the log and is
// not named by then is never named. Files are deleted only when nothing can bring back the
// records of them.
func (s *Store) TrimHistory(g raftlog.GroupID, below uint64) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	if err := s.available(); err != nil {
		return err
	}
	st, err := s.group(g)
	if err != nil {
		return err
	}
	first, err := s.holder(g, below) // with which history begins then
	if err != nil {
		return err
	}
	keep, entries := first.First, first.Entry
	if keep == 0 {
		keep, entries = math.MaxUint64, math.MaxUint64
	}
	b := s.db.NewBatch()
	defer b.Close()
	deleteRange(b, g, kindHistory, 0, keep)
	deleteRange(b, g, kindEntry, 0, min(entries, st.start.Index+1))
	deleteRange(b, g, kindMark, 0, below/raftlog.MarkSegment)
	after := *st
	after.holds(b, g, st.held.From(first.First))
	after.damaged = raftlog.WithoutSpan(st.damaged, raftlog.Span{First: 1, Last: keep - 1})
	var dropped []raftlog.Descriptor
	after.archived, dropped = raftlog.TrimArchive(st.archived, below)
	how := pebble.NoSync
	for _, d := range dropped {
		how = pebble.Sync
		_ = b.Delete(indexKey(g, kindArchived, d.Index), nil)
	}
	if err := s.db.Apply(b, how); err != nil {
		return s.wrap(err)
	}
	s.setGroup(g, &after)
	if len(dropped) > 0 {
		s.pruneCheckpoints(dropped...)
	}
	return nil
}
