package preface

import (
	"crypto/tls"
	"io"
	"net"
)

// Conn is a connection that was looked at: what was read is read again.
type Conn struct {
	net.Conn
	state  *tls.ConnectionState
	first  []byte  // read already
	frames *frames // reads for those whose client acknowledges settings that the server did not send
}

// TLS returns the state of the connection's TLS; nil: it is plain text.
func (c *Conn) TLS() *tls.ConnectionState { return c.state }

// Read is of net.Conn.
func (c *Conn) Read(to []byte) (int, error) {
	if c.frames != nil {
		return c.frames.Read(to)
	}
	return c.read(to)
}

func (c *Conn) read(to []byte) (int, error) {
	if len(c.first) > 0 {
		n := copy(to, c.first)
		if c.first = c.first[n:]; len(c.first) == 0 {
			c.first = nil
		}
		return n, nil
	}
	return c.Conn.Read(to)
}

const frameHeaderBytes = 9

// frames passes HTTP/2 frames through and drops the first acknowledgment of
// settings: it is for those that were sent to see the client's first call, and the
// server that is given the connection knows nothing of them.
type frames struct {
	from    func([]byte) (int, error)
	preface int // bytes of the client's preface to come
	header  [frameHeaderBytes]byte
	out     []byte // of header, to be passed on
	payload int    // bytes of the frame's payload to come
	over    bool   // dropped: everything passes
}

func (f *frames) Read(to []byte) (int, error) {
	for {
		switch {
		case len(to) == 0:
			return 0, nil
		case len(f.out) > 0:
			n := copy(to, f.out)
			f.out = f.out[n:]
			return n, nil
		case f.over:
			return f.from(to)
		case f.preface > 0:
			return f.pass(to, &f.preface)
		case f.payload > 0:
			return f.pass(to, &f.payload)
		}
		if _, err := io.ReadFull(reader(f.from), f.header[:]); err != nil {
			return 0, err
		}
		f.payload = int(f.header[0])<<16 | int(f.header[1])<<8 | int(f.header[2])
		if isAcknowledgment(f.header) {
			f.over = true
			continue
		}
		f.out = f.header[:]
	}
}

func (f *frames) pass(to []byte, left *int) (int, error) {
	n, err := f.from(to[:min(len(to), *left)])
	*left -= n
	return n, err
}

// isAcknowledgment reports whether a frame is an empty SETTINGS with ACK (RFC 9113,
// section 6.5).
func isAcknowledgment(header [frameHeaderBytes]byte) bool {
	const settings, ack = 4, 1
	empty := header[0]|header[1]|header[2] == 0
	return empty && header[3] == settings && header[4]&ack != 0
}

type reader func([]byte) (int, error)

func (r reader) Read(to []byte) (int, error) { return r(to) }
