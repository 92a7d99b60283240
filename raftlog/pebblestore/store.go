package pebblestore

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/cockroachdb/pebble/v2"
	"github.com/heliosdb/metadata/raftlog"
)

// groupState is what Write needs to know of a group. It is as of the last Write;
// durable is as of the last synced one.
type groupState struct {
	hard        raftlog.HardState
	start       raftlog.LogStart
	last        uint64
	named       uint64               // index of the last entry that history names
	held        raftlog.Held         // of history
	damaged     []raftlog.Span       // of history, as far as reads have found it
	checkpoints []raftlog.Descriptor // current ones, newest last
	archived    []raftlog.Descriptor // replaced ones that are kept, oldest first
	base        uint64               // index of the last base that was archived in this life
	replaced    uint64               // index of the last one that became current in this life: files below it are
	durable     raftlog.Promise      // under writing
	short       error                // below the floor: only in a store that is read only, Open refuses it
	loaded      *raftlog.Loaded      // under writing: the log as Open has read it, until somebody takes it or it is written to
}

var genesisPromise = raftlog.Promise{Last: raftlog.GenesisIndex, Term: raftlog.GenesisTerm}

var errClosed = errors.New("pebblestore: the store is closed")

// Identity implements raftlog.Storage.
func (s *Store) Identity() (*raftlog.Identity, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.identity == nil {
		return nil, nil
	}
	id := *s.identity
	id.Peers = slices.Clone(id.Peers)
	return &id, nil
}

// Bootstrap implements raftlog.Storage. The floor comes first: a directory with an
// identity always has one.
func (s *Store) Bootstrap(id raftlog.Identity, groups []raftlog.GroupID, voters []uint64) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	if s.identity != nil {
		return fmt.Errorf("pebblestore: directory %s is not blank: it holds member %d of cluster %q", s.dir, s.identity.Member, s.identity.ClusterName)
	}
	if err := errors.Join(s.usable(), s.available()); err != nil {
		return err
	}
	b := s.db.NewBatch()
	defer b.Close()
	states, err := genesis(b, id, groups, voters)
	if err != nil {
		return err
	}
	promises := map[raftlog.GroupID]raftlog.Promise{}
	for _, g := range groups {
		promises[g] = genesisPromise
	}
	if s.floor, err = createFloor(s.fs, s.floorPath(), promises); err != nil {
		return err
	}
	if err := s.db.Apply(b, pebble.Sync); err != nil {
		return s.wrap(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.identity, s.groups = &id, states
	return nil
}

// genesis puts the identity and what each group starts with into a batch.
func genesis(b *pebble.Batch, id raftlog.Identity, groups []raftlog.GroupID, voters []uint64) (map[raftlog.GroupID]*groupState, error) {
	content, err := id.MarshalBinary()
	if err != nil {
		return nil, err
	}
	put(b, memberKey(kindIdentity), content)
	states := map[raftlog.GroupID]*groupState{}
	for _, g := range groups {
		d := raftlog.GenesisDescriptor(g, voters)
		content, err := d.MarshalBinary()
		if err != nil {
			return nil, err
		}
		states[g] = &groupState{
			hard:  raftlog.HardState{Term: raftlog.GenesisTerm, Commit: raftlog.GenesisIndex},
			start: raftlog.LogStart{Index: raftlog.GenesisIndex, Term: raftlog.GenesisTerm}, last: raftlog.GenesisIndex,
			checkpoints: []raftlog.Descriptor{d}, durable: genesisPromise,
		}
		put(b, groupKey(g, kindStart), words(raftlog.GenesisIndex, raftlog.GenesisTerm))
		put(b, groupKey(g, kindHard), words(raftlog.GenesisTerm, 0, raftlog.GenesisIndex))
		put(b, indexKey(g, kindCheckpoint, d.Index), content)
	}
	return states, nil
}

func (s *Store) group(g raftlog.GroupID) (*groupState, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return nil, errClosed
	case s.mark != nil && !s.filling:
		return nil, s.condemnedError()
	}
	if st := s.groups[g]; st != nil {
		return st, nil
	}
	return nil, fmt.Errorf("pebblestore: directory %s holds no group %d", s.dir, g)
}

