package feed_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/feed"
	"github.com/heliosdb/metadata/internal/failure"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

func TestLatest(t *testing.T) {
	m := newMember(t, 10)
	m.commit(table("public", "t1"))
	m.commit(moved(1, "a", "b"))
	for _, req := range []*metadatav1.SubscribeRequest{nil, {Start: &metadatav1.SubscribeRequest_Latest{Latest: true}}} {
		s := m.subscribe(req)
		m.expect(s, "mark:1/1")
		s.Close()
	}
	s := m.subscribe(nil)
	m.expect(s, "mark:1/1")
	m.commit(table("public", "t2"))
	m.expect(s, "s2")
	p := m.lastPosition(s)
	if p.ClusterId != cluster.String() || p.RecoveryEpoch != 4 {
		t.Errorf("a bookmark names cluster %q and epoch %d", p.ClusterId, p.RecoveryEpoch)
	}
}

// lastPosition lets the time pass until the next bookmark, and returns it.
func (m *member) lastPosition(s *feed.Subscription) *metadatav1.Position {
	m.t.Helper()
	m.now = m.now.Add(feed.MaxBookmarkInterval)
	frames := m.frames(s)
	if len(frames) == 0 || frames[len(frames)-1].GetBookmark() == nil {
		m.t.Fatalf("got %q, want a bookmark at the end", show(frames))
	}
	return frames[len(frames)-1].GetBookmark().Position
}

func TestSnapshotFirst(t *testing.T) {
	m := newMember(t, 10)
	for i := range 5 {
		m.commit(table("public", fmt.Sprint("t", i+1)))
	}
	m.commit(moved(1, "a", "b"))
	s := m.subscribe(fromSnapshot())
	f, _, err := s.Next(m.now)
	if err != nil || show([]*metadatav1.SubscribeResponse{f.Message()}) != "snap:s@5:2" {
		t.Fatalf("got %v, %v", f.Message(), err)
	}
	m.commit(table("public", "t6")) // while the snapshot is being sent
	m.expect(s, "snap:s@5:2 snap:s@5:1! snap:t@1:0! mark:5/1 s6")

	req := fromSnapshot()
	req.Filter = &metadatav1.Filter{Tables: []string{"t2", "t6"}, Streams: []metadatav1.Stream{schema}}
	s = m.subscribe(req)
	m.expect(s, "snap:s@6:2! mark:6/0")
}

func TestResumeAtEveryRevision(t *testing.T) {
	m := newMember(t, 7) // the rest is in the history
	for i := range 30 {
		m.commit(table("public", fmt.Sprint("t", i)))
	}
	for from := range uint64(31) {
		s := m.subscribe(after(from, 0))
		next := from + 1
		for _, f := range m.frames(s) {
			for _, c := range f.GetChanges().GetChanges() {
				if c.Revision != next || !proto.Equal(c, m.history[schema].changes[c.Revision-1].Message()) {
					t.Fatalf("after %d: got change %d, want %d as committed", from, c.Revision, next)
				}
				next++
			}
		}
		if next != 31 {
			t.Fatalf("after %d: the changes end before %d", from, next)
		}
		s.Close()
	}
}

func TestFilterSeesBeforeAndAfter(t *testing.T) {
	m := newMember(t, 10)
	m.commit(moved(1, "a", "b"))
	m.commit(moved(2, "c", "d"))
	m.commit(moved(1, "b", "c"))
	m.commit(moved(1, "c", "d"), moved(3, "c", "b"), moved(4, "d", "d"))
	m.commit(table("public", "t"))
	for filter, want := range map[string]string{"a": "t1", "b": "t1,3,4(1)", "c": "t2,3,4(2)", "d": "t2,4(2)", "e": ""} {
		req := after(0, 0)
		req.Filter = &metadatav1.Filter{Nodes: []string{filter}, Kinds: []metadatav1.ObjectKind{metadatav1.ObjectKind_OBJECT_KIND_SHARD}}
		if got := show(m.frames(m.subscribe(req))); got != want {
			t.Errorf("node %s: got %q, want %q", filter, got, want)
		}
	}
}

