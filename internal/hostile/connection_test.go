package hostile

import (
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/proto/heliosdb/metadata/v1/metadatav1connect"
	"github.com/heliosdb/metadata/server"
)

// closedWithin is longer than both ports' limits for the beginning of a connection,
// which are five seconds.
const closedWithin = 9 * time.Second

const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// TestUnfinishedConnections opens connections that never get to the point, on both
// ports of a member as it is in production. All are closed in time, and meanwhile
// subscriptions that are older than those limits live on.
func TestUnfinishedConnections(t *testing.T) {
	s := start(t, server.Options{})
	defer s.stop()
	streams := map[string]*connect.ServerStreamForClient[metadatav1.SubscribeResponse]{}
	for name, open := range map[string]metadatav1connect.MetadataServiceClient{
		"HTTP/1.1": metadatav1connect.NewMetadataServiceClient(s.http1, "http://"+s.addr),
		"HTTP/2":   metadatav1connect.NewMetadataServiceClient(s.http2, "http://"+s.addr),
	} {
		stream, err := open.Subscribe(t.Context(), &metadatav1.SubscribeRequest{BookmarkIntervalMillis: 500})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = stream.Close() }()
		streams[name] = stream
	}
	t.Run("connections", func(t *testing.T) {
		for _, c := range []struct{ what, addr, bytes string }{
			{"silence", s.addr, ""},
			{"half a method", s.addr, "PO"},
			{"half a header", s.addr, "POST /x HTTP/1.1\r\nHost: localhost\r\nX-Slow: "},
			{"half a preface", s.addr, preface[:10]},
			{"only a preface", s.addr, preface},
			{"preface and half a frame", s.addr, preface + "\x00\x00\x40\x04\x00"},
			{"silence at raft", s.raftAddr, ""},
			{"half a frame at raft", s.raftAddr, "\x00\x00\x00"},
			{"a hello that does not come", s.raftAddr, "\x00\x00\x00\x50\x01\x00\x55\x47\x5f\xe9"},
			{"HTTP at raft", s.raftAddr, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"},
		} {
			t.Run(c.what, func(t *testing.T) {
				t.Parallel()
				wantClosed(t, c.addr, c.bytes, 0)
			})
		}
		t.Run("a header a byte at a time", func(t *testing.T) {
			t.Parallel()
			wantClosed(t, s.addr, "POST /x HTTP/1.1\r\nX-Slow: "+strings.Repeat("a", 200), 100*time.Millisecond)
		})
	})
	for name, stream := range streams {
		for range 3 { // what has waited, and what is new
			if !stream.Receive() {
				t.Fatalf("the subscription over %s ended: %v", name, stream.Err())
			}
		}
	}
}

// wantClosed writes, with a pause after each byte if there is one, and waits for
// the other side to close.
func wantClosed(t *testing.T, addr, bytes string, pause time.Duration) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	written := make(chan struct{})
	go func() {
		defer close(written)
		for rest := []byte(bytes); len(rest) > 0; time.Sleep(pause) {
			n := len(rest)
			if pause > 0 {
				n = 1
			}
			if _, err := conn.Write(rest[:n]); err != nil {
				return
			}
			rest = rest[n:]
		}
	}()
	if err := conn.SetReadDeadline(time.Now().Add(closedWithin)); err != nil {
		t.Fatal(err)
	}
	_, err = io.Copy(io.Discard, conn)
	_ = conn.Close()
	<-written
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		t.Fatalf("the connection is open after %v", closedWithin)
	}
}
