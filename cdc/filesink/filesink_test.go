package filesink

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/heliosdb/metadata/cdc/jsonl"
	"github.com/heliosdb/metadata/cdc/record"
	"github.com/heliosdb/metadata/cdc/sink"
	"github.com/heliosdb/metadata/client/consume"
	"github.com/heliosdb/metadata/client/follow"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// clock is a clock that stands still unless told otherwise.
type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

func open(t *testing.T, o Options) *Sink {
	t.Helper()
	if o.Now == nil {
		o.Now = new(clock).now
	}
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func deliver(t *testing.T, s *Sink, all ...record.Record) {
	t.Helper()
	if err := (&sink.Courier{Sink: s}).Deliver(t.Context(), all); err != nil {
		t.Fatal(err)
	}
}

// sized returns a record whose line has so many bytes.
func sized(id, bytes int) record.Record {
	text := fmt.Sprintf(`{"id":"%d","x":""}`, id)
	return record.Record{JSON: []byte(strings.Replace(text, `""`, `"`+strings.Repeat("x", bytes-1-len(text))+`"`, 1))}
}

// ids are the ids of the lines of each file, in order.
func ids(t *testing.T, dir string) string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "changes-*.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	var files []string
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var file []string
		for line := range bytes.Lines(text) {
			var l struct{ ID string }
			if err := json.Unmarshal(line, &l); err != nil {
				t.Fatalf("%s has the line %q: %v", name, line, err)
			}
			file = append(file, l.ID)
		}
		files = append(files, strings.Join(file, " "))
	}
	return strings.Join(files, " | ")
}

func TestFilesHaveASize(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	s := open(t, Options{Dir: dir, MaxBytes: MinMaxBytes})
	deliver(t, s, sized(1, 2000), sized(2, 2096), sized(3, 2000), sized(4, 2097), sized(5, 9000), sized(6, 100))
	if got := ids(t, dir); got != "1 2 | 3 | 4 | 5 | 6" {
		t.Errorf("the files have %s", got)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, Options{Dir: dir, MaxBytes: MinMaxBytes})
	deliver(t, s, sized(7, 100), sized(8, 4000))
	if got := ids(t, dir); got != "1 2 | 3 | 4 | 5 | 6 7 | 8" {
		t.Errorf("then the files have %s", got)
	}
	_ = s.Close()
}

func TestFilesHaveAnAge(t *testing.T) {
	dir, at := t.TempDir(), new(clock)
	s := open(t, Options{Dir: dir, MaxAge: time.Hour, Now: at.now})
	deliver(t, s, sized(1, 100))
	at.at = at.at.Add(time.Hour - 1)
	deliver(t, s, sized(2, 100))
	at.at = at.at.Add(1)
	deliver(t, s, sized(3, 100))
	if got := ids(t, dir); got != "1 2 | 3" {
		t.Errorf("the files have %s", got)
	}
	_ = s.Close()
}

func TestADirectoryHasOneProcess(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Options{Dir: dir})
	if _, err := Open(Options{Dir: dir, Now: time.Now}); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Fatalf("got %v", err)
	}
	_ = s.Close()
	_ = open(t, Options{Dir: dir}).Close()
}