// setGroup puts a changed state of a group in place of the one before. It needs writing.
func (s *Store) setGroup(g raftlog.GroupID, st *groupState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.groups[g] = st
}

// Write implements raftlog.Storage.
func (s *Store) Write(ws []*raftlog.Write) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	if err := s.available(); err != nil {
		return err
	}
	b := s.db.NewBatch()
	defer b.Close()
	next, err := s.prepare(b, ws)
	if err != nil {
		return err
	}
	if !s.filling {
		if err := s.lowerFloor(ws, next); err != nil {
			return err
		}
	}
	how, prune := pebble.NoSync, false
	for _, w := range ws {
		if w.Sync || w.Install != nil || w.Checkpoint != nil {
			how = pebble.Sync
		}
		prune = prune || w.Install != nil || w.Checkpoint != nil
	}
	if how == pebble.Sync && b.Empty() {
		_ = b.LogData(nil, nil) // of an empty batch Pebble makes no sync, and what came before needs it
	}
	if err := s.db.Apply(b, how); err != nil {
		return s.wrap(err)
	}
	s.mu.Lock()
	maps.Copy(s.groups, next)
	s.mu.Unlock()
	if how == pebble.NoSync {
		return nil
	}
	s.synced()
	if !s.filling {
		if err := s.promiseVotes(); err != nil {
			return err
		}
	}
	if prune {
		s.pruneCheckpoints()
	}
	return nil
}

// synced notes that everything written so far is durable.
func (s *Store) synced() {
	for _, st := range s.groups {
		st.durable = raftlog.Promise{Last: st.last, Term: st.hard.Term, Vote: st.hard.Vote}
	}
}

// prepare fills the batch and returns the states of the groups after it; the map is good until
// the next time.
func (s *Store) prepare(b *pebble.Batch, ws []*raftlog.Write) (map[raftlog.GroupID]*groupState, error) {
	next := s.next
	clear(next)
	for i, w := range ws {
		st := next[w.Group]
		if st == nil {
			now, err := s.group(w.Group)
			if err != nil {
				return nil, err
			}
			c := *now
			c.loaded = nil
			st = &c
			next[w.Group] = st
		}
		if err := s.checkFiles(w); err != nil {
			return nil, err
		}
		after, err := w.Fit(raftlog.Extent{Start: st.start.Index, Last: st.last, Named: st.named})
		if err != nil {
			return nil, err
		}
		if err := s.fill(b, st, w, after, ws[:i+1]); err != nil {
			return nil, err
		}
	}
	return next, nil
}

// fill adds one Write that fits to the batch. after is the log after it.
func (s *Store) fill(b *pebble.Batch, st *groupState, w *raftlog.Write, after raftlog.Extent, ws []*raftlog.Write) error {
	g := w.Group
	if d := w.Install; d != nil {
		deleteRange(b, g, kindEntry, after.Named+1, math.MaxUint64)
		deleteRange(b, g, kindCheckpoint, 0, math.MaxUint64)
		for _, o := range st.checkpoints {
			if o.Index >= d.Index {
				continue
			}
			if _, err := archive(b, st, &o); err != nil {
				return err
			}
		}
		st.start, st.checkpoints = raftlog.LogStart{Index: d.Index, Term: d.Term}, nil
		st.last, st.hard.Commit = d.Index, max(st.hard.Commit, d.Index)
		put(b, groupKey(g, kindStart), words(d.Index, d.Term))
		putHard(b, g, st.hard)
		if err := putCheckpoint(b, st, d); err != nil {
			return err
		}
	}
	if len(w.Entries) > 0 {
		if first := w.Entries[0].GetIndex(); first <= st.last {
			deleteRange(b, g, kindEntry, first, st.last+1)
		}
		for _, e := range w.Entries {
			head := entryHead(e)
			put(b, indexKey(g, kindEntry, e.GetIndex()), head[:], e.GetData())
		}
	}
	st.last, st.named = after.Last, after.Named
	if w.HardState != nil {
		st.hard = *w.HardState
		putHard(b, g, st.hard)
	}
	for i := range w.History {
		r := &w.History[i]
		putRecord(b, g, r)
		st.holds(b, g, st.held.With(raftlog.Span{First: r.First, Last: r.Last}))
		st.damaged = raftlog.WithoutSpan(st.damaged, raftlog.Span{First: r.First, Last: r.Last})
	}
	if w.Checkpoint != nil {
		if err := putCheckpoint(b, st, w.Checkpoint); err != nil {
			return err
		}
	}
	if w.CutTo > st.start.Index {
		term, err := s.termAt(g, w.CutTo, ws)
		if err != nil {
			return err
		}
		st.start = raftlog.LogStart{Index: w.CutTo, Term: term}
		put(b, groupKey(g, kindStart), words(w.CutTo, term))
	}
	return nil
}

