package server

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"

	"connectrpc.com/connect"
)

// What is wrong with a body is seen however its bytes arrive, and what was right
// before it still arrives.
func TestBodies(t *testing.T) {
	message := func(flags byte, content string) string {
		return string(binary.BigEndian.AppendUint32([]byte{flags}, uint32(len(content)))) + content
	}
	good := message(0, "one") + message(0, "") + message(0, "three")
	for _, c := range []struct {
		what, media, encoding, body string
		unary                       bool
		arrives                     string // empty: all of it
		says                        string // empty: nothing is wrong
	}{
		{what: "messages", media: "application/grpc", body: good},
		{what: "compressed messages", media: "application/connect+json", encoding: "gzip", body: good + message(1, "four")},
		{what: "nothing", media: "application/grpc-web+proto"},
		{what: "no frames", media: "application/json", unary: true, body: good[:7]},
		{what: "cut in a prefix", media: "application/grpc", body: good + "\x00\x00", says: "inside a message"},
		{what: "cut in a message", media: "application/grpc", body: good[:len(good)-1], says: "inside a message"},
		{what: "a flag of answers", media: "application/connect+proto", body: good + message(2, "{}"), arrives: good, says: "0x2"},
		{what: "compressed by nothing", media: "application/grpc", encoding: "identity", body: good + message(1, "x"), arrives: good, says: "no header says how"},
		{what: "large by its word", media: "application/grpc", body: good + "\x00\xff\xff\xff\xff", arrives: good, says: "larger than"},
		{what: "large in fact", media: "application/json", unary: true, body: strings.Repeat(" ", ReadMaxBytes+1), says: "larger than"},
		{what: "large in messages", media: "application/grpc", unary: true, body: strings.Repeat(message(0, strings.Repeat(" ", 1<<20)), 5), says: "larger than"},
	} {
		for how, reader := range map[string]func(io.Reader) io.Reader{
			"at once": func(r io.Reader) io.Reader { return r }, "in halves": iotest.HalfReader, "with its end": iotest.DataErrReader,
		} {
			request := &http.Request{Header: http.Header{"Content-Type": {c.media}}, Body: io.NopCloser(reader(strings.NewReader(c.body)))}
			request.Header.Set("Grpc-Encoding", c.encoding)
			request.Header.Set("Connect-Content-Encoding", c.encoding)
			got, err := io.ReadAll(newBoundedBody(request, c.unary))
			own, isOwn := errors.AsType[*connect.Error](err)
			switch {
			case c.says == "" && (err != nil || string(got) != c.body):
				t.Errorf("%s %s: %d bytes of %d, %v", c.what, how, len(got), len(c.body), err)
			case c.says != "" && (!isOwn || len(own.Details()) == 0 || !strings.Contains(own.Message(), c.says)):
				t.Errorf("%s %s: %v", c.what, how, err)
			}
			if !bytes.HasPrefix(got, []byte(c.arrives)) {
				t.Errorf("%s %s: only %q arrives", c.what, how, got)
			}
		}
	}
}
