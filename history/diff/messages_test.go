package diff

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"
)

// lines writes differences, one a line.
func lines(diffs []*metadatav1.FieldDiff) (text []string) {
	for _, d := range diffs {
		text = append(text, fmt.Sprintf("%s: %s -> %s", d.GetPath(), d.GetBefore(), d.GetAfter()))
	}
	return text
}

func wantLines(t *testing.T, what string, got []*metadatav1.FieldDiff, want ...string) {
	t.Helper()
	if !slices.Equal(lines(got), want) {
		t.Errorf("%s:\n%s\nwant\n%s", what, strings.Join(lines(got), "\n"), strings.Join(want, "\n"))
	}
}

func column(id uint32, name string) *metadatav1.ColumnSchema {
	return &metadatav1.ColumnSchema{ColumnId: id, Name: name, DataType: &metadatav1.DataType{Kind: metadatav1.TypeKind_TYPE_KIND_INT64}}
}

func table() *metadatav1.TableSchema {
	return &metadatav1.TableSchema{
		TableId: 7, Namespace: "sales", Name: "orders", Version: 3, PrimaryKey: []string{"id"},
		Columns:    []*metadatav1.ColumnSchema{column(1, "id"), column(2, "mail")},
		Properties: map[string]string{"owner": "a", "tier": "1"},
		CreateTime: timestamppb.New(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)),
	}
}

// Each case says what is done to the table, and what that is to a reader.
func TestMessages(t *testing.T) {
	for _, c := range []struct {
		what  string
		alter func(*metadatav1.TableSchema)
		want  []string
	}{
		{"nothing", func(*metadatav1.TableSchema) {}, nil},
		{"a number", func(t *metadatav1.TableSchema) { t.Version++ }, []string{`version: "3" -> "4"`}},
		{"an emptied text", func(t *metadatav1.TableSchema) { t.Namespace = "" }, []string{`namespace: "sales" -> ""`}},
		{"a time", func(t *metadatav1.TableSchema) { t.CreateTime = nil }, []string{`createTime: "2026-01-02T03:04:05Z" -> `}},
		{"an added column", func(t *metadatav1.TableSchema) { t.Columns = append(t.Columns, column(3, "age")) },
			[]string{`columns[age]:  -> {"columnId":3,"name":"age","dataType":{"kind":"TYPE_KIND_INT64"}}`}},
		{"a dropped column", func(t *metadatav1.TableSchema) { t.Columns = t.Columns[1:] },
			[]string{`columns[id]: {"columnId":1,"name":"id","dataType":{"kind":"TYPE_KIND_INT64"}} -> `}},
		{"a renamed column", func(t *metadatav1.TableSchema) { t.Columns[1].Name = "email" },
			[]string{`columns[email].name: "mail" -> "email"`}},
		{"another type", func(t *metadatav1.TableSchema) {
			t.Columns[1].DataType.Kind = metadatav1.TypeKind_TYPE_KIND_STRING
			t.Columns[1].Nullable = true
		}, []string{`columns[mail].dataType.kind: "TYPE_KIND_INT64" -> "TYPE_KIND_STRING"`, `columns[mail].nullable: false -> true`}},
		{"a kind that is not known", func(t *metadatav1.TableSchema) { t.Columns[1].DataType.Kind = 99 },
			[]string{`columns[mail].dataType.kind: "TYPE_KIND_INT64" -> 99`}},
		{"an empty default", func(t *metadatav1.TableSchema) { t.Columns[1].Default = proto.String("") },
			[]string{`columns[mail].default:  -> ""`}},
		{"a type without parameters", func(t *metadatav1.TableSchema) { t.Columns[1].DataType = nil },
			[]string{`columns[mail].dataType: {"kind":"TYPE_KIND_INT64"} -> `}},
		{"another order", func(t *metadatav1.TableSchema) { slices.Reverse(t.Columns) }, []string{
			`columns[0].columnId: 1 -> 2`, `columns[0].name: "id" -> "mail"`,
			`columns[1].columnId: 2 -> 1`, `columns[1].name: "mail" -> "id"`}},
		{"one id twice", func(t *metadatav1.TableSchema) { t.Columns[1].ColumnId = 1 },
			[]string{`columns[1].columnId: 2 -> 1`}},
		{"a longer key", func(t *metadatav1.TableSchema) { t.PrimaryKey = []string{"mail", "id"} },
			[]string{`primaryKey[0]: "id" -> "mail"`, `primaryKey[1]:  -> "id"`}},
		{"properties", func(t *metadatav1.TableSchema) { t.Properties = map[string]string{"zone": "<x>", "tier": "2"} },
			[]string{`properties[owner]: "a" -> `, `properties[tier]: "1" -> "2"`, `properties[zone]:  -> "<x>"`}},
	} {
		before, after := table(), table()
		c.alter(after)
		wantLines(t, c.what, Messages(before, after), c.want...)
	}
}

