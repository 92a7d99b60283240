package objects

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/internal/failure"
	"github.com/heliosdb/metadata/internal/pasts"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"google.golang.org/protobuf/proto"
)

func newLog(changes []*events.Change) (*Log, *pasts.Source) {
	source := pasts.NewSource(changes)
	return NewLog(source, NewSegmentedIndex(source, new(MemoryMarks), smallSegments)), source
}

// A log says of every object what folding all changes from the beginning says.
func TestLogIsThatOfNaiveFolding(t *testing.T) {
	for seed := range uint64(3) {
		logIsNaive(t, seed, schemaStages(seed, 200))
		logIsNaive(t, seed, topologyStages(seed, 200))
	}
}

func logIsNaive(t *testing.T, seed uint64, s *stages) {
	t.Helper()
	l, source := newLog(s.changes)
	oldest := uint64(1)
	random := rand.New(rand.NewPCG(seed, 3))
	for range 2 {
		all, revisions := s.objects()
		for _, o := range all {
			first, last, newestFirst := uint64(random.IntN(210)), uint64(random.IntN(210)), random.IntN(2) == 0
			if random.IntN(3) == 0 {
				first, last = 0, 200
			}
			got, err := collect(l.Versions(t.Context(), o, first, last, newestFirst))
			want := within(revisions[o], max(first, oldest), last, newestFirst)
			if err != nil || len(got) != len(want) {
				t.Fatalf("%+v from %d to %d: %d versions, %v; want %v", o, first, last, len(got), err, want)
			}
			kept := within(revisions[o], oldest, 200, false)
			for i, v := range got {
				if v.Change.Revision() != want[i] || len(v.Events) == 0 {
					t.Fatalf("%+v: version %d is that of change %d with %d events, want %d", o, i, v.Change.Revision(), len(v.Events), want[i])
				}
				if !v.Known && (want[i] != kept[0] || oldest == 1) {
					t.Fatalf("%+v: what was before change %d is not known", o, want[i])
				}
				if v.Known && !alike(t, v.Before, s.at(o, want[i]-1)) {
					t.Fatalf("%+v: before change %d it is said to be %v, and was %v", o, want[i], v.Before, s.at(o, want[i]-1))
				}
				if !alike(t, v.After, s.at(o, want[i])) {
					t.Fatalf("%+v: after change %d it is said to be %v, and was %v", o, want[i], v.After, s.at(o, want[i]))
				}
			}
		}
		oldest = 60
		source.Trim(oldest)
	}
}

func nodeRef(id string) *metadatav1.ObjectRef {
	return &metadatav1.ObjectRef{Object: &metadatav1.ObjectRef_NodeId{NodeId: id}}
}

func tableRef(id uint64, namespace, name string) *metadatav1.ObjectRef {
	return &metadatav1.ObjectRef{Object: &metadatav1.ObjectRef_Table{Table: &metadatav1.TableRef{TableId: id, Namespace: namespace, Name: name}}}
}

// refOf returns the reference to an object.
func refOf(o Object) *metadatav1.ObjectRef {
	switch o.Kind {
	case metadatav1.ObjectKind_OBJECT_KIND_NAMESPACE:
		return &metadatav1.ObjectRef{Object: &metadatav1.ObjectRef_Namespace{Namespace: o.Name}}
	case metadatav1.ObjectKind_OBJECT_KIND_TABLE:
		return tableRef(o.ID, "", "")
	case metadatav1.ObjectKind_OBJECT_KIND_NODE:
		return nodeRef(o.Name)
	case metadatav1.ObjectKind_OBJECT_KIND_CONSUMER:
		return &metadatav1.ObjectRef{Object: &metadatav1.ObjectRef_Consumer{Consumer: o.Name}}
	}
	return &metadatav1.ObjectRef{Object: &metadatav1.ObjectRef_ShardId{ShardId: o.ID}}
}

