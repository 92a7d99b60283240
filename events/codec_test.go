package events

import (
	"bytes"
	"errors"
	"slices"
	"testing"
	"time"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

func TestSealIsTheDeterministicEncoding(t *testing.T) {
	headers := []Header{
		{Revision: 1, Time: time.Unix(0, 0)},
		{Revision: 1 << 40, Time: time.Unix(-5, 999), Actor: "a"},
		{Revision: 300, Time: noon, Actor: "ann", RequestID: "r", CommandHash: []byte{0}},
	}
	for _, h := range headers {
		c := Seal(h, []Event{New(samples()[0]), New(samples()[2])})
		want, err := proto.MarshalOptions{Deterministic: true}.Marshal(c.Message())
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(c.Raw(), want) {
			t.Errorf("revision %d: sealed\n%x, want\n%x", h.Revision, c.Raw(), want)
		}
		got, err := DecodeChange(c.Raw())
		if err != nil {
			t.Fatal(err)
		}
		if got.Revision() != h.Revision || !got.Time().Equal(h.Time) || got.Actor() != h.Actor ||
			got.RequestID() != h.RequestID || !bytes.Equal(got.CommandHash(), h.CommandHash) || got.FeatureLevel() != 1 {
			t.Errorf("decoded header %+v, want %+v", got.header, h)
		}
	}
}

func TestEventsKeepTheirBytes(t *testing.T) {
	for _, stream := range streams {
		sealed := sampleChange(stream)
		decoded, err := DecodeChange(sealed.Raw())
		if err != nil {
			t.Fatal(err)
		}
		if decoded.Stream() != stream {
			t.Errorf("stream %v, want %v", decoded.Stream(), stream)
		}
		for i, e := range decoded.Events() {
			if !bytes.Equal(e.Raw(), New(e.Message()).Raw()) || !bytes.Equal(e.Raw(), sealed.Events()[i].Raw()) {
				t.Errorf("event %d has other bytes than when it was new", i)
			}
		}
	}
}

func TestObjects(t *testing.T) {
	all := samples()
	table := New(all[3])
	got := new(metadatav1.TableSchema)
	if err := proto.Unmarshal(table.Object(0), got); err != nil || !proto.Equal(got, sampleTable()) {
		t.Errorf("object of TableAltered: %v, %v", got, err)
	}
	trimmed := New(all[22])
	if trimmed.Objects() != 1 || trimmed.Before(0) != nil {
		t.Errorf("HistoryTrimmed has %d objects, and the consumers that it passed are taken for some", trimmed.Objects())
	}
	if table.Objects() != 1 || table.Object(1) != nil {
		t.Errorf("TableAltered has %d objects", table.Objects())
	}
	split := New(all[14])
	if split.Objects() != 2 {
		t.Fatalf("ShardSplit has %d objects, want its 2 children", split.Objects())
	}
	for i, want := range all[14].GetShardSplit().GetChildren() {
		got := new(metadatav1.ShardInfo)
		if err := proto.Unmarshal(split.Object(i), got); err != nil || !proto.Equal(got, want) {
			t.Errorf("child %d: %v, %v", i, got, err)
		}
	}
	empty := New(&metadatav1.Event{Kind: &metadatav1.Event_ShardDeleted{
		ShardDeleted: &metadatav1.ShardDeleted{Shard: &metadatav1.ShardInfo{}}}})
	if empty.Objects() != 1 || len(empty.Object(0)) != 0 {
		t.Error("an empty object is an object too")
	}
}

func TestNewPanicsOnWhatIsNoEvent(t *testing.T) {
	for name, m := range map[string]*metadatav1.Event{
		"no kind":   {},
		"no object": {Kind: &metadatav1.Event_TableCreated{TableCreated: &metadatav1.TableCreated{}}},
		"not UTF-8": {Kind: &metadatav1.Event_TableCreated{TableCreated: &metadatav1.TableCreated{
			Table: &metadatav1.TableSchema{Name: "\xff"}}}},
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("New did not panic")
				}
			}()
			New(m)
		})
	}
}

