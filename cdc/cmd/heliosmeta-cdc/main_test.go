package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/heliosdb/metadata/internal/fakefeed"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

const (
	schema   = metadatav1.Stream_STREAM_SCHEMA
	topology = metadatav1.Stream_STREAM_TOPOLOGY
)

func startFeed(t *testing.T) *fakefeed.Service {
	t.Helper()
	feed, err := fakefeed.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(feed.Close)
	return feed
}

// program is the program while it runs.
type program struct {
	t        *testing.T
	cancel   context.CancelFunc
	ended    chan int
	out, err buffer
}

// buffer is a buffer that many may use.
type buffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// start runs the program against a service.
func start(t *testing.T, feed *fakefeed.Service, args ...string) *program {
	t.Helper()
	return startAt(t, feed.Addr(), args...)
}

// startAt runs the program against an endpoint.
func startAt(t *testing.T, endpoint string, args ...string) *program {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	p := &program{t: t, cancel: cancel, ended: make(chan int, 1)}
	all := append([]string{"--endpoints", endpoint, "run", "--ack-interval", "10ms"}, args...)
	go func() { p.ended <- run(ctx, all, &p.out, &p.err, func(string) (string, bool) { return "", false }) }()
	t.Cleanup(func() { p.cancel() })
	return p
}

// code waits until the program has ended by itself.
func (p *program) code() int {
	p.t.Helper()
	select {
	case code := <-p.ended:
		return code
	case <-time.After(20 * time.Second):
		p.t.Fatalf("it does not end: %s", &p.err)
		return 0
	}
}

// stop ends the program as a signal does.
func (p *program) stop() {
	p.t.Helper()
	p.cancel()
	if code := p.code(); code != exitOK {
		p.t.Fatalf("exit code %d: %s", code, &p.err)
	}
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !condition(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

func acknowledged(feed *fakefeed.Service, consumer string, schema, topology uint64) func() bool {
	return func() bool {
		p := feed.Consumer(consumer).GetPosition()
		return p.GetSchemaRevision() == schema && p.GetTopologyRevision() == topology
	}
}

// revisions are the revisions of a stream in JSON lines, in order.
func revisions(t *testing.T, text string, stream string) (all []uint64) {
	t.Helper()
	for line := range strings.Lines(text) {
		var r struct {
			Stream   string
			Revision uint64
		}
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("the line %q: %v", line, err)
		}
		if r.Stream == stream {
			all = append(all, r.Revision)
		}
	}
	return all
}

func TestStdout(t *testing.T) {
	feed := startFeed(t)
	feed.Append(schema, 10)
	feed.Append(topology, 5)
	p := start(t, feed, "--consumer", "audit", "--create", "--from", "beginning", "--to", "stdout")
	eventually(t, "all acknowledged", acknowledged(feed, "audit", 10, 5))
	p.stop()
	if got := fmt.Sprint(revisions(t, p.out.String(), "schema"), revisions(t, p.out.String(), "topology")); got != "[1 2 3 4 5 6 7 8 9 10] [1 2 3 4 5]" {
		t.Fatalf("it printed %s", got)
	}
}

func TestFilterAndStart(t *testing.T) {
	feed := startFeed(t)
	feed.Append(schema, 10)
	feed.Append(topology, 5)
	args := []string{"--consumer", "topo", "--create", "--from", "0:2", "--stream", "topology", "--to", "stdout"}
	p := start(t, feed, args...)
	eventually(t, "all acknowledged", acknowledged(feed, "topo", 0, 5))
	p.stop()
	if got := fmt.Sprint(revisions(t, p.out.String(), "topology")); got != "[3 4 5]" || len(revisions(t, p.out.String(), "schema")) > 0 {
		t.Fatalf("it printed %s", got)
	}
	other := start(t, feed, "--consumer", "topo", "--create", "--stream", "schema", "--to", "stdout")
	if code := other.code(); code != exitError || !strings.Contains(other.err.String(), "filter") {
		t.Fatalf("exit code %d: %s", code, &other.err)
	}
}

func TestFilesAndAPositionFile(t *testing.T) {
	feed := startFeed(t)
	feed.Append(schema, 10)
	dir := t.TempDir()
	args := []string{"--position-file", filepath.Join(dir, "position"), "--from", "beginning", "--to", "file:" + filepath.Join(dir, "out"), "--file-max-bytes", "4096"}
	for total := 10; total <= 30; total += 10 {
		p := start(t, feed, args...)
		eventually(t, "all kept", func() bool {
			text, err := os.ReadFile(filepath.Join(dir, "position"))
			return err == nil && strings.Contains(strings.ReplaceAll(string(text), " ", ""), fmt.Sprintf(`"schemaRevision":"%d"`, total))
		})
		p.stop()
		feed.Append(schema, 10)
	}
	var all string
	names, err := filepath.Glob(filepath.Join(dir, "out", "changes-*.jsonl"))
	if err != nil || len(names) < 2 {
		t.Fatalf("files %v, %v", names, err)
	}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all += string(text)
	}
	got := revisions(t, all, "schema")
	for i, revision := range got {
		if revision != uint64(i+1) {
			t.Fatalf("the files have %v", got)
		}
	}
	if len(got) != 30 {
		t.Fatalf("the files have %v", got)
	}
}

