package client

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/client/session"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// Departure is what Session.Close does about the node's registration. The node goes
// offline when its lease has run out, unless it is unregistered.
type Departure = session.Departure

// The departures.
const (
	// LeaveOnClose unregisters the node; if shards are placed on it, it is drained instead.
	LeaveOnClose = session.Leave
	// DrainOnClose keeps new shards away from the node until it registers again.
	DrainOnClose = session.Drain
	// StayOnClose tells the service nothing: the node is to come back soon.
	StayOnClose = session.Stay
)

// JoinOptions configure a Session. Node is required: its id, address and type.
type JoinOptions struct {
	// Node is what to register. An empty Incarnation gets a new one.
	Node *metadatav1.NodeInfo
	// Cache is the one whose position beats acknowledge; nil: they acknowledge nothing.
	Cache *Cache
	// Load says how busy the node is, before each beat; nil: beats do not say. It is
	// called by one goroutine and must not block.
	Load func() *metadatav1.NodeLoad
	// Interval is the time between beats; 0: what the service asks for.
	Interval time.Duration
	// Departure is what Close does.
	Departure Departure
}

// Session is a node's membership: it registers the node, beats, and registers it
// again under a new epoch when the service asks for that. While Epoch is not 0, the
// service has not taken the node offline and lets no other process register as it,
// provided that clocks run at the same rate give or take a fifth. A machine that was
// suspended knows so by its wall clock; a virtual one that was paused with all its clocks
// does not: have shards refuse what comes with an old epoch besides.
//
// It goes on until it is closed, or the client is: a node that has joined once tries to
// join again whatever it is answered.
//
// A node that loses its lease has to stop what it does in the cluster's name: at the
// latest when Done is closed, and before each act with effect outside it has to look
// at Epoch, because a process that was paused hears of Done late.
type Session struct {
	client  *Client
	options JoinOptions
	machine *session.Machine // of the session's goroutine
	clock   *awake
	answers chan answered
	shown   atomic.Pointer[membership]
	closing chan struct{}
	close   sync.Once
	ended   chan struct{}
}

// membership is what a session says of itself.
type membership struct {
	state session.State
	lost  chan struct{} // closed when the latest lease was lost
	next  chan struct{} // closed when another membership replaces this one
}

// answered is the answer to a request.
type answered struct {
	seq    uint64
	answer proto.Message
	err    error
}

// JoinAsNode registers a node and returns when it holds its lease. While another
// process is alive under the node's id, for example the one before a crash, that takes
// until the other's lease has run out. It returns why the node cannot join (a bad
// address), or why it has not yet, when the context ends.
func (c *Client) JoinAsNode(ctx context.Context, opts JoinOptions) (*Session, error) {
	return c.join(ctx, opts, newAwake(clocksNow()))
}

func (c *Client) join(ctx context.Context, opts JoinOptions, clock *awake) (*Session, error) {
	node := proto.CloneOf(opts.Node)
	if node != nil && node.Incarnation == "" {
		node.Incarnation = newID()
	}
	machine, err := session.New(session.Options{
		Node: node, Judge: judge, NewID: newID, Interval: opts.Interval, Departure: opts.Departure,
	})
	if err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	s := &Session{
		client: c, options: opts, machine: machine, clock: clock,
		answers: make(chan answered), closing: make(chan struct{}), ended: make(chan struct{}),
	}
	lost := make(chan struct{})
	close(lost)
	s.shown.Store(&membership{state: machine.State(0), lost: lost, next: make(chan struct{})})
	life, end := context.WithCancel(c.life)
	if !c.inBackground(func() {
		defer end()
		s.run(life)
	}) {
		end()
		return nil, errClientClosed
	}
	if err := s.Joined(ctx); err != nil {
		end() // what it may have registered goes offline by itself
		<-s.ended
		return nil, err
	}
	return s, nil
}

func newID() string { return uuid.Must(uuid.NewV7()).String() }

// Epoch returns the fencing number under which the node may act now; 0 if it may not.
// It looks at the clock each time.
func (s *Session) Epoch() uint64 {
	if m := s.shown.Load(); m.state.Holds(s.clock.read()) {
		return m.state.Epoch
	}
	return 0
}

// Done returns a channel that is closed when the node loses the lease that it got
// last. After it has joined again there is another one.
func (s *Session) Done() <-chan struct{} { return s.shown.Load().lost }

// Ended returns a channel that is closed when the session is over for good: it was closed,
// or the client was. Err says why.
func (s *Session) Ended() <-chan struct{} { return s.ended }

