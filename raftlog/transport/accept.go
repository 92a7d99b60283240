package transport

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"
)

func tlsClient(c net.Conn, config *tls.Config) *tls.Conn { return tls.Client(c, config) }
func tlsServer(c net.Conn, config *tls.Config) *tls.Conn { return tls.Server(c, config) }

// inboundKey is what a peer may have one accepted connection of.
type inboundKey struct {
	member uint64
	use    purpose
}

// inbound is an accepted connection past its handshake.
type inbound struct {
	*conn
	key      inboundKey
	instance uint64
}

// accept takes connections until the listener is closed.
func (t *Transport) accept() {
	const firstPause, longestPause = 5 * time.Millisecond, time.Second
	pause := firstPause
	for t.ctx.Err() == nil {
		raw, err := t.cfg.Listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // out of file descriptors, for example: passes
			t.noise.Do(func() { t.log.Warn("cannot accept connections on the raft port", "err", err) })
			select {
			case <-time.After(pause):
			case <-t.ctx.Done():
			}
			pause = min(2*pause, longestPause)
			continue
		}
		pause = firstPause
		c := t.newConn(raw)
		if t.admit(c) {
			t.tasks.Go(func() { t.welcome(c) })
		}
	}
}

// admit takes a connection into the handshake and makes room for it.
func (t *Transport) admit(c *conn) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ctx.Err() != nil {
		c.close()
		return false
	}
	if len(t.handshaking) >= MaxHandshakes {
		t.count.handshakesEvicted.Add(1)
		t.handshaking[0].close()
		t.handshaking = slices.Delete(t.handshaking, 0, 1)
	}
	t.handshaking = append(t.handshaking, c)
	return true
}

// logRefusal logs a refused handshake. While members start for the first time
// blank ones are refused all the time.
func (t *Transport) logRefusal(c *conn, refusal *RefusedError) {
	if refusal.Code == RefusedBlank {
		t.log.Debug("refused a connection", "from", c.raw.RemoteAddr(), "err", refusal)
		return
	}
	t.noise.Do(func() { t.log.Warn("refused a connection", "from", c.raw.RemoteAddr(), "err", refusal) })
}

// welcome is the life of an accepted connection.
func (t *Transport) welcome(c *conn) {
	defer c.close()
	in, err := t.handshake(c)
	t.mu.Lock()
	t.handshaking = slices.DeleteFunc(t.handshaking, func(other *conn) bool { return other == c })
	t.mu.Unlock()
	var refusal *RefusedError
	switch {
	case errors.As(err, &refusal):
		t.count.refused.Add(1)
		t.logRefusal(c, refusal)
		return
	case err != nil:
		t.count.handshakeFailures.Add(1)
		t.log.Debug("handshake failed", "from", c.raw.RemoteAddr(), "err", err)
		return
	}
	t.count.accepted.Add(1)
	if in == nil {
		return // a probe
	}
	defer t.leave(in)
	p := t.peers[in.key.member]
	p.hurry() // it is alive: no need to wait before dialling it
	if in.key.use == forMessages {
		err = c.run(t.ctx, t.receiver(p))
	} else {
		err = t.serve(c, p)
	}
	t.log.Debug("accepted connection ended", "member", p.id, "err", err)
}

// handshake reads the hello of a connection and answers it. It returns nil
// without an error after a probe.
func (t *Transport) handshake(c *conn) (*inbound, error) {
	ctx, cancel := t.timeout(t.cfg.Timing.Handshake)
	defer cancel()
	deadline, _ := ctx.Deadline()
	if err := c.raw.SetDeadline(deadline); err != nil {
		return nil, err
	}
	if err := c.secure(ctx, tlsServer, t.serverTLS); err != nil {
		return nil, err
	}
	f, err := c.frames.next()
	if err != nil {
		return nil, err
	}
	if f.typ != frameHello {
		return nil, &FrameError{Reason: fmt.Sprintf("frame type %d where a hello belongs", f.typ)}
	}
	g, err := parseGreeting(f.payload)
	if err != nil {
		return nil, err
	}
	self := t.self()
	refusal := g.check(self, t.cfg.Peers)
	if refusal == nil {
		refusal = c.identify(g.Hello.Member)
	}
	var in *inbound
	if refusal == nil && g.Purpose != forProbe {
		in = &inbound{conn: c, key: inboundKey{g.Hello.Member, g.Purpose}, instance: g.Hello.Instance}
		refusal = t.enter(in)
	}
	if refusal != nil {
		_ = c.sendHandshake(frameRefusal, appendRefusal(nil, refusal))
		return nil, refusal
	}
	answer := greeting{Format: Format, Purpose: g.Purpose, Recipient: g.Hello.Member, Hello: self}
	if err := c.sendHandshake(frameHello, answer.append(nil)); err != nil || in == nil {
		t.leave(in)
		return nil, err
	}
	if err := c.established(); err != nil {
		t.leave(in)
		return nil, err
	}
	t.peers[g.Hello.Member].greet(g.Hello)
	return in, nil
}

// enter registers an accepted connection. It replaces an older one of the same
// process, or one that has gone silent; while another process with the same
// member id is being heard, the new one is refused.
func (t *Transport) enter(in *inbound) *RefusedError {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, use := range []purpose{forMessages, forCalls} {
		old := t.inbound[inboundKey{in.key.member, use}]
		if old == nil || old.instance == in.instance {
			continue
		}
		silent := time.Since(time.Unix(0, old.heard.Load()))
		if silent < 2*t.cfg.Timing.Ping {
			return &RefusedError{Code: RefusedDuplicate, Reason: fmt.Sprintf(
				"member %d is already connected from another process at %s: give each process its own member id",
				in.key.member, old.base.RemoteAddr())}
		}
	}
	if old := t.inbound[in.key]; old != nil {
		old.close()
	} else {
		t.count.inbound.Add(1)
	}
	t.inbound[in.key] = in
	return nil
}

// leave undoes enter, unless the connection has been replaced. nil is allowed.
func (t *Transport) leave(in *inbound) {
	if in == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.inbound[in.key] == in {
		delete(t.inbound, in.key)
		t.count.inbound.Add(-1)
	}
}

// receiver delivers the raft messages of a peer.
func (t *Transport) receiver(p *peer) func(frame) error {
	return func(f frame) error {
		if f.typ != frameMessage {
			return misplaced(f)
		}
		m, err := parseMessage(f.payload, p.id, t.cfg.Member)
		if err != nil {
			return err
		}
		t.count.messagesReceived.Add(1)
		t.cfg.Handler.Message(p.id, f.group, m)
		return nil
	}
}

func misplaced(f frame) error {
	return &FrameError{Reason: fmt.Sprintf("frame type %d does not belong on this connection", f.typ)}
}
