package session

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// Request is a message to send. An answer, if there is one, goes to Answered with Seq.
// Requests may overtake one another, get lost and be answered more than once.
type Request struct {
	Seq uint64
	// Message is a RegisterNodeRequest, HeartbeatRequest, UnregisterNodeRequest or
	// DrainNodeRequest. The caller must not change it.
	Message proto.Message
}

// Machine is a node's membership. Use it from one goroutine. All times are readings of
// one monotonic clock of the caller's, as the time since some fixed instant; a reading
// that runs backwards is taken as the latest one seen.
type Machine struct {
	options Options
	now     time.Duration

	phase  Phase
	joined bool // it has held a lease
	epoch  uint64
	until  time.Duration // while Joined
	status metadatav1.NodeStatus
	err    error

	lease   time.Duration // the latest one that the service named; 0: none
	pace    time.Duration // the time between beats that the service asks for; 0: none
	due     time.Duration // when the next request is to be sent
	granted time.Duration // when the beat was sent whose grant counts
	floor   time.Duration // grants of beats sent before this do not count

	seq     uint64
	flights []flight
	refused int    // registrations in a row that another attempt does not seem to change
	attempt uint64 // number of the registration or departure that is under way
	id      string // its request id
	drain   bool   // depart by draining
	giveUp  time.Duration

	load  *metadatav1.NodeLoad
	acked *metadatav1.Position
}

// flight is a request that may still be answered.
type flight struct {
	seq     uint64
	sent    time.Duration
	epoch   uint64 // of a beat; 0: it is none
	attempt uint64 // of a registration or departure
}

// New returns a Machine that is Joining; the first Tick registers.
func New(o Options) (*Machine, error) {
	o, err := o.check()
	if err != nil {
		return nil, err
	}
	m := &Machine{options: o, err: errNotYet}
	m.begin()
	return m, nil
}

// State returns where the machine stands at a time.
func (m *Machine) State(now time.Duration) State {
	m.advance(now)
	s := State{Phase: m.phase, Epoch: m.epoch, Status: m.status, Err: m.err}
	if m.phase == Joined {
		s.Until = m.until
	}
	return s
}

// Report sets what the following beats say: how busy the node is, and the position
// that it has applied. The messages must not be changed afterwards.
func (m *Machine) Report(load *metadatav1.NodeLoad, acknowledged *metadatav1.Position) {
	m.load, m.acked = load, acknowledged
}

// Next returns the time of the next Tick that does something; false once Ended.
func (m *Machine) Next() (at time.Duration, ok bool) {
	switch m.phase {
	case Ended:
		return 0, false
	case Joined:
		return min(m.due, m.until), true
	case Leaving:
		return min(m.due, m.giveUp), true
	default:
		return m.due, true
	}
}

// Tick returns what to send now.
func (m *Machine) Tick(now time.Duration) []Request {
	m.advance(now)
	if m.phase == Ended || m.now < m.due {
		return nil
	}
	switch {
	case m.phase == Leaving:
		m.due = m.now + m.interval()
		return []Request{m.departure()}
	case m.epoch == 0:
		m.due = m.now + m.options.Patience
		return []Request{m.send(flight{attempt: m.attempt}, &metadatav1.RegisterNodeRequest{
			Node: m.options.Node, Write: m.write(),
		})}
	default:
		m.due = m.now + m.interval()
		return []Request{m.send(flight{epoch: m.epoch}, &metadatav1.HeartbeatRequest{
			NodeId: m.options.Node.GetNodeId(), Epoch: m.epoch, Load: m.load, Acknowledged: m.acked,
		})}
	}
}

// Close gives the lease up at once and begins to leave; the machine is Ended when the
// service has answered, or LeaveTimeout later. A registration that is under way is
// not waited for: the node it makes goes offline by itself.
func (m *Machine) Close(now time.Duration) []Request {
	m.advance(now)
	switch {
	case m.phase == Leaving || m.phase == Ended:
		return nil
	case m.epoch == 0 || m.options.Departure == Stay:
		m.end(nil)
		return nil
	}
	m.phase, m.err = Leaving, ErrClosed
	m.drain, m.giveUp = m.options.Departure == Drain, m.now+m.options.LeaveTimeout
	m.begin()
	return m.Tick(now)
}

// advance moves the clock and lets the lease run out.
func (m *Machine) advance(now time.Duration) {
	m.now = max(m.now, now)
	switch {
	case m.phase == Joined && m.now >= m.until:
		m.fence(ErrLapsed)
	case m.phase == Leaving && m.now >= m.giveUp:
		m.end(fmt.Errorf("session: node %q did not leave within %v: %w", m.options.Node.GetNodeId(), m.options.LeaveTimeout, m.err))
	}
}

// fence ends the lease, if there is one.
func (m *Machine) fence(why error) {
	m.err = why
	if m.phase == Joined {
		m.phase = Fenced
	}
}

func (m *Machine) end(err error) { m.phase, m.err, m.flights = Ended, err, nil }

// begin starts another registration or departure, at once: what the ones before are
// answered does not count any more.
func (m *Machine) begin() {
	m.attempt++
	m.id, m.due = m.options.NewID(), m.now
}

func (m *Machine) write() *metadatav1.WriteOptions {
	if m.id == "" {
		return nil
	}
	return &metadatav1.WriteOptions{RequestId: m.id}
}

func (m *Machine) departure() Request {
	f, id := flight{attempt: m.attempt}, m.options.Node.GetNodeId()
	if m.drain {
		return m.send(f, &metadatav1.DrainNodeRequest{NodeId: id, ExpectedEpoch: m.epoch, Write: m.write()})
	}
	return m.send(f, &metadatav1.UnregisterNodeRequest{NodeId: id, ExpectedEpoch: m.epoch, Write: m.write()})
}

func (m *Machine) send(f flight, message proto.Message) Request {
	m.seq++
	f.seq, f.sent = m.seq, m.now
	if len(m.flights) == maxInFlight {
		m.flights = append(m.flights[:0], m.flights[1:]...)
	}
	m.flights = append(m.flights, f)
	return Request{Seq: f.seq, Message: message}
}

// interval returns the time between beats.
func (m *Machine) interval() time.Duration {
	i := m.options.Interval
	if i == 0 {
		i = m.pace
	}
	if i <= 0 {
		i = DefaultInterval
	}
	if m.lease > 0 {
		i = min(i, m.lease/beatsPerLease)
	}
	return max(i, MinInterval)
}
