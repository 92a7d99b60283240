package server

import (
	"encoding/binary"
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
)

// prefixBytes is what comes ahead of each message of gRPC, gRPC-Web and Connect's
// streams: a flag and the size.
const prefixBytes = 5

// compressedFlag is the one flag that a request's message may have.
const compressedFlag = 1

// boundedBody is the body of a call, and ends with our error where the call breaks
// the rules of all protocols: its one message is too large, by its own word or as it
// arrives, or does not arrive in time, or messages are framed wrongly or cut short.
// Connect would read such a message to its end, call it an internal error, or leave out
// the details of the contract.
type boundedBody struct {
	io.ReadCloser
	left   int          // of a unary call; below 0: no limit
	late   func() error // what to say when the time to read it is over; nil: it has no end
	frames *framing     // nil: the body is the message
	failed error
}

func newBoundedBody(r *http.Request, unary bool) *boundedBody {
	b := &boundedBody{ReadCloser: r.Body, left: -1}
	if unary {
		b.left = ReadMaxBytes
	}
	media := r.Header.Get("Content-Type")
	if isGRPC := strings.HasPrefix(media, "application/grpc"); isGRPC || strings.HasPrefix(media, "application/connect+") {
		header := "Connect-Content-Encoding"
		if isGRPC {
			header = "Grpc-Encoding"
		}
		encoding := r.Header.Get(header)
		b.frames = &framing{compression: encoding != "" && encoding != "identity"}
		if unary {
			b.left += prefixBytes
		}
	}
	return b
}

func (b *boundedBody) Read(to []byte) (n int, err error) {
	if b.failed != nil {
		return 0, b.failed
	}
	if b.left < 0 {
		n, err = b.ReadCloser.Read(to)
	} else {
		n, err = readBounded(b.ReadCloser, to, &b.left, "the request")
	}
	if b.late != nil && errors.Is(err, os.ErrDeadlineExceeded) {
		b.failed = b.late()
		return n, b.failed
	}
	if b.frames == nil {
		return n, err
	}
	whole, broken := b.frames.pass(to[:n])
	if broken == nil && errors.Is(err, io.EOF) && !b.frames.between() {
		broken = encode(badBytes("the request ends inside a message"))
	}
	if broken != nil {
		b.failed = broken
		return whole, broken
	}
	return n, err
}

// framing follows the prefixes of messages through a body.
type framing struct {
	compression bool // one is named, so that messages may be compressed
	prefix      [prefixBytes]byte
	have        int    // bytes of prefix
	left        uint32 // bytes of the message behind it
}

// between reports whether the last message is complete.
func (f *framing) between() bool { return f.have == 0 && f.left == 0 }

// pass follows the next bytes. It returns how many of them are in front of a
// prefix that is refused, and why it is.
func (f *framing) pass(b []byte) (int, error) {
	for at := 0; at < len(b); {
		if f.left > 0 {
			n := min(len(b)-at, int(f.left))
			f.left -= uint32(n)
			at += n
			continue
		}
		n := copy(f.prefix[f.have:], b[at:])
		f.have += n
		if f.have < prefixBytes {
			return len(b), nil
		}
		if err := f.check(); err != nil {
			return at, err
		}
		at += n
		f.have, f.left = 0, binary.BigEndian.Uint32(f.prefix[1:])
	}
	return len(b), nil
}

func (f *framing) check() error {
	flags, size := f.prefix[0], binary.BigEndian.Uint32(f.prefix[1:])
	switch {
	case flags&^compressedFlag != 0:
		return encode(badBytes("a message of the request has the flags %#x; only %#x, for compressed, is known", flags, compressedFlag))
	case flags != 0 && !f.compression:
		return encode(badBytes("a message of the request says that it is compressed, and no header says how"))
	case size > ReadMaxBytes:
		return encode(tooLarge("a message of the request"))
	}
	return nil
}
