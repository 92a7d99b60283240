package diff

import (
	"cmp"
	"fmt"
	"iter"
	"slices"
	"testing"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/internal/pasts"
	"github.com/heliosdb/metadata/projections"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"google.golang.org/protobuf/proto"
)

// object is an object with what a filter looks at.
type object struct {
	message proto.Message
	subject events.Subject
}

// place orders objects as differences come.
func (o object) place() Place {
	p := Place{Kind: o.subject.Kind, ID: o.subject.ID}
	if p.Kind == metadatav1.ObjectKind_OBJECT_KIND_NODE {
		p.Name = o.subject.Name
	}
	return p
}

func comparePlaces(a, b Place) int {
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.ID, b.ID), cmp.Compare(a.Name, b.Name))
}

// naive returns what differs between all objects of two models, by looking at each.
func naive(before, after map[Place]object, filter *events.Filter) (all []string) {
	places := make(map[Place]bool)
	for _, objects := range []map[Place]object{before, after} {
		for p, o := range objects {
			if filter.Match(o.subject) {
				places[p] = true
			}
		}
	}
	var sorted []Place
	for p := range places {
		sorted = append(sorted, p)
	}
	slices.SortFunc(sorted, comparePlaces)
	for _, p := range sorted {
		d := Object(before[p].message, after[p].message)
		if len(d.Fields) > 0 {
			all = append(all, describeDiff(d))
		}
	}
	return all
}

func describeDiff(d *metadatav1.ObjectDiff) string {
	return fmt.Sprintf("%v %d %s %v %q", d.GetKind(), d.GetId(), d.GetName(), d.GetDiff(), lines(d.GetFields()))
}

func schemaObjects(s *projections.Schema) map[Place]object {
	all := make(map[Place]object)
	for n := range s.Model.Namespaces("") {
		o := object{n.Message(), events.NamespaceSubject(n.Message())}
		all[o.place()] = o
	}
	for t := range s.Model.TablesByName("", "") {
		o := object{t.Message(), events.TableSubject(t.Message())}
		all[o.place()] = o
	}
	return all
}

func topologyObjects(s *projections.Topology) map[Place]object {
	all := make(map[Place]object)
	for n := range s.Model.Nodes("") {
		o := object{n.Message(), events.NodeSubject(n.Message())}
		all[o.place()] = o
	}
	for x := range s.Model.Shards(nil) {
		o := object{x.Message(), events.ShardSubject(x.Message())}
		all[o.place()] = o
	}
	return all
}

// pages collects differences, stopping after each so many and going on behind the last.
func pages(t *testing.T, size int, from func(Place) iter.Seq2[*metadatav1.ObjectDiff, error]) (all []string) {
	t.Helper()
	var behind Place
	for {
		n := 0
		for d, err := range from(behind) {
			if err != nil {
				t.Fatal(err)
			}
			all, behind = append(all, describeDiff(d)), PlaceOf(d)
			if n++; n == size {
				break
			}
		}
		if n < size {
			return all
		}
	}
}

func filters() []*events.Filter {
	return []*events.Filter{
		nil,
		events.NewFilter(&metadatav1.Filter{Kinds: []metadatav1.ObjectKind{metadatav1.ObjectKind_OBJECT_KIND_TABLE, metadatav1.ObjectKind_OBJECT_KIND_SHARD}}),
		events.NewFilter(&metadatav1.Filter{Namespaces: []string{"ns1"}, Nodes: []string{"h1", "n1"}}),
		events.NewFilter(&metadatav1.Filter{Tables: []string{"never"}, Nodes: []string{"never"}}),
	}
}

