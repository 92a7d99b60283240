package preface

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// maxFrames bounds the frames ahead of a first call: settings, window updates,
// priorities, pings.
const maxFrames = 64

// maxHeld bounds the bytes that are held back to be read again. A first call's frames
// count as they arrive, however few fields are in them.
const maxHeld = 128 << 10

// choose finds out who is to have a connection. An error means: nobody.
func (s *Split) choose(c *Conn) (*output, error) {
	held := &holding{from: c.Conn}
	if err := c.SetReadDeadline(time.Now().Add(s.limits.Opening)); err != nil {
		return nil, err
	}
	if is, err := held.begins(clientPreface); err != nil {
		return nil, err
	} else if !is {
		c.first = held.bytes
		return s.rest, nil
	}
	grpc, err := s.firstCall(c, held)
	if err != nil && (!isUndecided(err) || len(held.bytes) == len(clientPreface)) {
		return nil, err
	}
	if err := c.SetDeadline(time.Time{}); err != nil {
		return nil, err
	}
	c.first = held.bytes
	if grpc {
		return s.grpc, nil
	}
	c.frames = &frames{from: c.read, preface: len(clientPreface)}
	return s.rest, nil
}

const clientPreface = http2.ClientPreface

var errTooMuch = errors.New("too much ahead of the first call")

// isUndecided tells connections that the HTTP server is to judge from those that are
// broken: no call came in time, or what came is against the protocol.
func isUndecided(err error) bool {
	_, conn := errors.AsType[http2.ConnectionError](err)
	_, stream := errors.AsType[http2.StreamError](err)
	return conn || stream || errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, http2.ErrFrameTooLarge) || errors.Is(err, errTooMuch)
}

// firstCall reports whether the first call of an HTTP/2 connection is one of gRPC.
func (s *Split) firstCall(c *Conn, held *holding) (bool, error) {
	framer := http2.NewFramer(c.Conn, held)
	framer.SetMaxReadFrameSize(16 << 10) // what the settings that the client was sent allow
	framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	framer.MaxHeaderListSize = uint32(s.limits.HeaderBytes)
	// gRPC clients make no call before they have seen the server's settings. These
	// change nothing; the server that gets the connection sends its own.
	if err := framer.WriteSettings(); err != nil {
		return false, err
	}
	for i := range maxFrames {
		frame, err := framer.ReadFrame()
		if err != nil {
			return false, err
		}
		if i == 0 { // the client's settings: from now on the connection is a good one
			if err := c.SetDeadline(time.Now().Add(s.limits.FirstCall)); err != nil {
				return false, err
			}
		}
		if header, ok := frame.(*http2.MetaHeadersFrame); ok {
			return isGRPC(header), nil
		}
	}
	return false, errTooMuch
}

// isGRPC reports whether a call comes from a gRPC client, and not by way of a proxy.
func isGRPC(header *http2.MetaHeadersFrame) bool {
	grpc := false
	for _, f := range header.Fields {
		switch {
		case f.Name == "content-type":
			grpc = f.Value == "application/grpc" || strings.HasPrefix(f.Value, "application/grpc+proto")
		case f.Name == "via", f.Name == "forwarded", f.Name == "x-request-id", strings.HasPrefix(f.Name, "x-forwarded-"), strings.HasPrefix(f.Name, "x-envoy-"):
			return false
		}
	}
	return grpc
}

// holding reads and keeps what it read, up to maxHeld bytes and one read more.
type holding struct {
	from  io.Reader
	bytes []byte
}

func (h *holding) Read(to []byte) (int, error) {
	if len(h.bytes) >= maxHeld {
		return 0, errTooMuch
	}
	n, err := h.from.Read(to)
	h.bytes = append(h.bytes, to[:n]...)
	return n, err
}

// begins reads until it is certain whether a connection begins with a text.
func (h *holding) begins(text string) (bool, error) {
	buf := make([]byte, len(text))
	for len(h.bytes) < len(text) {
		if !bytes.HasPrefix([]byte(text), h.bytes) {
			return false, nil
		}
		if _, err := h.Read(buf[:len(text)-len(h.bytes)]); err != nil {
			return false, err
		}
	}
	return string(h.bytes) == text, nil
}
