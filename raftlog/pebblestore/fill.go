package pebblestore

import (
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
	p := raftlog.Place{Group: g, Start: st.start.Index, Seq: st.checkpoints[len(st.checkpoints)-1].Seq}
	first, last := &past[0], &past[len(past)-1]
	if p.Before, p.Behind, err = s.around(g, first.First); err != nil {
		return err
	}
	if err := p.Fit(past); err != nil {
		return err
	}
	b := s.db.NewBatch()
	defer b.Close()
	for i := range past {
		p := &past[i]
		putRecord(b, g, &p.Record)
		head := entryHead(&pb.Entry{Term: &p.Term})
		put(b, indexKey(g, kindEntry, p.Entry), head[:], p.Content)
	}
	deleteRange(b, g, kindMark, first.First/raftlog.MarkSegment, last.Last/raftlog.MarkSegment+1)
	if err := s.db.Apply(b, pebble.NoSync); err != nil {
		return s.wrap(err)
	}
	after := *st
	after.named = max(st.named, last.Entry)
	s.setGroup(g, &after)
	return nil
}

func putRecord(b *pebble.Batch, g raftlog.GroupID, r *raftlog.Record) {
	var room [2 * binary.MaxVarintLen64]byte
	put(b, indexKey(g, kindHistory, r.First), appendHistoryHead(room[:0], r), r.Data)
}

// around returns the last record that begins before a sequence and the first one that does
// not; zero ones where there is none.
func (s *Store) around(g raftlog.GroupID, seq uint64) (before, behind raftlog.Record, err error) {
	it, err := s.iterate(g, kindHistory, 0)
	if err != nil {
		return before, behind, err
	}
	defer func() { err = errors.Join(err, s.wrap(it.Close())) }()
	key := indexKey(g, kindHistory, seq)
	if it.SeekLT(key) {
		if before, err = s.recordAt(g, it); err != nil {
			return before, behind, err
		}
	}
	if it.SeekGE(key) {
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
	keep, entries, err := s.keptFrom(g, below)
	if err != nil {
		return err
	}
	b := s.db.NewBatch()
	defer b.Close()
	deleteRange(b, g, kindHistory, 0, keep)
	deleteRange(b, g, kindEntry, 0, min(entries, st.start.Index+1))
	deleteRange(b, g, kindMark, 0, below/raftlog.MarkSegment)
	after := *st
	var dropped []raftlog.Descriptor
	if after.archived, dropped = raftlog.TrimArchive(st.archived, below); len(dropped) == 0 {
		return s.wrap(s.db.Apply(b, pebble.NoSync))
	}
	for _, d := range dropped {
		_ = b.Delete(indexKey(g, kindArchived, d.Index), nil)
	}
	if err := s.db.Apply(b, pebble.Sync); err != nil {
		return s.wrap(err)
	}
	s.setGroup(g, &after)
	s.pruneCheckpoints(dropped...)
	return nil
}

// keptFrom returns with which record, and which entry for it, history begins when it is
// trimmed below a sequence.
func (s *Store) keptFrom(g raftlog.GroupID, below uint64) (keep, entry uint64, err error) {
	first, err := s.holder(g, below)
	if err != nil || first.First != 0 {
		return first.First, first.Entry, err
	}
	return below, math.MaxUint64, nil
}
