package chaos

import (
	"context"
	"errors"
	"net"
	"sync"
	"syscall"
	"time"
)

const (
	doorPoll    = 20 * time.Millisecond // between two looks at a member that does not listen
	doorTimeout = 2 * time.Second       // for connecting to a member
	helloWait   = 5 * time.Second       // for the first bytes of a connection
)

// door is the address at which the others reach one member.
type door struct {
	network         *Network
	member          int
	address, target string
	check           chan struct{} // has a token when watch should look again

	mu       sync.Mutex
	shut     bool
	alive    bool // the member listened when last looked at
	listener net.Listener
}

func (d *door) recheck() {
	select {
	case d.check <- struct{}{}:
	default:
	}
}

func (d *door) setShut(shut bool) {
	d.mu.Lock()
	d.shut = shut
	d.mu.Unlock()
	d.settle()
}

// watch keeps the door open while the member listens.
func (d *door) watch() {
	timer := time.NewTicker(doorPoll)
	defer timer.Stop()
	for {
		d.look()
		d.settle()
		tick := timer.C
		d.mu.Lock()
		if d.alive {
			tick = nil // a connection that breaks tells
		}
		d.mu.Unlock()
		select {
		case <-tick:
		case <-d.check:
		case <-d.network.ctx.Done():
			d.settle()
			return
		}
	}
}

// look finds out whether the member listens.
func (d *door) look() {
	c, err := net.DialTimeout("tcp", d.target, doorTimeout)
	if err == nil {
		_ = c.Close()
	}
	d.mu.Lock()
	d.alive = err == nil
	d.mu.Unlock()
}

// settle opens or closes the door. Behind a line that is held nobody learns that the
// process is gone.
func (d *door) settle() {
	held := d.network.held(d.member)
	d.mu.Lock()
	defer d.mu.Unlock()
	open := (d.alive || held) && !d.shut && d.network.ctx.Err() == nil
	switch {
	case !open && d.listener != nil:
		_ = d.listener.Close()
		d.listener = nil
	case open && d.listener == nil:
		l, err := net.Listen("tcp", d.address)
		if err != nil {
			return // its port is still closing; the next look tries again
		}
		d.listener = l
		d.network.active.Go(func() { d.accept(l) })
	}
}

func (d *door) accept(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		d.network.active.Go(func() { d.serve(c) })
	}
}

// serve forwards one connection until it breaks.
func (d *door) serve(c net.Conn) {
	stop := context.AfterFunc(d.network.ctx, func() { _ = c.Close() })
	dialler, hello, err := readHello(c, len(d.network.doors))
	if !stop() || err != nil {
		reset(c)
		return
	}
	up, err := net.DialTimeout("tcp", d.target, doorTimeout)
	if err != nil {
		if errors.Is(err, syscall.ECONNREFUSED) && d.network.lines[dialler][d.member].pass(d.network.ctx) {
			d.look()
			d.settle()
		}
		reset(c)
		return
	}
	p := newPair(d, dialler, c, up)
	defer p.forget()
	p.run(hello)
}

// gone is told that the member broke a connection. If it does not listen any more, the door
// closes before the others hear of it, as the member's own port did.
func (d *door) gone() {
	d.look()
	d.settle()
	d.recheck()
}
