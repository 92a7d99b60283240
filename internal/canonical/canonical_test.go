package canonical_test

import (
	"bytes"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/heliosdb/metadata/internal/canonical"
	"github.com/heliosdb/metadata/internal/workload"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

var deterministic = proto.MarshalOptions{Deterministic: true}

// written are the messages that are written by hand, and one that is not.
var written = []proto.Message{
	&metadatav1.TableSchema{}, &metadatav1.CreateTableRequest{}, &metadatav1.ApplyBatchRequest{}, &metadatav1.Event{},
	&metadatav1.CreateTableResponse{}, &metadatav1.AlterTableResponse{}, &metadatav1.ApplyBatchResponse{},
	&metadatav1.GetTableResponse{}, &metadatav1.Change{}, &metadatav1.PipelineRequest{}, &metadatav1.PipelineResponse{},
}

// drawn fills messages at random, every field that the contract has.
type drawn struct{ *rand.Rand }

func (d drawn) fill(m protoreflect.Message, depth int) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		if f := fields.Get(i); d.IntN(3) > 0 && (f.ContainingOneof() == nil || f.HasOptionalKeyword()) {
			d.field(m, f, depth)
		}
	}
	for i := range m.Descriptor().Oneofs().Len() {
		if o := m.Descriptor().Oneofs().Get(i); !o.IsSynthetic() && d.IntN(10) > 0 {
			// Mostly one of the first, which are those of tables.
			d.field(m, o.Fields().Get(d.IntN(min(5+d.IntN(2)*100, o.Fields().Len()))), depth)
		}
	}
	if d.IntN(10) == 0 {
		m.SetUnknown(protowire.AppendVarint(protowire.AppendTag(nil, 1000, protowire.VarintType), d.Uint64()))
	}
}

func (d drawn) field(m protoreflect.Message, f protoreflect.FieldDescriptor, depth int) {
	nested := f.Message() != nil
	switch {
	case f.IsMap():
		for range d.IntN(12) {
			m.Mutable(f).Map().Set(d.value(f.MapKey()).MapKey(), d.value(f.MapValue()))
		}
	case nested && depth == 0:
	case f.IsList():
		for range d.IntN(4) {
			if list := m.Mutable(f).List(); nested {
				d.fill(list.AppendMutable().Message(), depth-1)
			} else {
				list.Append(d.value(f))
			}
		}
	case nested:
		d.fill(m.Mutable(f).Message(), depth-1)
	default:
		m.Set(f, d.value(f))
	}
}

func (d drawn) value(f protoreflect.FieldDescriptor) protoreflect.Value {
	switch f.Kind() {
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(strings.Repeat("ü", d.IntN(80)))
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes(make([]byte, d.IntN(200)))
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(d.IntN(2) == 0)
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(protoreflect.EnumNumber(d.IntN(30) - 2))
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(d.Uint32() >> d.IntN(32))
	case protoreflect.Uint64Kind:
		return protoreflect.ValueOfUint64(d.Uint64() >> d.IntN(64))
	case protoreflect.Int32Kind:
		return protoreflect.ValueOfInt32(d.Int32() - math.MaxInt32/2)
	case protoreflect.Int64Kind:
		return protoreflect.ValueOfInt64(d.Int64() - math.MaxInt64/2)
	case protoreflect.FloatKind:
		return protoreflect.ValueOfFloat32(d.Float32())
	case protoreflect.DoubleKind:
		return protoreflect.ValueOfFloat64(d.Float64())
	}
	panic("the contract has a kind of field that this test does not know: " + f.Kind().String())
}

// TestAsProtobufWrites compares with the protobuf module, for every field.
func TestAsProtobufWrites(t *testing.T) {
	d := drawn{rand.New(rand.NewPCG(1, 2))}
	for _, empty := range written {
		for range 2000 {
			m := proto.Clone(empty)
			d.fill(m.ProtoReflect(), 1+d.IntN(6))
			same(t, m)
		}
	}
}

func same(t *testing.T, m proto.Message) {
	t.Helper()
	want, err := deterministic.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	got, err := canonical.Append([]byte("before"), m)
	if err != nil || string(got) != "before"+string(want) {
		t.Fatalf("%T is written as\n%x (%v), protobuf writes\n%x:\n%v", m, got, err, want, m)
	}
}