// A webhook that fails now and then, while the service does too, gets all in order; what it
// rejects goes to the dead letters; metrics say so.
func TestWebhookAndMetrics(t *testing.T) {
	feed := startFeed(t)
	var mu sync.Mutex
	calls := 0
	feed.Broken = func() bool {
		mu.Lock()
		defer mu.Unlock()
		calls++
		return calls%7 == 0
	}
	feed.Append(schema, 50)
	var posts int
	var got []string
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var all []struct{ ID string }
		if err := json.NewDecoder(r.Body).Decode(&all); err != nil {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		if posts++; posts == 2 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		for _, e := range all {
			if strings.HasSuffix(e.ID, "/33") {
				w.WriteHeader(http.StatusBadRequest)
				return
			}
		}
		for _, e := range all {
			got = append(got, e.ID[strings.LastIndexByte(e.ID, '/')+1:])
		}
	}))
	defer hook.Close()
	address, dead := freePort(t), filepath.Join(t.TempDir(), "dead.jsonl")
	p := start(t, feed, "--consumer", "hook", "--create", "--from", "beginning", "--batch", "20",
		"--to", "webhook+"+hook.URL+"/in", "--dead-letters", dead, "--metrics", address)
	eventually(t, "all acknowledged", acknowledged(feed, "hook", 50, 0))
	text := get(t, "http://"+address+"/metrics")
	for _, want := range []string{
		`heliosmeta_cdc_delivered_total{stream="schema"} 49`, "heliosmeta_cdc_retries_total 1", "heliosmeta_cdc_dead_letters_total 1",
		`heliosmeta_cdc_lag_changes{stream="schema"} 0`, `heliosmeta_cdc_lag_changes{stream="topology"} 0`, "heliosmeta_client_reconnects_total",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
	p.stop()
	for i, revision := 0, 1; revision <= 50; revision++ {
		if revision == 33 {
			continue
		}
		if i >= len(got) || got[i] != fmt.Sprint(revision) {
			t.Fatalf("the webhook got %v", got)
		}
		i++
	}
	letters, err := os.ReadFile(dead)
	if err != nil || strings.Count(string(letters), "\n") != 1 || !strings.Contains(string(letters), `/schema/33"`) {
		t.Errorf("the dead letters are %s, %v", letters, err)
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

func get(t *testing.T, address string) string {
	t.Helper()
	res, err := http.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestRejectedWithoutDeadLetters(t *testing.T) {
	feed := startFeed(t)
	feed.Append(schema, 5)
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusUnprocessableEntity)
	}))
	defer hook.Close()
	p := start(t, feed, "--consumer", "hook", "--create", "--from", "beginning", "--to", "webhook+"+hook.URL)
	if code := p.code(); code != exitError || !strings.Contains(p.err.String(), "--dead-letters") {
		t.Fatalf("exit code %d: %s", code, &p.err)
	}
	if !acknowledged(feed, "hook", 0, 0)() {
		t.Fatalf("what was rejected is acknowledged: %v", feed.Consumer("hook"))
	}
}

