package pebblestore

import (
	"bytes"
	"errors"

	"github.com/cockroachdb/pebble/v2"
	"github.com/heliosdb/metadata/raftlog"
)

// PutMarks implements raftlog.Storage.
func (s *Store) PutMarks(g raftlog.GroupID, segment uint64, marks []raftlog.Mark) error {
	sorted, err := raftlog.SortMarks(segment, marks)
	if err != nil {
		return err
	}
	s.reading.RLock()
	defer s.reading.RUnlock()
	if err := s.available(); err != nil {
		return err
	}
	if _, err := s.group(g); err != nil {
		return err
	}
	if err := s.needRoom(); err != nil {
		return err
	}
	b := s.db.NewBatch()
	defer b.Close()
	deleteRange(b, g, kindMark, segment, segment+1)
	put(b, indexKey(g, kindMark, segment))
	var seqs []uint64
	var content []byte
	for i, m := range sorted {
		seqs = append(seqs, m.Seq)
		if i+1 < len(sorted) && sorted[i+1].Tag == m.Tag {
			continue
		}
		content = appendMarks(content[:0], segment, seqs)
		put(b, markKey(g, segment, m.Tag), content)
		seqs = seqs[:0]
	}
	return s.wrap(s.db.Apply(b, pebble.NoSync))
}

// ReadMarks implements raftlog.Storage.
func (s *Store) ReadMarks(g raftlog.GroupID, segment, tag uint64) (seqs []uint64, complete bool, err error) {
	s.reading.RLock()
	defer s.reading.RUnlock()
	if _, err := s.group(g); err != nil {
		return nil, false, err
	}
	seqs, complete, err = s.readMarks(g, segment, tag)
	if isDamage(err) {
		s.opts.Logger.Warn("marks of the history are damaged; they are made again when they are needed", "of", s.opts.Name(g), "segment", segment, "error", raftlog.Why(err))
		return nil, false, nil
	}
	return seqs, complete, err
}

func (s *Store) readMarks(g raftlog.GroupID, segment, tag uint64) (seqs []uint64, complete bool, err error) {
	it, err := s.iterate(g, kindMark, segment)
	if err != nil {
		return nil, false, err
	}
	defer func() { err = errors.Join(err, s.wrap(it.Close())) }()
	if content, err := s.markAt(it, indexKey(g, kindMark, segment)); content == nil || err != nil {
		return nil, false, err
	}
	content, err := s.markAt(it, markKey(g, segment, tag))
	if err != nil {
		return nil, false, err
	}
	if seqs, err = parseMarks(segment, content); err != nil {
		return nil, false, s.damage("%s: %v", s.opts.Name(g), err)
	}
	return seqs, true, nil
}

// markAt returns the content of a key, nil if it is not there. It is valid until the iterator
// moves.
func (s *Store) markAt(it *pebble.Iterator, key []byte) ([]byte, error) {
	if !it.SeekGE(key) || !bytes.Equal(it.Key(), key) {
		return nil, s.wrap(it.Error())
	}
	value, err := it.ValueAndErr()
	if err != nil {
		return nil, s.wrap(err)
	}
	content, err := unseal(key, value)
	if err != nil {
		return nil, s.damage("%v", err)
	}
	return content, nil
}
