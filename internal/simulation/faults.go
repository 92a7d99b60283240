package simulation

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// Names of faults, for the table of what was injected.
const (
	faultLoss        = "message lost"
	faultDuplication = "message duplicated"
	faultSlowLink    = "message delayed long"
	faultLossBurst   = "bad links of one end"
	faultPartition   = "partition"
	faultOneWay      = "one-way partition"
	faultSwizzle     = "swizzled partitions"
	faultClientCut   = "client cut off"
	faultLag         = "member left behind"
	faultFlap        = "connection broken"
	faultCrash       = "crash"
	faultCrashAll    = "crash of all members"
	faultInTransfer  = "crash inside a transfer"
	faultStop        = "stop and start"
	faultPause       = "pause"
	faultPauseClock  = "pause, clock too"
	faultSkew        = "wall clock moved"
	faultTransfer    = "leader transfer"
	faultFalseGone   = "leader falsely reported gone"
	faultUsurp       = "leader cut off and reported gone"
	faultSlowDisk    = "slow disk"
	faultStall       = "disk stalled"
	faultDiskFull    = "disk full up to its reserve"
	faultFull        = "disk full to the last byte"
	faultWrite       = "failed write"
	faultSync        = "failed sync"
	faultTrim        = "history trimmed"
	faultInFloor     = "crash before the floor"
	faultLateRead    = "reads confirmed late"
	faultPart        = "history altered on its way"
	faultInFill      = "crash inside a fill"
	faultHistory     = "history damaged"
)

// faultKind is a kind of fault that comes now and then.
type faultKind struct {
	name   string
	every  time.Duration // on average, at medium intensity
	inject func(w *world) bool
}

// faultKinds are all of them. A new kind is a row here, a function that injects one
// and says whether it did, and what endFaults has to undo.
var faultKinds = []faultKind{
	{faultLossBurst, 15 * time.Second, (*world).badLinks},
	{faultPartition, 12 * time.Second, (*world).partition},
	{faultOneWay, 12 * time.Second, (*world).partitionOneWay},
	{faultSwizzle, 25 * time.Second, (*world).swizzle},
	{faultClientCut, 8 * time.Second, (*world).cutClient},
	{faultLag, 20 * time.Second, (*world).leaveBehind},
	{faultFlap, 5 * time.Second, (*world).breakConnection},
	{faultCrash, 10 * time.Second, (*world).crashOne},
	{faultCrashAll, 30 * time.Second, (*world).crashAll},
	{faultInTransfer, time.Second, (*world).crashInTransfer},
	{faultStop, 20 * time.Second, (*world).stopOne},
	{faultPause, 12 * time.Second, func(w *world) bool { return w.pauseOne(false) }},
	{faultPauseClock, 12 * time.Second, func(w *world) bool { return w.pauseOne(true) }},
	{faultSkew, 8 * time.Second, (*world).moveClock},
	{faultTransfer, 5 * time.Second, (*world).transferOne},
	{faultFalseGone, 5 * time.Second, (*world).reportGone},
	{faultUsurp, 6 * time.Second, (*world).usurp},
	{faultSlowDisk, 10 * time.Second, (*world).slowDisk},
	{faultStall, 15 * time.Second, (*world).stallDisk},
	{faultDiskFull, 15 * time.Second, (*world).fillDisk},
	{faultFull, 20 * time.Second, (*world).fillToTheLastByte},
	{faultWrite, 20 * time.Second, (*world).failWrite},
	{faultSync, 20 * time.Second, (*world).failSync},
	{faultTrim, 15 * time.Second, (*world).trimHistory},
	{faultLateRead, 3 * time.Second, func(w *world) bool { w.readTrap = true; return false }},
	{faultPart, 2 * time.Second, (*world).alterPart},
	{faultInFill, 2 * time.Second, (*world).crashInFill},
	{faultHistory, 4 * time.Second, (*world).damageHistory},
}

// faultRate is a kind of fault and how often a seed has it.
type faultRate struct {
	faultKind
	mean time.Duration
}

// drawFaults draws which faults a seed has, and how many of them.
func drawFaults(rng *rand.Rand) []faultRate {
	part := pick(rng, 0.15, 0.3, 0.5, 0.8)
	intensity := pick(rng, 0.5, 1, 1, 3)
	var rates []faultRate
	for _, k := range allFaultKinds {
		if rng.Float64() < part {
			rates = append(rates, faultRate{k, time.Duration(float64(k.every) / intensity)})
		}
	}
	return rates
}

func faultNames(rates []faultRate) string {
	var names []string
	for _, r := range rates {
		names = append(names, r.name)
	}
	if names == nil {
		return "none"
	}
	return strings.Join(names, ", ")
}

// faultCount begins the names under which faults are counted.
const faultCount = "fault: "

// fault counts a fault.
func (w *world) fault(name string) { w.counts.add(faultCount+name, 1) }

// startFaults sets the first fault of each kind.
func (w *world) startFaults() {
	for _, r := range w.plan.faults {
		w.nextFault(r)
	}
}

