package memstore

import (
	"fmt"
	"maps"
	"slices"

	"github.com/heliosdb/metadata/raftlog"
)

// spot is a place on the disk that can be damaged.
type spot struct {
	kind  byte
	group raftlog.GroupID
	index uint64
}

const (
	entrySpot      = 'e'
	recordSpot     = 'r'
	checkpointSpot = 'c'
	markSpot       = 'x'
)

func (s *Store) damageAt(at spot) error {
	if !s.damaged[at] {
		return nil
	}
	return s.damageOf(at, "does not match its checksum")
}

func (s *Store) damageOf(at spot, what string) error {
	return &raftlog.DamageError{Path: s.name, Detail: fmt.Sprintf("record %c of group %d at %d %s", at.kind, at.group, at.index, what)}
}

// both calls f with what is seen and what is durable of a group.
func (s *Store) both(id raftlog.GroupID, f func(*group)) {
	for _, m := range []map[raftlog.GroupID]*group{s.now, s.durable} {
		if g := m[id]; g != nil {
			f(g)
		}
	}
	if g := s.durable[id]; g != nil && s.compareFloor(id, g) != nil {
		s.short[id] = true
	}
}

// LoseTail deletes the last n entries of a group as a damaged disk would, and history and
// checkpoints of what is gone. Load then returns a *ShortError, or a *DamageError when the rest
// makes no sense. What the floor did not know yet (LagFloor) goes without a word: this is outside
// of what a member promises; call RaiseFloor before to stay inside.
func (s *Store) LoseTail(id raftlog.GroupID, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.both(id, func(g *group) {
		g.entries = g.entries[:max(0, len(g.entries)-n)]
		g.hard.Commit = min(g.hard.Commit, g.last())
		for newest, r, ok := g.history.Max(); ok && r.Entry > g.last(); newest, r, ok = g.history.Max() {
			g.history.Delete(newest) // it was written after its entry
		}
		g.held = raftlog.Held{}
		g.history.Scan(func(_ uint64, r raftlog.Record) bool {
			g.held = g.held.With(raftlog.Span{First: r.First, Last: r.Last})
			return true
		})
		gone := func(d raftlog.Descriptor) bool { return d.Index > g.last() }
		g.checkpoints = slices.DeleteFunc(slices.Clone(g.checkpoints), gone)
		g.archived = slices.DeleteFunc(slices.Clone(g.archived), gone)
	})
}

// LoseVote takes a group's hard state back to the term of its last entry, without a
// vote. Load then returns a *ShortError if that is less than was promised.
func (s *Store) LoseVote(id raftlog.GroupID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.both(id, func(g *group) {
		term := g.start.Term
		if n := len(g.entries); n > 0 {
			term = g.entries[n-1].GetTerm()
		}
		g.hard.Term, g.hard.Vote = min(term, g.hard.Term), 0
	})
}

// LoseDatabase loses everything but the floor. As Options.Quarantine of a real disk
// does at the next start, it condemns the directory, which no longer knows its identity.
func (s *Store) LoseDatabase() { s.lose("its database is gone") }

// LoseFloor loses what the member has promised, and nothing else. As a real disk does
// at the next start, it condemns the directory.
func (s *Store) LoseFloor() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.floorLost = true
	if s.condemned == "" {
		s.condemned, s.votes = s.name+" is damaged: its floor is missing", raftlog.VotesUnknown
	}
}

func (s *Store) lose(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.empty()
	if s.condemned == "" {
		s.condemned, s.votes = s.name+" is damaged: "+what, raftlog.VotesKnown
	}
}

// Wipe loses the whole directory, floor and condemnation included: it is blank.
func (s *Store) Wipe() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.empty()
	clear(s.floors)
	s.condemned, s.floorLost, s.torn = "", false, false
}

// empty loses all groups and the identity.
func (s *Store) empty() {
	s.unsynced, s.identity, s.rebuilding, s.broken, s.failSync = nil, nil, false, false, false
	clear(s.now)
	clear(s.durable)
	clear(s.files)
	clear(s.own)
	clear(s.damaged)
	clear(s.known)
	clear(s.short)
}