func TestTheSecondProcessTakesOver(t *testing.T) {
	feed := startFeed(t)
	feed.Append(schema, 3)
	args := []string{"--consumer", "audit", "--create", "--from", "beginning", "--to", "stdout"}
	first := start(t, feed, args...)
	eventually(t, "all acknowledged", acknowledged(feed, "audit", 3, 0))
	second := start(t, feed, args...)
	eventually(t, "taken over", func() bool { return feed.Consumer("audit").GetEpoch() == 2 })
	feed.Append(schema, 3)
	eventually(t, "all acknowledged", acknowledged(feed, "audit", 6, 0))
	if code := first.code(); code != exitConflict || !strings.Contains(first.err.String(), "another process") {
		t.Fatalf("exit code %d: %s", code, &first.err)
	}
	second.stop()
}

func TestExitCodes(t *testing.T) {
	feed := startFeed(t)
	feed.Append(schema, 5)
	passed := start(t, feed, "--to", "stdout", "--consumer", "passed", "--create", "--from", "1:0")
	eventually(t, "it has begun", acknowledged(feed, "passed", 5, 0))
	passed.stop()
	feed.Append(schema, 3)
	feed.Trim(schema, 8)
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte("text\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args string
		code int
		errs string
	}{
		{"--to stdout", exitUsage, "who keeps the position"},
		{"--to stdout --consumer a --dead-letters-in-a-row 0", exitUsage, "--dead-letters-in-a-row 0"},
		{"--to stdout --consumer a --position-file b", exitUsage, "exclude"},
		{"--to stdout --consumer a --from never", exitUsage, "never"},
		{"--to stdout --consumer a --stream service", exitUsage, "service"},
		{"--to stdout --consumer a --nothing", exitUsage, "nothing"},
		{"--to stdout --consumer a --batch x", exitUsage, "batch"},
		{"--consumer a", exitUsage, "where to?"},
		{"--to kafka://h --consumer a", exitUsage, `"kafka"`},
		{"--to file: --consumer a", exitUsage, "file:DIR"},
		{"--to webhook+http:// --consumer a", exitUsage, "webhook"},
		{"--to webhook+http://h --consumer a --webhook-header secret", exitUsage, "Name: value"},
		{"--to webhook+http://[::1 --consumer a", exitUsage, "parsed"},
		{"--to webhook+http://h --consumer a --webhook-events -1", exitUsage, "-1 events"},
		{"--to file:" + t.TempDir() + " --consumer a --file-max-bytes 1", exitUsage, "at least 4096"},
		{"--to nats://[::1 --consumer a", exitUsage, "parsed"},
		{"--to nats://127.0.0.1:1 --consumer a --nats-prefix a.>", exitUsage, "a.>"},
		{"--to nats://127.0.0.1:1 --consumer a --nats-replicas 3", exitUsage, "3 replicas"},
		{"--to nats://127.0.0.1:1 --consumer a --nats-create-stream", exitUsage, "no name"},
		{"--to stdout --consumer a --dead-letters " + text, exitError, "not a file of JSON lines"},
		{"--to stdout --consumer a --metrics nowhere:x", exitError, "--metrics"},
		{"--to stdout --consumer a --batch -1", exitUsage, "batches of -1"},
		{"--to stdout --consumer a --ack-interval 1us", exitUsage, "1µs"},
		{"--to stdout --position-file b --create", exitUsage, "--create"},
		{"--to stdout --position-file b --description d", exitUsage, "--description"},
		{"--to stdout --consumer a --kind table", exitUsage, "its own filter"},
		{"--to file:" + text + "/dir --consumer a", exitError, "not a directory"},
		{"--to stdout --consumer nobody", exitNotFound, "with --create"},
		{"--to stdout --consumer passed", exitConflict, "trimmed"},
		{"--to stdout --consumer late --create --from 0:0", exitConflict, "trimmed"},
		{"--to stdout --position-file " + text, exitError, "not the file of a position"},
	} {
		p := start(t, feed, strings.Fields(c.args)...)
		if code := p.code(); code != c.code || !strings.Contains(p.err.String(), c.errs) || strings.Contains(p.err.String(), "secret") {
			t.Errorf("%s: exit code %d: %s", c.args, code, &p.err)
		}
	}
}