// Comparing models says what comparing all of their objects says, in pages of any size.
func TestModelsAgainstComparingEverything(t *testing.T) {
	found := 0
	for seed := range uint64(3) {
		schema := []*projections.Schema{projections.NewSchema(pasts.Cluster, pasts.Epoch)}
		for _, c := range pasts.Schema(seed, 120) {
			schema = append(schema, schema[len(schema)-1].Fold(c))
		}
		topology := []*projections.Topology{projections.NewTopology(pasts.Cluster, pasts.Epoch)}
		for _, c := range pasts.Topology(seed, 120) {
			topology = append(topology, topology[len(topology)-1].Fold(c))
		}
		for _, between := range [][2]int{{0, 120}, {30, 31}, {60, 120}, {100, 100}, {120, 10}} {
			for i, filter := range filters() {
				from, to := schema[between[0]], schema[between[1]]
				want := naive(schemaObjects(from), schemaObjects(to), filter)
				got := pages(t, 1+i, func(behind Place) iter.Seq2[*metadatav1.ObjectDiff, error] {
					return Schema(from.Model, to.Model, filter, behind)
				})
				if !slices.Equal(got, want) {
					t.Fatalf("seed %d, %v: %q\nwant %q", seed, between, got, want)
				}
				was, is := topology[between[0]], topology[between[1]]
				wantTopology := naive(topologyObjects(was), topologyObjects(is), filter)
				got = pages(t, 1+i, func(behind Place) iter.Seq2[*metadatav1.ObjectDiff, error] {
					return Topology(was.Model, is.Model, filter, behind)
				})
				if !slices.Equal(got, wantTopology) {
					t.Fatalf("seed %d, %v: %q\nwant %q", seed, between, got, wantTopology)
				}
				found += len(want) + len(wantTopology)
			}
		}
	}
	if found < 200 {
		t.Errorf("%d differences in all: the pasts are too tame", found)
	}
}

func TestObject(t *testing.T) {
	for want, m := range map[string]proto.Message{
		"OBJECT_KIND_NAMESPACE 3 sales":        &metadatav1.Namespace{NamespaceId: 3, Name: "sales"},
		"OBJECT_KIND_TABLE 7 public.orders":    &metadatav1.TableSchema{TableId: 7, Name: "orders"},
		"OBJECT_KIND_NODE 0 n1":                &metadatav1.NodeInfo{NodeId: "n1"},
		"OBJECT_KIND_SHARD 9 9":                &metadatav1.ShardInfo{ShardId: 9},
		"OBJECT_KIND_CONSUMER 0 cdc":           &metadatav1.Consumer{Name: "cdc"},
		"OBJECT_KIND_SIGNED_HEAD 0 schema@5":   &metadatav1.SignedHead{Stream: metadatav1.Stream_STREAM_SCHEMA, Revision: 5},
		"OBJECT_KIND_HISTORY_FLOOR 0 topology": &metadatav1.HistoryFloor{Stream: metadatav1.Stream_STREAM_TOPOLOGY},
		"OBJECT_KIND_UNSPECIFIED 0 ":           &metadatav1.Position{ClusterId: "c"},
	} {
		for kind, d := range map[metadatav1.DiffKind]*metadatav1.ObjectDiff{
			metadatav1.DiffKind_DIFF_KIND_ADDED:   Object(nil, m),
			metadatav1.DiffKind_DIFF_KIND_REMOVED: Object(m, nil),
			metadatav1.DiffKind_DIFF_KIND_CHANGED: Object(m, m),
		} {
			if got := fmt.Sprintf("%v %d %s", d.GetKind(), d.GetId(), d.GetName()); got != want || d.GetDiff() != kind {
				t.Errorf("%s, %v; want %s, %v", got, d.GetDiff(), want, kind)
			}
		}
	}
}

// A model may come from somebody else's checkpoint, which nobody has looked into.
func TestObjectsThatDoNotDecode(t *testing.T) {
	bad := events.New(&metadatav1.Event{Kind: &metadatav1.Event_TableCreated{TableCreated: &metadatav1.TableCreated{
		Table: &metadatav1.TableSchema{TableId: 1, Name: "t", Comment: "text"}}}})
	s := projections.NewSchema(pasts.Cluster, pasts.Epoch)
	after := s.Fold(events.Seal(events.Header{Revision: 1, Time: pasts.Start}, []events.Event{bad}))
	for record := range after.Model.TablesByID(0) {
		record.Bytes()[len(record.Bytes())-1] = 0xff // in the midst of the comment: no UTF-8
	}
	var failed error
	for _, err := range Schema(s.Model, after.Model, nil, Place{}) {
		failed = err
	}
	if failed == nil {
		t.Error("a table that does not decode was compared")
	}
}