func (w *world) nextFault(r faultRate) {
	w.after(around(w.rng, r.mean), func() {
		if w.quiet {
			return
		}
		if r.inject(w) {
			w.fault(r.name)
		}
		w.nextFault(r)
	})
}

// endFaults ends all faults and their effects. Wall clocks stay as wrong as they are.
func (w *world) endFaults() {
	w.quiet = true
	w.trace.line(w.now, "", "faults are over")
	w.net.heal()
	for _, m := range w.members {
		m.resume()
		m.disk.slow, m.disk.refuses = 0, false
		m.disk.unstall()
		m.store.SetFree(math.MaxUint64)
		m.store.SetFull(false)
		w.after(within(w.rng, 0, time.Second), m.start)
		for _, other := range w.members {
			if m.linkDown[other.id] {
				m.peerUp(other.id)
			} // else nothing tells it that anything was lost: it has to find out
		}
	}
}

// anyMember returns one that runs; nil if the chosen one does not.
func (w *world) anyMember() *member {
	m := w.members[w.rng.IntN(len(w.members))]
	if m.run == nil {
		return nil
	}
	return m
}

// leaderOf returns a member that leads a stream, as it thinks; else any.
func (w *world) likelyLeader() *member {
	s := pick(w.rng, streams...)
	for _, m := range w.members {
		if m.run != nil && m.run.of(s).softState().Leader == m.id {
			return m
		}
	}
	return w.anyMember()
}

// victim returns a member to harm: often a leader.
func (w *world) victim() *member {
	if w.chance(0.5) {
		return w.likelyLeader()
	}
	return w.anyMember()
}

// shuffled returns the members in random order.
func (w *world) shuffled() []*member {
	ms := slices.Clone(w.members)
	w.rng.Shuffle(len(ms), func(i, j int) { ms[i], ms[j] = ms[j], ms[i] })
	return ms
}

// Faults of processes.

func (w *world) crashOne() bool {
	m := w.victim()
	if m == nil {
		return false
	}
	m.crash()
	w.after(within(w.rng, 50*time.Millisecond, 10*time.Second), m.start)
	return true
}

// crash ends a process without warning; of what its disk has not synced nothing, half
// or all survives.
func (m *member) crash() {
	keep := m.survives()
	m.log("crashes, %d of %d unsynced writes survive", keep, m.store.Unsynced())
	m.end(keep)
}

// survives draws how many unsynced writes are on the disk after a crash.
func (m *member) survives() int {
	return int(float64(m.store.Unsynced()) * pick(m.w.rng, 0, 0.5, 1))
}

func (w *world) crashAll() bool {
	w.trace.line(w.now, "", "power fails")
	for _, m := range w.members {
		m.resume()
		if m.alive {
			m.crash()
		}
		w.after(within(w.rng, 100*time.Millisecond, 3*time.Second), m.start)
	}
	return true
}

// crashInTransfer waits for the next transfer of a checkpoint.
func (w *world) crashInTransfer() bool {
	w.transferTrap = true
	return false
}

// transferBegins springs the trap: one of both ends crashes while the bytes travel, or
// the link between them is cut.
func (w *world) transferBegins(from, to *member) {
	if !w.transferTrap || w.quiet {
		return
	}
	w.transferTrap = false
	harmed := pick(w.rng, from, to, to)
	w.after(around(w.rng, 4*w.plan.network.delay+2*time.Millisecond), func() {
		if w.quiet || !harmed.alive {
			return
		}
		w.fault(faultInTransfer)
		harmed.crash()
		w.after(within(w.rng, 50*time.Millisecond, 3*time.Second), harmed.start)
	})
}

func (w *world) stopOne() bool {
	m := w.victim()
	if m == nil || m.run.draining || m.paused {
		return false
	}
	m.stop()
	return true
}

func (w *world) pauseOne(still bool) bool {
	m := w.patientOr(w.victim)
	if m == nil || m.paused {
		return false
	}
	d := pick(w.rng, around(w.rng, 500*time.Millisecond), around(w.rng, 4*time.Second), within(w.rng, 0, 2*time.Minute))
	m.log("is paused for %v, its clock stands still: %v", d, still)
	m.pause(still)
	life := m.life
	w.after(d, func() {
		if m.life == life && m.paused {
			m.log("goes on")
			m.resume()
		}
	})
	return true
}

func (w *world) moveClock() bool {
	m := w.members[w.rng.IntN(len(w.members))]
	m.skew = within(w.rng, -5*time.Hour, 5*time.Hour)
	m.log("wall clock is off by %v", m.skew)
	return true
}

func (w *world) transferOne() bool {
	m := w.likelyLeader()
	if m == nil {
		return false
	}
	to := w.members[w.rng.IntN(len(w.members))]
	for _, s := range m.run.all() {
		s.transferLeader(to.id)
	}
	return true
}

// reportGone tells a member, or all, that the leader's process is gone, which it is not.
func (w *world) reportGone() bool {
	leader := w.likelyLeader()
	if leader == nil {
		return false
	}
	told := w.shuffled()[:1+w.rng.IntN(len(w.members))]
	for _, m := range told {
		if m != leader {
			m.receive(func() { m.peerGone(leader.id) })
		}
	}
	return true
}
