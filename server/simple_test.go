package server

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/heliosdb/metadata/internal/workload"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// drawnTable is a table around the limits of the contract.
type drawnTable struct{ *rand.Rand }

func (d drawnTable) size(limits ...int) int {
	if d.IntN(8) > 0 {
		return 1 + d.IntN(4)
	}
	return max(0, limits[d.IntN(len(limits))]+d.IntN(3)-1)
}

func (d drawnTable) text(limits ...int) string {
	return strings.Repeat("x", d.size(append(limits, 0, 60)...))
}

func (d drawnTable) number(good, limit int) int {
	if d.IntN(20) > 0 {
		return good
	}
	return d.IntN(limit+3) - 1
}

func (d drawnTable) dataType(depth int) *metadatav1.DataType {
	if d.IntN(30) == 0 {
		return nil
	}
	t := &metadatav1.DataType{Kind: metadatav1.TypeKind(d.number(3, 26))}
	if depth >= 9 || d.IntN(3) > 0 {
		return t
	}
	switch d.IntN(3) {
	case 0:
		t.Element = d.dataType(depth + 1)
	case 1:
		t.Key = d.dataType(depth + 1)
	case 2:
		for range d.size(256) {
			t.Fields = append(t.Fields, &metadatav1.StructField{Name: d.text(128), DataType: d.dataType(9)})
		}
	}
	return t
}

func (d drawnTable) table() *metadatav1.TableSchema {
	t := &metadatav1.TableSchema{Namespace: d.text(128), Name: d.text(128), Comment: d.text(4096), Properties: map[string]string{}}
	for n := range d.size(1600, 0) {
		if n > 8 { // only how many there are counts
			t.Columns = append(t.Columns, t.Columns[n%8])
			continue
		}
		c := &metadatav1.ColumnSchema{
			Name: d.text(128), DataType: d.dataType(1), Comment: d.text(4096),
			ToastStrategy: metadatav1.ToastStrategy(d.number(1, 4)),
		}
		if d.IntN(2) == 0 {
			c.Default = proto.String(d.text(4096))
		}
		t.Columns = append(t.Columns, c)
	}
	for range d.size(32) {
		t.PrimaryKey = append(t.PrimaryKey, d.text(128))
	}
	for i := range d.size(64) {
		t.Properties[fmt.Sprint(i)] = d.text(4096)
	}
	return t
}

func (d drawnTable) request() proto.Message {
	create := func() *metadatav1.CreateTableRequest {
		return &metadatav1.CreateTableRequest{Table: d.table(), Write: &metadatav1.WriteOptions{RequestId: d.text(128)}}
	}
	switch d.IntN(8) {
	default:
		return create()
	case 0:
		return &metadatav1.GetTableRequest{
			Table: &metadatav1.TableRef{Namespace: d.text(128), Name: d.text(128)},
			Read: &metadatav1.ReadOptions{
				Consistency: metadatav1.Consistency(d.number(1, 3)), AtLeast: &metadatav1.Position{ClusterId: d.text(32)},
			},
		}
	case 1:
	}
	batch := &metadatav1.ApplyBatchRequest{Write: &metadatav1.WriteOptions{RequestId: d.text(128)}}
	for range d.IntN(3) {
		batch.Commands = append(batch.Commands, &metadatav1.Command{Command: &metadatav1.Command_CreateTable{CreateTable: create()}})
	}
	return batch
}

// TestSimpleMessagesKeepTheRules: the validator has nothing against what passes
// without it, and what it refuses does not.
func TestSimpleMessagesKeepTheRules(t *testing.T) {
	validator, err := protovalidate.New()
	if err != nil {
		t.Fatal(err)
	}
	d := drawnTable{rand.New(rand.NewPCG(1, 2))}
	passed, refused := 0, 0
	for range 2000 {
		m := d.request()
		err := validator.Validate(m)
		switch {
		case simple(m) && err != nil:
			t.Fatalf("a message is taken for simple, and the validator says: %v\n%v", err, m)
		case simple(m):
			passed++
		case err != nil:
			refused++
		}
	}
	if passed < 200 || refused < 200 {
		t.Errorf("%d messages passed and %d were refused: the test looks at too few", passed, refused)
	}
	wide := workload.Table("", 1)
	for range 257 { // too rarely drawn
		wide.Columns[0].DataType.Fields = append(wide.Columns[0].DataType.Fields, &metadatav1.StructField{Name: "f", DataType: &metadatav1.DataType{Kind: 1}})
	}
	if simple(&metadatav1.CreateTableRequest{Table: wide}) {
		t.Error("257 fields are simple")
	}
	if simple(&metadatav1.GetTableRequest{}) {
		t.Error("asking for no table is simple")
	}
	if !simple(&metadatav1.CreateTableRequest{Table: workload.Table("", 1)}) {
		t.Error("the table of the benchmarks is not simple")
	}
}

// TestSimpleKnowsAllRules fails when a message that can be simple gets another rule:
// then simple has to learn it.
func TestSimpleKnowsAllRules(t *testing.T) {
	var ruled []string
	seen := make(map[protoreflect.FullName]bool)
	var visit func(protoreflect.MessageDescriptor)
	visit = func(m protoreflect.MessageDescriptor) {
		if seen[m.FullName()] {
			return
		}
		seen[m.FullName()] = true
		if proto.HasExtension(m.Options(), validate.E_Message) {
			ruled = append(ruled, string(m.Name()))
		}
		for i := range m.Fields().Len() {
			f := m.Fields().Get(i)
			if proto.HasExtension(f.Options(), validate.E_Field) {
				ruled = append(ruled, string(m.Name()+"."+f.Name()))
			}
			if f.Message() != nil {
				visit(f.Message())
			}
		}
	}
	visit((&metadatav1.CreateTableRequest{}).ProtoReflect().Descriptor())
	visit((&metadatav1.GetTableRequest{}).ProtoReflect().Descriptor())
	if n := (&metadatav1.CreateTableRequest{}).ProtoReflect().Descriptor().Fields().Len(); n != 2 {
		t.Errorf("CreateTableRequest has %d fields; simple, package canonical and the client's withOptions know 2", n)
	}
	slices.Sort(ruled)
	want := []string{
		"ColumnSchema.comment", "ColumnSchema.data_type", "ColumnSchema.default", "ColumnSchema.name", "ColumnSchema.toast_strategy",
		"CreateTableRequest.table",
		"DataType.fields", "DataType.kind",
		"GetTableRequest.table",
		"Position.cluster_id",
		"ReadOptions.consistency",
		"StructField.data_type", "StructField.name",
		"TableRef.name", "TableRef.namespace",
		"TableSchema.columns", "TableSchema.comment", "TableSchema.name", "TableSchema.namespace", "TableSchema.primary_key", "TableSchema.properties",
		"WriteOptions.request_id",
	}
	if !slices.Equal(ruled, want) {
		t.Errorf("there are rules for\n%q, simple knows those for\n%q", ruled, want)
	}
}