// TestNilsAreWrittenAsProtobufDoes covers messages that no wire brings.
func TestNilsAreWrittenAsProtobufDoes(t *testing.T) {
	for _, m := range []proto.Message{
		(*metadatav1.TableSchema)(nil), (*metadatav1.CreateTableRequest)(nil), (*metadatav1.ApplyBatchRequest)(nil), (*metadatav1.Event)(nil),
		(*metadatav1.CreateTableResponse)(nil), (*metadatav1.ApplyBatchResponse)(nil),
		&metadatav1.CreateTableRequest{Table: &metadatav1.TableSchema{Columns: []*metadatav1.ColumnSchema{nil}}},
		&metadatav1.CreateTableRequest{Table: &metadatav1.TableSchema{Columns: []*metadatav1.ColumnSchema{
			{DataType: &metadatav1.DataType{Fields: []*metadatav1.StructField{nil}}},
		}}},
		&metadatav1.ApplyBatchRequest{Commands: []*metadatav1.Command{
			nil, {}, {Command: &metadatav1.Command_CreateTable{}}, {Command: &metadatav1.Command_DropTable{}},
		}},
		&metadatav1.Event{Kind: &metadatav1.Event_TableCreated{}}, &metadatav1.Event{Kind: &metadatav1.Event_TableAltered{}},
		&metadatav1.Event{Kind: &metadatav1.Event_TableDropped{}},
		&metadatav1.ApplyBatchResponse{Results: []*metadatav1.CommandResult{nil, {Objects: []*metadatav1.ObjectVersion{nil}}},
			Result: &metadatav1.WriteResult{Events: []*metadatav1.Event{nil}}},
		(*metadatav1.PipelineRequest)(nil), (*metadatav1.PipelineResponse)(nil),
		&metadatav1.PipelineRequest{Calls: []*metadatav1.PipelineCall{nil, {}}},
		&metadatav1.PipelineResponse{Answers: []*metadatav1.PipelineAnswer{
			nil, {}, {Outcome: &metadatav1.PipelineAnswer_Response{}}, {Outcome: &metadatav1.PipelineAnswer_Error{}},
		}},
	} {
		same(t, m)
	}
}

// TestInvalidTextIsRefused: what protobuf does not encode is no encoding here either.
func TestInvalidTextIsRefused(t *testing.T) {
	const bad = "\xff"
	for name, m := range map[string]proto.Message{
		"name":   &metadatav1.CreateTableRequest{Table: &metadatav1.TableSchema{Name: bad}},
		"key":    &metadatav1.CreateTableRequest{Table: &metadatav1.TableSchema{Properties: map[string]string{bad: ""}}},
		"value":  &metadatav1.CreateTableRequest{Table: &metadatav1.TableSchema{Properties: map[string]string{"": bad}}},
		"method": &metadatav1.PipelineRequest{Calls: []*metadatav1.PipelineCall{{Method: bad}}},
		"failure": &metadatav1.PipelineResponse{Answers: []*metadatav1.PipelineAnswer{
			{Outcome: &metadatav1.PipelineAnswer_Error{Error: &metadatav1.PipelineError{Message: bad}}},
		}},
		"in batch": &metadatav1.ApplyBatchRequest{Commands: []*metadatav1.Command{{Command: &metadatav1.Command_DropNamespace{DropNamespace: &metadatav1.DropNamespaceRequest{Name: bad}}}}},
	} {
		if b, err := canonical.Marshal(m); err == nil {
			t.Errorf("%s: invalid UTF-8 is encoded as %x", name, b)
		}
	}
}

// FuzzAsProtobufWrites compares for any bytes that are a message.
func FuzzAsProtobufWrites(f *testing.F) {
	d := drawn{rand.New(rand.NewPCG(3, 4))}
	for kind, empty := range written {
		for range 4 {
			m := proto.Clone(empty)
			d.fill(m.ProtoReflect(), 4)
			raw, err := deterministic.Marshal(m)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(byte(kind), raw)
		}
	}
	f.Fuzz(func(t *testing.T, kind byte, raw []byte) {
		m := proto.Clone(written[int(kind)%len(written)])
		if proto.Unmarshal(raw, m) == nil {
			same(t, m)
		}
	})
}

// TestTablesAreWrittenWithoutAllocations guards what the package is for.
func TestTablesAreWrittenWithoutAllocations(t *testing.T) {
	m := &metadatav1.CreateTableRequest{Table: workload.Table("", 1)}
	b := make([]byte, 0, 4096)
	if n := testing.AllocsPerRun(100, func() { b, _ = canonical.Append(b[:0], m) }); n != 0 {
		t.Errorf("encoding a table into a buffer allocates %v times, not at all expected", n)
	}
	if want, _ := deterministic.Marshal(m); !bytes.Equal(b, want) {
		t.Errorf("%x, want %x", b, want)
	}
}

// BenchmarkAppend compares with the protobuf module.
func BenchmarkAppend(b *testing.B) {
	m := &metadatav1.CreateTableRequest{Table: workload.Table("", 1)}
	buf := make([]byte, 0, 4096)
	b.Run("canonical", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			buf, _ = canonical.Append(buf[:0], m)
		}
	})
	b.Run("protobuf", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			buf, _ = deterministic.MarshalAppend(buf[:0], m)
		}
	})
}