func TestBookmarksWhenIdle(t *testing.T) {
	m := newMember(t, 10)
	req := after(0, 0)
	req.BookmarkIntervalMillis = 200
	req.Filter = &metadatav1.Filter{Namespaces: []string{"sales"}}
	s := m.subscribe(req)
	_, w, err := s.Next(m.now)
	if err != nil || w.Until.Sub(m.now) != 200*time.Millisecond || len(w.Changed) != 2 {
		t.Fatalf("got %+v, %v; want to wait 200 ms or for two streams", w, err)
	}
	m.now = m.now.Add(199 * time.Millisecond)
	m.expect(s, "")
	m.commit(table("hr", "t1")) // filtered out
	select {
	case <-w.Changed[0]:
	default:
		t.Fatal("a commit woke nobody")
	}
	m.expect(s, "")
	m.now = m.now.Add(time.Millisecond)
	m.expect(s, "mark:1/0")
	m.now = m.now.Add(150 * time.Millisecond)
	m.commit(table("sales", "t2"))
	m.expect(s, "s2")
	m.now = m.now.Add(150 * time.Millisecond) // a change counts as a frame
	m.expect(s, "")
	m.now = m.now.Add(50 * time.Millisecond)
	m.expect(s, "mark:2/0")
}

// A stream that the filter excludes keeps the component that the subscriber
// gave, or 0: a resumption with another filter then misses nothing.
func TestBookmarksOfStreamsNotFollowed(t *testing.T) {
	m := newMember(t, 10)
	for range 5 {
		m.commit(table("public", "t"))
		m.commit(moved(1, "a", "b"))
	}
	req := after(4, 2)
	req.Filter = &metadatav1.Filter{Streams: []metadatav1.Stream{schema}}
	s := m.subscribe(req)
	m.expect(s, "s5")
	m.commit(moved(1, "a", "b"))
	m.now = m.now.Add(time.Second)
	m.expect(s, "mark:5/2")
	req.Start = nil
	m.expect(m.subscribe(req), "mark:5/0")
}

func TestTrimmedHistory(t *testing.T) {
	m := newMember(t, 3)
	for range 10 {
		m.commit(table("public", "t"))
	}
	m.history[schema].oldest = 5
	m.expect(m.subscribe(after(4, 0)), "s5,6,7,8,9,10")
	slow := m.subscribe(after(4, 0)) // its history goes while it does not read
	m.expect(m.subscribe(after(3, 0)), "reset:s:HISTORY_TRIMMED:5 snap:s@10:2 snap:s@10:2 snap:s@10:2 snap:s@10:2 snap:s@10:2! mark:10/0")
	req := after(3, 0)
	req.FailOnGap = true
	strict := m.subscribe(req)
	m.expectError(strict, metadatav1.ErrorReason_ERROR_REASON_HISTORY_TRIMMED)
	_, _, err := strict.Next(m.now)
	if e := failure.As(err); e == nil || e.Metadata["oldest_revision"] != "5" || !strings.Contains(e.Message, "5") {
		t.Errorf("the error %v does not name the oldest revision", err)
	}
	m.history[schema].oldest = 8
	m.chunk = 100
	m.expect(slow, "reset:s:HISTORY_TRIMMED:8 snap:s@10:10! mark:10/0")
	m.history[schema].oldest = 11 // what memory still has can be had
	m.expect(m.subscribe(after(7, 0)), "s8,9,10")
	m.expect(m.subscribe(after(6, 0)), "reset:s:HISTORY_TRIMMED:8 snap:s@10:10! mark:10/0")
}

