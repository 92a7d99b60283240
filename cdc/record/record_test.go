package record

import (
	"encoding/json"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/heliosdb/metadata/client"
	"github.com/heliosdb/metadata/events"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

func namespace(name string) *metadatav1.Event {
	return &metadatav1.Event{Kind: &metadatav1.Event_NamespaceCreated{NamespaceCreated: &metadatav1.NamespaceCreated{
		Namespace: &metadatav1.Namespace{NamespaceId: 2, Name: name, Comment: `<&> "ü"`},
	}}}
}

func table(name string) *metadatav1.Event {
	return &metadatav1.Event{Kind: &metadatav1.Event_TableDropped{TableDropped: &metadatav1.TableDropped{
		Table: &metadatav1.TableSchema{TableId: 7, Namespace: "shop", Name: name},
	}}}
}

func schema(events ...*metadatav1.Event) client.Delivery {
	return client.Delivery{ClusterID: "c0ffee", RecoveryEpoch: 3, Stream: metadatav1.Stream_STREAM_SCHEMA, Change: &metadatav1.Change{
		Revision: 12, Time: &timestamppb.Timestamp{Seconds: 1767323045, Nanos: 678000000}, Actor: "ada", RequestId: "r1",
		FeatureLevel: 1, Events: events,
	}}
}

// The line is what others parse: it changes only by fields that are added.
func TestTheLine(t *testing.T) {
	r, err := Of(schema(namespace("shop")))
	if err != nil {
		t.Fatal(err)
	}
	want := `{"id":"c0ffee/3/schema/12","cluster":"c0ffee","recoveryEpoch":3,"stream":"schema","revision":12,` +
		`"time":"2026-01-02T03:04:05.678Z","actor":"ada","requestId":"r1",` +
		`"events":[{"namespaceCreated":{"namespace":{"namespaceId":"2","name":"shop","comment":"<&> \"ü\""}}}]}`
	if string(r.JSON) != want {
		t.Errorf("got\n%s\nwant\n%s", r.JSON, want)
	}
	partial := schema(namespace("shop"))
	partial.Change.Partial, partial.Change.Actor, partial.Change.RequestId = true, "", ""
	r, err = Of(partial)
	if err != nil || !strings.Contains(string(r.JSON), `Z","partial":true,"events"`) {
		t.Errorf("%s, %v", r.JSON, err)
	}
}

func TestKindAndSubject(t *testing.T) {
	shard := &metadatav1.ShardInfo{ShardId: 9}
	split := &metadatav1.Event{Kind: &metadatav1.Event_ShardSplit{ShardSplit: &metadatav1.ShardSplit{
		Parent: shard, Children: []*metadatav1.ShardInfo{{ShardId: 10}, {ShardId: 11}},
	}}}
	node := &metadatav1.Event{Kind: &metadatav1.Event_NodeDrained{NodeDrained: &metadatav1.NodeDrained{Node: &metadatav1.NodeInfo{NodeId: "n1"}}}}
	merged := &metadatav1.Event{Kind: &metadatav1.Event_ShardsMerged{ShardsMerged: &metadatav1.ShardsMerged{Shard: shard}}}
	for _, c := range []struct {
		events        []*metadatav1.Event
		kind, subject string
	}{
		{[]*metadatav1.Event{namespace("shop")}, "namespaceCreated", "namespace/shop"},
		{[]*metadatav1.Event{table("a")}, "tableDropped", "table/shop.a"},
		{[]*metadatav1.Event{table("a"), table("b")}, "tableDropped", ""},
		{[]*metadatav1.Event{table("a"), namespace("shop")}, Mixed, ""},
		{[]*metadatav1.Event{node}, "nodeDrained", "node/n1"},
		{[]*metadatav1.Event{split}, "shardSplit", "shard/9"},
		{[]*metadatav1.Event{merged}, "shardsMerged", "shard/9"},
		{[]*metadatav1.Event{split, merged}, Mixed, "shard/9"},
	} {
		r, err := Of(schema(c.events...))
		if err != nil || r.Kind != c.kind || r.Subject != c.subject || !json.Valid(r.JSON) {
			t.Errorf("kind %q, subject %q, %v; want %q, %q", r.Kind, r.Subject, err, c.kind, c.subject)
		}
	}
}

// Every kind of event that the service has can be written, and its subject is its object.
func TestEveryKindIsNamed(t *testing.T) {
	kinds := (*metadatav1.Event)(nil).ProtoReflect().Descriptor().Oneofs().ByName("kind").Fields()
	for i := range kinds.Len() {
		kind := kinds.Get(i).JSONName()
		e := new(metadatav1.Event)
		setObjects(e.ProtoReflect().Mutable(kinds.Get(i)).Message())
		r, err := Of(schema(e))
		if err != nil || r.Kind != kind || r.Subject != wantSubject(kind) {
			t.Errorf("%s: kind %q, subject %q, %v; want subject %q", kind, r.Kind, r.Subject, err, wantSubject(kind))
		}
	}
}

// setObjects sets the fields of an event that are an object of their own.
func setObjects(fact protoreflect.Message) {
	fields := fact.Descriptor().Fields()
	for i := range fields.Len() {
		for _, object := range []proto.Message{
			&metadatav1.Namespace{Name: "shop"}, &metadatav1.TableSchema{Namespace: "shop", Name: "orders"},
			&metadatav1.NodeInfo{NodeId: "n1"}, &metadatav1.ShardInfo{ShardId: 9},
		} {
			field, m := fields.Get(i), object.ProtoReflect()
			if !field.IsList() && field.Message() == m.Descriptor() {
				fact.Set(field, protoreflect.ValueOfMessage(m))
			}
		}
	}
}

// wantSubject is the subject of an event with the objects that setObjects sets. Kinds of
// the service's own stream, which is not consumed, have none.
func wantSubject(kind string) string {
	for prefix, subject := range map[string]string{
		"namespace": "namespace/shop", "table": "table/shop.orders", "node": "node/n1", "shard": "shard/9",
	} {
		if strings.HasPrefix(kind, prefix) {
			return subject
		}
	}
	return ""
}

func TestRefusesWhatANewerServiceSays(t *testing.T) {
	newer := schema(namespace("shop"))
	newer.Change.FeatureLevel = events.FeatureLevel + 1
	for name, d := range map[string]client.Delivery{"level": newer, "kind": schema(namespace("shop"), new(metadatav1.Event))} {
		if r, err := Of(d); err == nil || !strings.Contains(err.Error(), "update") {
			t.Errorf("%s: %s, %v", name, r.JSON, err)
		}
	}
}
