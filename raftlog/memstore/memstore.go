// Package memstore is a Storage in memory for tests and simulations. It is
// deterministic: no goroutine, no clock, no map order in what it returns. It models
// a disk with a write cache: what was not synced is there until Crash, which loses
// it, or as much of it as the caller wants to lose.
//
// Methods take a lock and may be called from any goroutine. It refuses the same
// misuse as every Storage; it does not model damaged bytes, only lost ones.
package memstore

import (
	"fmt"
	"math"
	"slices"
	"sync"

	"github.com/heliosdb/metadata/raftlog"
	"github.com/tidwall/btree"
	pb "go.etcd.io/raft/v3/raftpb"
)

// Store is a Storage. The zero value is not usable, see New.
type Store struct {
	mu       sync.Mutex
	name     string
	identity *raftlog.Identity
	now      map[raftlog.GroupID]*group // what reads see
	durable  map[raftlog.GroupID]*group // what a crash leaves
	unsynced [][]*raftlog.Write         // applied to now, not to durable
	trims    map[raftlog.GroupID]uint64 // survive nothing: trimming again is harmless
	files    map[fileKey]*file
	floors   map[raftlog.GroupID]raftlog.Promise
	free     uint64

	condemned  string
	rebuilding bool // BeginRebuild was called since the last start
	floorLost  bool
}

var _ raftlog.Storage = (*Store)(nil)

// group is the stored state of one group. Entries and records are immutable.
type group struct {
	hard        raftlog.HardState
	start       raftlog.LogStart
	entries     []*pb.Entry
	history     *btree.Map[uint64, []byte]
	checkpoints []raftlog.Descriptor
}

func (g *group) last() uint64 { return g.start.Index + uint64(len(g.entries)) }

func (g *group) clone() *group {
	c := *g
	c.entries = slices.Clone(g.entries)
	c.history = g.history.Copy()
	c.checkpoints = slices.Clone(g.checkpoints)
	return &c
}

// New returns a blank store; name appears in its errors.
func New(name string) *Store {
	return &Store{
		name: name, now: map[raftlog.GroupID]*group{}, durable: map[raftlog.GroupID]*group{},
		trims: map[raftlog.GroupID]uint64{}, files: map[fileKey]*file{}, floors: map[raftlog.GroupID]raftlog.Promise{},
		free: math.MaxUint64,
	}
}

// Unsynced returns how many Write calls a crash could lose now.
func (s *Store) Unsynced() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.unsynced)
}

// Crash loses all unsynced Write calls but the first keep of them, and files that
// no Write has made current: the state that the next start of the member finds.
func (s *Store) Crash(keep int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, ws := range s.unsynced[:min(max(keep, 0), len(s.unsynced))] {
		for _, w := range ws {
			s.durable[w.Group].apply(w)
		}
	}
	s.unsynced, s.rebuilding = nil, false
	s.now = map[raftlog.GroupID]*group{}
	clear(s.trims)
	for id, g := range s.durable {
		s.now[id] = g.clone()
	}
	for key := range s.files {
		if !s.current(key) {
			delete(s.files, key)
		}
	}
}

// LoseTail deletes the last n entries of a group as a damaged disk would, behind the
// back of the floor: Load then returns a *ShortError.
func (s *Store) LoseTail(id raftlog.GroupID, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range []map[raftlog.GroupID]*group{s.now, s.durable} {
		g := m[id]
		g.entries = g.entries[:max(0, len(g.entries)-n)]
		g.hard.Commit = min(g.hard.Commit, g.last())
	}
}

// SetFree sets what Space reports as free.
func (s *Store) SetFree(bytes uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.free = bytes
}

// Identity implements raftlog.Storage.
func (s *Store) Identity() (*raftlog.Identity, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.identity == nil {
		return nil, nil
	}
	id := *s.identity
	return &id, nil
}

// Bootstrap implements raftlog.Storage.
func (s *Store) Bootstrap(id raftlog.Identity, groups []raftlog.GroupID, voters []uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.identity != nil {
		return fmt.Errorf("memstore: %s is not blank: it holds member %d of cluster %q", s.name, s.identity.Member, s.identity.ClusterName)
	}
	if err := id.Validate(); err != nil {
		return err
	}
	if s.condemned != "" {
		return s.condemnedError()
	}
	if err := s.genesis(groups, voters); err != nil {
		return err
	}
	for _, g := range groups {
		s.floors[g] = raftlog.Promise{Last: raftlog.GenesisIndex, Term: raftlog.GenesisTerm}
	}
	s.identity = &id
	return nil
}

// genesis gives each group the log it starts with.
func (s *Store) genesis(groups []raftlog.GroupID, voters []uint64) error {
	for _, g := range groups {
		d := raftlog.GenesisDescriptor(g, voters)
		if err := d.Validate(); err != nil {
			return err
		}
		fresh := &group{
			hard:  raftlog.HardState{Term: raftlog.GenesisTerm, Commit: raftlog.GenesisIndex},
			start: raftlog.LogStart{Index: raftlog.GenesisIndex, Term: raftlog.GenesisTerm}, history: &btree.Map[uint64, []byte]{},
			checkpoints: []raftlog.Descriptor{d},
		}
		s.durable[g], s.now[g] = fresh, fresh.clone()
	}
	return nil
}

func (s *Store) group(id raftlog.GroupID) (*group, error) {
	if s.condemned != "" && !s.rebuilding {
		return nil, s.condemnedError()
	}
	if g := s.now[id]; g != nil {
		return g, nil
	}
	return nil, fmt.Errorf("memstore: %s holds no group %d", s.name, id)
}