func TestForeignPositions(t *testing.T) {
	m := newMember(t, 10)
	m.commit(table("public", "t"))
	for _, c := range []struct {
		name     string
		position *metadatav1.Position
		foreign  bool
	}{
		{"none", nil, false},
		{"of any cluster", &metadatav1.Position{}, false},
		{"of this cluster", &metadatav1.Position{ClusterId: cluster.String(), RecoveryEpoch: 4}, false},
		{"of this epoch", &metadatav1.Position{RecoveryEpoch: 4}, false},
		{"of another cluster", &metadatav1.Position{ClusterId: strings.Repeat("0", 32), RecoveryEpoch: 4}, true},
		{"of an earlier epoch", &metadatav1.Position{ClusterId: cluster.String(), RecoveryEpoch: 3, SchemaRevision: 1}, true},
		{"of a later epoch", &metadatav1.Position{RecoveryEpoch: 5}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			req := &metadatav1.SubscribeRequest{Start: &metadatav1.SubscribeRequest_After{After: c.position}}
			want := "s1"
			if c.foreign {
				want = "reset:all:FOREIGN_POSITION:0 snap:s@1:1! snap:t@0:0! mark:1/0"
			}
			m.expect(m.subscribe(req), want)
			req.FailOnGap = true
			s, err := m.feed.Subscribe(req, m.now)
			if failure.Is(err, metadatav1.ErrorReason_ERROR_REASON_FOREIGN_POSITION) != c.foreign {
				t.Errorf("with fail_on_gap: %v", err)
			}
			if err == nil {
				s.Close()
			}
		})
	}
}

// A position that this member has not reached is most often one that it is
// about to reach. Nothing old is sent, and no bookmark vouches for it.
func TestPositionsAhead(t *testing.T) {
	m := newMember(t, 10)
	m.commit(table("public", "t1"))
	m.commit(moved(1, "a", "b"))
	s := m.subscribe(after(3, 0))
	m.expect(s, "t1")
	m.now = m.now.Add(feed.FutureGrace - 1)
	m.commit(table("public", "t2"))
	m.expect(s, "")
	m.commit(table("public", "t3"))
	m.commit(table("public", "t4"))
	m.expect(s, "s4")
	m.now = m.now.Add(time.Second)
	m.expect(s, "mark:4/1")

	s = m.subscribe(after(9, 0))
	req := after(9, 0)
	req.FailOnGap = true
	strict := m.subscribe(req)
	m.expect(s, "t1")
	m.expect(strict, "t1")
	_, w, _ := s.Next(m.now)
	if w.Until.Sub(m.now) != feed.FutureGrace || len(w.Changed) != 2 {
		t.Fatalf("waits %v for %d streams, want %v for 2", w.Until.Sub(m.now), len(w.Changed), feed.FutureGrace)
	}
	m.now = m.now.Add(feed.FutureGrace)
	m.expect(s, "reset:s:FUTURE_REVISION:1 snap:s@4:2 snap:s@4:2! mark:4/1")
	m.expectError(strict, metadatav1.ErrorReason_ERROR_REASON_FUTURE_REVISION)
}

// A member that lacks what comes next says how far it has looked: another one may lack what
// lies before, and a subscriber whose filter passes none of it would ask both for ever.
func TestAGapIsReachedByWhatIsFilteredOut(t *testing.T) {
	m := newMember(t, 2)
	for range 10 {
		m.commit(table("public", "t"))
	}
	m.history[schema].lacks = 8
	request := after(1, 0)
	request.Filter = &metadatav1.Filter{Kinds: []metadatav1.ObjectKind{metadatav1.ObjectKind_OBJECT_KIND_NAMESPACE}}
	s := m.subscribe(request)
	got, err := m.framesOrError(s)
	if show(got) != "mark:7/0" || !failure.Is(err, metadatav1.ErrorReason_ERROR_REASON_HISTORY_GAP) {
		t.Fatalf("got %q and %v, want a bookmark before the gap", show(got), err)
	}
	m.expectError(s, metadatav1.ErrorReason_ERROR_REASON_HISTORY_GAP) // and nothing more
}

func TestGapsOfThisMember(t *testing.T) {
	m := newMember(t, 2)
	for range 10 {
		m.commit(table("public", "t"))
	}
	m.history[schema].lacks = 4
	s := m.subscribe(after(1, 0))
	f, _, err := s.Next(m.now)
	if err != nil || show([]*metadatav1.SubscribeResponse{f.Message()}) != "s2,3" {
		t.Fatalf("got %v, %v; want what comes before the gap", f.Message(), err)
	}
	m.expectError(s, metadatav1.ErrorReason_ERROR_REASON_HISTORY_GAP)
	m.history[schema].lacks = 0
	for _, hole := range []uint64{6, 7} { // first or in the midst of what is read
		m.history[schema].hole = hole
		m.expectError(m.subscribe(after(5, 0)), metadatav1.ErrorReason_ERROR_REASON_HISTORY_GAP)
	}
}

