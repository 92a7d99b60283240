package session_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/heliosdb/metadata/client/follow"
	"github.com/heliosdb/metadata/client/session"
	"github.com/heliosdb/metadata/commands"
	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/internal/failure"
	"github.com/heliosdb/metadata/leases"
	"github.com/heliosdb/metadata/projections"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// service is the part of the service that a session meets: the real decisions on the
// real model, and the real leases, of one leader after the other.
type service struct {
	random *rand.Rand
	state  *projections.Topology
	table  *leases.Table
	term   uint64
	seen   *sightings
}

// sightings count what a run has met, so that a test can tell that it tests something.
type sightings struct {
	joins, lapses, rejoins, expiries, revivals, refusedAlive, stale, departures, leaders int
}

func newService(random *rand.Rand, seen *sightings) *service {
	s := &service{random: random, seen: seen}
	s.state = projections.NewTopology(events.ClusterID{1}, 1)
	table, err := leases.New(leases.Options{})
	if err != nil {
		panic(err)
	}
	s.table = table
	return s
}

// lead makes another member the leader, with leases of its own.
func (s *service) lead(now time.Duration) {
	s.term++
	s.seen.leaders++
	s.table.Lead(s.term, func(yield func(leases.Node) bool) {
		for n := range s.state.Model.Nodes("") {
			m := n.Message()
			if !yield(leases.Node{ID: m.GetNodeId(), Epoch: m.GetEpoch(), Status: m.GetStatus()}) {
				return
			}
		}
	}, now)
}

func (s *service) write(command proto.Message, now time.Duration) (proto.Message, error) {
	if _, leading := s.table.Leading(); !leading {
		return nil, failure.New(metadatav1.ErrorReason_ERROR_REASON_NO_LEADER, "no leader")
	}
	d, err := commands.Topology(s.state, commands.Env{Now: time.Unix(0, 0).Add(now)}, command)
	if err != nil {
		if failure.Is(err, metadatav1.ErrorReason_ERROR_REASON_NODE_ALIVE) {
			s.seen.refusedAlive++
		}
		return nil, err
	}
	if d.Change != nil {
		s.state = s.state.Fold(d.Change)
		s.table.Fold(d.Change, now)
	}
	if r, ok := d.Reply.(*metadatav1.RegisterNodeResponse); ok {
		o := s.table.Options()
		r = proto.CloneOf(r)
		r.LeaseDuration, r.HeartbeatInterval = durationpb.New(o.Lease), durationpb.New(o.Interval)
		return r, nil
	}
	return d.Reply, nil
}

// handle takes a request. It returns what to answer at once, or for a beat what to ask
// when the leadership has been confirmed.
func (s *service) handle(request proto.Message, now time.Duration) (later func() (proto.Message, error), answer proto.Message, err error) {
	b, beat := request.(*metadatav1.HeartbeatRequest)
	if !beat {
		answer, err = s.write(request, now)
		if err == nil && s.random.IntN(20) == 0 {
			err = failure.New(metadatav1.ErrorReason_ERROR_REASON_OUTCOME_UNKNOWN, "who knows")
		}
		return nil, answer, err
	}
	heard := s.table.Beat(b.GetNodeId(), b.GetEpoch(), now, b.GetLoad(), b.GetAcknowledged())
	term := s.term
	later = func() (proto.Message, error) {
		if _, leading := s.table.Leading(); !leading || s.term != term {
			return nil, failure.New(metadatav1.ErrorReason_ERROR_REASON_NO_LEADER, "no leader")
		}
		verdict := s.table.Check(b.GetNodeId(), b.GetEpoch())
		if heard.Outcome == leases.Expiring {
			verdict = heard
		}
		if f := verdict.Failure(); f != nil {
			if verdict.Outcome == leases.StaleEpoch {
				s.seen.stale++
			}
			return nil, f
		}
		return &metadatav1.HeartbeatResponse{
			NodeId: b.GetNodeId(), Status: verdict.Status, LeaseDuration: durationpb.New(s.table.Options().Lease),
		}, nil
	}
	return later, nil, nil
}

// transition makes one that Tick has handed out, if it is still to be made.
func (s *service) transition(tr leases.Transition, now time.Duration) {
	if !s.table.Due(tr) {
		return
	}
	if s.random.IntN(10) == 0 {
		s.table.Failed(tr, now)
		return
	}
	if tr.Online {
		s.seen.revivals++
	} else {
		s.seen.expiries++
	}
	if _, err := s.write(tr.Command(), now); err != nil {
		panic(err)
	}
}