func TestAsOfIsNaiveFolding(t *testing.T) {
	for seed := range uint64(2) {
		for _, s := range []*stages{schemaStages(seed, 120), topologyStages(seed, 120)} {
			l, _ := newLog(s.changes)
			all, revisions := s.objects()
			for _, o := range all {
				for revision := uint64(0); revision <= 120; revision += 7 {
					v, err := l.AsOf(t.Context(), refOf(o), revision)
					want := s.at(o, revision)
					if want == nil {
						wantReason(t, o, err, metadatav1.ErrorReason_ERROR_REASON_NOT_FOUND)
						continue
					}
					by := within(revisions[o], 1, revision, true)[0]
					if err != nil || !alike(t, v.After, want) || v.Change.Revision() != by {
						t.Fatalf("%+v at %d: %v, %v; want %v by change %d", o, revision, v.After, err, want, by)
					}
				}
			}
		}
	}
}

func wantReason(t *testing.T, what any, err error, reason metadatav1.ErrorReason) {
	t.Helper()
	if !failure.Is(err, reason) {
		t.Errorf("%+v: %v, want %v", what, err, reason)
	}
}

// A name is that of the table that has it at a revision: renames and drops and other
// tables of the same name are seen through.
func TestTablesByName(t *testing.T) {
	s := schemaStages(4, 300)
	l, _ := newLog(s.changes)
	found, gone := 0, 0
	for _, namespace := range []string{"", "ns1", "ns2", "never"} {
		for _, name := range []string{"t1", "t2", "t3", "t4", "t5", "t6", "never"} {
			for revision := uint64(0); revision <= 300; revision += 5 {
				ref := tableRef(0, namespace, name)
				o, err := l.Resolve(t.Context(), ref, revision)
				id := s.tableNamed(namespace, name, revision)
				if id == 0 {
					// In the midst of a change a table may have had the name.
					if err == nil && !s.hadName(o.ID, namespace, name, revision) || err != nil && !failure.Is(err, metadatav1.ErrorReason_ERROR_REASON_NOT_FOUND) {
						t.Fatalf("%s.%s at %d: %+v, %v; no table had the name", namespace, name, revision, o, err)
					}
				} else if err != nil || o.ID != id && !s.hadName(o.ID, namespace, name, revision) {
					t.Fatalf("%s.%s at %d: %+v, %v; want table %d", namespace, name, revision, o, err, id)
				}
				v, err := l.AsOf(t.Context(), ref, revision)
				want, ok := s.schema[revision].Model.TableByName(namespace, name)
				if !ok {
					gone++
					wantReason(t, ref, err, metadatav1.ErrorReason_ERROR_REASON_NOT_FOUND)
					continue
				}
				found++
				if err != nil || !alike(t, v.After, want.Message()) {
					t.Fatalf("%s.%s at %d: %v, %v; want %v", namespace, name, revision, v.After, err, want.Message())
				}
			}
		}
	}
	if found < 100 || gone < 100 {
		t.Errorf("%d tables were there and %d were not: the past is too tame", found, gone)
	}
}

// Names may change hands within a change.
func TestNamesThatChangeHands(t *testing.T) {
	one, two := &metadatav1.TableSchema{TableId: 1, Name: "a"}, &metadatav1.TableSchema{TableId: 2, Name: "b"}
	create := func(t *metadatav1.TableSchema) *metadatav1.Event {
		return &metadatav1.Event{Kind: &metadatav1.Event_TableCreated{TableCreated: &metadatav1.TableCreated{Table: t}}}
	}
	rename := func(to string) func(*metadatav1.TableSchema) {
		return func(t *metadatav1.TableSchema) { t.Name = to }
	}
	one, away := altered(one, rename("c"))
	two, taken := altered(two, rename("a"))
	_, swapped := altered(one, rename("b"))
	l, _ := newLog(story(
		[]*metadatav1.Event{create(&metadatav1.TableSchema{TableId: 1, Name: "a"}), create(&metadatav1.TableSchema{TableId: 2, Name: "b"})},
		[]*metadatav1.Event{away, taken, swapped},
		[]*metadatav1.Event{{Kind: &metadatav1.Event_TableDropped{TableDropped: &metadatav1.TableDropped{Table: two}}}},
	))
	for _, c := range []struct {
		name     string
		revision uint64
		want     uint64
		exists   bool
	}{{"a", 1, 1, true}, {"b", 1, 2, true}, {"a", 2, 2, true}, {"b", 2, 1, true}, {"c", 2, 1, false}, {"a", 3, 2, false}, {"b", 3, 1, true}} {
		o, err := l.Resolve(t.Context(), tableRef(0, "", c.name), c.revision)
		if err != nil || o.ID != c.want {
			t.Errorf("%q at revision %d is table %d, %v; want %d", c.name, c.revision, o.ID, err, c.want)
		}
		if _, err := l.AsOf(t.Context(), tableRef(0, "public", c.name), c.revision); (err == nil) != c.exists {
			t.Errorf("%q at revision %d: %v", c.name, c.revision, err)
		}
	}
}

