// Package memstore is a Storage in memory for tests and simulations. It is
// deterministic: no goroutine, no clock, no randomness, no map order in what it returns.
//
// It models a disk with a write cache: what was not synced is there until Crash, which
// loses it, or as much of it as the caller wants to lose. And it models what else
// disks do, when told to (losses.go, failures.go): a lost tail, a lost vote, a lost database
// or floor or directory, damaged entries, records and checkpoints, a failed sync, a full
// disk, a floor that lags. Each of them stays until a rebuild or Wipe. When and how often is
// the caller's to draw: the same calls in the same order have the same effects.
//
// Methods take a lock and may be called from any goroutine. It refuses the same
// misuse as every Storage.
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
	unsynced []step                     // applied to now, not to durable
	files    map[fileKey]*file
	own      map[raftlog.GroupID]uint64 // index of the newest checkpoint created since the start
	bases    map[raftlog.GroupID]uint64 // index of the last base archived since the start
	floors   map[raftlog.GroupID]raftlog.Promise
	free     uint64
	damaged  map[spot]bool
	known    map[raftlog.GroupID][]raftlog.Span // damage of history that reads have found since the start
	short    map[raftlog.GroupID]bool           // lost what was promised: its floor stays
	lag      bool                               // the floor's last index waits for RaiseFloor
	cutShort floorWrite                         // what the next synced Write leaves of its floor
	torn     bool                               // a crash has torn the floor's last write
	failSync bool                               // the next sync fails
	broken   bool                               // a sync has failed: nothing more is taken until Crash
	full     bool

	condemned  string
	votes      raftlog.Votes // while condemned
	rebuilding bool          // BeginRebuild was called since the last start
	floorLost  bool
}

// step is a call that changes groups: all of it is there after a crash or nothing.
type step func(groups map[raftlog.GroupID]*group)

var _ raftlog.Storage = (*Store)(nil)

// New returns a blank store; name appears in its errors.
func New(name string) *Store {
	return &Store{
		name: name, now: map[raftlog.GroupID]*group{}, durable: map[raftlog.GroupID]*group{},
		files: map[fileKey]*file{}, own: map[raftlog.GroupID]uint64{}, bases: map[raftlog.GroupID]uint64{}, floors: map[raftlog.GroupID]raftlog.Promise{},
		free: math.MaxUint64, damaged: map[spot]bool{}, known: map[raftlog.GroupID][]raftlog.Span{}, short: map[raftlog.GroupID]bool{},
	}
}

// Unsynced returns how many calls a crash could lose now: of Write, FillHistory, PutMarks
// and TrimHistory.
func (s *Store) Unsynced() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.unsynced)
}