// runner is one run of a node's process.
type runner struct {
	machine *session.Machine
	name    string
	node    string
	offset  time.Duration // its clock's
	rate    float64
	paused  time.Duration // until then
	gone    bool
	state   session.State // as it was told last: a paused process knows no newer one
	epoch   uint64        // of its latest lease
	sent    int
}

func (r *runner) clock(now time.Duration) time.Duration {
	return r.offset + time.Duration(float64(now)*r.rate)
}

// world is nodes, a service and a bad network in virtual time.
type world struct {
	t       *testing.T
	random  *rand.Rand
	now     time.Duration
	service *service
	runners []*runner
	events  map[time.Duration][]func()
	faults  bool
	deaf    time.Duration // the service does nothing until then
	started int
	seen    *sightings
}

const step = 10 * time.Millisecond

// after has something happen in a while.
func (w *world) after(d time.Duration, f func()) {
	at := (w.now + d + step).Truncate(step)
	w.events[at] = append(w.events[at], f)
}

// carry takes a message over the network: perhaps not, perhaps twice, perhaps late.
func (w *world) carry(deliver func()) {
	copies := 1
	if w.faults {
		copies = []int{0, 0, 1, 1, 1, 1, 1, 1, 1, 2}[w.random.IntN(10)]
	}
	for range copies {
		delay := upTo(w.random, 20*time.Millisecond)
		if w.faults && w.random.IntN(5) == 0 {
			delay = upTo(w.random, 3*time.Second)
		}
		if w.faults && w.random.IntN(50) == 0 {
			delay = upTo(w.random, 30*time.Second)
		}
		w.after(delay, deliver)
	}
}

func (w *world) start(node string) {
	w.started++
	r := &runner{
		name: fmt.Sprintf("%s/run %d", node, w.started), node: node,
		offset: upTo(w.random, time.Hour), rate: 0.81 + 0.4*w.random.Float64(),
	}
	id := 0
	machine, err := session.New(session.Options{
		Node: &metadatav1.NodeInfo{
			NodeId: node, Addr: "127.0.0.1:1", NodeType: metadatav1.NodeType_NODE_TYPE_STORAGE, Incarnation: r.name,
		},
		Judge: follow.JudgeFailure,
		NewID: func() string { id++; return fmt.Sprintf("%s/%d", r.name, id) },
	})
	if err != nil {
		w.t.Fatal(err)
	}
	r.machine = machine
	w.runners = append(w.runners, r)
}

// send carries requests to the service and the answers back.
func (w *world) send(r *runner, requests []session.Request) {
	for _, request := range requests {
		r.sent++
		w.carry(func() { w.arrive(r, request) })
	}
	w.look(r)
}

func (w *world) arrive(r *runner, request session.Request) {
	if w.now < w.deaf {
		w.after(w.deaf-w.now+upTo(w.random, 50*time.Millisecond), func() { w.arrive(r, request) })
		return
	}
	reply := func(answer proto.Message, err error) {
		w.carry(func() { w.answered(r, request.Seq, answer, err) })
	}
	later, answer, err := w.service.handle(request.Message, w.now)
	if later == nil {
		reply(answer, err)
		return
	}
	w.after(upTo(w.random, 100*time.Millisecond), func() { reply(later()) })
}

func (w *world) answered(r *runner, seq uint64, answer proto.Message, err error) {
	switch {
	case r.gone:
	case w.now < r.paused:
		w.after(r.paused-w.now, func() { w.answered(r, seq, answer, err) })
	default:
		w.send(r, r.machine.Answered(r.clock(w.now), seq, answer, err))
	}
}

// look takes over the state of a machine that has just run.
func (w *world) look(r *runner) {
	before := r.state
	r.state = r.machine.State(r.clock(w.now))
	switch {
	case r.state.Phase == session.Joined && before.Phase != session.Joined:
		w.seen.joins++
		if r.epoch == r.state.Epoch {
			w.seen.rejoins++
		}
		if r.state.Epoch < r.epoch {
			w.t.Fatalf("%s went from epoch %d back to %d", r.name, r.epoch, r.state.Epoch)
		}
		r.epoch = r.state.Epoch
	case r.state.Phase == session.Fenced && before.Phase == session.Joined:
		w.seen.lapses++
	}
}

// mischief does something bad now and then.
func (w *world) mischief() {
	if !w.faults || w.random.IntN(200) > 0 {
		return
	}
	r := w.runners[w.random.IntN(len(w.runners))]
	switch w.random.IntN(6) {
	case 0:
		r.paused = w.now + upTo(w.random, 15*time.Second)
	case 1:
		w.deaf = w.now + upTo(w.random, 12*time.Second)
	case 2:
		w.service.table.Stop()
		w.after(upTo(w.random, 3*time.Second), func() { w.service.lead(w.now) })
	case 3: // another run of the node, while this one may go on
		if len(w.runners) < 6 {
			w.start(r.node)
		}
	case 4: // a crash
		r.gone = true
		w.start(r.node)
	case 5:
		if !r.gone && w.now >= r.paused {
			w.send(r, r.machine.Close(r.clock(w.now)))
			w.start(r.node)
		}
	}
	w.runners = slices.DeleteFunc(w.runners, func(r *runner) bool { return r.gone || r.state.Phase == session.Ended })
}

