package sink

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/heliosdb/metadata/cdc/jsonl"
	"github.com/heliosdb/metadata/cdc/record"
)

func records(first, last int) (all []record.Record) {
	for i := first; i <= last; i++ {
		id := fmt.Sprintf("c/1/schema/%d", i)
		all = append(all, record.Record{ID: id, Stream: "schema", Time: time.Unix(int64(i), 0), JSON: fmt.Appendf(nil, `{"id":%q}`, id)})
	}
	return all
}

// scripted is a sink that takes at most a few records at once, rejects some, and answers
// as it is told, as long as it is.
type scripted struct {
	most    int
	poison  map[string]bool
	answers []error
	got     []string
	tries   int
}

func (s *scripted) Send(_ context.Context, all []record.Record) (n int, err error) {
	s.tries++
	if len(s.answers) > 0 {
		err, s.answers = s.answers[0], s.answers[1:]
		if err != nil {
			return 0, err
		}
	}
	if s.most > 0 {
		all = all[:min(len(all), s.most)]
	}
	for _, r := range all {
		if s.poison[r.ID] {
			return 0, &RejectedError{Records: len(all), Reason: "poison"}
		}
	}
	for _, r := range all {
		s.got = append(s.got, strings.TrimPrefix(r.ID, "c/1/schema/"))
	}
	return len(all), nil
}

func (s *scripted) Close() error { return nil }

// courier returns a courier that does not wait, and where it notes for how long it would.
func courier(s Sink) (*Courier, *[]time.Duration) {
	var waits []time.Duration
	return &Courier{Sink: s, Sleep: func(ctx context.Context, d time.Duration) error {
		waits = append(waits, d)
		return ctx.Err()
	}}, &waits
}

func TestDeliversInOrderUntilAllIsThere(t *testing.T) {
	down := errors.New("down")
	s := &scripted{most: 3, answers: []error{down, down, nil, down, nil}}
	c, waits := courier(s)
	registry := prometheus.NewRegistry()
	c.Metrics = NewMetrics(registry)
	var said strings.Builder
	c.Log = slog.New(slog.NewTextHandler(&said, nil))
	if err := c.Deliver(t.Context(), records(1, 8)); err != nil {
		t.Fatal(err)
	}
	if text := said.String(); strings.Count(text, "a delivery succeeded") != 2 || !strings.Contains(text, "change=c/1/schema/1 failed_before=2") {
		t.Errorf("it says %s", text)
	}
	if got := strings.Join(s.got, " "); got != "1 2 3 4 5 6 7 8" {
		t.Fatalf("delivered %s", got)
	}
	if len(*waits) != 3 || testutil.ToFloat64(c.Metrics.retries) != 3 || testutil.ToFloat64(c.Metrics.changes) != 8 || testutil.ToFloat64(c.Metrics.last) != 8 {
		t.Fatalf("it waited %v", *waits)
	}
}

func TestASinkMayTakeOneAtATime(t *testing.T) {
	s := &scripted{most: 1}
	c, _ := courier(s)
	if err := c.Deliver(t.Context(), records(1, 200)); err != nil || len(s.got) != 200 || s.tries != 200 {
		t.Fatalf("%d delivered in %d tries, %v", len(s.got), s.tries, err)
	}
}

// A sink that is down for days is asked every half a minute or so, not more.
func TestPausesGrow(t *testing.T) {
	s := &scripted{answers: make([]error, 100)}
	for i := range s.answers {
		s.answers[i] = errors.New("down")
	}
	c, waits := courier(s)
	if err := c.Deliver(t.Context(), records(1, 1)); err != nil {
		t.Fatal(err)
	}
	if first := (*waits)[0]; first > 2*minPause {
		t.Errorf("the first pause is %v", first)
	}
	for _, d := range (*waits)[50:] {
		if d < maxPause/2 || d > 2*maxPause {
			t.Errorf("a pause of %v", d)
		}
	}
}

func TestABusySinkIsLeftAlone(t *testing.T) {
	busy := func(d time.Duration) error { return &BusyError{After: d, Err: errors.New("busy")} }
	s := &scripted{answers: []error{busy(20 * time.Second), busy(time.Hour)}}
	c, waits := courier(s)
	if err := c.Deliver(t.Context(), records(1, 1)); err != nil || (*waits)[0] != 20*time.Second || (*waits)[1] != maxBusy {
		t.Fatalf("it waited %v, %v", *waits, err)
	}
}