func appendField(b []byte, num protowire.Number, value []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(slices.Clone(b), num, protowire.BytesType), value)
}

func appendVarint(b []byte, num protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(slices.Clone(b), num, protowire.VarintType), v)
}

func TestUnsupported(t *testing.T) {
	change := sampleChange(metadatav1.Stream_STREAM_SCHEMA).Raw()
	batch := sampleBatch().Encode()
	for name, raw := range map[string][]byte{
		"kind 46":         appendField(change, changeEvents, appendField(nil, 46, []byte{10, 0})),
		"kind 200":        appendField(change, changeEvents, appendField(nil, 200, []byte{10, 0})),
		"level 2":         appendVarint(change, changeFeatureLevel, 2),
		"level 2^32":      appendVarint(change, changeFeatureLevel, 1<<32-1),
		"field 9":         appendVarint(change, 9, 1),
		"batch level 2":   appendVarint(batch, batchFeatureLevel, 2),
		"batch level 2⁴⁰": appendVarint(batch, batchFeatureLevel, 1<<40),
		"batch field 9":   appendVarint(batch, 9, 1),
	} {
		var err error
		if name[0] == 'b' {
			_, err = DecodeBatch(raw)
		} else {
			_, err = DecodeChange(raw)
		}
		if _, ok := errors.AsType[*UnsupportedError](err); !ok {
			t.Errorf("%s: %v, want an UnsupportedError", name, err)
		}
	}
}

func TestCorruptChanges(t *testing.T) {
	schema, topology := sampleChange(metadatav1.Stream_STREAM_SCHEMA), sampleChange(metadatav1.Stream_STREAM_TOPOLOGY)
	node := topology.Events()[0].Raw()
	header := appendHeader(nil, Header{Revision: 3, Time: noon}, 1)
	for name, raw := range map[string][]byte{
		"nothing":         {},
		"no events":       header,
		"no revision":     appendVarint(schema.Raw(), changeRevision, 0),
		"no level":        appendVarint(schema.Raw(), changeFeatureLevel, 0),
		"no time":         appendField(appendVarint(appendVarint(nil, changeRevision, 1), changeFeatureLevel, 1), changeEvents, node),
		"two streams":     appendField(schema.Raw(), changeEvents, node),
		"two kinds":       appendField(header, changeEvents, slices.Concat(node, node)),
		"no kind":         appendField(header, changeEvents, appendVarint(nil, fieldCommand, 1)),
		"no object":       appendField(header, changeEvents, appendField(nil, 20, nil)),
		"two objects":     appendField(header, changeEvents, appendField(nil, 20, []byte{10, 0, 10, 0})),
		"number as event": appendVarint(header, changeEvents, 7),
		"partial":         appendVarint(schema.Raw(), changePartial, 1),
	} {
		_, err := DecodeChange(raw)
		if _, ok := errors.AsType[*CorruptError](err); !ok {
			t.Errorf("%s: %v, want a CorruptError", name, err)
		}
	}
}

func TestCorruptBatches(t *testing.T) {
	good := sampleBatch()
	gap := sampleBatch()
	gap.Changes[1] = Seal(Header{Revision: 50, Time: noon}, []Event{New(samples()[0])})
	mixed := sampleBatch()
	mixed.Stream = metadatav1.Stream_STREAM_TOPOLOGY
	none := sampleBatch()
	none.Changes = nil
	for name, raw := range map[string][]byte{
		"nothing":         {},
		"no changes":      none.Encode(),
		"gap":             gap.Encode(),
		"other stream":    mixed.Encode(),
		"short cluster":   appendField(good.Encode(), batchCluster, []byte("x")),
		"long digest":     appendField(good.Encode(), batchPreviousDigest, make([]byte, 33)),
		"number as bytes": appendField(good.Encode(), batchTerm, []byte("x")),
		"level too low":   appendVarint(good.Encode(), batchFeatureLevel, 0),
	} {
		_, err := DecodeBatch(raw)
		if _, ok := errors.AsType[*CorruptError](err); !ok {
			t.Errorf("%s: %v, want a CorruptError", name, err)
		}
	}
}

