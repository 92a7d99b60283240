package consume

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
	"weak"

	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/client/follow"
	"github.com/heliosdb/metadata/client/internal/frames"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func after(d time.Duration) time.Time { return start.Add(d) }

func machine(t *testing.T, from *metadatav1.Position, o Options) *Machine {
	t.Helper()
	m, err := New(from, o)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func see(t *testing.T, m *Machine, all ...*metadatav1.SubscribeResponse) {
	t.Helper()
	for _, f := range all {
		if err := m.See(f, start); err != nil {
			t.Fatal(err)
		}
	}
}

// show is a batch on one line, such as "s4 s5 t2".
func show(batch []Delivery) string {
	var texts []string
	for _, d := range batch {
		texts = append(texts, fmt.Sprintf("%c%d", d.Stream.String()[len("STREAM_")]|0x20, d.Change.GetRevision()))
	}
	return strings.Join(texts, " ")
}

func TestBatchesFollowOneAnother(t *testing.T) {
	m := machine(t, frames.At(1, 3, 0), Options{BatchChanges: 2})
	see(t, m, frames.Created(4, 6), frames.Registered(1))
	if m.HasRoom() {
		t.Error("it takes more than is handed out in two batches")
	}
	if got := show(m.Begin()); got != "s4 s5" {
		t.Fatalf("handed out %s", got)
	}
	if got := m.Begin(); got != nil {
		t.Fatalf("handed out %s before the batch before was carried out", show(got))
	}
	m.Handled(start)
	if got := show(m.Begin()); got != "s6 t1" {
		t.Fatalf("handed out %s", got)
	}
	m.Handled(start)
	if got := m.Begin(); got != nil || !m.HasRoom() {
		t.Fatalf("handed out %s", show(got))
	}
}

// sized are the changes of the schema in a range of revisions, each of about so many bytes.
func sized(first, last uint64, bytes int) *metadatav1.SubscribeResponse {
	f := frames.Created(first, last)
	for _, change := range f.GetChanges().GetChanges() {
		change.Actor = strings.Repeat("a", bytes)
	}
	return f
}

// However large changes are, what waits and what is handed out stay within a frame and a
// change of what they may have.
func TestBatchesAreBoundedByBytes(t *testing.T) {
	m := machine(t, frames.At(1, 0, 0), Options{BatchChanges: 100, BatchBytes: 3500})
	see(t, m, sized(1, 3, 1000))
	if !m.HasRoom() {
		t.Error("it takes less than a batch")
	}
	see(t, m, sized(4, 4, 1000), sized(5, 5, 9000), sized(6, 6, 9000), sized(7, 200, 1))
	if m.HasRoom() {
		t.Error("it takes more than a batch")
	}
	for _, want := range []string{"s1 s2 s3", "s4", "s5", "s6"} {
		if got := show(m.Begin()); got != want {
			t.Fatalf("handed out %s, want %s", got, want)
		}
		m.Handled(start)
	}
	bytes, got := 0, m.Begin()
	for _, d := range got {
		bytes += proto.Size(d.Change)
	}
	if len(got) < 50 || len(got) == 100 || bytes > 3500 {
		t.Fatalf("handed out %d of the small ones, %d bytes", len(got), bytes)
	}
}

// What was carried out is let go of, though more waits.
func TestWhatWasCarriedOutIsLetGo(t *testing.T) {
	m := machine(t, frames.At(1, 0, 0), Options{BatchChanges: 1})
	see(t, m, frames.Created(1, 2))
	change := weak.Make(m.Begin()[0].Change)
	m.Handled(start)
	runtime.GC()
	if change.Value() != nil {
		t.Error("the first change is held on to")
	}
	if got := show(m.Begin()); got != "s2" {
		t.Errorf("handed out %s", got)
	}
}

func TestIDsNameChangesForEver(t *testing.T) {
	m := machine(t, frames.At(7, 3, 0), Options{})
	see(t, m, frames.Registered(12))
	if id := m.Begin()[0].ID(); id != "c/7/topology/12" {
		t.Fatalf("the id is %q", id)
	}
}

func TestAcknowledgesWhatWasCarriedOut(t *testing.T) {
	m := machine(t, frames.At(1, 3, 0), Options{BatchChanges: 2, AckChanges: 4, AckInterval: time.Second})
	expect := func(now time.Time, schema, topology uint64) {
		t.Helper()
		got := m.Acknowledge(now)
		switch {
		case got == nil && schema == 0:
		case !proto.Equal(got, frames.At(1, schema, topology)):
			t.Fatalf("it acknowledges %v, want %d:%d", got, schema, topology)
		default:
			m.Acknowledged(true, now)
		}
	}
	see(t, m, frames.Created(4, 9), frames.Registered(5))
	m.Begin()
	expect(after(time.Second), 0, 0) // nothing was carried out
	m.Handled(after(time.Second))
	expect(after(time.Second), 0, 0) // too early
	m.Begin()
	m.Handled(after(time.Second + time.Millisecond))
	expect(after(time.Second+time.Millisecond), 7, 0) // as many as four
	m.Begin()
	m.Handled(after(2 * time.Second))
	if at, due := m.DueAt(); !due || !at.Equal(after(3*time.Second)) {
		t.Fatalf("due at %v (%v)", at, due)
	}
	expect(after(3*time.Second), 9, 0)
	m.Begin()
	see(t, m, frames.Bookmark(frames.At(1, 20, 8))) // which counts when all before it is carried out
	expect(after(4*time.Second), 0, 0)
	m.Handled(after(4 * time.Second))
	expect(after(5*time.Second), 20, 8)
	if at, due := m.DueAt(); !due || !at.Equal(after(10*time.Second)) || m.Last() != nil {
		t.Fatalf("there is more to acknowledge, at %v (%v)", at, due)
	}
}

// While a batch is carried out for long, and while there is none, the position that has
// not moved is acknowledged again: a consumer that was taken over learns it so.
func TestAsksWhetherTheConsumerIsStillIts(t *testing.T) {
	m := machine(t, frames.At(1, 3, 0), Options{AckInterval: time.Second})
	if at, due := m.DueAt(); due {
		t.Fatalf("due at %v, before it was sent anything", at)
	}
	see(t, m, frames.Created(4, 4))
	m.Begin()
	asks := func(now time.Time) {
		t.Helper()
		if at, due := m.DueAt(); !due || !at.Equal(now) {
			t.Fatalf("due at %v (%v), want %v", at, due, now)
		}
		if p := m.Acknowledge(now.Add(-1)); p != nil {
			t.Fatalf("it acknowledges %v early", p)
		}
		if p := m.Acknowledge(now); !proto.Equal(p, frames.At(1, 3, 0)) {
			t.Fatalf("it acknowledges %v", p)
		}
		if at, due := m.DueAt(); due {
			t.Fatalf("due at %v, while one is under way", at)
		}
	}
	asks(after(5 * time.Second))
	m.Acknowledged(true, after(6*time.Second))
	asks(after(11 * time.Second))
	m.Acknowledged(false, after(12*time.Second))
	asks(after(13 * time.Second)) // as any other that failed
	m.Acknowledged(true, after(13*time.Second))
	m.Handled(after(14 * time.Second))
	if p := m.Acknowledge(after(15 * time.Second)); p.GetSchemaRevision() != 4 {
		t.Fatalf("it acknowledges %v", p)
	}
}

func TestAFailedAcknowledgementIsMadeAgain(t *testing.T) {
	m := machine(t, frames.At(1, 3, 0), Options{AckChanges: 1})
	see(t, m, frames.Created(4, 4))
	m.Begin()
	m.Handled(start)
	if p := m.Acknowledge(start); p.GetSchemaRevision() != 4 {
		t.Fatalf("it acknowledges %v", p)
	}
	see(t, m, frames.Created(5, 5))
	m.Begin()
	m.Handled(start)
	if p := m.Acknowledge(after(time.Hour)); p != nil {
		t.Fatalf("two acknowledgements at a time: %v", p)
	}
	m.Acknowledged(false, after(time.Hour))
	if at, due := m.DueAt(); !due || !at.After(after(time.Hour)) {
		t.Fatalf("it asks again at %v (%v)", at, due)
	}
	if p := m.Last(); p.GetSchemaRevision() != 5 {
		t.Fatalf("at the end it acknowledges %v", p)
	}
}

// A consumer that begins at the newest change begins there again if it ends before it has
// carried out anything: nothing is handed out until its beginning is kept.
func TestTheBeginningIsKeptFirst(t *testing.T) {
	m := machine(t, nil, Options{})
	if m.Received() != nil || m.Last() != nil {
		t.Fatal("it knows where it begins")
	}
	see(t, m, frames.Bookmark(frames.At(1, 3, 1)), frames.Created(4, 4))
	if got := m.Begin(); got != nil {
		t.Fatalf("handed out %s", show(got))
	}
	if p := m.Acknowledge(start); !proto.Equal(p, frames.At(1, 3, 1)) {
		t.Fatalf("it acknowledges %v", p)
	}
	m.Acknowledged(true, start)
	if got := show(m.Begin()); got != "s4" {
		t.Fatalf("handed out %s", got)
	}
}

func TestRefusesWhatLeavesChangesOut(t *testing.T) {
	for name, c := range map[string]struct {
		from  *metadatav1.Position
		frame *metadatav1.SubscribeResponse
		want  string
	}{
		"reset":             {frames.At(1, 3, 0), frames.Reset(0, "HISTORY_TRIMMED"), "HISTORY_TRIMMED"},
		"snapshot":          {frames.At(1, 3, 0), frames.Tables(5), "Snapshot"},
		"nothing":           {frames.At(1, 3, 0), &metadatav1.SubscribeResponse{}, "not what a consumer asked for"},
		"another epoch":     {frames.At(1, 3, 0), frames.Bookmark(frames.At(2, 3, 0)), "epoch 2"},
		"no position":       {nil, frames.Created(4, 4), "before a bookmark"},
		"an unknown stream": {frames.At(1, 3, 0), changesOf(77), "stream 77"},
	} {
		m := machine(t, c.from, Options{})
		err := m.See(c.frame, start)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
		if got := m.Begin(); got != nil {
			t.Errorf("%s: handed out %s", name, show(got))
		}
	}
}

func changesOf(s metadatav1.Stream) *metadatav1.SubscribeResponse {
	f := frames.Created(4, 4)
	f.GetChanges().Stream = s
	return f
}

func TestOptionsAreChecked(t *testing.T) {
	for _, o := range []Options{{BatchChanges: -1}, {BatchChanges: MaxBatchChanges + 1}, {BatchBytes: -1}, {AckChanges: -1}, {AckInterval: time.Microsecond}} {
		if m, err := New(nil, o); err == nil {
			t.Errorf("%+v is taken: %v", o, m)
		}
	}
	if _, err := New(&metadatav1.Position{SchemaRevision: 3}, Options{}); err == nil {
		t.Error("a position without a cluster is taken")
	}
}

// world is a service and what consumers of it have carried out, over many runs of them.
type world struct {
	random  *rand.Rand
	head    *metadatav1.Position // what the service has
	kept    *metadatav1.Position // what it keeps of the consumer
	carried map[metadatav1.Stream][]uint64
}

// run is one run of a consumer, until a random moment.
func (w *world) run(t *testing.T) {
	m := machine(t, w.kept, Options{BatchChanges: 1 + w.random.IntN(4), AckChanges: 1 + w.random.IntN(6), AckInterval: time.Second})
	now, sent := start, proto.CloneOf(w.kept)
	var asked *metadatav1.Position
	for range w.random.IntN(40) {
		now = now.Add(time.Duration(w.random.IntN(700)) * time.Millisecond)
		switch w.random.IntN(6) {
		case 0: // the service has more
			s := follow.Streams[w.random.IntN(2)]
			follow.SetRevision(w.head, s, follow.RevisionOf(w.head, s)+w.random.Uint64N(4))
		case 1: // a frame comes, if it may, and sometimes one that came before
			if m.HasRoom() {
				if err := m.See(w.frame(sent), now); err != nil {
					t.Fatal(err)
				}
			}
			if w.random.IntN(5) == 0 {
				sent = m.Received() // it broke
			}
		case 2: // half of a batch's effects can be seen before it is carried out
			batch := m.Begin()
			n := w.random.IntN(len(batch) + 1)
			w.carry(batch[:n])
			if w.random.IntN(8) == 0 {
				return
			}
			w.carry(batch[n:])
			m.Handled(now)
		case 3:
			if asked == nil {
				asked = m.Acknowledge(now)
			}
		case 4: // it takes effect, though the answer may be lost
			if asked == nil {
				break
			}
			if w.random.IntN(3) > 0 {
				w.kept = asked
				m.Acknowledged(w.random.IntN(2) == 0, now)
			} else {
				m.Acknowledged(false, now)
			}
			asked = nil
		case 5:
			if w.random.IntN(20) == 0 {
				return
			}
		}
	}
}

// frame is what comes behind a position.
func (w *world) frame(sent *metadatav1.Position) *metadatav1.SubscribeResponse {
	s := follow.Streams[w.random.IntN(2)]
	next, head := follow.RevisionOf(sent, s)+1, follow.RevisionOf(w.head, s)
	if next > head {
		return frames.Bookmark(proto.CloneOf(sent))
	}
	next -= min(next-1, w.random.Uint64N(2)) // some come twice
	last := min(head, next+w.random.Uint64N(5))
	follow.SetRevision(sent, s, max(last, follow.RevisionOf(sent, s)))
	frame := frames.Created(next, last)
	frame.GetChanges().Stream = s
	return frame
}

// carry notes changes that had an effect.
func (w *world) carry(batch []Delivery) {
	for _, d := range batch {
		w.carried[d.Stream] = append(w.carried[d.Stream], d.Change.GetRevision())
	}
}

// Wherever runs end, every change is carried out before what follows it is, for the first
// time, and what is kept never says more than was carried out.
func TestNothingIsLostWhereverItEnds(t *testing.T) {
	for seed := range uint64(300) {
		w := &world{
			random: rand.New(rand.NewPCG(seed, 1)), head: frames.At(1, 0, 0), kept: frames.At(1, 0, 0),
			carried: make(map[metadatav1.Stream][]uint64),
		}
		for range 30 {
			before := len(w.carried[follow.Streams[0]])
			w.run(t)
			for _, s := range follow.Streams {
				done := uint64(0)
				for _, revision := range w.carried[s] {
					if revision > done+1 {
						t.Fatalf("seed %d: change %d of %v was carried out before change %d", seed, revision, s, done+1)
					}
					done = max(done, revision)
				}
				if kept := follow.RevisionOf(w.kept, s); kept > done {
					t.Fatalf("seed %d: %d of %v is acknowledged, %d was carried out", seed, kept, s, done)
				}
			}
			this := w.carried[follow.Streams[0]][before:]
			if once := slices.Compact(slices.Clone(this)); !slices.IsSorted(this) || len(once) < len(this) {
				t.Fatalf("seed %d: one run carried out %v", seed, this)
			}
		}
		if len(w.carried[follow.Streams[0]]) == 0 {
			t.Fatalf("seed %d: nothing happened", seed)
		}
	}
}
