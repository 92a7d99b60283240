package chaos

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"time"
)

const (
	chunkBytes  = 32 << 10
	chunkQueue  = 128 // chunks on their way in one direction of one connection
	helloHeader = 10  // bytes of a frame's header, its length first
	helloSender = 32  // where a hello has the id of its sender
	helloMax    = 4 << 10
	helloMagic  = "HMRT"
)

// pair is a forwarded connection: the one that a member dialled and the one to the door's
// member.
type pair struct {
	door            *door
	dialler, member int
	in, out         net.Conn
	ctx             context.Context
	end             context.CancelFunc
}

func newPair(d *door, dialler int, in, out net.Conn) *pair {
	p := &pair{door: d, dialler: dialler, member: d.member, in: in, out: out}
	p.ctx, p.end = context.WithCancel(d.network.ctx)
	d.network.mu.Lock()
	d.network.pairs[p] = struct{}{}
	d.network.mu.Unlock()
	return p
}

func (p *pair) forget() {
	n := p.door.network
	n.mu.Lock()
	delete(n.pairs, p)
	n.mu.Unlock()
}

// run forwards both directions until one ends.
func (p *pair) run(hello []byte) {
	defer p.end()
	stop := context.AfterFunc(p.ctx, func() { reset(p.in); reset(p.out) })
	defer stop()
	lines := p.door.network.lines
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.forward(lines[p.member][p.dialler], p.out, p.in, nil)
	}()
	p.forward(lines[p.dialler][p.member], p.in, p.out, hello)
	<-done
}

// chunk is what was read at once, and when it is to be written.
type chunk struct {
	bytes []byte
	due   time.Time
}

// forward carries one direction. The end of a connection travels like its bytes: behind
// them, and not through a line that is held.
func (p *pair) forward(l *line, from, to net.Conn, first []byte) {
	queue := make(chan chunk, chunkQueue)
	if len(first) > 0 {
		queue <- chunk{first, time.Now().Add(l.delay())}
	}
	go p.read(l, from, queue)
	for c := range queue {
		if wait := time.Until(c.due); wait > 0 {
			timer := time.NewTimer(wait)
			select {
			case <-timer.C:
			case <-p.ctx.Done():
				timer.Stop()
			}
		}
		if !l.pass(p.ctx) {
			break
		}
		if _, err := to.Write(c.bytes); err != nil {
			// The other direction reads the same end, and says so through its own line.
			<-p.ctx.Done()
			return
		}
	}
	if l.pass(p.ctx) && from == p.out {
		p.door.gone()
	}
	p.end()
}

// read fills the queue until the connection ends, and closes it.
func (p *pair) read(l *line, from net.Conn, queue chan<- chunk) {
	defer close(queue)
	for {
		buffer := make([]byte, chunkBytes)
		n, err := from.Read(buffer)
		if n > 0 {
			select {
			case queue <- chunk{buffer[:n], time.Now().Add(l.delay())}:
			case <-p.ctx.Done():
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// readHello reads the frame that opens a connection and returns who sent it, with its bytes.
// It looks no further than it has to.
func readHello(c net.Conn, members int) (dialler int, bytes []byte, err error) {
	if err := c.SetReadDeadline(time.Now().Add(helloWait)); err != nil {
		return 0, nil, err
	}
	frame := make([]byte, helloHeader)
	if _, err := io.ReadFull(c, frame); err != nil {
		return 0, nil, err
	}
	length := binary.BigEndian.Uint32(frame)
	if length < helloSender+8 || length > helloMax {
		return 0, nil, errors.New("chaos: no hello: its length cannot be")
	}
	frame = append(frame, make([]byte, length)...)
	payload := frame[helloHeader:]
	if _, err := io.ReadFull(c, payload); err != nil {
		return 0, nil, err
	}
	id := binary.BigEndian.Uint64(payload[helloSender:])
	if string(payload[:len(helloMagic)]) != helloMagic || id == 0 || id > uint64(members) {
		return 0, nil, errors.New("chaos: no hello of a member")
	}
	return int(id) - 1, frame, c.SetReadDeadline(time.Time{})
}

// reset closes a connection so that the other side sees it break.
func reset(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = c.Close()
}
