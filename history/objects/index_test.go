package objects

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/history"
	"github.com/heliosdb/metadata/internal/failure"
	"github.com/heliosdb/metadata/internal/pasts"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// smallSegments is the size of segments in tests: a past has many of them.
const smallSegments = 16

// The tags of a change are those of the objects that events says it is about.
func TestTagsAreThoseOfSubjects(t *testing.T) {
	for seed := range uint64(3) {
		for _, c := range append(pasts.Schema(seed, 150), pasts.Topology(seed, 150)...) {
			var want []uint64
			for _, e := range c.Events() {
				for _, s := range events.Subjects(e.Message()) {
					want = append(want, objectOf(s).tag())
					if s.Kind == metadatav1.ObjectKind_OBJECT_KIND_TABLE {
						want = append(want, tableTag(s.Namespace, s.Name))
					}
				}
			}
			slices.Sort(want)
			if got := Tags(c); !slices.Equal(got, slices.Compact(want)) {
				t.Fatalf("change %v has tags %x, its subjects %x", c.Message(), got, want)
			}
		}
	}
}

// Tags are on disks: they never change.
func TestTagsAreFrozen(t *testing.T) {
	seal := func(m *metadatav1.Event) *events.Change {
		return events.Seal(events.Header{Revision: 1, Time: pasts.Start}, []events.Event{events.New(m)})
	}
	shard := func(id uint64) *metadatav1.ShardInfo { return &metadatav1.ShardInfo{ShardId: id} }
	for name, c := range map[string]struct {
		event *metadatav1.Event
		want  []uint64
	}{
		"namespace": {&metadatav1.Event{Kind: &metadatav1.Event_NamespaceCreated{NamespaceCreated: &metadatav1.NamespaceCreated{
			Namespace: &metadatav1.Namespace{NamespaceId: 3, Name: "sales"}}}}, frozenNamespace},
		"table": {&metadatav1.Event{Kind: &metadatav1.Event_TableAltered{TableAltered: &metadatav1.TableAltered{
			Table: &metadatav1.TableSchema{TableId: 7, Name: "orders"}, PreviousNamespace: "sales", PreviousName: "old"}}}, frozenTable},
		"node": {&metadatav1.Event{Kind: &metadatav1.Event_NodeDrained{NodeDrained: &metadatav1.NodeDrained{
			Node: &metadatav1.NodeInfo{NodeId: "n1"}}}}, frozenNode},
		"shards": {&metadatav1.Event{Kind: &metadatav1.Event_ShardSplit{ShardSplit: &metadatav1.ShardSplit{
			Children: []*metadatav1.ShardInfo{shard(2), shard(3)}, Parent: shard(1)}}}, frozenShards},
		"consumer": {&metadatav1.Event{Kind: &metadatav1.Event_ConsumerOpened{ConsumerOpened: &metadatav1.ConsumerOpened{
			Consumer: &metadatav1.Consumer{Name: "cdc"}}}}, frozenConsumer},
		"signed head": {&metadatav1.Event{Kind: &metadatav1.Event_HeadSigned{HeadSigned: &metadatav1.HeadSigned{
			Head: &metadatav1.SignedHead{Stream: 1, Revision: 1}}}}, nil},
	} {
		if got := Tags(seal(c.event)); !slices.Equal(got, c.want) {
			t.Errorf("%s: tags %#x, want %#x", name, got, c.want)
		}
	}
}

var (
	frozenNamespace = []uint64{0x26c7c38e7f36a1f2}
	frozenTable     = []uint64{0x35baf2afa4752a91, 0xabd994302af18942, 0xe78b56c7bee5801d}
	frozenNode      = []uint64{0x83ce2589fc80e1ed}
	frozenShards    = []uint64{0x5706da64de0f64a8, 0x5706db64de0f665b, 0x5706dd64de0f69c1}
	frozenConsumer  = []uint64{0x49a8635873e8c4ba}
)

// collect returns what a sequence yields before its error.
func collect[T any](all iter.Seq2[T, error]) (list []T, err error) {
	for v, err := range all {
		if err != nil {
			return list, err
		}
		list = append(list, v)
	}
	return list, nil
}

