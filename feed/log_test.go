package feed_test

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
	"weak"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/feed"
	"github.com/heliosdb/metadata/internal/failure"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

func change(revision uint64) *events.Change {
	return events.Seal(events.Header{Revision: revision}, []events.Event{events.New(table("public", fmt.Sprint("t", revision)))})
}

// fatChange is a change of about so many bytes.
func fatChange(revision uint64, bytes int) *events.Change {
	return events.Seal(events.Header{Revision: revision}, []events.Event{events.New(fat(bytes))})
}

func TestAppendWakesReaders(t *testing.T) {
	l := feed.NewLog(feed.LogOptions{Stream: schema, Head: 5})
	before := l.Changed()
	l.Append(nil)
	l.SetDurable(3)
	select {
	case <-before:
		t.Fatal("woken for nothing")
	default:
	}
	l.Append([]*events.Change{change(6), change(7)})
	<-before
	if l.Head() != 7 || l.Oldest() != 6 || l.Stream() != schema {
		t.Errorf("head %d, oldest %d of %v", l.Head(), l.Oldest(), l.Stream())
	}
}

func TestAppendRefusesGaps(t *testing.T) {
	for _, revision := range []uint64{4, 5, 7} {
		func() {
			defer func() {
				if r := fmt.Sprint(recover()); !strings.Contains(r, fmt.Sprintf("change %d of STREAM_SCHEMA appended behind 5", revision)) {
					t.Errorf("appending %d: %s", revision, r)
				}
			}()
			feed.NewLog(feed.LogOptions{Stream: schema, Head: 5}).Append([]*events.Change{change(revision)})
		}()
	}
}

func TestMemoryKeepsWhatHistoryHasNot(t *testing.T) {
	h := &history{stream: schema, oldest: 1_000} // nothing can be read from it
	l := feed.NewLog(feed.LogOptions{Stream: schema, History: h, MaxChanges: 3})
	for r := range uint64(10) {
		l.Append([]*events.Change{change(r + 1)})
	}
	if l.Oldest() != 1 {
		t.Fatalf("oldest is %d before anything is durable", l.Oldest())
	}
	for _, c := range []struct{ durable, oldest uint64 }{{4, 5}, {2, 5}, {6, 7}, {10, 8}} {
		if l.SetDurable(c.durable); l.Oldest() != c.oldest {
			t.Errorf("durable %d: oldest is %d, want %d", c.durable, l.Oldest(), c.oldest)
		}
	}
}

func TestMemoryIsBoundedInBytes(t *testing.T) {
	l := feed.NewLog(feed.LogOptions{Stream: schema, MaxBytes: 200_000})
	for r := range uint64(1_100) { // leaves an array with much room
		l.Append([]*events.Change{change(r + 1)})
	}
	var appended []weak.Pointer[events.Change]
	for range 150 {
		c := fatChange(l.Head()+1, 20_000)
		appended = append(appended, weak.Make(c))
		l.Append([]*events.Change{c})
	}
	if n := l.Head() - l.Oldest() + 1; n != 9 {
		t.Errorf("%d changes of 20,000 bytes in 200,000", n)
	}
	runtime.GC()
	live := 0
	for _, c := range appended {
		if c.Value() != nil {
			live++
		}
	}
	if live > 20 {
		t.Errorf("%d of 150 changes are still in memory, 9 can be read", live)
	}
	l.Append([]*events.Change{fatChange(l.Head()+1, 500_000)})
	if l.Oldest() != l.Head() {
		t.Errorf("of %d only the newest, larger than memory, should be kept; oldest is %d", l.Head(), l.Oldest())
	}
}

func TestJump(t *testing.T) {
	m := newMember(t, 100)
	for range 3 {
		m.commit(table("public", "t"))
	}
	s := m.subscribe(after(2, 0))
	m.expect(s, "s3")
	l, h := m.logs[schema], m.history[schema]
	woken := l.Changed()
	l.Jump(2) // not later
	for r := range uint64(4) {
		h.changes = append(h.changes, change(r+4))
	}
	h.lacks = 4
	l.Jump(7)
	<-woken
	if l.Head() != 7 {
		t.Fatalf("head is %d", l.Head())
	}
	m.expectError(s, metadatav1.ErrorReason_ERROR_REASON_HISTORY_GAP)
	m.commit(table("public", "t"))
	m.expect(m.subscribe(after(7, 0)), "s8")
	h.lacks = 0 // filled
	m.expect(m.subscribe(after(2, 0)), "s3,4,5,6,7,8")
}