// hadName reports whether an event up to a revision gave the table the name, or took it.
func (s *stages) hadName(id uint64, namespace, name string, revision uint64) bool {
	if namespace == "" {
		namespace = public
	}
	for _, c := range s.changes[:revision] {
		for _, e := range c.Events() {
			for _, subject := range events.Subjects(e.Message()) {
				if subject.ID == id && subject.Namespace == namespace && subject.Name == name {
					return true
				}
			}
		}
	}
	return false
}

func TestWhatTheLogCannotSay(t *testing.T) {
	s := topologyStages(1, 100)
	l, source := newLog(s.changes)
	ask := func(ref *metadatav1.ObjectRef, revision uint64) error {
		_, err := l.AsOf(t.Context(), ref, revision)
		return err
	}
	wantReason(t, "a revision to come", ask(nodeRef("h1"), 101), metadatav1.ErrorReason_ERROR_REASON_FUTURE_REVISION)
	wantReason(t, "no object", ask(&metadatav1.ObjectRef{}, 100), metadatav1.ErrorReason_ERROR_REASON_INVALID_FIELD)
	wantReason(t, "no reference", ask(nil, 100), metadatav1.ErrorReason_ERROR_REASON_INVALID_FIELD)
	wantReason(t, "a table without a name", ask(tableRef(0, "ns1", ""), 100), metadatav1.ErrorReason_ERROR_REASON_INVALID_FIELD)
	wantReason(t, "a node that never was", ask(nodeRef("never"), 100), metadatav1.ErrorReason_ERROR_REASON_NOT_FOUND)
	source.Trim(50)
	wantReason(t, "a node nobody spoke of since", ask(nodeRef("never"), 100), metadatav1.ErrorReason_ERROR_REASON_HISTORY_TRIMMED)
	wantReason(t, "a table nobody spoke of since", ask(tableRef(0, "", "never"), 100), metadatav1.ErrorReason_ERROR_REASON_HISTORY_TRIMMED)
	wantReason(t, "before what is kept", ask(nodeRef("h1"), 20), metadatav1.ErrorReason_ERROR_REASON_HISTORY_TRIMMED)
}

func TestPages(t *testing.T) {
	s := topologyStages(2, 200)
	l, _ := newLog(s.changes)
	o := Object{Kind: metadatav1.ObjectKind_OBJECT_KIND_NODE, Name: "h1"}
	_, revisions := s.objects()
	for _, newestFirst := range []bool{false, true} {
		for _, q := range []Query{{Limit: 1, MaxBytes: 1 << 20}, {Limit: 3, MaxBytes: 1 << 20}, {Limit: 100, MaxBytes: 1}, {Limit: 100, MaxBytes: 1 << 20}, {}} {
			q.Object, q.First, q.Last, q.NewestFirst = o, 5, 190, newestFirst
			var got []uint64
			for pages := 0; ; pages++ {
				changes, next, err := l.Page(t.Context(), q)
				if err != nil || pages > 200 || len(changes) > max(1, q.Limit) {
					t.Fatalf("page %d of %d changes, %v", pages, len(changes), err)
				}
				size := 0
				for _, c := range changes {
					got = append(got, c.GetChange().GetRevision())
					size += proto.Size(c)
				}
				if len(changes) > 1 && size > q.MaxBytes {
					t.Fatalf("a page of %d bytes, at most %d were wanted", size, q.MaxBytes)
				}
				if next == 0 {
					break
				}
				if newestFirst {
					q.Last = next
				} else {
					q.First = next
				}
			}
			if want := within(revisions[o], 5, 190, newestFirst); !slices.Equal(got, want) || len(want) < 5 {
				t.Errorf("%+v: pages of %v, want %v", q, got, want)
			}
		}
	}
}

