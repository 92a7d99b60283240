package jetstream

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/heliosdb/metadata/cdc/sink"
)

// eventuallySays sends until the error has a text.
func eventuallySays(t *testing.T, s *Sink, text string) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		n, err := s.Send(t.Context(), records(1, 1))
		if n == 0 && err != nil && strings.Contains(err.Error(), text) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d, %v; want an error with %q", n, err, text)
		}
	}
}

// A password that is wrong, at first or from some moment on, is told in each attempt,
// however many there are, and can be mended while the sink goes on.
func TestWrongCredentialsAreToldAndCanBeMended(t *testing.T) {
	dir := t.TempDir()
	nats := startServer(t, dir, 0, &server.User{Username: "me", Password: "another"})
	port := portOf(t, nats)
	restart := func(password string) {
		stopServer(nats)
		nats = startServer(t, dir, port, &server.User{Username: "me", Password: password})
	}
	s := newSink(t, Options{URL: fmt.Sprint("nats://me:right@127.0.0.1:", port), Prefix: "meta", Stream: "CHANGES", Create: true})
	for range 2 {
		for begin := time.Now(); time.Since(begin) < time.Second; { // several attempts to connect
			eventuallySays(t, s, "Authorization Violation")
		}
		restart("right")
		if err := courier(s).Deliver(t.Context(), records(1, 3)); err != nil {
			t.Fatal(err)
		}
		restart("another")
	}
}

func TestSaysWhyItIsNotConnected(t *testing.T) {
	nats := startServer(t, t.TempDir(), 0)
	port := portOf(t, nats)
	stopServer(nats)
	s := newSink(t, Options{URL: fmt.Sprint("nats://me:secret@127.0.0.1:", port)})
	_, err := s.Send(t.Context(), records(1, 1))
	if err == nil || !strings.Contains(err.Error(), "not connected") || strings.Contains(err.Error(), "secret") {
		t.Fatal(err)
	}
	eventuallySays(t, s, "connection refused")
}

func TestSaysWhatIsNotPermitted(t *testing.T) {
	nats := startServer(t, t.TempDir(), 0, &server.User{Username: "me", Password: "p", Permissions: &server.Permissions{
		Publish: &server.SubjectPermission{Deny: []string{"meta.>"}},
	}})
	s := newSink(t, Options{URL: fmt.Sprint("nats://me:p@127.0.0.1:", portOf(t, nats)), Prefix: "meta", Stream: "CHANGES", Create: true, Timeout: 300 * time.Millisecond})
	eventuallySays(t, s, "Permissions Violation")
}

// What nobody connects again is no reason to wait.
func TestAClosedConnectionBreaksIt(t *testing.T) {
	s := newSink(t, Options{URL: startServer(t, t.TempDir(), 0).ClientURL()})
	s.conn.Close()
	_, err := s.Send(t.Context(), records(1, 1))
	if _, broken := errors.AsType[*sink.BrokenError](err); !broken || !errors.Is(err, nats.ErrConnectionClosed) {
		t.Fatal(err)
	}
}

// A single server cannot keep three replicas, and says so when it is asked for them.
func TestReplicasAreAskedFor(t *testing.T) {
	s := newSink(t, Options{URL: startServer(t, t.TempDir(), 0).ClientURL(), Prefix: "meta", Stream: "CHANGES", Create: true, Replicas: 3})
	eventuallySays(t, s, "replicas > 1")
}
