package endtoend

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// target is where a consumer's changes go.
type target interface {
	// args are the program's flags for a run of it.
	args(run int) []string
	// ended notes that a run has ended.
	ended() error
	// delivered returns the ids that each run has brought, as far as the target can tell
	// runs apart.
	delivered(t *testing.T) [][]string
}

// line is what is read of a record.
type line struct {
	ID string `json:"id"`
}

// files is a directory of files.
type files struct {
	dir   string
	lines []int // how many there were when each run had ended
}

func (f *files) args(int) []string {
	return []string{"--to", "file:" + f.dir, "--file-max-bytes", "65536"}
}

func (f *files) ended() error {
	all, err := f.read()
	f.lines = append(f.lines, len(all))
	return err
}

func (f *files) delivered(t *testing.T) (runs [][]string) {
	all, err := f.read()
	if err != nil {
		t.Fatal(err)
	}
	from := 0
	for _, until := range f.lines {
		runs = append(runs, all[from:until])
		from = until
	}
	return runs
}

// read returns the ids of all whole lines.
func (f *files) read() (ids []string, err error) {
	names, err := filepath.Glob(filepath.Join(f.dir, "changes-*.jsonl"))
	if err != nil {
		return nil, err
	}
	for _, name := range names { // which the names' zeros keep in order
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		for record := range bytes.Lines(text) {
			var l line
			if err := json.Unmarshal(record, &l); err == nil { // else a kill has cut it off
				ids = append(ids, l.ID)
			}
		}
	}
	return ids, nil
}

// hook is a webhook that is sometimes busy.
type hook struct {
	*httptest.Server
	mu       sync.Mutex
	requests int
	runs     [][]string
}

func startHook(t *testing.T) *hook {
	h := new(hook)
	h.Server = httptest.NewServer(h)
	t.Cleanup(h.Close)
	return h
}

func (h *hook) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var events []line
	if json.NewDecoder(r.Body).Decode(&events) != nil {
		w.WriteHeader(http.StatusBadRequest) // the program was killed while it sent this
		return
	}
	run, err := strconv.Atoi(r.Header.Get("Run"))
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.requests++; err != nil || h.requests%10 == 0 {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	for len(h.runs) <= run {
		h.runs = append(h.runs, nil)
	}
	for _, e := range events {
		h.runs[run] = append(h.runs[run], e.ID)
	}
}

func (h *hook) args(run int) []string {
	return []string{"--to", "webhook+" + h.URL, "--webhook-events", "7", "--webhook-header", "Run: " + strconv.Itoa(run)}
}

func (h *hook) ended() error { return nil }

func (h *hook) delivered(*testing.T) [][]string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.runs
}

// bus is a NATS server. It drops what comes again: all is as if of a single run.
type bus struct{ *server.Server }

func startBus(t *testing.T) bus {
	t.Helper()
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the NATS server does not start")
	}
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	return bus{s}
}

func (b bus) args(int) []string {
	return []string{"--to", b.ClientURL(), "--nats-stream", "METADATA", "--nats-create-stream"}
}

func (bus) ended() error { return nil }

func (b bus) delivered(t *testing.T) [][]string {
	conn, err := nats.Connect(b.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(t.Context(), "METADATA")
	if err != nil {
		t.Fatal(err)
	}
	consumer, err := stream.OrderedConsumer(t.Context(), jetstream.OrderedConsumerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	batch, err := consumer.Fetch(int(stream.CachedInfo().State.Msgs))
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for m := range batch.Messages() {
		var l line
		if err := json.Unmarshal(m.Data(), &l); err != nil || m.Headers().Get(nats.MsgIdHdr) != l.ID {
			t.Fatalf("%s has id %q: %v", m.Data(), m.Headers().Get(nats.MsgIdHdr), err)
		}
		ids = append(ids, l.ID)
	}
	if batch.Error() != nil {
		t.Fatal(batch.Error())
	}
	return [][]string{ids}
}
