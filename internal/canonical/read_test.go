package canonical_test

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/internal/canonical"
	"github.com/heliosdb/metadata/internal/workload"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// read are the messages that are read by hand, and one that is not.
var read = []proto.Message{
	&metadatav1.TableSchema{}, &metadatav1.CreateTableRequest{}, &metadatav1.ApplyBatchRequest{}, &metadatav1.DropTableRequest{},
	&metadatav1.CreateTableResponse{}, &metadatav1.GetTableResponse{},
	&metadatav1.PipelineRequest{}, &metadatav1.PipelineResponse{},
}

// sameRead compares with the protobuf module, in what is read and in what is refused.
func sameRead(t *testing.T, empty proto.Message, raw []byte) {
	t.Helper()
	want, got := proto.Clone(empty), proto.Clone(empty)
	errWant := proto.Unmarshal(raw, want)
	given := slices.Clone(raw)
	err := canonical.Unmarshal(given, got)
	clear(given) // nothing may hold on to it
	if (err == nil) != (errWant == nil) || err != nil && err.Error() != errWant.Error() {
		t.Fatalf("%T %x: %v, protobuf says %v", empty, raw, err, errWant)
	}
	if err != nil {
		return
	}
	if !proto.Equal(want, got) {
		t.Fatalf("%T %x is read as\n%v\nprotobuf reads\n%v", empty, raw, got, want)
	}
	a, errA := deterministic.Marshal(want)
	b, errB := deterministic.Marshal(got)
	if errA != nil || errB != nil || !bytes.Equal(a, b) {
		t.Fatalf("%T is encoded as\n%x (%v)\nafter protobuf read it as\n%x (%v)", empty, b, errB, a, errA)
	}
}

// TestReadsAsProtobuf compares for messages with every field of the contract, whole
// and damaged.
func TestReadsAsProtobuf(t *testing.T) {
	d := drawn{rand.New(rand.NewPCG(5, 6))}
	for _, empty := range read {
		for range 2000 {
			m := proto.Clone(empty)
			d.fill(m.ProtoReflect(), 1+d.IntN(6))
			raw, err := proto.Marshal(m)
			if err != nil {
				t.Fatal(err)
			}
			sameRead(t, empty, raw)
			if len(raw) == 0 {
				continue
			}
			sameRead(t, empty, raw[:d.IntN(len(raw))])
			sameRead(t, empty, slices.Concat(raw, raw)) // everything twice
			raw[d.IntN(len(raw))] ^= byte(1 << d.IntN(8))
			sameRead(t, empty, raw)
		}
	}
}

// TestReadsWhatIsUnusual looks at what random messages hit too rarely.
func TestReadsWhatIsUnusual(t *testing.T) {
	tables := func(fields ...byte) []byte { return append([]byte{1<<3 | 2, byte(len(fields))}, fields...) }
	for name, raw := range map[string][]byte{
		"nothing":                  {},
		"a varint that is cut":     {1 << 3, 0x80},
		"a length beyond the end":  {1<<3 | 2, 5, 0},
		"a name that is a number":  tables(3<<3, 1),
		"a name that is no text":   tables(3<<3|2, 1, 0xff),
		"a fixed number":           tables(1<<3|1, 1, 2, 3, 4, 5, 6, 7, 8),
		"a group":                  {1<<3 | 3, 1<<3 | 4},
		"a long varint":            tables(1<<3, 0x81, 0x80, 0x00),
		"a number beyond 64 bits":  tables(1<<3, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f),
		"two types of a column":    tables(4<<3|2, 8, 3<<3|2, 2, 1<<3, 1, 3<<3|2, 2, 2<<3, 1),
		"a pair without a key":     tables(7<<3|2, 2, 2<<3|2, 0),
		"field 0":                  {0, 0},
		"packed ids":               tables(13<<3|2, 2, 1, 2),
		"an id of more than a bit": tables(4<<3|2, 6, 1<<3, 0x81, 0x80, 0x80, 0x80, 0x20),
	} {
		t.Run(name, func(t *testing.T) { sameRead(t, &metadatav1.CreateTableRequest{}, raw) })
	}
	call := func(fields ...byte) []byte { return append([]byte{1<<3 | 2, byte(len(fields))}, fields...) }
	sameRead(t, &metadatav1.PipelineRequest{}, slices.Concat(call(2<<3|2, 1, 'a'), call(), call(2<<3|2, 1, 'a'), call(2<<3|2, 0)))
	sameRead(t, &metadatav1.PipelineRequest{}, []byte{2 << 3, 1, 2<<3 | 2, 2, 2, 3, 2<<3 | 2, 1, 0x80}) // ids that are not packed, that are, and that are cut
	sameRead(t, &metadatav1.PipelineResponse{}, call(2<<3|2, 1, 'a', 3<<3|2, 0))                        // two outcomes
	deep := &metadatav1.DataType{Kind: 1}
	for range 40 {
		deep = &metadatav1.DataType{Kind: 23, Element: deep}
	}
	raw, err := proto.Marshal(&metadatav1.CreateTableRequest{Table: &metadatav1.TableSchema{Columns: []*metadatav1.ColumnSchema{{DataType: deep}}}})
	if err != nil {
		t.Fatal(err)
	}
	sameRead(t, &metadatav1.CreateTableRequest{}, raw)
	full := &metadatav1.TableSchema{Name: "t"}
	if err := canonical.Unmarshal(protowire.AppendVarint([]byte{8 << 3}, 7), full); err != nil || full.Name != "" || full.Version != 7 {
		t.Errorf("reading into a message that was used gives %v, %v", full, err)
	}
}

