package projections

import (
	"errors"
	"iter"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/projections/internal/fold"
	"github.com/heliosdb/metadata/projections/service"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"
)

func TestServiceAgainstNaive(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h, s := drawnHistory(t), NewService(cluster, 0)
		for range rapid.IntRange(1, 40).Draw(t, "changes") {
			s = s.Fold(h.service())
		}
		compareService(t, s.Model, h.now)
	})
}

func TestLongServiceHistoriesAgainstNaive(t *testing.T) {
	for seed := range uint64(10) {
		h, s := randomHistory(seed), NewService(cluster, 0)
		for range 150 {
			s = s.Fold(h.service())
		}
		compareService(t, s.Model, h.now)
	}
}

func compareService(t fataler, m *service.Model, want *naive) {
	t.Helper()
	var consumers []*metadatav1.Consumer
	size := 0
	for _, name := range slices.Sorted(maps.Keys(want.consumers)) {
		c := want.consumers[name]
		consumers = append(consumers, c)
		size += proto.Size(c)
		got, ok := m.Consumer(name)
		if !ok || got.Name() != name || got.Epoch() != c.Epoch ||
			got.Revision(metadatav1.Stream_STREAM_SCHEMA) != c.Position.SchemaRevision ||
			got.Revision(metadatav1.Stream_STREAM_TOPOLOGY) != c.Position.TopologyRevision {
			t.Fatalf("consumer %v is found as %v", c, got)
		}
	}
	equal(t, "consumers", m.Consumers(""), consumers)
	if half := len(consumers) / 2; half > 0 {
		equal(t, "consumers from a name", m.Consumers(consumers[half].Name), consumers[half:])
	}
	if m.ConsumerCount() != len(consumers) {
		t.Fatalf("%d consumers, want %d", m.ConsumerCount(), len(consumers))
	}
	for _, s := range allStreams {
		equal(t, "signed heads", m.SignedHeads(s), want.heads[s])
		if newest, ok := m.NewestSignedHead(s); ok != (len(want.heads[s]) > 0) || ok && newest.Revision() != want.heads[s][len(want.heads[s])-1].Revision {
			t.Fatalf("the newest signed head of %v is %v", s, newest)
		}
		for _, h := range want.heads[s] {
			size += proto.Size(h)
		}
		compareFloor(t, m.Floor(s), want.floors[s])
		size += proto.Size(want.floors[s])
		compareNeeds(t, m, s, consumers)
	}
	if m.Size() != size {
		t.Fatalf("the size is %d, that of all objects %d", m.Size(), size)
	}
}

func compareFloor(t fataler, got service.Floor, want *metadatav1.HistoryFloor) {
	t.Helper()
	if got.OldestRevision() != want.GetOldestRevision() || len(got.Bytes()) != proto.Size(want) {
		t.Fatalf("the history begins at %d, want %v", got.OldestRevision(), want)
	}
	if want != nil && (got.PreviousDigest() != events.Digest(want.PreviousDigest) || !proto.Equal(got.Message(), want)) {
		t.Fatalf("the floor is %v, want %v", got.Message(), want)
	}
}

