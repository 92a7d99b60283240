package simulation

import (
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/heliosdb/metadata/commands"
	"github.com/heliosdb/metadata/feed"
	"github.com/heliosdb/metadata/leases"
	"github.com/heliosdb/metadata/projections"
	"github.com/heliosdb/metadata/projections/schema"
	"github.com/heliosdb/metadata/projections/service"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/raftlog"
	"github.com/heliosdb/metadata/raftlog/memstore"
)

// member is one member: a machine with a disk and clocks, which survive a crash, and a
// process, which does not. The process does in one goroutine what package member does
// in many.
type member struct {
	w     *world
	id    uint64
	store *memstore.Store
	disk  *disk
	drift int64         // of its clocks, in millionths
	skew  time.Duration // of its wall clock
	lived bool          // it has got past its first start
	build string        // of the program, since the last upgrade
	stood time.Duration // its monotonic clock stood still for so long

	// The process.

	life     uint64 // counts starts; what an earlier one set going has no effect
	alive    bool
	paused   bool
	since    time.Duration // of the pause
	still    bool          // the clock stands still during it
	backlog  []func()      // what waits for a paused process
	calls    []*serving
	run      *running    // nil until genesis is settled
	rebuild  *rebuilding // while it is in quarantine
	listens  bool        // the others have noticed that it runs
	claim    raftlog.State
	linkDown map[uint64]bool // connections to other members known to be broken
	watch    watching
}

// running is what exists once the streams run.
type running struct {
	schema   *stream[*schema.Model]
	topology *stream[*projections.TopologyModel]
	service  *stream[*service.Model]
	feed     *feed.Feed
	leases   *leases.Table
	signer   *signer
	served   []*subscriber
	draining bool
}

func (r *running) all() []driver { return []driver{r.schema, r.topology, r.service} }

func (r *running) of(s metadatav1.Stream) driver {
	switch s {
	case metadatav1.Stream_STREAM_TOPOLOGY:
		return r.topology
	case metadatav1.Stream_STREAM_SERVICE:
		return r.service
	}
	return r.schema
}

// floor returns where the history of a stream begins, as this member knows it.
func (r *running) floor(s metadatav1.Stream) uint64 {
	return r.service.replica.View().Model.Floor(s).OldestRevision()
}

// maxBacklog bounds what the sockets of a paused process hold.
const maxBacklog = 400

func newMember(w *world, id uint64) *member {
	m := &member{w: w, id: id, store: memstore.New(end(id).String()), drift: w.rng.Int64N(60_000) - 30_000, linkDown: map[uint64]bool{}, build: olderBuild}
	m.disk = newDisk(m)
	m.store.LagFloor(true)
	return m
}

func (m *member) name() string { return end(m.id).String() }

func (m *member) log(format string, args ...any) { m.w.trace.line(m.w.now, m.name(), format, args...) }

// up reports whether a process listens.
func (m *member) up() bool { return m.alive }

// jitter is how long it takes at most until inputs have their turn.
func (m *member) jitter() time.Duration { return m.w.plan.jitter }

// monotonic is the process's clock. It drifts, and may stand still while paused.
func (m *member) monotonic() time.Duration {
	d := m.w.now - m.stood
	if m.paused && m.still {
		d = m.since - m.stood
	}
	return d + d/1_000_000*time.Duration(m.drift)
}

// wall is what the machine takes for the time of day.
func (m *member) wall() time.Time { return wallStart.Add(m.monotonic() + m.skew) }

// receive runs an input from outside in the process: at once, or after a pause, or
// never if too much waits already or there is no process.
func (m *member) receive(f func()) {
	switch {
	case !m.alive:
	case !m.paused:
		f()
	case len(m.backlog) < maxBacklog:
		m.backlog = append(m.backlog, f)
	}
}

// hear runs an answer that the process waits for: at once or after a pause.
func (m *member) hear(f func()) {
	switch {
	case !m.alive:
	case !m.paused:
		f()
	default:
		m.backlog = append(m.backlog, f)
	}
}

// later runs f in the process once d has passed on its clock.
func (m *member) later(d time.Duration, f func()) {
	life := m.life
	m.w.after(d-d/1_000_000*time.Duration(m.drift), func() {
		switch {
		case m.life != life:
		case m.paused:
			m.backlog = append(m.backlog, f) // timers are few: not bounded
		default:
			f()
		}
	})
}

// install makes the machine, with or without genesis on its disk, and starts it.
func (m *member) install() {
	if !m.w.plan.genesis {
		if err := m.store.Bootstrap(m.identity(), groups(), m.initial()); err != nil {
			m.w.violate("bootstrap", "member %d: %v", m.id, err)
			return
		}
	}
	m.w.after(within(m.w.rng, 0, 300*time.Millisecond), m.start)
}

