package transport

import (
	"context"
	"crypto/tls"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/heliosdb/metadata/raftlog"
	pb "go.etcd.io/raft/v3/raftpb"
	"golang.org/x/time/rate"
)

// Transport connects one member with its peers. Its methods are safe for
// concurrent use.
type Transport struct {
	cfg       Config
	log       *slog.Logger
	serverTLS *tls.Config
	clientTLS *tls.Config
	peers     map[uint64]*peer // never changes
	started   time.Time        // pings count from here
	count     counters

	ctx    context.Context // ends when Close begins
	cancel context.CancelFunc
	tasks  sync.WaitGroup // every goroutine

	noise rate.Sometimes // limits what strangers can make us log

	randMu sync.Mutex
	rand   *rand.Rand

	mu          sync.Mutex
	hello       Hello
	handshaking []*conn                 // accepted, oldest first
	inbound     map[inboundKey]*inbound // past the handshake
	running     bool
}

// peer is another member.
type peer struct {
	id       uint64
	addr     string
	messages *link
	calls    *link
	slots    chan struct{} // one token for each call in flight

	mu      sync.Mutex
	hello   Hello
	greeted bool
	rtt     time.Duration
}

// New checks cfg and returns a transport that does nothing until Start.
func New(cfg Config) (*Transport, error) {
	cfg.Timing = cfg.Timing.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	t := &Transport{
		cfg:     cfg,
		log:     cfg.Logger,
		peers:   map[uint64]*peer{},
		started: time.Now(),
		noise:   rate.Sometimes{Interval: noiseInterval},
		rand:    cfg.Rand,
		hello:   cfg.Hello,
		inbound: map[inboundKey]*inbound{},
	}
	if t.log == nil {
		t.log = slog.New(slog.DiscardHandler)
	}
	if t.rand == nil {
		t.rand = rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
	}
	if t.cfg.Dial == nil {
		t.cfg.Dial = func(ctx context.Context, addr string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", addr)
		}
	}
	if cfg.TLS != nil {
		t.serverTLS, t.clientTLS = serverTLS(cfg.TLS), clientTLS(cfg.TLS)
	}
	t.hello.Member, t.hello.Instance = cfg.Member, t.rand.Uint64()
	t.ctx, t.cancel = context.WithCancel(context.Background())
	t.cfg.Peers = maps.Clone(cfg.Peers)
	for id, addr := range cfg.Peers {
		if id == cfg.Member {
			continue
		}
		p := &peer{id: id, addr: addr, slots: make(chan struct{}, MaxCalls)}
		p.messages, p.calls = newLink(t, p, forMessages), newLink(t, p, forCalls)
		t.peers[id] = p
	}
	return t, nil
}

// Start begins to accept and to dial. Further calls, and calls after Close, do
// nothing.
func (t *Transport) Start() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.running || t.ctx.Err() != nil {
		return
	}
	t.running = true
	t.tasks.Go(t.accept)
	for _, p := range t.peers {
		t.tasks.Go(p.messages.run)
		t.tasks.Go(p.calls.run)
	}
}

// Close ends all connections and waits for all goroutines, handlers included.
// What is queued is written first where that takes no more than a moment.
// Further calls wait too and return an error of the listener.
func (t *Transport) Close() error {
	// The port goes first: a peer that sees its connection end dials again at
	// once, and being refused tells it that this process is gone.
	err := t.cfg.Listener.Close()
	t.mu.Lock()
	t.cancel()
	for _, c := range t.handshaking {
		c.close()
	}
	t.mu.Unlock()
	t.tasks.Wait()
	return err
}

// SetHello changes what this member says of itself in later handshakes, for
// example after genesis. Member and Instance cannot be changed.
func (t *Transport) SetHello(change func(*Hello)) error {
	t.mu.Lock()
	next := t.hello
	change(&next)
	next.Member, next.Instance = t.hello.Member, t.hello.Instance
	err := next.validate()
	if err == nil {
		t.hello = next
	}
	t.mu.Unlock()
	for _, p := range t.peers {
		p.hurry()
	}
	return err
}

func (t *Transport) self() Hello {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.hello
}

// Send queues messages to their To and returns those it dropped: the peer is
// unknown or not connected, or its queue is full (then older messages that raft
// repeats anyway go first). It never blocks; what an idle connection takes at once it
// writes itself. The transport owns the messages it took, and may read them later; report
// the receivers of the dropped ones as unreachable, and a dropped MsgSnap as failed.
func (t *Transport) Send(group raftlog.GroupID, msgs []*pb.Message) (dropped []*pb.Message) {
	var buf [8]*conn
	touched, hurry := buf[:0], false
	for _, m := range msgs {
		var c *conn
		if p := t.peers[m.GetTo()]; p != nil {
			c = p.messages.current.Load()
		}
		if c == nil {
			dropped = append(dropped, m)
			continue
		}
		dropped, hurry = c.out.putMessage(group, m, dropped), hurry || urgent(m)
		if !slices.Contains(touched, c) {
			touched = append(touched, c)
		}
	}
	// When all is queued, so that it goes out in one piece.
	for _, c := range touched {
		c.dispatch(hurry)
	}
	t.count.messagesDropped.Add(uint64(len(dropped)))
	return dropped
}

// Peer returns what is known of a peer: its newest hello, whether messages can
// be sent to it now, and the smoothed round-trip time (0 until measured). ok is
// false when there has been no handshake with it yet.
func (t *Transport) Peer(id uint64) (hello Hello, connected bool, rtt time.Duration, ok bool) {
	p := t.peers[id]
	if p == nil {
		return Hello{}, false, 0, false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.hello, p.messages.current.Load() != nil, p.rtt, p.greeted
}

// Stats returns the counters.
func (t *Transport) Stats() Stats { return t.count.stats() }

func (p *peer) greet(h Hello) {
	p.mu.Lock()
	p.hello, p.greeted = h, true
	p.mu.Unlock()
}

// hurry ends the wait before the next dial.
func (p *peer) hurry() {
	p.messages.hurry()
	p.calls.hurry()
}

// measured takes a round-trip time into the average.
func (p *peer) measured(roundTrip time.Duration) {
	if roundTrip < 0 || roundTrip > time.Minute {
		return // not a pong to a ping of ours
	}
	p.mu.Lock()
	if p.rtt == 0 {
		p.rtt = roundTrip
	}
	p.rtt += (roundTrip - p.rtt) / 8
	p.mu.Unlock()
}

// jitter returns a random duration from d/2 to d.
func (t *Transport) jitter(d time.Duration) time.Duration {
	t.randMu.Lock()
	defer t.randMu.Unlock()
	return d/2 + time.Duration(t.rand.Int64N(int64(d/2)+1))
}