// A directory that is created outlives a power failure, as what is in it does.
func TestNewDirectoriesAreSynced(t *testing.T) {
	top := t.TempDir()
	for _, c := range []struct {
		dir  string
		want []string
	}{
		{"a/b/c", []string{top, top + "/a", top + "/a/b"}},
		{"a/b/c", nil},
		{"a/b/d/", []string{top + "/a/b"}},
	} {
		var synced []string
		err := makeDir(top+"/"+c.dir, func(dir string) error {
			synced = append(synced, dir)
			return jsonl.SyncDir(dir)
		})
		if err != nil || !slices.Equal(synced, c.want) {
			t.Errorf("%s: synced %v, %v; want %v", c.dir, synced, err, c.want)
		}
	}
	failure := errors.New("bad disk")
	if err := makeDir(filepath.Join(top, "e"), func(string) error { return failure }); !errors.Is(err, failure) {
		t.Errorf("a failed sync: %v", err)
	}
	file := filepath.Join(top, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Options{Dir: filepath.Join(file, "a"), Now: time.Now}); err == nil {
		t.Error("a directory in a file")
	}
	t.Chdir(top)
	if err := makeDir("relative", jsonl.SyncDir); err != nil {
		t.Error(err)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for _, o := range []Options{{MaxBytes: 100}, {MaxBytes: -1}, {MaxAge: -1}} {
		o.Dir, o.Now = t.TempDir(), time.Now
		if _, err := Open(o); err == nil {
			t.Errorf("%+v is taken", o)
		}
	}
}

// process is one run of a consumer that writes to a directory, step by step.
type process struct {
	t       *testing.T
	machine *consume.Machine
	sink    *Sink
	kept    *metadatav1.Position // what the service keeps; survives the process
	left    int                  // steps until it is killed
}

// killed reports whether the process ends here.
func (p *process) killed() bool {
	p.left--
	return p.left < 0
}

// run carries out changes up to a revision of both streams. It returns whether it came to
// the end.
func (p *process) run(last uint64) bool {
	for now := time.Unix(0, 0); ; now = now.Add(time.Second) {
		for _, s := range follow.Streams {
			if next := follow.RevisionOf(p.machine.Received(), s) + 1; next <= last {
				if err := p.machine.See(changesOf(s, next, min(next+1, last)), now); err != nil {
					p.t.Fatal(err)
				}
			}
		}
		if p.killed() {
			return false
		}
		batch := p.machine.Begin()
		if batch == nil {
			return true
		}
		var all []record.Record
		for _, d := range batch {
			r, err := record.Of(d)
			if err != nil {
				p.t.Fatal(err)
			}
			all = append(all, r)
		}
		for len(all) > 0 {
			n, err := p.sink.Send(p.t.Context(), all)
			if err != nil {
				p.t.Fatal(err)
			}
			if all = all[n:]; p.killed() {
				return false
			}
		}
		p.machine.Handled(now)
		if p.killed() {
			return false
		}
		if kept := p.machine.Acknowledge(now); kept != nil {
			if p.killed() {
				return false
			}
			p.kept = kept
			if p.killed() {
				return false
			}
			p.machine.Acknowledged(true, now)
		}
	}
}

func changesOf(s metadatav1.Stream, first, last uint64) *metadatav1.SubscribeResponse {
	all := &metadatav1.Changes{Stream: s}
	for r := first; r <= last; r++ {
		all.Changes = append(all.Changes, &metadatav1.Change{
			Revision: r, Time: &timestamppb.Timestamp{}, FeatureLevel: 1, Actor: strings.Repeat("a", 200),
			Events: []*metadatav1.Event{{Kind: &metadatav1.Event_NodeDrained{NodeDrained: &metadatav1.NodeDrained{}}}},
		})
	}
	return &metadatav1.SubscribeResponse{Frame: &metadatav1.SubscribeResponse_Changes{Changes: all}}
}

// A process that is killed between any two steps, and before that in the middle of any
// write, goes on with nothing lost, nothing out of order and every line whole.
func TestNothingIsLostWhereverItIsKilled(t *testing.T) {
	const last = 20
	for steps := 0; ; steps++ {
		dir, kept, ended := t.TempDir(), &metadatav1.Position{ClusterId: "c"}, false
		for run := 0; !ended; run++ {
			p := &process{t: t, kept: kept, left: 1000}
			if run == 0 {
				p.left = steps
			}
			var err error
			if p.machine, err = consume.New(kept, consume.Options{BatchChanges: 3, AckChanges: 5}); err != nil {
				t.Fatal(err)
			}
			p.sink = open(t, Options{Dir: dir, MaxBytes: MinMaxBytes})
			ended = p.run(last)
			kept = p.kept
			_ = p.sink.Close()
			if !ended {
				tear(t, dir, steps)
			}
			if ended && run == 0 {
				return // it was not killed any more
			}
		}
		check(t, dir, steps, last)
	}
}

// tear leaves what a write leaves that a crash interrupts, of a length that differs. It is
// never a whole record: that would be one that comes again.
func tear(t *testing.T, dir string, steps int) {
	t.Helper()
	names, _ := filepath.Glob(filepath.Join(dir, "changes-*.jsonl"))
	file, err := os.OpenFile(names[len(names)-1], os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	line := `{"id":"torn","actor":"somebody"}` + "\n"
	_, err = file.WriteString(line[:steps%(len(line)-1)])
	if err != nil || file.Close() != nil {
		t.Fatal(err)
	}
}

// check fails unless each stream's changes are there without a gap before the first time
// that each comes.
func check(t *testing.T, dir string, steps int, last int) {
	t.Helper()
	seen := make(map[string]int)
	for id := range strings.FieldsSeq(strings.ReplaceAll(ids(t, dir), "|", " ")) {
		var revision int
		at := strings.LastIndexByte(id, '/')
		if _, err := fmt.Sscan(id[at+1:], &revision); err != nil {
			t.Fatalf("killed after %d steps: a line has id %q", steps, id)
		}
		if revision > seen[id[:at]]+1 {
			t.Fatalf("killed after %d steps: %s comes behind %d", steps, id, seen[id[:at]])
		}
		seen[id[:at]] = max(seen[id[:at]], revision)
	}
	if seen["c/0/schema"] != last || seen["c/0/topology"] != last {
		t.Fatalf("killed after %d steps: there is %v", steps, seen)
	}
}