// Crash loses all unsynced calls but the first keep of them, see Unsynced, and files that no
// Write has made current and that are not archived: the state that the next start of the member
// finds.
func (s *Store) Crash(keep int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, do := range s.unsynced[:min(max(keep, 0), len(s.unsynced))] {
		do(s.durable)
	}
	s.unsynced, s.rebuilding, s.broken, s.failSync, s.cutShort = nil, false, false, false, wholeFloor
	s.now = map[raftlog.GroupID]*group{}
	clear(s.own)
	clear(s.bases)
	clear(s.known)
	for id, g := range s.durable {
		g.replaced = 0
		s.now[id] = g.clone()
	}
	for key := range s.files {
		if !s.needed(key) {
			delete(s.files, key)
		}
	}
	s.dropUnreadable()
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
	if err := s.trySync(); err != nil {
		return err
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
			start: raftlog.LogStart{Index: raftlog.GenesisIndex, Term: raftlog.GenesisTerm},
			past:  &btree.Map[uint64, *pb.Entry]{}, history: &btree.Map[uint64, raftlog.Record]{}, marks: map[uint64]marks{},
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
	if err := s.compareFloor(id, g); err != nil {
		return nil, err
	}
	for i := range g.entries {
		if err := s.damageAt(spot{entrySpot, id, g.start.Index + 1 + uint64(i)}); err != nil {
			return nil, err
		}
	}
	l := &raftlog.Loaded{Group: id, HardState: g.hard, Start: g.start, Entries: append([]*pb.Entry(nil), g.entries...)}
	for _, d := range g.checkpoints {
		if d.Index >= g.start.Index && !s.damaged[spot{checkpointSpot, id, d.Index}] {
			l.Checkpoints = append(l.Checkpoints, d)
		}
	}
	if len(l.Checkpoints) == 0 {
		return nil, &raftlog.DamageError{Path: s.name, Detail: fmt.Sprintf("no checkpoint of group %d can be used", id)}
	}
	l.HardState.Commit = max(l.HardState.Commit, l.Newest().Index)
	if l.HardState.Commit > l.LastIndex() {
		return nil, &raftlog.DamageError{Path: s.name, Detail: fmt.Sprintf("group %d: entry %d is committed but the log ends at %d", id, l.HardState.Commit, l.LastIndex())}
	}
	return l, nil
}

// compareFloor compares a log with what the member has promised.
func (s *Store) compareFloor(id raftlog.GroupID, g *group) error {
	f := s.floors[id]
	short := func(what string, have, floor uint64) error {
		return &raftlog.ShortError{Path: s.name, Group: id, What: what, Have: have, Floor: floor}
	}
	switch {
	case g.last() < f.Last:
		return short("last index", g.last(), f.Last)
	case g.hard.Term < f.Term:
		return short("term", g.hard.Term, f.Term)
	case g.hard.Term == f.Term && f.Vote != 0 && g.hard.Vote != f.Vote:
		return short("vote", g.hard.Vote, f.Vote)
	}
	return nil
}

// Write implements raftlog.Storage.
func (s *Store) Write(ws []*raftlog.Write) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.check(ws); err != nil {
		return err
	}
	if s.full {
		return fmt.Errorf("memstore: %s: %w", s.name, raftlog.ErrFull)
	}
	sync := false
	for _, w := range ws {
		sync = sync || w.Sync || w.Install != nil || w.Checkpoint != nil
	}
	var failed error
	if sync || s.broken {
		failed = s.trySync()
	}
	for _, w := range ws {
		s.lowerFloor(w)
		s.mend(w)
	}
	ws = slices.Clone(ws) // the slice is the caller's
	s.take(func(groups map[raftlog.GroupID]*group) {
		for _, w := range ws {
			groups[w.Group].apply(w)
		}
	})
	if failed != nil {
		return failed // what of it is durable is for Crash to say
	}
	if sync {
		s.sync()
	}
	s.prune()
	return nil
}

// take carries out a step, which is not durable yet.
func (s *Store) take(do step) {
	do(s.now)
	s.unsynced = append(s.unsynced, do)
}

// sync makes everything durable and brings the floor up to it.
func (s *Store) sync() {
	for _, do := range s.unsynced {
		do(s.durable)
	}
	s.unsynced = nil
	if s.condemned != "" || s.crashInFloor() {
		return
	}
	for id, g := range s.durable {
		if s.short[id] {
			continue
		}
		p := raftlog.Promise{Last: g.last(), Term: g.hard.Term, Vote: g.hard.Vote}
		if old, known := s.floors[id]; known && s.lag {
			p.Last = old.Last
		}
		s.floors[id] = p
	}
}

// lowerFloor takes back what replaced entries make untrue, as it happens.
func (s *Store) lowerFloor(w *raftlog.Write) {
	p, ok := s.floors[w.Group]
	if !ok || s.condemned != "" {
		return
	}
	if w.Install != nil {
		p.Last = min(p.Last, w.Install.Index)
	}
	if len(w.Entries) > 0 {
		p.Last = min(p.Last, w.Entries[0].GetIndex()-1)
	}
	s.floors[w.Group] = p
}

// check refuses a batch that does not fit what is stored.
func (s *Store) check(ws []*raftlog.Write) error {
	ends := map[raftlog.GroupID]raftlog.Extent{}
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
			end = raftlog.Extent{Start: g.start.Index, Last: g.last(), Named: g.named()}
		}
		if ends[w.Group], err = w.Fit(end); err != nil {
			return err
		}
	}
	return nil
}

// Space implements raftlog.Storage.
func (s *Store) Space() (free, used uint64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.thinArchives()
	for _, f := range s.files {
		used += f.desc.Bytes
	}
	for _, g := range s.now {
		for _, e := range g.entries {
			used += uint64(len(e.GetData()))
		}
		g.past.Scan(func(_ uint64, e *pb.Entry) bool { used += uint64(len(e.GetData())); return true })
	}
	if s.full {
		return 0, used, nil
	}
	return s.free, used, nil
}

// Close implements raftlog.Storage: a clean stop loses nothing, unless a sync has failed
// before. The Store can be used again as if it had been opened anew.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rebuilding = false
	clear(s.own)
	clear(s.bases)
	clear(s.known)
	if s.broken {
		return s.syncError()
	}
	s.sync()
	s.raiseFloor()
	s.dropUnreadable()
	return nil
}