func TestNothingAheadOfTheLog(t *testing.T) {
	m := newMember(t, 2)
	for range 5 {
		m.commit(table("public", "t"))
	}
	lagging := feed.NewLog(feed.LogOptions{Stream: schema, Head: 3, History: m.history[schema]})
	f := feed.New(feed.Options{Cluster: cluster, RecoveryEpoch: 4, Logs: []*feed.Log{lagging}, Snapshots: m})
	s, err := f.Subscribe(after(1, 0), m.now)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	m.expect(s, "s2,3")
}

func TestFramesAreBounded(t *testing.T) {
	m := newMember(t, 10_000)
	for range 2*feed.MaxFrameChanges + 5 {
		m.commit(table("public", "t"))
	}
	for _, size := range []int{400_000, 400_000, 400_000, 2_500_000, 10, 10} {
		m.commit(fat(size))
	}
	s := m.subscribe(after(0, 0))
	var counts []int
	for _, f := range m.frames(s) {
		counts = append(counts, len(f.GetChanges().Changes))
		if size := proto.Size(f); size > feed.MaxFrameBytes+64 && counts[len(counts)-1] > 1 {
			t.Errorf("a frame of %d changes has %d bytes", counts[len(counts)-1], size)
		}
	}
	if got := fmt.Sprint(counts); got != "[1024 1024 7 1 1 2]" {
		t.Errorf("changes per frame: %v", got)
	}
}

