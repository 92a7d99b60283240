package simulation

import (
	"slices"
	"time"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"

	"github.com/heliosdb/metadata/raftlog"
	"github.com/heliosdb/metadata/raftlog/memstore"
)

// Names of faults that take something from a disk for good.
const (
	faultWipe       = "directory lost"
	faultTail       = "end of a log lost"
	faultVote       = "vote lost"
	faultFloor      = "floor lost"
	faultDatabase   = "database lost"
	faultEntry      = "entry damaged"
	faultCheckpoint = "checkpoint damaged"
	faultOldCopy    = "old copy of a directory put back"
	faultInRebuild  = "crash inside a rebuild"
	faultInElection = "loss inside an election"
)

// lossKinds are faults after which a member must not go on as if nothing had happened.
var lossKinds = []faultKind{
	{faultWipe, 12 * time.Second, func(w *world) bool { return w.lose(wipe) }},
	{faultTail, 15 * time.Second, func(w *world) bool { return w.lose(loseTail) }},
	{faultVote, 15 * time.Second, func(w *world) bool { return w.lose(loseVote) }},
	{faultFloor, 20 * time.Second, func(w *world) bool { return w.lose(loseFloor) }},
	{faultDatabase, 20 * time.Second, func(w *world) bool { return w.lose(loseDatabase) }},
	{faultEntry, 20 * time.Second, func(w *world) bool { return w.lose(damageEntry) }},
	{faultCheckpoint, 20 * time.Second, func(w *world) bool { return w.lose(damageCheckpoint) }},
	{faultOldCopy, 8 * time.Second, (*world).putOldCopyBack},
	{faultInRebuild, time.Second, (*world).crashInRebuild},
	{faultInElection, 2 * time.Second, (*world).loseInElection},
	{faultWrong, 6 * time.Second, (*world).wrongCheckpoint},
}

// harms are the members that have lost something and are not known to have it again.
type harms map[uint64]*harm

// harm is what was there when a member lost some of it.
type harm struct {
	copied  bool                                // an old copy was put back: nothing shows
	wrong   bool                                // it has everything, and a checkpoint that differs
	rebuilt bool                                // from the others
	known   bool                                // the floor has survived
	floor   map[raftlog.GroupID]raftlog.Promise // what it said
	last    map[raftlog.GroupID]uint64          // of the log on the disk
	safe    map[raftlog.GroupID]uint64          // somebody had applied so much by then
}

func (h harms) oldCopy(m *member) bool { return h[m.id] != nil && h[m.id].copied }

// harmable reports whether a member may lose something: a majority's disks survive,
// and a member that is not yet back does not count as one of them. Nor is it the last one to
// have some of the history.
func (w *world) harmable(m *member) bool {
	w.harms.forget(w)
	if w.harms[m.id] != nil || !w.judge.begun() {
		return false
	}
	n := len(w.members)
	return len(w.harms) < n-(n/2+1) && w.kept(m)
}

// forget lets go of members with an old copy that have got all of it again without
// anybody noticing.
func (h harms) forget(w *world) {
	for _, m := range w.members {
		if !h.oldCopy(m) || m.run == nil {
			continue
		}
		whole := true
		for _, g := range groups() {
			whole = whole && w.judge.disk(m, g).last() >= h[m.id].last[g]
		}
		if whole {
			delete(h, m.id)
		}
	}
}

// note remembers what a member has before it loses some of it.
func (w *world) noteHarm(m *member, copied bool) *harm {
	h := &harm{
		copied: copied, known: true,
		floor: map[raftlog.GroupID]raftlog.Promise{}, last: map[raftlog.GroupID]uint64{}, safe: map[raftlog.GroupID]uint64{},
	}
	for _, g := range groups() {
		p, known := m.store.Promise(g)
		h.floor[g], h.known = p, h.known && known
		h.last[g] = w.judge.disk(m, g).last()
		h.safe[g] = w.judge.chain(metadatav1.Stream(g)).safe
	}
	w.harms[m.id] = h
	return h
}

// lose takes something from a member's disk, between two lives of it. A member in
// quarantine may lose everything again.
func (w *world) lose(take func(*member, *harm) bool) bool {
	m := w.victim()
	if m == nil || w.chance(0.3) {
		m = w.members[w.rng.IntN(len(w.members))]
	}
	return w.loseOf(m, take)
}

func (w *world) loseOf(m *member, take func(*member, *harm) bool) bool {
	switch {
	case w.harmable(m):
	case m.rebuild != nil:
		take = wipe
	default:
		return false
	}
	if m.alive {
		m.crash()
	}
	h := w.harms[m.id]
	if h == nil {
		h = w.noteHarm(m, false)
	}
	took := take(m, h)
	if !took && m.store.Condemned() == "" {
		delete(w.harms, m.id)
	}
	w.after(within(w.rng, 50*time.Millisecond, 10*time.Second), m.start)
	return took
}

func wipe(m *member, h *harm) bool {
	m.log("loses its directory")
	h.known = false
	m.store.Wipe()
	return true
}

func loseDatabase(m *member, _ *harm) bool {
	m.log("loses its database")
	m.store.LoseDatabase()
	return true
}

func loseFloor(m *member, h *harm) bool {
	if m.store.Condemned() != "" {
		return false
	}
	m.log("loses its floor")
	h.known = false
	m.store.LoseFloor()
	return true
}