// DamageEntry damages a stored entry: Load of its group returns a *DamageError, and so does
// ReadHistory for what it holds.
func (s *Store) DamageEntry(id raftlog.GroupID, index uint64) { s.damage(spot{entrySpot, id, index}) }

// DamageRecord damages the record of history that holds a sequence: ReadHistory returns a
// *DamageError for it, after those before it.
func (s *Store) DamageRecord(id raftlog.GroupID, seq uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if g := s.now[id]; g != nil {
		g.descend(seq+1, func(r raftlog.Record) bool { s.damaged[spot{recordSpot, id, r.First}] = true; return false })
	}
}

// DamagedHistory returns which of its history a group cannot read, whether or not somebody has
// found that out: of each record by itself, ascending.
func (s *Store) DamagedHistory(id raftlog.GroupID) (damaged []raftlog.Span) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.now[id]
	if g == nil || len(s.damaged) == 0 {
		return nil
	}
	g.history.Scan(func(_ uint64, r raftlog.Record) bool {
		if s.readable(id, g, r) != nil {
			damaged = append(damaged, raftlog.Span{First: r.First, Last: r.Last})
		}
		return true
	})
	return damaged
}

// DamageMarks damages the marks of a segment: it is not complete any more.
func (s *Store) DamageMarks(id raftlog.GroupID, segment uint64) {
	s.damage(spot{markSpot, id, segment})
}

// DamageCheckpoint damages the chunks of a checkpoint file, current or archived: ReadChunk returns a
// *DamageError. An archived one is deleted at the next start. A new file of the same index
// is whole again.
func (s *Store) DamageCheckpoint(id raftlog.GroupID, index uint64) {
	s.damage(spot{checkpointSpot, id, index})
}

func (s *Store) damage(at spot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.damaged[at] = true
}

// mendPast forgets the damage of what is filled in, and of the place of which all goes.
func (s *Store) mendPast(id raftlog.GroupID, past []raftlog.Past, place raftlog.Span) {
	if len(s.damaged) == 0 && len(s.known) == 0 {
		return
	}
	for i := range past {
		delete(s.damaged, spot{entrySpot, id, past[i].Entry})
		s.mendRecord(id, past[i].Record)
	}
	for _, r := range s.now[id].within(place) {
		s.mendRecord(id, r)
	}
}

func (s *Store) mendRecord(id raftlog.GroupID, r raftlog.Record) {
	delete(s.damaged, spot{recordSpot, id, r.First})
	s.known[id] = raftlog.WithoutSpan(s.known[id], raftlog.Span{First: r.First, Last: r.Last})
}

// mend forgets the damage of what a Write replaces.
func (s *Store) mend(w *raftlog.Write) {
	if len(s.damaged) == 0 && len(s.known) == 0 {
		return
	}
	for _, e := range w.Entries {
		delete(s.damaged, spot{entrySpot, w.Group, e.GetIndex()})
	}
	for _, r := range w.History {
		s.mendRecord(w.Group, r)
	}
}

// Copy returns a copy of what a crash would leave of the directory, floor included, as
// somebody has it who copies a stopped member's directory.
func (s *Store) Copy() *Store {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := New(s.name)
	if s.identity != nil {
		id := *s.identity
		c.identity = &id
	}
	for id, g := range s.durable {
		c.durable[id], c.now[id] = g.clone(), g.clone()
	}
	for key, f := range s.files {
		if c.needed(key) {
			c.files[key] = f
		}
	}
	c.floors, c.damaged, c.short = maps.Clone(s.floors), maps.Clone(s.damaged), maps.Clone(s.short)
	c.lag, c.torn, c.condemned, c.votes, c.floorLost = s.lag, s.torn, s.condemned, s.votes, s.floorLost
	return c
}

// PutBack replaces the directory of a stopped member by a Copy of it, which stays as it
// is. Nothing shows that it is an old one.
func (s *Store) PutBack(old *Store) {
	c := old.Copy()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.empty()
	s.identity, s.now, s.durable, s.files = c.identity, c.now, c.durable, c.files
	s.floors, s.damaged, s.short = c.floors, c.damaged, c.short
	s.condemned, s.votes, s.floorLost, s.torn = c.condemned, c.votes, c.floorLost, c.torn
}