// within returns the revisions of a list from first to last, in the order wanted.
func within(revisions []uint64, first, last uint64, newestFirst bool) (some []uint64) {
	for _, r := range revisions {
		if r >= first && r <= last {
			some = append(some, r)
		}
	}
	if newestFirst {
		slices.Reverse(some)
	}
	return some
}

// An index finds what looking at every change finds, whatever of it is complete, and
// also of what came later.
func TestIndexAgainstEveryChange(t *testing.T) {
	for seed := range uint64(4) {
		random := rand.New(rand.NewPCG(seed, 9))
		s := topologyStages(seed, 150)
		if seed%2 == 0 {
			s = schemaStages(seed, 150)
		}
		source := pasts.NewSource(s.changes[:60])
		marks := new(MemoryMarks)
		x := NewSegmentedIndex(source, marks, smallSegments)
		all, revisions := s.objects()
		for step := range 200 {
			bounds, err := source.Bounds(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			switch random.IntN(8) {
			case 0:
				n := min(uint64(len(s.changes)), bounds.Last+uint64(random.IntN(20)))
				source.Append(s.changes[bounds.Last:n]...)
			case 1:
				if _, err := x.Extend(t.Context()); err != nil {
					t.Fatal(err)
				}
			case 2:
				if bounds.First < 40 {
					source.Trim(bounds.First + uint64(random.IntN(4)))
				}
			case 3: // a restart
				x = NewSegmentedIndex(source, marks, smallSegments)
			}
			bounds, _ = source.Bounds(t.Context())
			o := all[random.IntN(len(all))]
			first, last, newestFirst := uint64(random.IntN(160)), uint64(random.IntN(160)), random.IntN(2) == 0
			got, err := collect(x.revisions(t.Context(), o.tag(), span{first, last}, bounds, newestFirst))
			want := within(revisions[o], max(first, bounds.First), min(last, bounds.Last), newestFirst)
			if err != nil || !slices.Equal(got, want) {
				t.Fatalf("seed %d, step %d: %+v from %d to %d of %+v: %v, %v; want %v", seed, step, o, first, last, bounds, got, err, want)
			}
		}
	}
}

// What was completed is not read again, and no segment is completed of which a part is
// missing.
func TestExtend(t *testing.T) {
	s := schemaStages(1, 100)
	source := pasts.NewSource(s.changes)
	source.Trim(20)
	marks := new(MemoryMarks)
	x := NewSegmentedIndex(source, marks, smallSegments)
	var completed int
	for {
		more, err := x.Extend(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if !more {
			break
		}
		completed++
	}
	for segment := range uint64(8) {
		_, complete, err := marks.ReadMarks(segment, 0)
		if want := segment >= 2 && segment <= 5; err != nil || complete != want { // 32 to 95
			t.Errorf("segment %d is complete: %v, %v", segment, complete, err)
		}
	}
	if completed != 4 {
		t.Errorf("%d segments were completed, want 4", completed)
	}
	bounds, _ := source.Bounds(t.Context())
	source.Reads.Store(0)
	for revision, err := range x.revisions(t.Context(), 1, span{32, 95}, bounds, true) {
		t.Errorf("revision %d has a tag that nothing has: %v", revision, err)
	}
	if n := source.Reads.Load(); n != 0 {
		t.Errorf("%d reads of what is complete", n)
	}
	for range 3 { // the newest segment is read once, and then what came
		for revision, err := range x.revisions(t.Context(), 1, span{96, 100}, bounds, true) {
			t.Errorf("revision %d has a tag that nothing has: %v", revision, err)
		}
	}
	if n := source.Reads.Load(); n != 1 {
		t.Errorf("%d reads of the newest segment, want 1", n)
	}
}

// hurt is a source of which one change is damaged, if at is not 0.
type hurt struct {
	*pasts.Source
	at uint64
}

func (h *hurt) Read(ctx context.Context, from uint64, maxBytes int) ([]*events.Change, error) {
	changes, err := h.Source.Read(ctx, from, maxBytes)
	switch {
	case h.at == from:
		return nil, failure.New(metadatav1.ErrorReason_ERROR_REASON_DAMAGED, "revision %d is damaged", from)
	case h.at > from && h.at < from+uint64(len(changes)):
		changes = changes[:h.at-from]
	}
	return changes, err
}

// A change that is damaged may have any tag, so who comes to it is told; all others are found, segments
// before it are completed, and its own once it can be read.
func TestIndexBesideDamage(t *testing.T) {
	s := schemaStages(1, 100)
	objects, revisions := s.objects()
	for _, at := range []uint64{40, 98} { // in a whole segment, in the newest one
		source := &hurt{pasts.NewSource(s.changes), at}
		bounds, _ := source.Bounds(t.Context())
		marks := new(MemoryMarks)
		x := NewSegmentedIndex(source, marks, smallSegments)
		completed := func() (segments []uint64) {
			for more := true; more; {
				var err error
				if more, err = x.Extend(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			for segment := range uint64(7) {
				if _, complete, err := marks.ReadMarks(segment, 0); err != nil {
					t.Fatal(err)
				} else if complete {
					segments = append(segments, segment)
				}
			}
			return segments
		}
		all := []uint64{0, 1, 2, 3, 4, 5}
		want := slices.DeleteFunc(slices.Clone(all), func(segment uint64) bool { return segment == at/smallSegments })
		if got := completed(); !slices.Equal(got, want) {
			t.Errorf("damaged at %d: segments %d are complete, want %d", at, got, want)
		}
		for _, o := range objects {
			found, err := collect(x.changes(t.Context(), o.tag(), span{at + 1, 100}, bounds, true))
			if err != nil || len(found) != len(within(revisions[o], at+1, 100, true)) {
				t.Errorf("damaged at %d: %v has %d changes behind it (%v)", at, o, len(found), err)
			}
			if _, err := collect(x.changes(t.Context(), o.tag(), span{1, at - 1}, bounds, false)); err != nil {
				t.Errorf("damaged at %d: %v before it: %v", at, o, err)
			}
			if _, err := collect(x.changes(t.Context(), o.tag(), span{1, 100}, bounds, false)); !failure.Is(err, metadatav1.ErrorReason_ERROR_REASON_DAMAGED) {
				t.Errorf("damaged at %d: nobody tells who asks for all of %v: %v", at, o, err)
			}
		}
		source.at = 0
		if got := completed(); !slices.Equal(got, all) {
			t.Errorf("when %d is replaced segments %d are complete", at, got)
		}
		for _, o := range objects {
			if got, err := collect(x.revisions(t.Context(), o.tag(), span{1, 100}, bounds, false)); err != nil || !slices.Equal(got, revisions[o]) {
				t.Errorf("when %d is replaced %v has %d (%v), want %d", at, o, got, err, revisions[o])
			}
		}
	}
}

// A member that has only a part of a segment fills in the rest later.
func TestSegmentsThatAreFilledIn(t *testing.T) {
	s := schemaStages(1, 100)
	source := pasts.NewSource(s.changes)
	marks := new(MemoryMarks)
	x := NewSegmentedIndex(source, marks, smallSegments)
	all, revisions := s.objects()
	source.Trim(60)
	for _, first := range []uint64{60, 50, 20, 1} {
		source.Fill(first)
		bounds, _ := source.Bounds(t.Context())
		for _, o := range all {
			got, err := collect(x.revisions(t.Context(), o.tag(), span{1, 100}, bounds, false))
			if want := within(revisions[o], first, 100, false); err != nil || !slices.Equal(got, want) {
				t.Fatalf("from %d on: %+v: %v, %v; want %v", first, o, got, err, want)
			}
		}
		_, complete, err := marks.ReadMarks(first/smallSegments, 0)
		if err != nil || complete != (first == 1) {
			t.Errorf("the segment of revision %d, the first one, is complete: %v, %v", first, complete, err)
		}
	}
}

// A source that takes over a checkpoint has a gap behind what was read of its newest segment:
// what lies in it is not asked for, and the segment is not taken for complete.
func TestIndexBehindAGap(t *testing.T) {
	s := schemaStages(2, 100)
	source := pasts.NewSource(s.changes[:34])
	marks := new(MemoryMarks)
	x := NewSegmentedIndex(source, marks, smallSegments)
	all, revisions := s.objects()
	look := func(first uint64) {
		t.Helper()
		bounds, _ := source.Bounds(t.Context())
		for _, o := range all {
			got, err := collect(x.revisions(t.Context(), o.tag(), span{0, 100}, bounds, false))
			if want := within(revisions[o], first, bounds.Last, false); err != nil || !slices.Equal(got, want) {
				t.Fatalf("%+v of %+v: %v, %v; want %v", o, bounds, got, err, want)
			}
		}
	}
	look(1)
	source.Append(s.changes[34:]...)
	source.Trim(40) // 35 to 39 were never read
	look(40)
	if _, complete, err := marks.ReadMarks(2, 0); err != nil || complete { // 32 to 47
		t.Errorf("the segment with the gap is complete: %v, %v", complete, err)
	}
}

// brokenMarks fail.
type brokenMarks struct{ read, put error }

func (m brokenMarks) ReadMarks(uint64, uint64) ([]uint64, bool, error) { return nil, false, m.read }
func (m brokenMarks) PutMarks(uint64, []Mark) error                    { return m.put }

func TestIndexPassesErrorsOn(t *testing.T) {
	broken := errors.New("broken")
	source := pasts.NewSource(pasts.Schema(1, 40))
	bounds, _ := source.Bounds(t.Context())
	everything := span{1, 40}
	for name, marks := range map[string]Marks{"reading": brokenMarks{read: broken}, "putting": brokenMarks{put: broken}} {
		x := NewSegmentedIndex(source, marks, smallSegments)
		if _, err := collect(x.revisions(t.Context(), 1, everything, bounds, false)); !errors.Is(err, broken) {
			t.Errorf("%s marks fails: %v", name, err)
		}
		if _, err := x.Extend(t.Context()); !errors.Is(err, broken) {
			t.Errorf("%s marks fails, extending: %v", name, err)
		}
	}
	x := NewSegmentedIndex(source, new(MemoryMarks), smallSegments)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := collect(x.revisions(gone, 1, everything, bounds, false)); !errors.Is(err, context.Canceled) {
		t.Errorf("a caller that left is told %v", err)
	}
	source.Before = func(_ context.Context, from uint64) error {
		if from > 16 {
			return broken
		}
		return nil
	}
	if got, err := collect(x.revisions(t.Context(), 1, everything, bounds, false)); !errors.Is(err, broken) {
		t.Errorf("a source that fails: %v, %v", got, err)
	}
	source.Before = nil
	if _, err := collect(x.revisions(t.Context(), 1, everything, bounds, false)); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// noRoom refuses marks while it is full.
type noRoom struct {
	MemoryMarks
	full bool
}

func (m *noRoom) PutMarks(segment uint64, marks []Mark) error {
	if m.full {
		return fmt.Errorf("disk 7: %w", ErrFull)
	}
	return m.MemoryMarks.PutMarks(segment, marks)
}

// On a full disk questions are answered, and nobody is told to go on extending.
func TestIndexWithoutRoom(t *testing.T) {
	s := schemaStages(1, 100)
	source := pasts.NewSource(s.changes)
	bounds, _ := source.Bounds(t.Context())
	marks := &noRoom{full: true}
	x := NewSegmentedIndex(source, marks, smallSegments)
	if completed, err := x.Extend(t.Context()); completed || err != nil {
		t.Fatalf("without room a segment is completed: %t, %v", completed, err)
	}
	all, revisions := s.objects()
	for _, o := range all[:20] {
		got, err := collect(x.revisions(t.Context(), o.tag(), span{1, 100}, bounds, false))
		if err != nil || !slices.Equal(got, revisions[o]) {
			t.Fatalf("%+v: %v, %v; want %v", o, got, err, revisions[o])
		}
	}
	marks.full = false
	if completed, err := x.Extend(t.Context()); !completed || err != nil {
		t.Fatalf("with room no segment is completed: %t, %v", completed, err)
	}
}

// A segment with too many marks is not kept, and what is in it is found all the same.
func TestIndexOfCrowdedSegments(t *testing.T) {
	s := topologyStages(2, 100)
	source := pasts.NewSource(s.changes)
	bounds, _ := source.Bounds(t.Context())
	marks := new(MemoryMarks)
	x := NewSegmentedIndex(source, marks, smallSegments)
	counts := map[uint64]int{}
	for _, c := range s.changes {
		counts[x.segmentOf(c.Revision())] += len(tagsInto(nil, c))
	}
	x.most = slices.Sorted(maps.Values(counts))[len(counts)/2]
	for range 2 {
		for more := true; more; {
			var err error
			if more, err = x.Extend(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		source.Reads.Store(0)
		if more, err := x.Extend(t.Context()); more || err != nil || source.Reads.Load() != 0 {
			t.Fatalf("what was given up is read again: %t, %v, %d reads", more, err, source.Reads.Load())
		}
		kept, crowded := 0, 0
		for segment, n := range counts {
			_, complete, err := marks.ReadMarks(segment, 0)
			if err != nil || n > x.most && complete {
				t.Errorf("segment %d of %d marks is kept: %t, %v", segment, n, complete, err)
			}
			if complete {
				kept++
			} else if n > x.most {
				crowded++
			}
		}
		if kept == 0 || crowded == 0 {
			t.Fatalf("%d segments are kept, %d crowded", kept, crowded)
		}
		all, revisions := s.objects()
		for _, o := range all {
			got, err := collect(x.revisions(t.Context(), o.tag(), span{1, 100}, bounds, true))
			if want := within(revisions[o], 1, 100, true); err != nil || !slices.Equal(got, want) {
				t.Fatalf("%+v: %v, %v; want %v", o, got, err, want)
			}
		}
	}
}

// lying is a source whose bounds promise more than it has.
type lying struct{ *pasts.Source }

func (l lying) Bounds(context.Context) (history.Bounds, error) {
	return history.Bounds{First: 0, Last: 1 << 40}, nil
}

func TestIndexEndsWhateverTheSourceSays(t *testing.T) {
	source := lying{pasts.NewSource(pasts.Schema(1, 20))}
	x := NewSegmentedIndex(source, new(MemoryMarks), smallSegments)
	bounds, _ := source.Bounds(t.Context())
	if _, err := collect(x.revisions(t.Context(), 1, span{0, 40}, bounds, true)); err == nil {
		t.Error("revisions that are not there were looked at")
	}
	if got, err := collect(x.revisions(t.Context(), 1, span{0, 0}, bounds, true)); err != nil || got != nil {
		t.Errorf("revision 0: %v, %v", got, err)
	}
}

// Many ask while the source grows and is trimmed, and while segments are completed.
func TestIndexIsSafeForConcurrentUse(t *testing.T) {
	s := schemaStages(3, 300)
	source := pasts.NewSource(s.changes[:50])
	x := NewSegmentedIndex(source, new(MemoryMarks), smallSegments)
	all, revisions := s.objects()
	var group sync.WaitGroup
	group.Go(func() {
		for n := 50; n < 300; n++ {
			source.Append(s.changes[n])
			if n%10 == 0 {
				if _, err := x.Extend(t.Context()); err != nil {
					t.Error(err)
				}
			}
		}
	})
	for i := range 4 {
		group.Go(func() {
			random := rand.New(rand.NewPCG(uint64(i), 0))
			for range 300 {
				o := all[random.IntN(len(all))]
				bounds, _ := source.Bounds(t.Context())
				got, err := collect(x.revisions(t.Context(), o.tag(), span{1, bounds.Last}, bounds, i%2 == 0))
				if want := within(revisions[o], 1, bounds.Last, i%2 == 0); err != nil || !slices.Equal(got, want) {
					t.Errorf("%+v up to %d: %v, %v; want %v", o, bounds.Last, got, err, want)
					return
				}
			}
		})
	}
	group.Wait()
}