func TestWithoutHistory(t *testing.T) {
	l := feed.NewLog(feed.LogOptions{Stream: schema, MaxChanges: 2})
	f := feed.New(feed.Options{Cluster: cluster, Logs: []*feed.Log{l}})
	for r := range uint64(5) {
		l.Append([]*events.Change{change(r + 1)})
	}
	req := &metadatav1.SubscribeRequest{Start: &metadatav1.SubscribeRequest_After{After: &metadatav1.Position{}}, FailOnGap: true}
	s, err := f.Subscribe(req, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, _, err := s.Next(time.Time{}); !failure.Is(err, metadatav1.ErrorReason_ERROR_REASON_HISTORY_TRIMMED) {
		t.Errorf("got %v", err)
	}
	req.GetAfter().SchemaRevision = 3
	m := newMember(t, 1)
	if s, err = f.Subscribe(req, m.now); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	m.expect(s, "s4,5")
}

// A thousand subscribers that never read keep no change in memory and do not
// hold up the one who appends.
func TestSubscribersThatNeverReadCostNothing(t *testing.T) {
	m := newMember(t, 100)
	m.commit(table("public", "t"))
	for i := range 1_000 {
		s := m.subscribe([]*metadatav1.SubscribeRequest{nil, after(0, 0), fromSnapshot()}[i%3])
		if i%2 == 0 {
			if _, _, err := s.Next(m.now); err != nil {
				t.Fatal(err)
			}
		}
	}
	l := feed.NewLog(feed.LogOptions{Stream: topology, MaxChanges: 1}) // costs what appending costs
	perAppend := func(l *feed.Log) float64 {
		r := l.Head()
		return testing.AllocsPerRun(2_000, func() {
			r++
			l.Append([]*events.Change{change(r)})
			l.SetDurable(r)
		})
	}
	alone, watched := perAppend(l), perAppend(m.logs[schema])
	if watched > alone+1 {
		t.Errorf("an append takes %v allocations with 1,000 subscribers, %v with none", watched, alone)
	}
	var before, afterwards runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	perAppend(m.logs[schema])
	runtime.GC()
	runtime.ReadMemStats(&afterwards)
	if grown := int64(afterwards.HeapAlloc) - int64(before.HeapAlloc); grown > 256<<10 {
		t.Errorf("2,000 changes that nobody read left %d bytes behind", grown)
	}
}

// Readers and the writer share nothing that they could race for.
func TestReadersBesideTheWriter(t *testing.T) {
	const changes = 3_000
	l := feed.NewLog(feed.LogOptions{Stream: schema, MaxChanges: changes})
	f := feed.New(feed.Options{Cluster: cluster, Logs: []*feed.Log{l}})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			s, err := f.Subscribe(&metadatav1.SubscribeRequest{Start: &metadatav1.SubscribeRequest_After{}}, time.Time{})
			if err != nil {
				t.Error(err)
				return
			}
			defer s.Close()
			for next := uint64(1); next <= changes; {
				frame, wait, err := s.Next(time.Time{})
				if err != nil {
					t.Error(err)
					return
				}
				if frame.Message() == nil {
					<-wait.Changed[0]
				}
				for _, c := range frame.Message().GetChanges().GetChanges() {
					if c.Revision != next {
						t.Errorf("got %d, want %d", c.Revision, next)
						return
					}
					next++
				}
			}
		})
	}
	for r := uint64(1); r <= changes; {
		batch := []*events.Change{change(r)}
		for r++; r%5 != 0 && r <= changes; r++ {
			batch = append(batch, change(r))
		}
		l.Append(batch)
		f.Watching(schema)
	}
	wg.Wait()
}

func TestRecentIsWhatMemoryHas(t *testing.T) {
	l := feed.NewLog(feed.LogOptions{Stream: schema, Head: 5})
	for r := range uint64(4) {
		l.Append([]*events.Change{change(r + 6)})
	}
	size := len(change(6).Raw())
	for _, test := range []struct {
		from     uint64
		maxBytes int
		want     int
	}{{5, 1 << 20, 0}, {6, 1 << 20, 4}, {7, 1, 1}, {7, 2*size + 1, 2}, {9, 1 << 20, 1}, {10, 1 << 20, 0}, {0, 1 << 20, 0}} {
		recent := l.Recent(test.from, test.maxBytes)
		if len(recent) != test.want || len(recent) > 0 && recent[0].Revision() != test.from {
			t.Errorf("from %d, %d bytes: %d changes, want %d", test.from, test.maxBytes, len(recent), test.want)
		}
	}
}