func loseTail(m *member, _ *harm) bool {
	n := 1 + m.w.rng.IntN(20)
	g := pick(m.w.rng, groups()...)
	if loaded, err := m.store.Load(g); err != nil || len(loaded.Entries) == 0 {
		return false
	}
	m.store.RaiseFloor() // what a floor does not know yet is outside of the promise
	m.log("loses the last %d entries of the %s", n, metadatav1.Stream(g))
	m.store.LoseTail(g, n)
	return true
}

func loseVote(m *member, _ *harm) bool {
	g := pick(m.w.rng, groups()...)
	loaded, err := m.store.Load(g)
	if err != nil || (loaded.HardState.Vote == 0 && loaded.HardState.Term == loaded.LastTerm()) {
		return false
	}
	m.log("loses its vote for m%d in term %d of the %s", loaded.HardState.Vote, loaded.HardState.Term, metadatav1.Stream(g))
	m.store.LoseVote(g)
	return true
}

func damageEntry(m *member, _ *harm) bool {
	g := pick(m.w.rng, groups()...)
	loaded, err := m.store.Load(g)
	if err != nil || len(loaded.Entries) == 0 {
		return false
	}
	index := loaded.Entries[m.w.rng.IntN(len(loaded.Entries))].GetIndex()
	m.log("has its entry %d of the %s damaged", index, metadatav1.Stream(g))
	m.store.DamageEntry(g, index)
	return true
}

// damageCheckpoint damages the newest checkpoint, or all of them.
func damageCheckpoint(m *member, _ *harm) bool {
	g := pick(m.w.rng, groups()...)
	loaded, err := m.store.Load(g)
	if err != nil || loaded.Newest().Chunks == 0 {
		return false
	}
	damaged := loaded.Checkpoints
	if m.w.chance(0.5) {
		damaged = damaged[len(damaged)-1:]
	}
	for _, d := range damaged {
		if d.Chunks > 0 {
			m.log("has its checkpoint %d of the %s damaged", d.Index, metadatav1.Stream(g))
			m.store.DamageCheckpoint(g, d.Index)
		}
	}
	return true
}

// putOldCopyBack copies a member's directory and puts the copy back later, floor
// included: the member cannot know that it has forgotten something. It is outside of
// what a member promises to survive such a thing whenever it happens; what is injected
// here is what no majority depends on any more, see replaceable.
func (w *world) putOldCopyBack() bool {
	m := w.members[w.rng.IntN(len(w.members))]
	if m.store.Condemned() != "" {
		return false
	}
	if id, err := m.store.Identity(); err != nil || id == nil {
		return false
	}
	was := m.store.Copy()
	w.after(within(w.rng, 2*time.Second, 15*time.Second), func() { w.exchange(m, was, 20) })
	return false // counted when it is done
}

// exchange puts a copy back as soon as it may.
func (w *world) exchange(m *member, was *memstore.Store, tries int) {
	switch {
	case w.quiet || tries == 0:
	case !w.replaceable(m) || !w.agrees(m, was):
		w.after(200*time.Millisecond, func() { w.exchange(m, was, tries-1) })
	default:
		w.fault(faultOldCopy)
		m.crash()
		w.noteHarm(m, true)
		m.store.PutBack(was)
		m.log("gets an old copy of its directory")
		w.after(within(w.rng, 50*time.Millisecond, 2*time.Second), m.start)
	}
}

// agrees reports whether a copy holds nothing that was replaced since: a leader knows
// the log of the member up to a place, not what another log of that length holds, and
// would have it apply that. Such copies are outside of the promise.
func (w *world) agrees(m *member, was *memstore.Store) bool {
	for _, g := range groups() {
		l, err := was.Load(g)
		if err != nil {
			return false
		}
		now := w.judge.disk(m, g)
		for _, e := range l.Entries {
			if term, ok := now.term(e.GetIndex()); e.GetIndex() > now.start && (!ok || term != e.GetTerm()) {
				return false
			}
		}
	}
	return true
}

// replaceable reports whether nobody depends on what a member has stored and voted: a
// majority of all, without it, has its whole log, and everybody else follows another
// leader in a term that they have stored and that is not below any of its votes. From
// then on it is as if it had not taken part since the copy was made.
func (w *world) replaceable(m *member) bool {
	if !w.harmable(m) || m.run == nil || m.store.Condemned() != "" {
		return false
	}
	for _, g := range groups() {
		own, _ := m.store.Promise(g)
		d := w.judge.disk(m, g)
		lastTerm, ok := d.term(d.last())
		if !ok {
			return false
		}
		leader, holders := m.run.of(metadatav1.Stream(g)).softState().Leader, 0
		for _, other := range w.members {
			if other == m {
				continue
			}
			if other.run == nil || leader == m.id || leader == 0 {
				return false
			}
			soft := other.run.of(metadatav1.Stream(g)).softState()
			p, known := other.store.Promise(g)
			if soft.Leader != leader || soft.Term < own.Term || !known || p.Term != soft.Term {
				return false
			}
			have := w.judge.disk(other, g)
			if term, ok := have.term(d.last()); (ok && term == lastTerm) || have.start >= d.last() {
				holders++
			}
		}
		if 2*holders <= len(w.members) {
			return false
		}
	}
	return true
}

// allFaultKinds are those of processes, networks and disks, and the losses.
var allFaultKinds = slices.Concat(faultKinds, lossKinds)