// story seals changes of hand-made events, one after the other.
func story(changes ...[]*metadatav1.Event) (sealed []*events.Change) {
	for i, evs := range changes {
		var list []events.Event
		for _, e := range evs {
			list = append(list, events.New(e))
		}
		header := events.Header{Revision: uint64(i + 1), Time: pasts.Start.Add(time.Duration(i) * time.Hour), Actor: "ann", RequestID: "r" + string(rune('1'+i))}
		sealed = append(sealed, events.Seal(header, list))
	}
	return sealed
}

func created(c *metadatav1.Consumer) *metadatav1.Event {
	return &metadatav1.Event{Kind: &metadatav1.Event_ConsumerCreated{ConsumerCreated: &metadatav1.ConsumerCreated{Consumer: c}}}
}

func acknowledged(c *metadatav1.Consumer) *metadatav1.Event {
	return &metadatav1.Event{Kind: &metadatav1.Event_ConsumerAcknowledged{ConsumerAcknowledged: &metadatav1.ConsumerAcknowledged{Consumer: c}}}
}

func deleted(c *metadatav1.Consumer) *metadatav1.Event {
	return &metadatav1.Event{Kind: &metadatav1.Event_ConsumerDeleted{ConsumerDeleted: &metadatav1.ConsumerDeleted{Consumer: c}}}
}

// A consumer is followed through all that had its name, and each change says what it made
// of it.
func TestObjectChanges(t *testing.T) {
	first := &metadatav1.Consumer{Name: "cdc", UpdatedRevision: 1}
	later := &metadatav1.Consumer{Name: "cdc", UpdatedRevision: 2, Position: &metadatav1.Position{SchemaRevision: 5}}
	other := &metadatav1.Consumer{Name: "other"}
	l, source := newLog(story(
		[]*metadatav1.Event{created(first), created(other)},
		[]*metadatav1.Event{acknowledged(later)},
		[]*metadatav1.Event{deleted(later)},
		[]*metadatav1.Event{acknowledged(other)},
		[]*metadatav1.Event{created(first), deleted(first)},
	))
	o, err := l.Resolve(t.Context(), refOf(Object{Kind: metadatav1.ObjectKind_OBJECT_KIND_CONSUMER, Name: "cdc"}), 5)
	if err != nil {
		t.Fatal(err)
	}
	page := func() (lines []string) {
		changes, _, err := l.Page(t.Context(), Query{Object: o, Last: 5, Limit: 10, MaxBytes: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range changes {
			lines = append(lines, describe(c))
		}
		return lines
	}
	want := []string{
		`1 by ann: 1 events, ADDED cdc: name ""->"\"cdc\"" updatedRevision ""->"\"1\""`,
		`2 by ann: 1 events, CHANGED cdc: position ""->"{\"schemaRevision\":\"5\"}" updatedRevision "\"1\""->"\"2\""`,
		`3 by ann: 1 events, REMOVED cdc: name "\"cdc\""->"" position "{\"schemaRevision\":\"5\"}"->"" updatedRevision "\"2\""->""`,
		`5 by ann: 2 events, UNSPECIFIED cdc:`,
	}
	if got := page(); !slices.Equal(got, want) {
		t.Errorf("the log is\n%s\nwant\n%s", got, want)
	}
	source.Trim(2)
	want = want[1:]
	want[0] = `2 by ann: 1 events, CHANGED cdc: name ""->"\"cdc\"" position ""->"{\"schemaRevision\":\"5\"}" updatedRevision ""->"\"2\""`
	if got := page(); !slices.Equal(got, want) {
		t.Errorf("without the oldest change the log is\n%s\nwant\n%s", got, want)
	}
}