// compareNeeds looks at who needs what of a stream.
func compareNeeds(t fataler, m *service.Model, s metadatav1.Stream, consumers []*metadatav1.Consumer) {
	t.Helper()
	revision := func(c *metadatav1.Consumer) uint64 {
		if s == metadatav1.Stream_STREAM_SCHEMA {
			return c.Position.SchemaRevision
		}
		return c.Position.TopologyRevision
	}
	readers := slices.DeleteFunc(slices.Clone(consumers), func(c *metadatav1.Consumer) bool {
		return s == metadatav1.Stream_STREAM_SERVICE || !events.NewFilter(c.Filter).MatchStream(s)
	})
	floor := m.Floor(s).OldestRevision()
	needing := slices.DeleteFunc(slices.Clone(readers), func(c *metadatav1.Consumer) bool { return revision(c)+1 < floor })
	least, read := m.Acknowledged(s)
	if read != (len(needing) > 0) || read && least != revision(slices.MinFunc(needing, func(a, b *metadatav1.Consumer) int {
		return int(revision(a)) - int(revision(b))
	})) {
		t.Fatalf("all consumers have acknowledged %v up to %d", s, least)
	}
	for _, c := range consumers {
		record, ok := m.Consumer(c.Name)
		lost := slices.Contains(readers, c) && !slices.Contains(needing, c)
		if !ok || m.Passed(s, record) != lost {
			t.Fatalf("consumer %s at %d of %v was passed: %t, although the history begins at %d", c.Name, revision(c), s, !lost, floor)
		}
	}
	for _, oldest := range []uint64{0, 1, 2, least + 1, least + 2, 1 << 63} {
		behind := slices.DeleteFunc(slices.Clone(readers), func(c *metadatav1.Consumer) bool { return revision(c)+1 >= oldest })
		equal(t, "consumers behind", m.Behind(s, oldest), behind)
	}
}

// firstOf is what a caller that has seen enough does.
func firstOf[R any](all iter.Seq[R]) (first R) {
	for first = range all {
		break
	}
	return first
}

func TestReadersOfTheServiceMayStop(t *testing.T) {
	m := NewService(cluster, 1).Fold(seal(1, consumerCreated("a", 1), consumerCreated("b", 1), headSigned(1, 1), headSigned(1, 2))).Model
	if firstOf(m.Consumers("")).Name() != "a" || firstOf(m.Consumers("aa")).Name() != "b" ||
		firstOf(m.SignedHeads(1)).Revision() != 1 || firstOf(m.Behind(1, 9)).Name() != "a" {
		t.Error("the first is another one")
	}
}

func TestOldSignedHeadsAreDropped(t *testing.T) {
	s := NewService(cluster, 1).Fold(seal(1, headSigned(2, 7)))
	one := s.Model.Size()
	var evs []*metadatav1.Event
	for i := range uint64(service.MaxSignedHeads + 2) {
		evs = append(evs, headSigned(1, 10_000+i)) // of the same length all
	}
	full := s.Fold(seal(2, evs...))
	heads := slices.Collect(full.Model.SignedHeads(1))
	if len(heads) != service.MaxSignedHeads || heads[0].Revision() != 10_002 {
		t.Errorf("%d signed heads are kept, the oldest of revision %d", len(heads), heads[0].Revision())
	}
	if newest, ok := full.Model.NewestSignedHead(1); !ok || newest != heads[len(heads)-1] {
		t.Errorf("the newest one is %v", newest)
	}
	if other := slices.Collect(full.Model.SignedHeads(2)); len(other) != 1 {
		t.Error("a head of another stream was dropped")
	}
	size := 0
	for _, h := range heads {
		size += len(h.Bytes())
	}
	if full.Model.Size() != one+size {
		t.Errorf("the size is %d, want %d", full.Model.Size(), one+size)
	}
	imported, err := s.Import(oneBuffer(records(t, full)))
	if err != nil || imported.Hash() != full.Hash() || imported.Model.Size() != full.Model.Size() {
		t.Errorf("a checkpoint with all of them: %v", err)
	}
}

// Two lines of folds from one state do not see each other's signed heads.
func TestSignedHeadsOfTwoFutures(t *testing.T) {
	s := NewService(cluster, 1)
	for revision := range uint64(20) {
		s = s.Fold(seal(revision+1, headSigned(1, revision+1)))
		one, other := s.Fold(seal(revision+2, headSigned(1, 1000))), s.Fold(seal(revision+2, headSigned(1, 2000)))
		for want, m := range map[uint64]*service.Model{1000: one.Model, 2000: other.Model} {
			if newest, ok := m.NewestSignedHead(1); !ok || newest.Revision() != want {
				t.Fatalf("after revision %d: the newest signed head is of revision %d, want %d", revision+1, newest.Revision(), want)
			}
		}
	}
}