func (w *world) run(d time.Duration) {
	for end := w.now + d; w.now < end && !w.t.Failed(); w.now += step {
		due := w.events[w.now]
		delete(w.events, w.now)
		w.random.Shuffle(len(due), func(i, j int) { due[i], due[j] = due[j], due[i] })
		for _, f := range due {
			f()
			w.check()
		}
		if w.now%(100*time.Millisecond) == 0 && w.now >= w.deaf {
			for _, tr := range w.service.table.Tick(w.now) {
				w.after(upTo(w.random, 200*time.Millisecond), func() { w.service.transition(tr, w.now); w.check() })
			}
		}
		for _, r := range w.runners {
			at, ok := r.machine.Next()
			if w.now >= r.paused && ok && r.clock(w.now) >= at {
				w.send(r, r.machine.Tick(r.clock(w.now)))
			}
		}
		w.mischief()
		w.check()
	}
}

// check holds every process that may serve against what the service has committed.
func (w *world) check() {
	holders := map[string]string{}
	for _, r := range w.runners {
		if !r.state.Holds(r.clock(w.now)) {
			continue
		}
		if other := holders[r.node]; other != "" {
			w.t.Fatalf("%v: %s and %s both hold the lease of %s", w.now, r.name, other, r.node)
		}
		holders[r.node] = r.name
		n, ok := w.service.state.Model.Node(r.node)
		if !ok || n.Epoch() != r.state.Epoch || n.Status() == metadatav1.NodeStatus_NODE_STATUS_OFFLINE {
			w.t.Fatalf("%v: %s holds its lease of epoch %d until %v (its clock shows %v), the service has %v",
				w.now, r.name, r.state.Epoch, r.state.Until, r.clock(w.now), n.Message())
		}
	}
}

// settle ends all trouble, leaves one process per node, and wants it to join.
func (w *world) settle() {
	w.faults, w.deaf = false, 0
	last := map[string]*runner{}
	for _, r := range w.runners {
		if r.paused = 0; r.state.Phase < session.Leaving {
			last[r.node] = r
		}
	}
	for _, r := range w.runners {
		r.gone = last[r.node] != r
	}
	w.runners = slices.DeleteFunc(w.runners, func(r *runner) bool { return r.gone })
	w.service.lead(w.now)
	w.run(45 * time.Second)
	for _, r := range last {
		before := r.sent
		w.run(time.Second)
		if !r.state.Holds(r.clock(w.now)) {
			w.t.Fatalf("%s has not joined: %v", r.name, r.state)
		}
		if more := r.sent - before; more > 6 {
			w.t.Fatalf("%s sends %d requests a second", r.name, more)
		}
	}
	for _, r := range last {
		w.send(r, r.machine.Close(r.clock(w.now)))
		w.run(time.Second)
		if _, registered := w.service.state.Model.Node(r.node); registered || r.state.Phase != session.Ended || r.state.Err != nil {
			w.t.Fatalf("%s has not left: %+v", r.name, r.state)
		}
		w.seen.departures++
	}
}

// Whenever a machine says that it holds its lease, the service has not taken the node
// offline, under whatever network, pauses, leaders and rivals; and when the trouble
// ends, the node joins.
func TestALeaseIsHeldByBothSides(t *testing.T) {
	seeds := uint64(30)
	if testing.Short() {
		seeds = 10
	}
	var seen sightings
	for seed := range seeds {
		random := rand.New(rand.NewPCG(seed, 1))
		w := &world{
			t: t, random: random, service: newService(random, &seen), seen: &seen,
			events: map[time.Duration][]func(){}, faults: true,
		}
		w.service.lead(0)
		for _, node := range []string{"a", "b"} {
			w.start(node)
		}
		w.run(3 * time.Minute)
		w.settle()
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
	t.Logf("%+v", seen)
	if slices.Contains([]int{
		seen.joins, seen.lapses, seen.rejoins, seen.expiries, seen.revivals, seen.refusedAlive, seen.stale, seen.departures,
	}, 0) {
		t.Fatalf("not everything happened: %+v", seen)
	}
}

// upTo draws a duration below d.
func upTo(random *rand.Rand, d time.Duration) time.Duration {
	return time.Duration(random.Int64N(int64(d)))
}