func TestMessagesThatDoNotExist(t *testing.T) {
	shard := &metadatav1.ShardInfo{ShardId: 1 << 60, KeyRange: &metadatav1.KeyRange{Start: []byte{0xff}}, PrimaryNode: "n1"}
	all := []string{`shardId: "1152921504606846976"`, `keyRange: {"start":"/w=="}`, `primaryNode: "n1"`}
	var added, removed []string
	for _, line := range all {
		path, value, _ := strings.Cut(line, ": ")
		added = append(added, path+":  -> "+value)
		removed = append(removed, path+": "+value+" -> ")
	}
	wantLines(t, "added", Messages(nil, shard), added...)
	wantLines(t, "added to a nil pointer", Messages((*metadatav1.ShardInfo)(nil), shard), added...)
	wantLines(t, "removed", Messages(shard, nil), removed...)
	wantLines(t, "neither exists", Messages(nil, (*metadatav1.ShardInfo)(nil)))
	wantLines(t, "of two types", Messages(shard, &metadatav1.NodeInfo{NodeId: "n"}),
		`: {"shardId":"1152921504606846976","keyRange":{"start":"/w=="},"primaryNode":"n1"} -> {"nodeId":"n"}`)
	load := &metadatav1.NodeLoad{RequestsPerSecond: 0.5}
	wantLines(t, "floats", Messages(load, &metadatav1.NodeLoad{RequestsPerSecond: 1e30}), `requestsPerSecond: 0.5 -> 1e+30`)
}

// drawnTable is any table, also one that no command makes.
func drawnTable(t *rapid.T) *metadatav1.TableSchema {
	names := rapid.SampledFrom([]string{"", "a", "b", "c", "d[x]", "ü\"\n"})
	dataType := rapid.Custom(func(t *rapid.T) *metadatav1.DataType {
		d := &metadatav1.DataType{Kind: metadatav1.TypeKind(rapid.Int32Range(0, 30).Draw(t, "kind"))}
		for range rapid.IntRange(0, 2).Draw(t, "fields") {
			d.Fields = append(d.Fields, &metadatav1.StructField{Name: names.Draw(t, "field"), Nullable: rapid.Bool().Draw(t, "nullable")})
		}
		return d
	})
	m := &metadatav1.TableSchema{
		TableId: rapid.Uint64Range(0, 2).Draw(t, "id"), Name: names.Draw(t, "name"),
		PrimaryKey:       rapid.SliceOfN(names, 0, 3).Draw(t, "key"),
		Properties:       rapid.MapOfN(names, names, 0, 3).Draw(t, "properties"),
		RetiredColumnIds: rapid.SliceOfN(rapid.Uint32Range(0, 3), 0, 3).Draw(t, "retired"),
	}
	for range rapid.IntRange(0, 4).Draw(t, "columns") {
		c := &metadatav1.ColumnSchema{ColumnId: rapid.Uint32Range(0, 4).Draw(t, "id"), Name: names.Draw(t, "column")}
		if rapid.Bool().Draw(t, "typed") {
			c.DataType = dataType.Draw(t, "type")
		}
		if rapid.Bool().Draw(t, "default") {
			c.Default = proto.String(names.Draw(t, "expression"))
		}
		m.Columns = append(m.Columns, c)
	}
	return m
}

// What differs has differences and what is equal none; they are the same every time, the
// other way round when the two change places, and all values are JSON.
func TestMessagesTellWhatDiffers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawnTable(t), drawnTable(t)
		if rapid.Bool().Draw(t, "close") {
			b = proto.CloneOf(a)
			if len(b.Columns) > 0 {
				b.Columns[len(b.Columns)-1].Name = "z"
			}
		}
		got := Messages(a, b)
		if (len(got) == 0) != proto.Equal(a, b) {
			t.Fatalf("%v and %v: %v", a, b, got)
		}
		if !slices.Equal(lines(got), lines(Messages(proto.CloneOf(a), proto.CloneOf(b)))) {
			t.Fatalf("%v and %v: %v, and then something else", a, b, got)
		}
		if back := Messages(b, a); len(back) != len(got) {
			t.Fatalf("%v and %v: %v, but the other way round %v", a, b, got, back)
		}
		for _, d := range got {
			for _, value := range []string{d.Before, d.After} {
				if value != "" && !json.Valid([]byte(value)) {
					t.Fatalf("%s: %s is no JSON", d.Path, value)
				}
			}
			if d.Before == d.After {
				t.Fatalf("%v is no difference", d)
			}
		}
	})
}

func TestParts(t *testing.T) {
	var got []string
	for _, p := range Parts(table()) {
		got = append(got, fmt.Sprintf("%s %s %s", p.Key, p.Path, p.Value))
	}
	want := []string{
		`tableId tableId "7"`, `namespace namespace "sales"`, `name name "orders"`,
		`columns#1 columns[id] {"columnId":1,"name":"id","dataType":{"kind":"TYPE_KIND_INT64"}}`,
		`columns#2 columns[mail] {"columnId":2,"name":"mail","dataType":{"kind":"TYPE_KIND_INT64"}}`,
		`primaryKey primaryKey ["id"]`, `properties[owner] properties[owner] "a"`, `properties[tier] properties[tier] "1"`,
		`version version "3"`, `createTime createTime "2026-01-02T03:04:05Z"`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("parts are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if Parts(nil) != nil || Parts((*metadatav1.TableSchema)(nil)) != nil {
		t.Error("what does not exist has parts")
	}
}
