package pebblestore

import (
	"errors"

	"github.com/cockroachdb/pebble/v2"
	"github.com/heliosdb/metadata/raftlog"
)

// loadGroups reads what Write has to know of each group.
func (s *Store) loadGroups() error {
	if s.identity == nil {
		return nil
	}
	for g := range s.floor.promises {
		st, err := s.loadGroup(g)
		if err != nil {
			return err
		}
		s.groups[g] = st
	}
	return nil
}

func (s *Store) loadGroup(g raftlog.GroupID) (*groupState, error) {
	st := &groupState{}
	if s.floor != nil {
		st.durable = s.floor.promises[g]
	}
	if err := s.getWords(g, kindStart, &st.start.Index, &st.start.Term); err != nil {
		return nil, err
	}
	if err := s.getWords(g, kindHard, &st.hard.Term, &st.hard.Vote, &st.hard.Commit); err != nil {
		return nil, err
	}
	var err error
	if st.checkpoints, err = s.loadDescriptors(g, kindCheckpoint); err != nil {
		return nil, err
	}
	if st.archived, err = s.loadDescriptors(g, kindArchived); err != nil {
		return nil, err
	}
	st.last = st.start.Index
	it, err := s.iterate(g, kindEntry, st.start.Index+1)
	if err != nil {
		return nil, err
	}
	if it.Last() {
		st.last = indexOf(it.Key())
	}
	if err := s.wrap(it.Close()); err != nil { // it says what the iterator has found, too
		return nil, err
	}
	if err := s.loadHistory(g, st); err != nil {
		return nil, err
	}
	st.short = s.compareFloor(g, st)
	return st, nil
}

// loadHistory reads what history there is, by its ends. The newest record has to be sound:
// what it names is not written over.
func (s *Store) loadHistory(g raftlog.GroupID, st *groupState) error {
	newest, err := s.newestRecord(g)
	if err != nil || newest.Last == 0 {
		return err
	}
	st.named, st.held.Last = newest.Entry, newest.Last
	if st.held.First, err = s.oldestSequence(g); err != nil {
		return err
	}
	content, ok, err := s.get(groupKey(g, kindHoles))
	if err != nil || !ok {
		return err
	}
	if st.held.Holes, err = parseSpans(content); err != nil {
		return s.damage("record %c of %s: %v", kindHoles, s.opts.Name(g), err)
	}
	return nil
}

// oldestSequence returns with which sequence history begins. Where Pebble cannot tell it is the
// first of all: reads find out what is damaged.
func (s *Store) oldestSequence(g raftlog.GroupID) (first uint64, err error) {
	it, err := s.iterate(g, kindHistory, 0)
	if err != nil {
		return 0, err
	}
	if it.First() {
		first = indexOf(it.Key())
	}
	if err = s.wrap(it.Close()); isDamage(err) {
		return 1, nil
	}
	return first, err
}

// loadDescriptors reads the records of checkpoints of one kind.
func (s *Store) loadDescriptors(g raftlog.GroupID, kind byte) (ds []raftlog.Descriptor, err error) {
	err = s.scan(g, kind, 0, func(index uint64, content []byte) (bool, error) {
		var d raftlog.Descriptor
		err := d.UnmarshalBinary(content)
		if _, newer := errors.AsType[*raftlog.FormatError](err); newer {
			return false, err
		}
		if err != nil {
			return false, s.damage("checkpoint record %d of %s: %v", index, s.opts.Name(g), err)
		}
		ds = append(ds, d)
		return true, nil
	})
	return ds, err
}

func (s *Store) getWords(g raftlog.GroupID, kind byte, vs ...*uint64) error {
	content, ok, err := s.get(groupKey(g, kind))
	if err != nil {
		return err
	}
	if !ok {
		return s.damage("record %c of %s is missing", kind, s.opts.Name(g))
	}
	if err := parseWords(content, vs...); err != nil {
		return s.damage("record %c of %s: %v", kind, s.opts.Name(g), err)
	}
	return nil
}

// iterate opens an iterator over the records of one kind from an index on.
func (s *Store) iterate(g raftlog.GroupID, kind byte, from uint64) (*pebble.Iterator, error) {
	return s.iterateIn(s.db, g, kind, from)
}

func (s *Store) iterateIn(r pebble.Reader, g raftlog.GroupID, kind byte, from uint64) (*pebble.Iterator, error) {
	it, err := r.NewIter(&pebble.IterOptions{LowerBound: indexKey(g, kind, from), UpperBound: groupKey(g, kind+1)})
	return it, s.wrap(err)
}

// scan calls f with each verified record from an index on while it returns true.
// The content is valid during the call only.
func (s *Store) scan(g raftlog.GroupID, kind byte, from uint64, f func(index uint64, content []byte) (bool, error)) error {
	it, err := s.iterate(g, kind, from)
	if err != nil {
		return err
	}
	defer it.Close()
	for more := it.First(); more; more = it.Next() {
		value, err := it.ValueAndErr()
		if err != nil {
			return s.wrap(err)
		}
		content, err := unseal(it.Key(), value)
		if err != nil {
			return s.damage("%s: %v", s.opts.Name(g), err)
		}
		more, err := f(indexOf(it.Key()), content)
		if err != nil || !more {
			return err
		}
	}
	return s.wrap(it.Error())
}

// Load implements raftlog.Storage.
func (s *Store) Load(g raftlog.GroupID) (*raftlog.Loaded, error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	if err := s.usable(); err != nil {
		return nil, err
	}
	st, err := s.group(g)
	if err != nil {
		return nil, err
	}
	if st.short != nil {
		return nil, st.short
	}
	if l := st.loaded; l != nil {
		st.loaded = nil
		return l, nil
	}
	return s.loadLog(g, st)
}

// loadLog reads and verifies a log and what a restart begins from.
func (s *Store) loadLog(g raftlog.GroupID, st *groupState) (_ *raftlog.Loaded, err error) {
	l := &raftlog.Loaded{Group: g, HardState: st.hard, Start: st.start}
	err = s.scan(g, kindEntry, st.start.Index+1, func(index uint64, content []byte) (bool, error) {
		if want := l.LastIndex() + 1; index != want {
			return false, s.damage("%s has entry %d where %d is due", s.opts.Name(g), index, want)
		}
		e, err := parseEntry(index, content)
		if err != nil {
			return false, s.damage("%s: %v", s.opts.Name(g), err)
		}
		l.Entries = append(l.Entries, e)
		return true, nil
	})
	if err != nil {
		return nil, err
	}
	if l.Checkpoints, err = s.usableCheckpoints(g, st); err != nil {
		return nil, err
	}
	l.HardState.Commit = max(l.HardState.Commit, l.Newest().Index)
	if l.HardState.Commit > l.LastIndex() {
		return nil, s.damage("%s: entry %d is committed but the log ends at %d", s.opts.Name(g), l.HardState.Commit, l.LastIndex())
	}
	return l, nil
}

// compareFloor compares a log with what the member has promised.
func (s *Store) compareFloor(g raftlog.GroupID, st *groupState) error {
	p := st.durable
	short := func(what string, have, floor uint64) error {
		return &raftlog.ShortError{Path: s.dir, Group: g, Name: s.opts.Name(g), What: what, Have: have, Floor: floor}
	}
	switch {
	case st.last < p.Last:
		return short("last index", st.last, p.Last)
	case st.hard.Term < p.Term:
		return short("term", st.hard.Term, p.Term)
	case st.hard.Term == p.Term && p.Vote != 0 && st.hard.Vote != p.Vote:
		return short("vote", st.hard.Vote, p.Vote)
	}
	return nil
}
