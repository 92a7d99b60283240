package transport

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/heliosdb/metadata/raftlog"
)

// link keeps one dialled connection to a peer alive.
type link struct {
	t       *Transport
	peer    *peer
	use     purpose
	wake    chan struct{} // has a token when waiting before a dial should end
	current atomic.Pointer[conn]
	logged  time.Time // when a failed dial was last logged; owned by run

	mu      sync.Mutex
	failure error         // of the last dial; nil while the first is under way and while connected
	changed chan struct{} // closed and replaced when current or failure changes

	// Owned by run.
	backoff time.Duration
	flaps   int // connections in a row that broke soon
}

const (
	maxFlaps       = 3                    // so many short-lived connections in a row count as down
	verifyAttempts = 4                    // re-dials of a process that may be just dying
	verifyPause    = 2 * time.Millisecond // between them
)

var errBlank = errors.New("this member is blank: it only probes")

func newLink(t *Transport, p *peer, use purpose) *link {
	return &link{t: t, peer: p, use: use, wake: make(chan struct{}, 1), changed: make(chan struct{})}
}

func (l *link) hurry() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// run dials, serves and dials again until the transport closes.
func (l *link) run() {
	var c *conn
	var hello Hello
	for l.t.ctx.Err() == nil {
		if c == nil {
			if c, hello = l.connect(); c == nil {
				break
			}
		}
		l.set(c, nil)
		if l.use == forMessages {
			l.t.log.Info("connected", "member", l.peer.id, "addr", l.peer.addr)
			l.t.cfg.Handler.PeerUp(l.peer.id, hello)
		}
		born := time.Now()
		err := l.serve(c)
		if time.Since(born) < l.t.cfg.Timing.BackoffMax {
			l.flaps++
		} else {
			l.flaps, l.backoff = 0, 0
		}
		if l.t.ctx.Err() != nil {
			break
		}
		c, hello = l.verify(hello.Instance, err)
	}
	l.set(nil, ErrClosed)
	if c != nil {
		c.close()
	}
}

// set publishes the link's state to Send and Call.
func (l *link) set(c *conn, failure error) {
	l.mu.Lock()
	l.current.Store(c)
	l.failure = failure
	close(l.changed)
	l.changed = make(chan struct{})
	l.mu.Unlock()
}

// connect dials until it succeeds, waiting longer after each failure. It
// returns nil when the transport closes.
func (l *link) connect() (*conn, Hello) {
	for l.t.ctx.Err() == nil {
		if l.t.self().Claim == raftlog.StateBlank {
			l.set(nil, errBlank)
			l.wait(l.t.cfg.Timing.BackoffMax)
			continue
		}
		c, hello, err := l.dial(l.t.cfg.Timing.Handshake)
		if err == nil {
			return c, hello
		}
		l.failed(err)
		l.pause()
	}
	return nil, Hello{}
}

// pause waits before the next dial, longer each time.
func (l *link) pause() {
	timing := l.t.cfg.Timing
	l.backoff = min(max(2*l.backoff, timing.BackoffMin), timing.BackoffMax)
	l.wait(l.t.jitter(l.backoff))
}

func (l *link) wait(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-l.wake:
	case <-l.t.ctx.Done():
	}
}

func (l *link) dial(limit time.Duration) (*conn, Hello, error) {
	ctx, cancel := l.t.timeout(limit)
	defer cancel()
	c, hello, err := l.t.dial(ctx, l.peer, l.use)
	if err != nil {
		l.t.count.dialFailures.Add(1)
		return nil, Hello{}, err
	}
	l.t.count.dialled.Add(1)
	c.onPong = l.peer.measured
	if l.use == forCalls {
		c.calls = newCallTable()
	}
	return c, hello, nil
}

// failed publishes a failed dial. It logs the first one of an outage, and one now
// and then while the outage lasts.
func (l *link) failed(err error) {
	l.mu.Lock()
	first := l.failure == nil
	l.mu.Unlock()
	if first || time.Since(l.logged) > logAgain {
		l.logged = time.Now()
		level := slog.LevelInfo
		if refusal, ok := errors.AsType[*RefusedError](err); ok && refusal.Code == RefusedBlank {
			level = slog.LevelDebug // the normal case at a first start
		}
		l.t.log.Log(context.Background(), level, "cannot connect", "member", l.peer.id, "addr", l.peer.addr, "err", err)
	}
	l.set(nil, err)
}

// noiseInterval is the time between two log lines that strangers can cause.
const noiseInterval = 10 * time.Second

// logAgain is the time between two log lines about a peer that stays unreachable.
const logAgain = 30 * time.Second

// serve uses a connection until it breaks, and returns why it did.
func (l *link) serve(c *conn) error {
	var err error
	if l.use == forMessages {
		err = c.run(l.t.ctx, func(f frame) error { return misplaced(f) })
	} else {
		err = c.run(l.t.ctx, c.calls.receive(c))
	}
	l.set(nil, nil)
	if c.calls != nil {
		c.calls.fail(err)
	}
	return err
}

// verify dials at once after a connection broke, to tell a dead process from a
// broken connection. It returns the new connection, or nil after telling the
// handler that the peer is down.
func (l *link) verify(instance uint64, cause error) (*conn, Hello) {
	c, hello, err := l.redial()
	refused := errors.Is(err, syscall.ECONNREFUSED)
	switch {
	case err != nil:
		l.failed(err)
		l.down(refused, cause)
		l.pause()
		return nil, Hello{}
	case hello.Instance != instance:
		l.down(true, cause)
	case l.flaps >= maxFlaps:
		c.close()
		l.down(false, cause)
		l.pause()
		return nil, Hello{}
	}
	return c, hello
}

func (l *link) down(refused bool, cause error) {
	if l.use != forMessages {
		return
	}
	l.t.log.Info("peer is down", "member", l.peer.id, "refused", refused, "cause", cause)
	l.t.cfg.Handler.PeerDown(l.peer.id, refused)
}

// redial dials for at most Timing.Redial. A dying process may still have its
// port open when its connections are gone already: then the handshake breaks
// off, and a moment later the port refuses.
func (l *link) redial() (*conn, Hello, error) {
	limit := time.Now().Add(l.t.cfg.Timing.Redial)
	for attempt := 1; ; attempt++ {
		c, hello, err := l.dial(time.Until(limit))
		if err == nil || attempt == verifyAttempts || !brokeOff(err) {
			return c, hello, err
		}
		time.Sleep(verifyPause)
	}
}

func brokeOff(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// await returns the connection, waiting for it only while a dial is under way
// that may well succeed.
func (l *link) await(ctx context.Context) (*conn, error) {
	for {
		l.mu.Lock()
		c, failure, changed := l.current.Load(), l.failure, l.changed
		l.mu.Unlock()
		switch {
		case c != nil:
			return c, nil
		case failure != nil:
			return nil, failure
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-l.t.ctx.Done():
			return nil, ErrClosed
		}
	}
}