func TestWhatIsRejectedGoesToTheDeadLetters(t *testing.T) {
	name := filepath.Join(t.TempDir(), "dead.jsonl")
	dead, err := OpenDeadLetters(name, "webhook", func() time.Time { return time.Unix(60, 0) }, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	s := &scripted{poison: map[string]bool{"c/1/schema/6": true, "c/1/schema/7": true, "c/1/schema/20": true}}
	c, waits := courier(s)
	c.DeadLetters, c.Metrics = dead, NewMetrics(prometheus.NewRegistry())
	if err := c.Deliver(t.Context(), records(1, 20)); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(s.got, " "); got != "1 2 3 4 5 8 9 10 11 12 13 14 15 16 17 18 19" {
		t.Fatalf("delivered %s", got)
	}
	if s.tries > 30 || len(*waits) != 0 || testutil.ToFloat64(c.Metrics.dead) != 3 {
		t.Errorf("%d tries, waits %v", s.tries, *waits)
	}
	if err := dead.Close(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(string(text), "\n")
	want := `{"time":"1970-01-01T00:01:00Z","target":"webhook","reason":"poison","change":{"id":"c/1/schema/6"}}` + "\n"
	if len(lines) != 4 || lines[0] != want || !json.Valid([]byte(lines[2])) {
		t.Errorf("the dead letters are %q", text)
	}
}

// A sink that rejects everything does not want the records differently: somebody has to
// look, before the whole history is buried.
func TestASinkThatRejectsEverythingEndsIt(t *testing.T) {
	dead, err := OpenDeadLetters(filepath.Join(t.TempDir(), "dead.jsonl"), "webhook", time.Now, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = dead.Close() }()
	s := &scripted{poison: map[string]bool{}}
	for _, r := range records(1, 9) {
		s.poison[r.ID] = r.ID != "c/1/schema/3"
	}
	c, _ := courier(s)
	c.DeadLetters, c.Metrics, c.DeadInARow = dead, NewMetrics(prometheus.NewRegistry()), 5
	if err := c.Deliver(t.Context(), records(1, 6)); err != nil {
		t.Fatal(err) // 2, then 3 in a row
	}
	err = c.Deliver(t.Context(), records(7, 9)) // the row goes on
	if err == nil || !strings.Contains(err.Error(), "c/1/schema/9") || !strings.Contains(err.Error(), "--dead-letters-in-a-row") {
		t.Fatalf("got %v", err)
	}
	if got := testutil.ToFloat64(c.Metrics.dead); got != 7 {
		t.Errorf("%v records are buried", got)
	}
}

func TestWhatIsRejectedEndsItWithoutDeadLetters(t *testing.T) {
	s := &scripted{poison: map[string]bool{"c/1/schema/3": true}}
	c, _ := courier(s)
	err := c.Deliver(t.Context(), records(1, 5))
	if err == nil || !strings.Contains(err.Error(), "c/1/schema/3") || !strings.Contains(err.Error(), "--dead-letters") {
		t.Fatalf("got %v", err)
	}
	if got := strings.Join(s.got, " "); got != "1 2" {
		t.Fatalf("delivered %s", got)
	}
}

func TestABrokenSinkEndsIt(t *testing.T) {
	s := &scripted{answers: []error{&BrokenError{jsonl.ErrBroken}}}
	c, _ := courier(s)
	if err := c.Deliver(t.Context(), records(1, 5)); !errors.Is(err, jsonl.ErrBroken) || s.tries != 1 {
		t.Fatalf("%v after %d tries", err, s.tries)
	}
}

func TestTheContextEndsIt(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s := &scripted{answers: []error{errors.New("down"), errors.New("down")}}
	c := &Courier{Sink: s} // on the clock
	time.AfterFunc(10*time.Millisecond, cancel)
	begin := time.Now()
	if err := c.Deliver(ctx, records(1, 5)); !errors.Is(err, context.Canceled) || time.Since(begin) > 5*time.Second {
		t.Fatalf("%v after %v", err, time.Since(begin))
	}
}