// A long history of which nothing matches is looked at in steps, with bookmarks
// between them.
func TestLongScansYield(t *testing.T) {
	m := newMember(t, 3*feed.MaxScanChanges)
	for range 2*feed.MaxScanChanges + 1 {
		m.commit(table("public", "t"))
	}
	req := after(0, 0)
	req.Filter = &metadatav1.Filter{Tables: []string{"other"}, Streams: []metadatav1.Stream{schema}}
	s := m.subscribe(req)
	f, w, err := s.Next(m.now)
	if err != nil || f.Message() != nil || w.Until.After(m.now) {
		t.Fatalf("got %v, %+v, %v; want to be called again at once", f.Message(), w, err)
	}
	m.now = m.now.Add(time.Second)
	f, _, _ = s.Next(m.now)
	if got, want := show([]*metadatav1.SubscribeResponse{f.Message()}), fmt.Sprintf("mark:%d/0", 2*feed.MaxScanChanges); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestBusyStreamSilencesNoOther(t *testing.T) {
	m := newMember(t, 10_000)
	for range 5 * feed.MaxFrameChanges {
		m.commit(table("public", "t"))
	}
	m.commit(moved(1, "a", "b"))
	s := m.subscribe(after(0, 0))
	for range 2 {
		f, _, err := s.Next(m.now)
		if err != nil {
			t.Fatal(err)
		}
		if f.Message().GetChanges().GetStream() == topology {
			return
		}
	}
	t.Error("the topology's change is not among the first two frames")
}

func TestBadRequests(t *testing.T) {
	m := newMember(t, 10)
	for field, req := range map[string]*metadatav1.SubscribeRequest{
		"bookmark_interval_millis: 9":     {BookmarkIntervalMillis: 9},
		"bookmark_interval_millis: 60001": {BookmarkIntervalMillis: 60_001},
		"filter": {Filter: &metadatav1.Filter{
			Streams: []metadatav1.Stream{schema}, Kinds: []metadatav1.ObjectKind{metadatav1.ObjectKind_OBJECT_KIND_NODE},
		}},
	} {
		_, err := m.feed.Subscribe(req, m.now)
		if !failure.Is(err, metadatav1.ErrorReason_ERROR_REASON_INVALID_FIELD) || !strings.HasPrefix(err.Error(), field) {
			t.Errorf("%s: got %v", field, err)
		}
	}
	if n := m.feed.Subscriptions(); n != 0 {
		t.Errorf("%d subscriptions are left of refused requests", n)
	}
}

func TestSubscriptionsAreCountedAndLimited(t *testing.T) {
	m := newMember(t, 10)
	m.commit(table("public", "t"))
	var subs []*feed.Subscription
	for range feed.MaxSubscriptions {
		subs = append(subs, m.subscribe(after(1, 0)))
	}
	_, err := m.feed.Subscribe(nil, m.now)
	if e := failure.As(err); e == nil || e.Metadata["limit"] != "max_subscriptions" {
		t.Fatalf("one too many: %v", err)
	}
	m.commit(table("public", "t"))
	m.commit(table("public", "t"))
	for _, s := range subs[1:] {
		m.frames(s)
	}
	if n, lag := m.feed.Watching(schema); n != feed.MaxSubscriptions || lag != 2 {
		t.Errorf("%d subscriptions, the slowest %d behind", n, lag)
	}
	for _, s := range subs {
		s.Close()
		s.Close()
	}
	if _, _, err := subs[0].Next(m.now); err == nil {
		t.Error("a closed subscription goes on")
	}
	if n, lag := m.feed.Watching(schema); n != 0 || lag != 0 || m.feed.Subscriptions() != 0 {
		t.Errorf("after closing: %d subscriptions, %d behind", n, lag)
	}
}

func TestEncodedFrames(t *testing.T) {
	m := newMember(t, 10)
	m.commit(table("public", "t1"))
	one, two := m.subscribe(after(0, 0)), m.subscribe(after(0, 0))
	a, _, _ := one.Next(m.now)
	b, _, _ := two.Next(m.now)
	rawA, errA := a.Encoded()
	rawB, errB := b.Encoded()
	if errA != nil || errB != nil || a.Message() != b.Message() || &rawA[0] != &rawB[0] {
		t.Error("two subscribers of one change do not share its frame and encoding")
	}
	m.commit(table("sales", "t2"), table("hr", "t3"))
	m.commit(table("hr", "t4"))
	req := fromSnapshot()
	req.Filter = &metadatav1.Filter{Namespaces: []string{"hr"}}
	partial := after(0, 0)
	partial.Filter = req.Filter
	kinds := map[string]bool{}
	for _, s := range []*feed.Subscription{one, m.subscribe(after(0, 0)), m.subscribe(req), m.subscribe(partial)} {
		for {
			f, _, err := s.Next(m.now)
			if err != nil {
				t.Fatal(err)
			}
			if f.Message() == nil {
				break
			}
			raw, err := f.Encoded()
			var back metadatav1.SubscribeResponse
			if err := proto.Unmarshal(raw, &back); err != nil {
				t.Fatal(err)
			}
			if err != nil || !proto.Equal(&back, f.Message()) {
				t.Errorf("%v is encoded as %v (%v)", f.Message(), &back, err)
			}
			kinds[show([]*metadatav1.SubscribeResponse{f.Message()})] = true
		}
	}
	for _, kind := range []string{"s2,3", "s1,2,3", "s2(1),3", "snap:s@3:0!", "mark:3/0"} {
		if !kinds[kind] {
			t.Errorf("no frame %q among %v", kind, kinds)
		}
	}
}

// The service stream is not subscribed to. Who asks for it alone would wait for ever.
func TestStreamsThatAreNotFollowedAreRefused(t *testing.T) {
	m := newMember(t, 10)
	for want, filter := range map[string]*metadatav1.Filter{
		"filter.streams[0]": {Streams: []metadatav1.Stream{metadatav1.Stream_STREAM_SERVICE}},
		"filter.streams[1]": {Streams: []metadatav1.Stream{schema, metadatav1.Stream_STREAM_SERVICE}},
		"filter.kinds[0]":   {Kinds: []metadatav1.ObjectKind{metadatav1.ObjectKind_OBJECT_KIND_CONSUMER}},
		"": {Kinds: []metadatav1.ObjectKind{
			metadatav1.ObjectKind_OBJECT_KIND_CONSUMER, metadatav1.ObjectKind_OBJECT_KIND_TABLE,
		}},
	} {
		s, err := m.feed.Subscribe(&metadatav1.SubscribeRequest{Filter: filter}, m.now)
		if want == "" {
			if err != nil {
				t.Errorf("%v: %v", filter, err)
			} else {
				s.Close()
			}
			continue
		}
		f := failure.As(err)
		if f == nil || f.Fields[0].Path != want || !strings.Contains(f.Message, "HistoryService.StreamChanges") {
			t.Errorf("%v: %v", filter, err)
		}
	}
}