// Load implements raftlog.Storage.
func (s *Store) Load(id raftlog.GroupID) (*raftlog.Loaded, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.condemned != "" {
		return nil, s.condemnedError()
	}
	g, err := s.group(id)
	if err != nil {
		return nil, err
	}
	f := s.floors[id]
	short := func(what string, have, floor uint64) error {
		return &raftlog.ShortError{Path: s.name, Group: id, What: what, Have: have, Floor: floor}
	}
	switch {
	case g.last() < f.Last:
		return nil, short("last index", g.last(), f.Last)
	case g.hard.Term < f.Term:
		return nil, short("term", g.hard.Term, f.Term)
	case g.hard.Term == f.Term && f.Vote != 0 && g.hard.Vote != f.Vote:
		return nil, short("vote", g.hard.Vote, f.Vote)
	}
	l := &raftlog.Loaded{Group: id, HardState: g.hard, Start: g.start, Entries: slices.Clone(g.entries)}
	for _, d := range g.checkpoints {
		if d.Index >= g.start.Index {
			l.Checkpoints = append(l.Checkpoints, d)
		}
	}
	l.HardState.Commit = max(l.HardState.Commit, l.Newest().Index)
	return l, nil
}

// Write implements raftlog.Storage.
func (s *Store) Write(ws []*raftlog.Write) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.check(ws); err != nil {
		return err
	}
	sync := false
	for _, w := range ws {
		s.now[w.Group].apply(w)
		sync = sync || w.Sync
	}
	s.unsynced = append(s.unsynced, ws)
	if sync {
		s.sync()
	}
	s.prune()
	return nil
}

func (s *Store) sync() {
	for _, ws := range s.unsynced {
		for _, w := range ws {
			s.durable[w.Group].apply(w)
		}
	}
	s.unsynced = nil
	if s.condemned == "" {
		for id, g := range s.durable {
			s.floors[id] = raftlog.Promise{Last: g.last(), Term: g.hard.Term, Vote: g.hard.Vote}
		}
	}
}

// check refuses a batch that does not fit what is stored.
func (s *Store) check(ws []*raftlog.Write) error {
	ends := map[raftlog.GroupID][2]uint64{}
	for _, w := range ws {
		g, err := s.group(w.Group)
		if err != nil {
			return err
		}
		for _, d := range []*raftlog.Descriptor{w.Install, w.Checkpoint} {
			if d == nil {
				continue
			}
			if f := s.files[fileKey{w.Group, d.Index}]; f == nil || !f.desc.Equal(*d) {
				return fmt.Errorf("memstore: %s: group %d has no finished checkpoint file for %d: %w", s.name, w.Group, d.Index, raftlog.ErrNoCheckpoint)
			}
		}
		end, ok := ends[w.Group]
		if !ok {
			end = [2]uint64{g.start.Index, g.last()}
		}
		if end[0], end[1], err = w.Fit(end[0], end[1]); err != nil {
			return err
		}
		ends[w.Group] = end
	}
	return nil
}

// apply is total on Writes that fit.
func (g *group) apply(w *raftlog.Write) {
	if d := w.Install; d != nil {
		g.start = raftlog.LogStart{Index: d.Index, Term: d.Term}
		g.entries, g.checkpoints = nil, []raftlog.Descriptor{*d}
		g.hard.Commit = max(g.hard.Commit, d.Index)
	}
	if len(w.Entries) > 0 {
		if keep := w.Entries[0].GetIndex() - g.start.Index - 1; keep < uint64(len(g.entries)) {
			g.entries = g.entries[:keep:keep] // what follows may be shared
		}
		g.entries = append(g.entries, w.Entries...)
	}
	if w.HardState != nil {
		g.hard = *w.HardState
	}
	for _, r := range w.History {
		g.history.Set(r.Seq, r.Data)
	}
	if d := w.Checkpoint; d != nil {
		g.checkpoints = append(g.checkpoints, *d)
		g.checkpoints = g.checkpoints[max(0, len(g.checkpoints)-raftlog.KeepCheckpoints):]
	}
	if w.CutTo > g.start.Index {
		n := w.CutTo - g.start.Index
		g.start = raftlog.LogStart{Index: w.CutTo, Term: g.entries[n-1].GetTerm()}
		g.entries = slices.Clone(g.entries[n:])
	}
}

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

func (s *Store) bounds(id raftlog.GroupID, g *group) (first, last uint64) {
	g.history.Ascend(s.trims[id], func(k uint64, _ []byte) bool { first = k; return false })
	if first != 0 {
		last, _, _ = g.history.Max()
	}
	return first, last
}

// ReadHistory implements raftlog.Storage.
func (s *Store) ReadHistory(id raftlog.GroupID, from uint64, maxBytes int) ([]raftlog.Record, error) {
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
	var out []raftlog.Record
	size := 0
	if from >= first {
		g.history.Ascend(from, func(k uint64, v []byte) bool {
			size += len(v)
			if k != from+uint64(len(out)) || (len(out) > 0 && size > maxBytes) {
				return false
			}
			out = append(out, raftlog.Record{Seq: k, Data: v})
			return true
		})
	}
	if len(out) == 0 {
		return nil, &raftlog.GapError{Group: id, Seq: from, First: first, Last: last}
	}
	return out, nil
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

// Space implements raftlog.Storage.
func (s *Store) Space() (free, used uint64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.files {
		used += f.desc.Bytes
	}
	for _, g := range s.now {
		for _, e := range g.entries {
			used += uint64(len(e.GetData()))
		}
	}
	return s.free, used, nil
}

// Close implements raftlog.Storage: a clean stop loses nothing. The Store can be
// used again as if it had been opened anew.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sync()
	s.rebuilding = false
	return nil
}
