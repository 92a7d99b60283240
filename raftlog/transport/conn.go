package transport

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	flushBytes = 256 << 10              // a batch larger than this is written in several pieces
	lingerTime = 250 * time.Millisecond // what a closing connection may take to write what waits
)

// conn is one connection. After its handshake, run reads in the calling
// goroutine and writes in a second one.
type conn struct {
	t    *Transport
	raw  net.Conn // TLS when configured
	base net.Conn // the socket below; closing it never waits
	out  *outbox

	direct syscall.RawConn // the socket for senders that write themselves; nil: there is none
	parcel parcel          // what such a sender writes; between beginDirect and endDirect

	// Owned by the reading goroutine.
	frames *frameReader
	idle   time.Duration // read deadline from one read to the next; 0 during the handshake

	heard  atomic.Int64                  // unix nanoseconds of the last byte read
	calls  *callTable                    // dialled connections for calls only
	onPong func(roundTrip time.Duration) // nil on accepted connections, which send no pings
}

func (t *Transport) newConn(raw net.Conn) *conn {
	if tcp, ok := raw.(*net.TCPConn); ok {
		// Go's default already; said here because a delayed heartbeat is an election.
		_ = tcp.SetNoDelay(true)
	}
	c := &conn{t: t, raw: raw, base: raw, out: newOutbox()}
	c.frames = newFrameReader(c, MaxHelloBytes)
	return c
}

// Read reads from the connection; it is there for the conn's own frameReader.
func (c *conn) Read(p []byte) (int, error) {
	n, err := c.readWithin(c.idle, p)
	if n == 0 && c.idle > 0 && errors.Is(err, os.ErrDeadlineExceeded) {
		// When this process was the one that stood still, the deadline passed
		// with bytes waiting: look again before calling the peer silent.
		n, err = c.readWithin(c.idle/2, p)
	}
	c.t.count.bytesReceived.Add(uint64(n))
	c.heard.Store(time.Now().UnixNano())
	return n, err
}

// readWithin reads once, after the handshake within limit.
func (c *conn) readWithin(limit time.Duration, p []byte) (int, error) {
	if c.idle > 0 {
		if err := c.raw.SetReadDeadline(time.Now().Add(limit)); err != nil {
			return 0, err
		}
	}
	return c.raw.Read(p)
}

// established ends the handshake: larger frames, and deadlines per read.
func (c *conn) established() error {
	c.frames.limit = MaxFrame
	c.idle = c.t.cfg.Timing.Idle
	c.direct = directOf(c.raw)
	return c.raw.SetDeadline(time.Time{})
}

// run hands each frame to handle until the connection breaks, handle fails or
// ctx ends, and returns why. When it returns, the connection is closed and
// nothing of it runs any more. Frames queued when ctx ends are written first,
// for at most lingerTime.
func (c *conn) run(ctx context.Context, handle func(frame) error) error {
	var writer sync.WaitGroup
	var writeErr error
	writer.Go(func() {
		writeErr = c.writeLoop()
		c.close()
	})
	stop := context.AfterFunc(ctx, func() {
		time.AfterFunc(lingerTime, c.close)
		c.out.close() // the writer finishes and closes the connection
	})
	err := c.readLoop(handle)
	stop()
	c.close()
	writer.Wait()
	if writeErr != nil && errors.Is(err, net.ErrClosed) {
		err = writeErr
	}
	c.t.countFault(err)
	return err
}

// close ends the connection at once. It can be called by anyone, more than once.
func (c *conn) close() {
	c.out.close()
	_ = c.base.Close()
}

func (c *conn) readLoop(handle func(frame) error) error {
	for {
		f, err := c.frames.next()
		if err != nil {
			return err
		}
		if f.typ == framePong && c.onPong != nil && len(f.payload) == 8 {
			sent := time.Duration(binary.BigEndian.Uint64(f.payload))
			c.onPong(time.Since(c.t.started) - sent)
			continue
		}
		if f.typ == framePing && c.onPong == nil && len(f.payload) == 8 {
			c.out.putControl(appendFrame(nil, framePong, f.payload))
			continue
		}
		if err := handle(f); err != nil {
			return err
		}
	}
}

// writeLoop writes what the outbox has, all of it at once, until the outbox is
// closed and empty or a write fails.
func (c *conn) writeLoop() error {
	var tick <-chan time.Time
	if c.onPong != nil {
		ticker := time.NewTicker(c.t.cfg.Timing.Ping)
		defer ticker.Stop()
		tick = ticker.C
		c.ping()
	}
	var p parcel
	defer func() { c.discard(&p) }()
	for {
		more, open := c.out.begin(&p)
		if !more {
			if !open {
				return nil
			}
			select {
			case <-c.out.wake:
			case <-tick:
				c.ping()
			}
			continue
		}
		if err := c.writeParcel(&p); err != nil {
			return err
		}
		c.out.end()
		c.out.room.Release(p.reserved)
		p.reserved = 0
	}
}

func (c *conn) ping() {
	var sent [8]byte
	binary.BigEndian.PutUint64(sent[:], uint64(time.Since(c.t.started)))
	c.out.putControl(appendFrame(nil, framePing, sent[:]))
}

// writeParcel encodes the messages behind the frames and writes it all.
func (c *conn) writeParcel(p *parcel) error {
	buf := p.frames
	for i, q := range p.messages {
		buf = c.encode(buf, q)
		if len(buf) >= flushBytes && i < len(p.messages)-1 {
			if err := c.flush(buf); err != nil {
				return err
			}
			buf = buf[:0]
		}
	}
	err := c.flush(buf)
	if p.frames = buf[:0]; cap(buf) > keepBytes {
		p.frames = nil
	}
	return err
}

// encode appends a message's frame, or nothing if it cannot be sent.
func (c *conn) encode(buf []byte, q queued) []byte {
	buf, err := appendMessage(buf, q.group, q.m)
	if err != nil {
		c.t.count.messagesDropped.Add(1)
		c.t.log.Error("a raft message cannot be sent", "to", q.m.GetTo(), "type", q.m.GetType(), "err", err)
		return buf
	}
	c.t.count.messagesSent.Add(1)
	return buf
}

func (c *conn) flush(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	if err := c.raw.SetWriteDeadline(time.Now().Add(c.t.cfg.Timing.Write)); err != nil {
		return err
	}
	n, err := c.raw.Write(b)
	c.t.count.bytesSent.Add(uint64(n))
	c.t.count.flushes.Add(1)
	return err
}

// discard gives up what a broken connection leaves unwritten.
func (c *conn) discard(p *parcel) {
	c.out.close()
	c.out.room.Release(p.reserved)
	p.reserved = 0
	c.out.take(p)
	c.out.room.Release(p.reserved)
	c.t.count.messagesDropped.Add(uint64(len(p.messages)))
}

// sendHandshake writes one frame of the handshake.
func (c *conn) sendHandshake(typ frameType, payload []byte) error {
	_, err := c.raw.Write(appendFrame(nil, typ, payload))
	return err
}

// countFault counts the error that ended an established connection.
func (t *Transport) countFault(err error) {
	var fault *FrameError
	if !errors.As(err, &fault) {
		return
	}
	switch fault.kind {
	case faultCorrupt:
		t.count.corruptFrames.Add(1)
	case faultForged:
		t.count.forgedMessages.Add(1)
	default:
		t.count.badFrames.Add(1)
	}
}