func (m *member) identity() raftlog.Identity {
	return raftlog.Identity{
		Format: raftlog.IdentityFormat, ClusterID: m.w.cluster, RecoveryEpoch: recoveryEpoch,
		ClusterName: clusterName, Member: m.id, Peers: m.w.peers,
	}
}

func (m *member) initial() []uint64 {
	var ids []uint64
	for _, p := range m.w.peers {
		ids = append(ids, p.ID)
	}
	return ids
}

func groups() []raftlog.GroupID {
	var all []raftlog.GroupID
	for _, s := range streams {
		all = append(all, groupOf(s))
	}
	return all
}

// start begins a process.
func (m *member) start() {
	if m.alive || m.w.failed != nil {
		return
	}
	m.life++
	m.alive, m.paused, m.run, m.rebuild, m.listens = true, false, nil, nil, false
	m.w.counts.add("starts", 1)
	m.store.RaiseFloor() // a start writes it before anything else
	m.dial()
	m.newWatching()
	m.awaitGenesis()
}

// runStreams restores the streams from the disk and lets them run.
func (m *member) runStreams() {
	r := &running{}
	var err error
	if r.schema, err = newStream(m, metadatav1.Stream_STREAM_SCHEMA, m.w.genesisSchema(), commands.Schema); err == nil {
		r.topology, err = newStream(m, metadatav1.Stream_STREAM_TOPOLOGY, m.w.genesisTopology(), commands.Topology)
	}
	if err == nil {
		r.service, err = newStream(m, metadatav1.Stream_STREAM_SERVICE, m.w.genesisService(), commands.Service)
	}
	if err != nil {
		m.w.violate("restart", "member %d cannot start: %v", m.id, err)
		return
	}
	if r.leases, err = leases.New(m.w.plan.leases); err != nil {
		m.w.violate("plan", "%v", err)
		return
	}
	r.feed = feed.New(feed.Options{
		Cluster: m.w.cluster, RecoveryEpoch: recoveryEpoch,
		Logs: []*feed.Log{r.schema.feed, r.topology.feed}, Snapshots: snapshots{r},
	})
	r.signer = newSigner(m)
	m.run = r
	m.lived = true
	m.w.harms.returned(m)
	m.log("runs: schema at revision %d, topology at %d, service at %d",
		r.schema.head().Revision, r.topology.head().Revision, r.service.head().Revision)
	m.watchLeases()
	m.watchOthers()
	m.watchRetention()
	for _, s := range r.all() {
		s.begin()
	}
	m.later(m.w.plan.tick, m.tick)
	m.connect()
}

// tick passes time to the streams.
func (m *member) tick() {
	if !m.disk.stalled {
		m.store.RaiseFloor()
	}
	low := m.disk.low()
	for _, s := range m.run.all() {
		s.tick(low)
	}
	m.expire()
	m.run.signer.tick()
	m.later(m.w.plan.tick, m.tick)
}

// fail ends the process because something is wrong with it, as package member does;
// an operator starts it again.
func (m *member) fail(err error) {
	m.log("stops: %v", err)
	m.end(m.survives())
	m.w.after(within(m.w.rng, time.Second, 8*time.Second), m.start)
}

// end ends the process. keep is how many of the storage's unsynced writes survive.
func (m *member) end(keep int) {
	if !m.alive {
		return
	}
	hangUp := m.leave()
	m.alive = false
	m.disk.crash(keep)
	hangUp()
	for _, other := range m.w.members {
		other.peerDown(m.id)
	}
}

// leave ends what the process does, and returns what breaks off everybody who waits
// for it.
func (m *member) leave() (hangUp func()) {
	m.life++
	calls, served := m.calls, []*subscriber(nil)
	if m.run != nil {
		served = m.run.served
		for _, s := range m.run.all() {
			m.w.judge.ended(s)
		}
	}
	m.paused, m.run, m.rebuild, m.calls, m.backlog = false, nil, nil, nil, nil
	return func() {
		for _, c := range calls {
			if !c.over {
				c.over = true
				c.broke()
			}
		}
		for _, s := range served {
			s.breakOff()
		}
	}
}

// pause stops the process for a while, as a debugger, a full host or a live migration
// does; still says that its clock stops too.
func (m *member) pause(still bool) {
	if m.alive && !m.paused {
		m.paused, m.still, m.since = true, still, m.w.now
	}
}

// resume lets a paused process go on with what has come in meanwhile.
func (m *member) resume() {
	if !m.paused {
		return
	}
	if m.still {
		m.stood += m.w.now - m.since
	}
	m.paused = false
	life, backlog := m.life, m.backlog
	m.backlog = nil
	for _, f := range backlog {
		if m.life == life {
			f()
		}
	}
}

// message takes a raft message from the wire.
func (m *member) message(from uint64, group raftlog.GroupID, msg *raftpb.Message) {
	m.receive(func() {
		if m.run == nil {
			return
		}
		for _, s := range m.run.all() {
			if s.groupID() == group {
				s.step(from, msg)
			}
		}
	})
}
