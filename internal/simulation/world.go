package simulation

import (
	"crypto/rand"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"runtime/debug"
	"time"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/projections"
	"github.com/heliosdb/metadata/raftlog"
)

// The cluster's name, and when its wall clocks start.
const clusterName = "simulated"

var wallStart = time.Unix(1_800_000_000, 0).UTC()

// world is one run.
type world struct {
	seed    uint64
	plan    plan
	rng     *mathrand.Rand
	now     time.Duration // since the start: the true time
	quiet   bool          // faults are over
	queue   queue
	net     *network
	members []*member
	peers   []raftlog.Peer
	cluster events.ClusterID
	load    workload
	trace   *trace
	judge   *judge
	counts  counts

	transferTrap bool       // the next transfer of a checkpoint meets with an accident
	rebuildTrap  bool       // so does the next step of a rebuild
	electionTrap bool       // the next candidate loses something
	wrongTrap    bool       // the next checkpoint differs from the others'
	readTrap     bool       // the next answer to a read index is long under way
	partTrap     int        // so many of the next parts of histories are altered
	fillTrap     bool       // the next part that is filled in meets with an accident
	harms        harms      // members that have lost something
	failed       *Violation // the first one ends the run
}

// newWorld makes the world of a seed. It replaces crypto/rand.Reader.
func newWorld(seed uint64, out io.Writer) *world {
	rng := mathrand.New(mathrand.NewPCG(seed, 0x68656c696f73))
	var key [32]byte
	for i := range key {
		key[i] = byte(rng.Uint32())
	}
	rand.Reader = mathrand.NewChaCha8(key)
	w := &world{seed: seed, rng: rng, plan: drawPlan(rng), trace: newTrace(out), counts: counts{}, harms: harms{}}
	w.net = newNetwork(w)
	for i := range w.plan.members {
		id := uint64(i + 1)
		w.peers = append(w.peers, raftlog.Peer{ID: id, Addr: fmt.Sprintf("m%d:5000", id)})
	}
	w.cluster = events.ClusterID(raftlog.ClusterID(clusterName, w.peers))
	w.judge = newJudge(w)
	for _, p := range w.peers {
		w.members = append(w.members, newMember(w, p.ID))
	}
	w.load = newWorkload(w)
	return w
}

// after has f run once d has passed; never at once.
func (w *world) after(d time.Duration, f func()) { w.queue.add(w.now+max(0, d), f) }

// member returns a member by its id.
func (w *world) member(id uint64) *member { return w.members[id-1] }

// newID returns an id that nobody has.
func (w *world) newID() string { return fmt.Sprintf("%016x%016x", w.rng.Uint64(), w.rng.Uint64()) }

// chance reports true with a probability.
func (w *world) chance(p float64) bool { return w.rng.Float64() < p }

// violate ends the run: something is wrong. kind is short and stable.
func (w *world) violate(kind, format string, args ...any) {
	if w.failed != nil {
		return
	}
	w.failed = &Violation{Seed: w.seed, At: w.now, Kind: kind, Text: fmt.Sprintf(format, args...)}
	w.trace.line(w.now, "", "VIOLATION %s: %s", kind, w.failed.Text)
}

// run lets the world live until it has come to rest or something is wrong.
func (w *world) run() {
	w.trace.line(0, "", "seed %d: %d members, %d clients, faults for %v: %s", w.seed, w.plan.members, w.plan.clients, w.plan.faulty.Round(time.Millisecond), faultNames(w.plan.faults))
	for _, m := range w.members {
		m.install()
	}
	w.load.start()
	w.startFaults()
	w.readPasts()
	w.until(func() bool { return w.now >= w.plan.faulty })
	if w.failed != nil {
		return
	}
	w.endFaults()
	if w.plan.calm > 0 {
		w.wrongTrap = true // the one fault that has to be noticed when nothing else is wrong
		w.until(func() bool { return w.now >= w.plan.faulty+w.plan.calm })
	}
	w.load.settle()
	w.wrongTrap = false
	rest := newRest(w)
	w.until(rest.reached)
	if w.failed == nil && w.chance(0.3) {
		w.trimOnAFullDisk()
		rest = newRest(w)
		w.until(rest.reached)
	}
	if w.failed != nil {
		return
	}
	w.judge.atRest()
	if w.failed == nil {
		w.load.check()
	}
}

// until lets events happen until a condition holds or something is wrong.
func (w *world) until(over func() bool) {
	for w.failed == nil && !over() {
		w.step()
	}
}

// step lets the next event happen. A panic is a violation: of an invariant that the
// core itself asserts, or a plain bug.
func (w *world) step() {
	defer func() {
		if p := recover(); p != nil {
			w.violate("panic", "%v", p)
			w.failed.Stack = string(debug.Stack())
		}
	}()
	e := w.queue.next()
	w.now = e.at
	w.trace.moment(e.at)
	w.counts.add("events", 1)
	e.run()
}

// genesisOf returns the state of a stream before its first change.
func (w *world) genesisSchema() *projections.Schema {
	return projections.NewSchema(w.cluster, recoveryEpoch)
}

func (w *world) genesisTopology() *projections.Topology {
	return projections.NewTopology(w.cluster, recoveryEpoch)
}

func (w *world) genesisService() *projections.Service {
	return projections.NewService(w.cluster, recoveryEpoch)
}

const recoveryEpoch = 0

// streams are the streams of a cluster.
var streams = []metadatav1.Stream{
	metadatav1.Stream_STREAM_SCHEMA, metadatav1.Stream_STREAM_TOPOLOGY, metadatav1.Stream_STREAM_SERVICE,
}

// positioned are those that positions cover and subscriptions follow.
var positioned = streams[:2]

// groupOf returns a stream's Raft group: it has the stream's number.
func groupOf(s metadatav1.Stream) raftlog.GroupID { return raftlog.GroupID(s) }