// FuzzReadsAsProtobuf compares for any bytes.
func FuzzReadsAsProtobuf(f *testing.F) {
	d := drawn{rand.New(rand.NewPCG(7, 8))}
	for kind, empty := range read {
		for range 4 {
			m := proto.Clone(empty)
			d.fill(m.ProtoReflect(), 4)
			raw, err := proto.Marshal(m)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(byte(kind), raw)
		}
	}
	f.Fuzz(func(t *testing.T, kind byte, raw []byte) { sameRead(t, read[int(kind)%len(read)], raw) })
}

// TestTablesAreReadWithFewAllocations guards what reading by hand is for.
func TestTablesAreReadWithFewAllocations(t *testing.T) {
	raw, err := proto.Marshal(&metadatav1.CreateTableRequest{Table: workload.Table("", 1)})
	if err != nil {
		t.Fatal(err)
	}
	m := new(metadatav1.CreateTableRequest)
	// The texts, the table, its columns twice, its key and its properties, two of them.
	if n := testing.AllocsPerRun(100, func() { _ = canonical.Unmarshal(raw, m) }); n > 7 {
		t.Errorf("reading a table allocates %v times, at most 7 expected", n)
	}
}

// TestCallsAreReadWithFewAllocations: what a call costs beside its own content is a part
// of what its message costs.
func TestCallsAreReadWithFewAllocations(t *testing.T) {
	request, response := new(metadatav1.PipelineRequest), new(metadatav1.PipelineResponse)
	for id := range uint64(100) {
		request.Calls = append(request.Calls, &metadatav1.PipelineCall{Id: id, Method: "GetTable", Request: []byte("request")})
		response.Answers = append(response.Answers, &metadatav1.PipelineAnswer{
			Id: id, Outcome: &metadatav1.PipelineAnswer_Response{Response: []byte("response")},
		})
	}
	for _, m := range []proto.Message{request, response} {
		raw, err := canonical.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		// The bytes, the elements, the pointers to them; and of requests the method's name.
		if n := testing.AllocsPerRun(100, func() { _ = canonical.Unmarshal(raw, m) }); n > 4 {
			t.Errorf("reading %T with 100 calls allocates %v times, at most 4 expected", m, n)
		}
	}
}

// BenchmarkUnmarshal compares with the protobuf module.
func BenchmarkUnmarshal(b *testing.B) {
	raw, err := proto.Marshal(&metadatav1.CreateTableRequest{Table: workload.Table("", 1)})
	if err != nil {
		b.Fatal(err)
	}
	for name, unmarshal := range map[string]func([]byte, proto.Message) error{"canonical": canonical.Unmarshal, "protobuf": proto.Unmarshal} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := unmarshal(raw, new(metadatav1.CreateTableRequest)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