// All that is kept is a beginning, wherever that is.
func TestFromTheBeginningOfATrimmedHistory(t *testing.T) {
	feed := startFeed(t)
	feed.Append(schema, 5)
	feed.Trim(schema, 3)
	for _, keeper := range [][]string{{"--consumer", "audit", "--create"}, {"--position-file", filepath.Join(t.TempDir(), "position")}} {
		p := start(t, feed, append(keeper, "--from", "beginning", "--to", "stdout")...)
		eventually(t, "what is kept is delivered", func() bool { return strings.Count(p.out.String(), "\n") == 3 })
		p.stop()
		if out := p.out.String(); !strings.Contains(out, "/schema/3\"") || strings.Contains(out, "/schema/2\"") {
			t.Errorf("%s: delivered %s", keeper, out)
		}
	}
}

func TestTheEnvironmentSetsFlags(t *testing.T) {
	feed := startFeed(t)
	feed.Append(schema, 1)
	set := map[string]string{"HELIOSMETA_ENDPOINTS": feed.Addr(), "HELIOSMETA_TO": "stdout", "HELIOSMETA_POSITION_FILE": filepath.Join(t.TempDir(), "none", "p"), "HELIOSMETA_FROM": "beginning"}
	lookup := func(name string) (string, bool) { v, ok := set[name]; return v, ok }
	var out, errs buffer
	if code := run(t.Context(), []string{"run"}, &out, &errs, lookup); code != exitError || !strings.Contains(out.String(), "/schema/1") {
		t.Errorf("exit code %d: %s%s", code, &out, &errs)
	}
	set["HELIOSMETA_BATCH"] = "many"
	if code := run(t.Context(), []string{"run"}, &out, &errs, lookup); code != exitUsage || !strings.Contains(errs.String(), "HELIOSMETA_BATCH") {
		t.Errorf("exit code %d: %s", code, &errs)
	}
}

// A service that does not answer is waited for.
func TestWaitsForTheService(t *testing.T) {
	feed := startFeed(t)
	feed.Append(schema, 3)
	var mu sync.Mutex
	down := true
	feed.Fail = func(string) error {
		mu.Lock()
		defer mu.Unlock()
		if down {
			return fakefeed.Refusal(connect.CodeUnavailable, metadatav1.ErrorReason_ERROR_REASON_NO_LEADER, "no leader")
		}
		return nil
	}
	p := start(t, feed, "--timeout", "100ms", "--consumer", "audit", "--create", "--from", "beginning", "--to", "stdout")
	eventually(t, "people are told", func() bool {
		return strings.Contains(p.err.String(), "cannot be used; trying on") && strings.Contains(p.err.String(), "no leader")
	})
	mu.Lock()
	down = false
	mu.Unlock()
	eventually(t, "all acknowledged", acknowledged(feed, "audit", 3, 0))
	eventually(t, "people are told that all is well", func() bool { return strings.Contains(p.err.String(), "can be used again") })
	p.stop()
}