func TestServiceFoldErrors(t *testing.T) {
	s := NewService(cluster, 1).Fold(seal(1, consumerCreated("a", 5), headSigned(1, 40), historyTrimmed(2, 9)))
	hash := s.Hash()
	gone := &metadatav1.Consumer{Name: "b"}
	short := historyTrimmed(1, 4)
	short.GetHistoryTrimmed().Floor.PreviousDigest = digest()[1:]
	for name, m := range map[string]*metadatav1.Event{
		"event of schema":      tableDropped(1),
		"consumer exists":      consumerCreated("a", 1),
		"acknowledged unknown": consumerAcknowledged("b", 7),
		"opened unknown":       {Kind: &metadatav1.Event_ConsumerOpened{ConsumerOpened: &metadatav1.ConsumerOpened{Consumer: gone}}},
		"deleted unknown":      {Kind: &metadatav1.Event_ConsumerDeleted{ConsumerDeleted: &metadatav1.ConsumerDeleted{Consumer: gone}}},
		"signed again":         headSigned(1, 40),
		"signed an older one":  headSigned(1, 39),
		"trimmed again":        historyTrimmed(2, 9),
		"trimmed back":         historyTrimmed(2, 8),
		"trimmed to nothing":   historyTrimmed(1, 0),
		"short digest":         short,
	} {
		wantFoldError(t, name, func() { s.Fold(seal(2, m)) })
	}
	if s.Hash() != hash {
		t.Error("a fold that failed changed the state")
	}
	// What fits is not refused with them.
	s.Fold(seal(2, headSigned(2, 1), headSigned(1, 41), historyTrimmed(1, 1), historyTrimmed(2, 10), consumerCreated("b", 0)))
}

func TestVerifyService(t *testing.T) {
	s := NewService(cluster, 1).FoldAll(serviceHistory(2, 40))
	if err := s.Verify(); err != nil {
		t.Fatalf("a state that was folded: %v", err)
	}
	const description, headTime, floorTime = 3, 4, 4
	verifies(t, NewService(cluster, 1), records(t, s), map[protowire.Number]protowire.Number{
		fold.RecordConsumer: description, fold.RecordSignedHead: headTime, fold.RecordHistoryFloor: floorTime,
	})
}

func TestImportOfDamagedServiceCheckpoints(t *testing.T) {
	exported := records(t, NewService(cluster, 1).FoldAll(serviceHistory(2, 8)))
	for i := range exported {
		damage(exported, i, func(r [][]byte) { importAndUse(NewService(cluster, 1), r) })
	}
	for at := 1; at < len(exported) && !isRequest(exported[at]); at++ {
		twice := slices.Insert(slices.Clone(exported), at, exported[at])
		if _, err := NewService(cluster, 1).Import(oneBuffer(twice)); err == nil || !strings.Contains(err.Error(), "damaged") {
			t.Errorf("record %d that comes twice: %v", at, err)
		}
	}
	foreign := slices.Insert(slices.Clone(exported), 1, fold.AppendRecord(nil, fold.RecordTable, ""))
	if _, err := NewService(cluster, 1).Import(oneBuffer(foreign)); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("a record of the schema: %v", err)
	}
}

func TestServiceExportStopsAtAnError(t *testing.T) {
	s := NewService(cluster, 1).FoldAll(serviceHistory(1, 20))
	stop, n := errors.New("stop"), len(records(t, s))
	for at := range n {
		calls := 0
		err := s.Export(func([]byte) error {
			if calls++; calls > at {
				return stop
			}
			return nil
		})
		if !errors.Is(err, stop) || calls != at+1 {
			t.Fatalf("record %d: %v after %d calls", at, err, calls)
		}
	}
}