// holds notes which sequences history has. The first and the last one stand in the records; the
// holes, which are few, are stored beside them when they change.
func (st *groupState) holds(b *pebble.Batch, g raftlog.GroupID, held raftlog.Held) {
	if !slices.Equal(held.Holes, st.held.Holes) {
		put(b, groupKey(g, kindHoles), encodeSpans(held.Holes))
	}
	st.held = held
}

func putHard(b *pebble.Batch, g raftlog.GroupID, h raftlog.HardState) {
	put(b, groupKey(g, kindHard), words(h.Term, h.Vote, h.Commit))
}

func putCheckpoint(b *pebble.Batch, st *groupState, d *raftlog.Descriptor) error {
	content, err := d.MarshalBinary()
	if err != nil {
		return err
	}
	kept, replaced, passedOver := raftlog.WithCurrent(st.checkpoints, *d)
	for _, o := range slices.Concat(replaced, passedOver) {
		_ = b.Delete(indexKey(d.Group, kindCheckpoint, o.Index), nil)
	}
	put(b, indexKey(d.Group, kindCheckpoint, d.Index), content)
	for i := range replaced {
		if _, err := archive(b, st, &replaced[i]); err != nil {
			return err
		}
	}
	st.checkpoints, st.replaced = kept, d.Index
	return nil
}

// deleteRange deletes [from, to) of one kind; to MaxUint64 includes that index too.
func deleteRange(b *pebble.Batch, g raftlog.GroupID, kind byte, from, to uint64) {
	end := indexKey(g, kind, to)
	if to == math.MaxUint64 {
		end = groupKey(g, kind+1)
	}
	_ = b.DeleteRange(indexKey(g, kind, from), end, nil)
}

// termAt finds the term of an entry that is stored or about to be.
func (s *Store) termAt(g raftlog.GroupID, index uint64, ws []*raftlog.Write) (uint64, error) {
	for _, w := range slices.Backward(ws) {
		if n := len(w.Entries); w.Group == g && n > 0 {
			if first := w.Entries[0].GetIndex(); index >= first && index < first+uint64(n) {
				return w.Entries[index-first].GetTerm(), nil
			}
		}
	}
	content, ok, err := s.get(indexKey(g, kindEntry, index))
	if err != nil {
		return 0, err
	}
	if !ok {
		return 0, s.damage("entry %d of %s is missing", index, s.opts.Name(g))
	}
	e, err := parseEntry(index, content)
	if err != nil {
		return 0, s.damage("%v", err)
	}
	return e.GetTerm(), nil
}

// Close implements raftlog.Storage.
func (s *Store) Close() error {
	s.writing.Lock()
	if s.closed {
		s.writing.Unlock()
		return errClosed
	}
	err := s.settle()
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.writing.Unlock()
	close(s.stop)
	s.done.Wait()
	s.pruning.Wait()
	s.reading.Lock()
	defer s.reading.Unlock()
	return errors.Join(err, s.release())
}

// settle makes everything durable and says so in the floor.
func (s *Store) settle() error {
	if s.identity == nil || s.mark != nil || s.readOnly {
		return nil
	}
	if err := s.db.LogData(nil, pebble.Sync); err != nil {
		return s.wrap(err)
	}
	s.synced()
	return s.writeDurable()
}
