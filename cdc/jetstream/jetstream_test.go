package jetstream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/heliosdb/metadata/cdc/record"
	"github.com/heliosdb/metadata/cdc/sink"
)

// startServer runs a NATS server; port 0: any.
func startServer(t *testing.T, dir string, port int, users ...*server.User) *server.Server {
	t.Helper()
	if port == 0 {
		port = server.RANDOM_PORT
	}
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: port, JetStream: true, StoreDir: dir, NoSigs: true, NoLog: true, MaxPayload: 64 << 10, SyncAlways: true,
		Users: users,
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the server does not start")
	}
	t.Cleanup(func() { stopServer(s) })
	return s
}

func stopServer(s *server.Server) {
	s.Shutdown()
	s.WaitForShutdown()
}

func portOf(t *testing.T, s *server.Server) int {
	t.Helper()
	_, text, err := net.SplitHostPort(s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return port
}

func newSink(t *testing.T, o Options) *Sink {
	t.Helper()
	if o.Timeout == 0 {
		o.Timeout = 2 * time.Second
	}
	o.pause = 20 * time.Millisecond
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func records(first, last int) (all []record.Record) {
	for i := first; i <= last; i++ {
		id := fmt.Sprintf("c/1/schema/%d", i)
		all = append(all, record.Record{ID: id, Stream: "schema", Kind: "tableCreated", JSON: fmt.Appendf(nil, `{"id":%q}`, id)})
	}
	return all
}

// courier tries again soon.
func courier(s sink.Sink) *sink.Courier {
	return &sink.Courier{Sink: s, Sleep: func(ctx context.Context, _ time.Duration) error {
		time.Sleep(10 * time.Millisecond)
		return ctx.Err()
	}}
}

// stored are the last parts of the ids of all messages of a stream, in order.
func stored(t *testing.T, s *Sink, name string) string {
	t.Helper()
	stream, err := s.stream.Stream(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	info := stream.CachedInfo().State
	var ids []string
	for seq := info.FirstSeq; seq > 0 && seq <= info.LastSeq; seq++ {
		m, err := stream.GetMsg(t.Context(), seq)
		if err != nil {
			t.Fatal(err)
		}
		id := m.Header.Get("Nats-Msg-Id")
		if m.Subject != "meta.schema.tableCreated" || string(m.Data) != fmt.Sprintf(`{"id":%q}`, id) {
			t.Errorf("message %d is %s on %s with id %q", seq, m.Data, m.Subject, id)
		}
		ids = append(ids, strings.TrimPrefix(id, "c/1/schema/"))
	}
	return strings.Join(ids, " ")
}

func TestPublishesInOrderAndOnce(t *testing.T) {
	nats := startServer(t, t.TempDir(), 0)
	s := newSink(t, Options{URL: nats.ClientURL(), Prefix: "meta", Stream: "CHANGES", Create: true})
	if err := courier(s).Deliver(t.Context(), records(1, 5)); err != nil {
		t.Fatal(err)
	}
	// A consumer that begins again behind what it had acknowledged.
	again := newSink(t, Options{URL: nats.ClientURL(), Prefix: "meta", Stream: "CHANGES", Create: true})
	if err := courier(again).Deliver(t.Context(), records(3, 7)); err != nil {
		t.Fatal(err)
	}
	if got := stored(t, s, "CHANGES"); got != "1 2 3 4 5 6 7" {
		t.Fatalf("the stream has %s", got)
	}
	stream, err := s.stream.Stream(t.Context(), "CHANGES")
	if err != nil || stream.CachedInfo().Config.Replicas != 1 || stream.CachedInfo().Config.Duplicates != duplicateWindow || stream.CachedInfo().Config.Subjects[0] != "meta.>" {
		t.Errorf("the stream is %+v, %v", stream.CachedInfo().Config, err)
	}
}

// People are told of a server that is away and comes back, also while there is nothing to deliver.
func TestSaysWhenTheServerIsAway(t *testing.T) {
	dir := t.TempDir()
	nats := startServer(t, dir, 0)
	port := portOf(t, nats)
	stopServer(nats)
	said := make(chan string, 100)
	log := slog.New(slog.NewTextHandler(writerFunc(func(line []byte) (int, error) {
		said <- string(line)
		return len(line), nil
	}), nil))
	newSink(t, Options{URL: fmt.Sprint("nats://127.0.0.1:", port), Log: log})
	wantNext := func(what ...string) {
		t.Helper()
		select {
		case line := <-said:
			for _, part := range what {
				if !strings.Contains(line, part) {
					t.Fatalf("it says %q, and not %q", line, part)
				}
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("nothing is said of %q", what)
		}
	}
	wantNext("level=WARN", "cannot be reached; trying on")
	nats = startServer(t, dir, port)
	wantNext("level=INFO", "can be reached again")
	stopServer(nats)
	wantNext("level=WARN", "cannot be reached; trying on")
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

// A server that is not there, goes away in between and comes back gets all, in order and
// once.
func TestGoesOnWhenTheServerComesBack(t *testing.T) {
	dir := t.TempDir()
	nats := startServer(t, dir, 0)
	port := portOf(t, nats)
	stopServer(nats)
	s := newSink(t, Options{URL: fmt.Sprint("nats://127.0.0.1:", port), Prefix: "meta", Stream: "CHANGES", Create: true, Timeout: 200 * time.Millisecond})
	last, enough, done := 0, make(chan struct{}), make(chan error, 1)
	go func() {
		for {
			if err := courier(s).Deliver(t.Context(), records(last+1, last+30)); err != nil {
				done <- err
				return
			}
			last += 30
			select {
			case <-enough:
				done <- nil
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	}()
	for range 2 {
		time.Sleep(100 * time.Millisecond)
		nats = startServer(t, dir, port)
		time.Sleep(400 * time.Millisecond) // it takes a while to connect again
		stopServer(nats)
	}
	nats = startServer(t, dir, port)
	close(enough)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	var want []string
	for i := 1; i <= last; i++ {
		want = append(want, strconv.Itoa(i))
	}
	reader := newSink(t, Options{URL: nats.ClientURL()})
	if got := stored(t, reader, "CHANGES"); got != strings.Join(want, " ") {
		t.Fatalf("of %d the stream has %s", last, got)
	}
}

func TestWhatIsTooLargeIsRejected(t *testing.T) {
	nats := startServer(t, t.TempDir(), 0)
	s := newSink(t, Options{URL: nats.ClientURL(), Prefix: "meta", Stream: "CHANGES"})
	if _, err := s.stream.CreateStream(t.Context(), jetstream.StreamConfig{Name: "CHANGES", Subjects: []string{"meta.>"}, MaxMsgSize: 1000}); err != nil {
		t.Fatal(err)
	}
	for _, bytes := range []int{2000, 100 << 10} { // more than the stream takes, and than the server does
		all := records(1, 3)
		all[1].JSON = []byte(`"` + strings.Repeat("x", bytes) + `"`)
		n, err := s.Send(t.Context(), all)
		if rejected, ok := errors.AsType[*sink.RejectedError](err); n != 1 || !ok || rejected.Records != 1 {
			t.Errorf("%d bytes: %d, %v", bytes, n, err)
		}
	}
}

// Where no stream listens nothing is lost: it waits for one.
func TestWaitsForAStream(t *testing.T) {
	nats := startServer(t, t.TempDir(), 0)
	s := newSink(t, Options{URL: nats.ClientURL(), Prefix: "meta"})
	n, err := s.Send(t.Context(), records(1, 1))
	if n != 0 || err == nil || !strings.Contains(err.Error(), "meta.schema.tableCreated") {
		t.Fatalf("%d, %v", n, err)
	}
	if _, err := s.stream.CreateStream(t.Context(), jetstream.StreamConfig{Name: "LATER", Subjects: []string{"meta.>"}}); err != nil {
		t.Fatal(err)
	}
	if n, err := s.Send(t.Context(), records(1, 1)); n != 1 || err != nil {
		t.Fatalf("%d, %v", n, err)
	}
	// Another stream than the one that is meant.
	other := newSink(t, Options{URL: nats.ClientURL(), Prefix: "meta", Stream: "CHANGES"})
	if n, err := other.Send(t.Context(), records(2, 2)); n != 0 || err == nil {
		t.Fatalf("%d, %v", n, err)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for _, o := range []Options{
		{URL: "nats://h:1", Prefix: "a.>"}, {URL: "nats://h:1", Prefix: "a b"}, {URL: "nats://h:1", Prefix: ".a"}, {URL: "nats://h:1", Prefix: "a..b"},
		{URL: "nats://h:1", Create: true}, {URL: "nats://h:1", Replicas: 3},
		{URL: "nats://h:1", Create: true, Stream: "S", Replicas: 6}, {URL: "nats://h:1", Create: true, Stream: "S", Replicas: -1}, {URL: "nats://h:1", Timeout: -1}, {URL: "nats://me:secret@[::1"}, {URL: "nats://h:1", Credentials: "none"},
	} {
		s, err := New(o)
		if err == nil {
			_ = s.Close()
			t.Errorf("%+v is taken", o)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("a password is told: %v", err)
		}
	}
}