// Joined waits until the node holds a lease. It returns why it never will, or the
// context's end together with what is in the way.
func (s *Session) Joined(ctx context.Context) error {
	for {
		m := s.shown.Load()
		switch {
		case m.state.Holds(s.clock.read()):
			return nil
		case m.state.Phase >= session.Leaving:
			return s.Err()
		}
		select {
		case <-m.next:
		case <-ctx.Done():
			return fmt.Errorf("client: the node has not joined: %w: %w", context.Cause(ctx), s.shown.Load().state.Err)
		}
	}
}

// Err returns the last trouble: why the node holds no lease, or why its last beat
// failed; nil if all is well.
func (s *Session) Err() error {
	if m := s.shown.Load(); m.state.Err != nil {
		return fmt.Errorf("client: %w", m.state.Err)
	} else if m.state.Phase == session.Ended {
		return errSessionClosed
	}
	return nil
}

var errSessionClosed = errors.New("client: the session is closed")

// Close gives up the lease at once and leaves as the options say. It returns when the
// service has answered, with why it did not agree, or did not answer in time: then the
// node goes offline when its lease has run out. It may be called more than once.
func (s *Session) Close() error {
	s.close.Do(func() { close(s.closing) })
	<-s.ended
	return s.shown.Load().state.Err
}

// run drives the machine until it has ended or life does.
func (s *Session) run(life context.Context) {
	s.client.note(s, true)
	defer close(s.ended)
	defer s.client.note(s, false)
	var calls sync.WaitGroup
	defer calls.Wait()
	ctx, cancel := context.WithCancel(life)
	defer cancel() // a call whose answer does not matter any more
	closing := s.closing
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		var out []session.Request
		select {
		case <-timer.C:
			s.show() // a lease that ran out is lost, even if an answer brings it back
			s.report()
			out = s.machine.Tick(s.clock.read())
		case a := <-s.answers:
			s.show()
			out = s.machine.Answered(s.clock.read(), a.seq, a.answer, a.err)
		case <-closing:
			closing = nil
			out = s.machine.Close(s.clock.read())
		case <-life.Done():
			s.publish(session.State{Phase: session.Ended, Err: session.ErrClosed})
			return
		}
		for _, request := range out {
			calls.Go(func() { s.call(ctx, request) })
		}
		s.show()
		at, more := s.machine.Next()
		if !more {
			return
		}
		timer.Reset(at - s.clock.read())
	}
}

// note notes a session while it goes on.
func (c *Client) note(s *Session, goesOn bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if goesOn {
		c.sessions[s] = struct{}{}
	} else {
		delete(c.sessions, s)
	}
}

// report tells the machine what the next beat is to say.
func (s *Session) report() {
	var (
		load  *metadatav1.NodeLoad
		acked *metadatav1.Position
	)
	if s.options.Load != nil {
		load = proto.CloneOf(s.options.Load())
	}
	if s.options.Cache != nil {
		acked = s.options.Cache.Position()
	}
	s.machine.Report(load, acked)
}

// call makes one request and brings back the answer.
func (s *Session) call(ctx context.Context, r session.Request) {
	c := s.client
	a := answered{seq: r.Seq}
	timeout := session.DefaultPatience
	if _, beat := r.Message.(*metadatav1.HeartbeatRequest); beat {
		timeout = 2 * c.patience.beat // the next one is on its way then
	}
	within, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	switch m := r.Message.(type) {
	case *metadatav1.RegisterNodeRequest:
		a.answer, a.err = c.RegisterNode(within, m)
	case *metadatav1.HeartbeatRequest:
		a.answer, a.err = c.Heartbeat(within, m)
	case *metadatav1.UnregisterNodeRequest:
		a.answer, a.err = c.UnregisterNode(within, m)
	case *metadatav1.DrainNodeRequest:
		a.answer, a.err = c.DrainNode(within, m)
	}
	select {
	case s.answers <- a:
	case <-ctx.Done():
	}
}

// show publishes where the machine stands now.
func (s *Session) show() { s.publish(s.machine.State(s.clock.read())) }

// publish replaces what the session says. Only its goroutine does.
func (s *Session) publish(state session.State) {
	old := s.shown.Load()
	next := &membership{state: state, lost: old.lost, next: make(chan struct{})}
	was, is := old.state.Phase == session.Joined, state.Phase == session.Joined
	if was && (!is || state.Epoch != old.state.Epoch) {
		s.client.metrics.lost.Add(1)
		s.client.log.Warn("the node has lost its lease", "node", s.options.Node.GetNodeId(), "epoch", old.state.Epoch, "error", state.Err)
	}
	changed := is && (!was || state.Epoch != old.state.Epoch)
	if changed {
		next.lost = make(chan struct{})
	}
	s.shown.Store(next)
	if was && (!is || changed) {
		close(old.lost)
	}
	close(old.next)
}