// Cut short or with any bit flipped, a batch decodes to something or to a typed
// error, and whatever decodes can be used.
func TestDamagedBatchesNeverPanic(t *testing.T) {
	raw := sampleBatch().Encode()
	for n := range raw {
		decodeAndUse(t, raw[:n])
	}
	for i := range raw {
		for bit := range 8 {
			damaged := bytes.Clone(raw)
			damaged[i] ^= 1 << bit
			decodeAndUse(t, damaged)
		}
	}
}

func FuzzDecodeBatch(f *testing.F) {
	f.Add(sampleBatch().Encode())
	f.Fuzz(func(t *testing.T, raw []byte) { decodeAndUse(t, raw) })
}

func decodeAndUse(t *testing.T, raw []byte) {
	t.Helper()
	b, err := DecodeBatch(raw)
	if err != nil {
		wantTyped(t, err)
		return
	}
	for _, c := range b.Changes {
		checkChange(t, c)
	}
}

func TestFromMessage(t *testing.T) {
	want := sampleChange(metadatav1.Stream_STREAM_TOPOLOGY)
	got, err := FromMessage(want.Message())
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Raw(), want.Raw()) || got.Message() != want.Message() {
		t.Error("a change differs after its way through a subscription")
	}
	newer := proto.CloneOf(want.Message())
	newer.FeatureLevel = 2
	if _, err := FromMessage(newer); !isUnsupported(err) {
		t.Errorf("a newer level: %v", err)
	}
	// A kind that this build does not know arrives as an unknown field.
	unknown := proto.CloneOf(want.Message())
	unknown.Events[1] = new(metadatav1.Event)
	if err := proto.Unmarshal(appendField(nil, 77, []byte{10, 0}), unknown.Events[1]); err != nil {
		t.Fatal(err)
	}
	if _, err := FromMessage(unknown); !isUnsupported(err) {
		t.Errorf("an unknown kind: %v", err)
	}
	if _, err := FromMessage(nil); err == nil {
		t.Error("nothing was taken for a change")
	}
}

func isUnsupported(err error) bool {
	_, ok := errors.AsType[*UnsupportedError](err)
	return ok
}

func TestUpcastGoesThroughEveryStepFromItsLevel(t *testing.T) {
	rename := func(suffix string) upcaster {
		return func(e *metadatav1.Event) *metadatav1.Event {
			e = proto.CloneOf(e)
			e.GetNamespaceCreated().Namespace.Name += suffix
			return e
		}
	}
	steps := []upcaster{rename("-2"), rename("-3")}
	old := samples()[0]
	for level, want := range map[uint32]string{0: "shop", 1: "shop-2-3", 2: "shop-3", 3: "shop", 4: "shop"} {
		if got := upcast(steps, level, old).GetNamespaceCreated().GetNamespace().GetName(); got != want {
			t.Errorf("from level %d: %q, want %q", level, got, want)
		}
	}
	if old.GetNamespaceCreated().GetNamespace().GetName() != "shop" {
		t.Error("the old event was changed")
	}
	for _, m := range samples() {
		if Upcast(1, m) != m {
			t.Errorf("%T of today's level was changed", m.GetKind())
		}
	}
}

func TestParseClusterID(t *testing.T) {
	want := ClusterID{1, 0xab, 15: 9}
	got, err := ParseClusterID(want.String())
	if err != nil || got != want {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range []string{"", "ab", "zz0102030405060708090a0b0c0d0e0f", want.String() + "00"} {
		if _, err := ParseClusterID(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}
