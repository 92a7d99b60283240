package server

import (
	"context"
	"net"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/proto/heliosdb/metadata/v1/metadatav1connect"
)

// A connection that a client opened ahead of need does not hold up the end, and
// calls in progress are finished, over HTTP/1.1 and HTTP/2.
func TestStopDoesNotWaitForThoseWhoNeverAsked(t *testing.T) {
	w := start(t, Options{})
	for range 3 {
		conn, err := net.Dial("tcp", w.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
	}
	entered := make(chan struct{})
	leave := make(chan struct{})
	w.member.onWrite = func(context.Context, proto.Message) error { entered <- struct{}{}; <-leave; return nil }
	written := make(chan error, 2)
	for name, rpc := range map[string]metadatav1connect.MetadataServiceClient{
		"one": metadatav1connect.NewMetadataServiceClient(w.http1(), w.url), "two": w.rpc(),
	} {
		go func() {
			_, err := rpc.CreateTable(context.WithoutCancel(t.Context()), createTable(name))
			written <- err
		}()
		<-entered
	}
	time.AfterFunc(2*newcomerGrace, func() { close(leave) })
	begin := time.Now()
	if err := w.server.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begin); took > 3*time.Second {
		t.Fatalf("stopping took %v", took)
	}
	for range 2 {
		if err := <-written; err != nil {
			t.Fatalf("a call in progress: %v", err)
		}
	}
}

// Nor does the serving of a listener wait for them, when there is nothing else.
func TestServeEndsWithoutThoseWhoNeverAsked(t *testing.T) {
	w := start(t, Options{})
	conn, err := net.Dial("tcp", w.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	eventually(t, "the connection is being looked at", func() bool {
		w.server.mu.Lock()
		defer w.server.mu.Unlock()
		return len(w.server.splits) == 1 && w.server.splits[0].Opening() == 1
	})
	begin := time.Now()
	if err := w.server.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.served <- <-w.served // for the end of the test
	if took := time.Since(begin); took > readHeaderTimeout-time.Second {
		t.Fatalf("serving ended after %v", took)
	}
}
