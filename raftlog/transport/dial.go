package transport

import (
	"context"
	"fmt"
	"time"
)

// Probe asks a peer for its hello on a connection of its own. It works between
// members that would refuse each other anything else: blank ones, and ones of
// another cluster id or recovery epoch. It is the way to collect claims before
// the first start. Errors: *UnknownPeerError, *RefusedError when the peer or
// its certificate is not who it should be, else those of the network.
func (t *Transport) Probe(ctx context.Context, id uint64) (Hello, error) {
	p := t.peers[id]
	if p == nil {
		return Hello{}, &UnknownPeerError{Peer: id}
	}
	if t.ctx.Err() != nil {
		return Hello{}, ErrClosed
	}
	ctx, cancel := context.WithTimeout(ctx, t.cfg.Timing.Handshake)
	defer cancel()
	stop := context.AfterFunc(t.ctx, cancel)
	defer stop()
	c, hello, err := t.dial(ctx, p, forProbe)
	if err != nil {
		return Hello{}, err
	}
	c.close()
	return hello, nil
}

// dial connects to a peer and exchanges hellos, until ctx ends.
func (t *Transport) dial(ctx context.Context, p *peer, use purpose) (*conn, Hello, error) {
	raw, err := t.cfg.Dial(ctx, p.addr)
	if err != nil {
		return nil, Hello{}, err
	}
	c := t.newConn(raw)
	stop := context.AfterFunc(ctx, c.close)
	hello, err := c.introduce(ctx, p, use)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		c.close()
		if ctx.Err() != nil {
			err = fmt.Errorf("handshake with member %d at %s: %w", p.id, p.addr, ctx.Err())
		}
		return nil, Hello{}, err
	}
	p.greet(hello)
	return c, hello, nil
}

// introduce does the handshake of the side that dialled.
func (c *conn) introduce(ctx context.Context, p *peer, use purpose) (Hello, error) {
	if err := c.secure(ctx, tlsClient, c.t.clientTLS); err != nil {
		return Hello{}, err
	}
	if refusal := c.identify(p.id); refusal != nil {
		return Hello{}, refusal
	}
	self := c.t.self()
	g := greeting{Format: Format, Purpose: use, Recipient: p.id, Hello: self}
	if err := c.sendHandshake(frameHello, g.append(nil)); err != nil {
		return Hello{}, err
	}
	f, err := c.frames.next()
	if err != nil {
		return Hello{}, err
	}
	if f.typ == frameRefusal {
		refusal, err := parseRefusal(f.payload)
		if err != nil {
			return Hello{}, err
		}
		return Hello{}, refusal
	}
	if f.typ != frameHello {
		return Hello{}, &FrameError{Reason: fmt.Sprintf("frame type %d where a hello belongs", f.typ)}
	}
	answer, err := parseGreeting(f.payload)
	if err != nil {
		return Hello{}, err
	}
	answer.Purpose = use
	if refusal := answer.check(self, c.t.cfg.Peers); refusal != nil {
		return Hello{}, refusal
	}
	if answer.Hello.Member != p.id {
		return Hello{}, &RefusedError{
			Code:   RefusedRecipient,
			Reason: fmt.Sprintf("%s is the address of member %d, not of member %d: check the peers' addresses", p.addr, answer.Hello.Member, p.id),
		}
	}
	return answer.Hello, c.established()
}

// timeout returns a context that ends after d or when the transport closes.
func (t *Transport) timeout(d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(t.ctx, d)
}
