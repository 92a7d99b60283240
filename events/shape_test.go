package events

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// FuzzShape compares the check of an event's shape with protobuf: what one takes the
// other does, so that a checked event decodes whenever somebody asks.
func FuzzShape(f *testing.F) {
	for _, m := range samples() {
		e := New(m)
		f.Add(uint8(e.Kind()), e.Raw()[e.from:e.to])
	}
	for _, body := range notMessages() {
		f.Add(uint8(KindTableCreated), body)
	}
	f.Fuzz(func(t *testing.T, kind uint8, body []byte) {
		if bodies[kind] == nil {
			return
		}
		checked := bodies[kind].check(body, maxNesting-2, false)
		decoded := unmarshalBody(Kind(kind), body)
		if (checked == nil) != (decoded == nil) {
			t.Fatalf("kind %v, %x: the check says %v, protobuf %v", Kind(kind), body, checked, decoded)
		}
	})
}

// unmarshalBody decodes a kind's message where it lies in a change.
func unmarshalBody(kind Kind, body []byte) error {
	change := appendField(nil, changeEvents, appendField(nil, protowire.Number(kind), body))
	return proto.Unmarshal(change, new(metadatav1.Change))
}

// notMessages returns bodies of TableCreated that protobuf does not take.
func notMessages() map[string][]byte {
	table := func(fields ...[]byte) []byte { return appendField(nil, fieldObject, slices.Concat(fields...)) }
	deep := []byte(nil)
	for range maxNesting { // arrays of arrays
		deep = appendField(nil, 5, deep)
	}
	return map[string][]byte{
		"cut short":             table(appendField(nil, 3, []byte("orders")))[:5],
		"name":                  table(appendField(nil, 3, []byte("\xff"))),
		"name's first letter":   table(appendField(nil, 3, []byte("\xff abcdefghijklmnopqrstuvwxyz"))),
		"name's tenth letter":   table(appendField(nil, 3, []byte("abcdefghi\xffjklmnopqrstuvwxyz"))),
		"name's last letter":    table(appendField(nil, 3, []byte("abcdefghijklmnopqrstuvwxyz\xff"))),
		"long name":             table(appendField(nil, 3, []byte(strings.Repeat("a", 2*shortMessage)+"\xff"))),
		"property's value":      table(appendField(nil, 7, appendField(nil, 2, []byte("\xff")))),
		"nesting":               table(appendField(nil, 4, appendField(nil, 3, deep))),
		"packed number":         table(appendField(nil, 13, []byte{0x80})),
		"group without its end": table(protowire.AppendTag(nil, 40, protowire.StartGroupType)),
		"end without its group": table(protowire.AppendTag(nil, 40, protowire.EndGroupType)),
		"number of a field":     table(protowire.AppendVarint(nil, 1<<33)),
	}
}

func TestWhatProtobufRefusesIsNoEvent(t *testing.T) {
	for name, body := range notMessages() {
		if unmarshalBody(KindTableCreated, body) == nil {
			t.Errorf("%s: protobuf takes it", name)
		}
		header := appendHeader(nil, Header{Revision: 3, Time: noon}, 1)
		_, err := DecodeChange(appendField(header, changeEvents, appendField(nil, protowire.Number(KindTableCreated), body)))
		if err == nil {
			t.Errorf("%s: a change was decoded that cannot be sent", name)
		} else {
			wantTyped(t, err)
		}
	}
}

func TestKindsAreThoseOfTheContract(t *testing.T) {
	constants := []Kind{
		KindNamespaceCreated, KindNamespaceDropped, KindTableCreated, KindTableAltered, KindTableDropped,
		KindNodeRegistered, KindNodeUnregistered, KindNodeCameOnline, KindNodeWentOffline, KindNodeDrained, KindNodeDrainCancelled,
		KindShardCreated, KindShardChanged, KindShardMoved, KindShardSplit, KindShardsMerged, KindShardDeleted,
		KindConsumerCreated, KindConsumerOpened, KindConsumerAcknowledged, KindConsumerDeleted, KindHeadSigned, KindHistoryTrimmed,
	}
	for i, m := range samples() {
		e := New(m)
		if got, want := fmt.Sprintf("*metadatav1.Event_%v", e.Kind()), fmt.Sprintf("%T", m.GetKind()); got != want || KindOf(m) != constants[i] || e.Kind() != constants[i] {
			t.Errorf("%s has kind %d, %s, as a message %d; want %d", want, e.Kind(), got, KindOf(m), constants[i])
		}
		if e.Kind().AboutNode() != (NodeOf(m) != nil) || StreamOf(m) != e.Stream() {
			t.Errorf("%v: about a node %v, of %v", e.Kind(), e.Kind().AboutNode(), e.Stream())
		}
		fields := m.ProtoReflect().WhichOneof(oneof).Message().Fields()
		second := fields.ByNumber(fieldBefore)
		if e.Kind().replaces() != (second != nil && second.Message() != nil) {
			t.Errorf("%v: replaces objects: %v", e.Kind(), e.Kind().replaces())
		}
	}
	if KindOf(nil) != 0 || Kind(0).Stream() != 0 || Kind(77).Stream() != 0 {
		t.Error("what is no kind belongs to a stream")
	}
}

func TestBefore(t *testing.T) {
	merged := New(samples()[15])
	for i, want := range samples()[15].GetShardsMerged().GetParents() {
		got := new(metadatav1.ShardInfo)
		if err := proto.Unmarshal(merged.Before(i), got); err != nil || !proto.Equal(got, want) {
			t.Errorf("parent %d: %v, %v", i, got, err)
		}
	}
	if altered := New(samples()[3]); merged.Before(2) != nil || altered.Before(0) != nil {
		t.Error("an object is said to replace what it does not")
	}
}
