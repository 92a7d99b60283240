package document

import (
	"io/fs"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/examples"
	"github.com/heliosdb/metadata/internal/sqltype"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

func TestExamplesDecode(t *testing.T) {
	for name, want := range map[string][4]int{ // namespaces, tables, nodes, shards
		"tpch.yaml": {1, 8}, "tpcds.yaml": {1, 25}, "vectors.yaml": {1, 5}, "topology.yaml": {0, 0, 5, 8},
	} {
		text, err := fs.ReadFile(examples.Files, name)
		if err != nil {
			t.Fatal(err)
		}
		var set Set
		if err := set.Decode(name, text); err != nil {
			t.Fatal(err)
		}
		if got := [4]int{len(set.Namespaces), len(set.Tables), len(set.Nodes), len(set.Shards)}; got != want {
			t.Errorf("%s has %v objects, want %v", name, got, want)
		}
	}
}

const everything = `
kind: Namespace
name: shop
comment: All of it
properties: {owner: "me"}
---
kind: Table
table_id: 7
namespace: shop
name: orders
columns:
  - {name: id, type: bigint, column_id: 4}
  - {name: total, type: "DECIMAL(15,2)", nullable: false, default: "0", comment: "in €", toast: main}
  - name: note
    type: STRING
primary_key: [id]
properties: {tier: hot}
---
# a node
kind: Node
node_id: s1
addr: 127.0.0.1:6001
node_type: storage
labels: {zone: a}
capacity: {memory_bytes: 5}
incarnation: one
---
kind: Shard
shard_id: 3
start: "0x20"
end: 0xff
primary_node: s1
mirror_node: s2
`

func TestWhatDocumentsMean(t *testing.T) {
	var set Set
	if err := set.Decode("all.yaml", []byte(everything)); err != nil {
		t.Fatal(err)
	}
	number, err := sqltype.Parse("DECIMAL(15, 2)")
	if err != nil {
		t.Fatal(err)
	}
	expect(t, set.Namespaces[0], &metadatav1.Namespace{Name: "shop", Comment: "All of it", Properties: map[string]string{"owner": "me"}})
	expect(t, set.Tables[0], &metadatav1.TableSchema{
		TableId: 7, Namespace: "shop", Name: "orders", PrimaryKey: []string{"id"}, Properties: map[string]string{"tier": "hot"},
		Columns: []*metadatav1.ColumnSchema{
			{ColumnId: 4, Name: "id", DataType: &metadatav1.DataType{Kind: metadatav1.TypeKind_TYPE_KIND_INT64}},
			{Name: "total", DataType: number, Default: proto.String("0"), Comment: "in €",
				ToastStrategy: metadatav1.ToastStrategy_TOAST_STRATEGY_MAIN},
			{Name: "note", DataType: &metadatav1.DataType{Kind: metadatav1.TypeKind_TYPE_KIND_STRING}, Nullable: true},
		},
	})
	expect(t, set.Nodes[0], &metadatav1.NodeInfo{
		NodeId: "s1", Addr: "127.0.0.1:6001", NodeType: metadatav1.NodeType_NODE_TYPE_STORAGE, Incarnation: "one",
		Labels: map[string]string{"zone": "a"}, Capacity: &metadatav1.NodeCapacity{MemoryBytes: 5},
	})
	expect(t, set.Shards[0], &metadatav1.ShardInfo{
		ShardId: 3, KeyRange: &metadatav1.KeyRange{Start: []byte{0x20}, End: []byte{0xff}}, PrimaryNode: "s1", MirrorNode: "s2",
	})
}

func expect(t *testing.T, got, want proto.Message) {
	t.Helper()
	if !proto.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

// JSON may be one value, several one behind the other, or YAML's flow style.
func TestJSON(t *testing.T) {
	for _, text := range []string{
		"{\n\t\"kind\": \"Namespace\",\n\t\"name\": \"a\"\n}\n{\"kind\": \"Namespace\", \"name\": \"b\"}\n",
		"{\"kind\": \"Namespace\", \"name\": \"a\"}\n---\n{kind: Namespace, name: b}\n",
	} {
		var set Set
		if err := set.Decode("a.json", []byte(text)); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if len(set.Namespaces) != 2 || set.Namespaces[1].GetName() != "b" {
			t.Errorf("%s: got %v", text, set.Namespaces)
		}
	}
	err := new(Set).Decode("a.json", []byte("{\"kind\": \"Namespace\", \"name\": \"a\"}\n\n{\n \"kind\": \"Namespace\",\n \"nam\": \"b\"}"))
	if want := `a.json:5: unknown key "nam"`; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestNothing(t *testing.T) {
	for _, text := range []string{"", "# nothing\n", "---\n---\n"} {
		var set Set
		if err := set.Decode("a.yaml", []byte(text)); err != nil || !set.Empty() {
			t.Errorf("%q: %v, %+v", text, err, set)
		}
	}
}

func TestBadDocuments(t *testing.T) {
	const table = "kind: Table\nname: t\ncolumns:\n"
	for _, c := range []struct{ name, text, want string }{
		{"unknown key", "kind: Namespace\nname: a\nowner: me\n", `f.yaml:3: unknown key "owner"`},
		{"unknown key of a column", table + "  - {name: a, type: INT8}\n  - {name: b, typ: INT8}\n", `f.yaml:5: unknown key "typ"`},
		{"a key of another kind", "kind: Node\nnode_id: a\ncolumns: []\n", `f.yaml:3: unknown key "columns"`},
		{"no kind", "name: a\n", "f.yaml:1: the document has no kind; write kind: Namespace, Table, Node or Shard"},
		{"unknown kind", "---\nkind: Index\n", `f.yaml:2: there is no kind "Index"; there are Namespace, Table, Node and Shard`},
		{"a list", "- kind: Table\n", "f.yaml:1: a document is written as pairs"},
		{"unknown type", table + "  - name: a\n    type: INT9\n", `f.yaml:5: type: character 1 of "INT9": there is no type INT9; there are `},
		{"DECIMAL(0, 5)", table + "  - {name: a, type: \"DECIMAL(0,5)\"}\n", `f.yaml:4: type: character 1 of "DECIMAL(0,5)": `},
		{"VECTOR(0)", table + "  - {name: a, type: VECTOR(0)}\n", `f.yaml:4: type: character 1 of "VECTOR(0)": `},
		{"no type", table + "  - {name: a}\n", `f.yaml:1: table public.t: column "a" has no type`},
		{"no columns", "kind: Table\nname: t\n", "f.yaml:1: table public.t has no columns"},
		{"no name", "kind: Namespace\ncomment: x\n", "f.yaml:1: the namespace has no name"},
		{"unknown strategy", table + "  - {name: a, type: STRING, toast: LOOSE}\n",
			`f.yaml:4: there is no TOAST strategy "LOOSE"; there are PLAIN, EXTENDED, EXTERNAL, MAIN`},
		{"unknown node type", "kind: Node\nnode_id: a\naddr: b:1\nnode_type: DISK\n",
			`f.yaml:4: there is no node type "DISK"; there are COMPUTE, STORAGE`},
		{"bad hex", "kind: Shard\nprimary_node: a\nstart: \"0x2\"\n", `f.yaml:3: key "0x2": `},
		{"a map for a text", "kind: Namespace\nname: {a: b}\n", "f.yaml:2: "},
		{"a word for a number", "kind: Table\ntable_id: seven\nname: t\n", "f.yaml:2: "},
		{"no YAML", "kind: Table\nname: [t\n", "f.yaml:2: "},
		{"twice", "kind: Namespace\nname: a\n---\nkind: Namespace\nname: a\n", "f.yaml:4: namespace a is described at f.yaml:1 already"},
		{"a key twice", "kind: Namespace\nname: a\nname: b\n", "f.yaml:3: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := new(Set).Decode("f.yaml", []byte(c.text))
			if err == nil || !strings.HasPrefix(err.Error(), c.want) {
				t.Errorf("got  %v\nwant %s", err, c.want)
			}
			if err != nil && strings.Contains(err.Error(), "\n") {
				t.Errorf("the message is more than a sentence: %v", err)
			}
		})
	}
}

// FuzzDecode takes any file of documents. What is wrong is one sentence that names
// the file; what is taken is a message that can be sent.
func FuzzDecode(f *testing.F) {
	f.Add([]byte(everything))
	for _, name := range []string{"topology.yaml", "vectors.yaml"} {
		text, err := fs.ReadFile(examples.Files, name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte(`{"kind": "Shard", "start": "0x"}{}`))
	f.Add([]byte("kind: Table\nname: t\ncolumns: &c [{name: a, type: INT8}]\nprimary_key: *c\n"))
	f.Add([]byte("a: &a [*a]\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		var set Set
		if err := set.Decode("f", text); err != nil {
			if !strings.HasPrefix(err.Error(), "f:") || strings.Contains(err.Error(), "\n") {
				t.Errorf("the error is no sentence that names the file: %v", err)
			}
			return
		}
		whole := &metadatav1.SnapshotChunk{Namespaces: set.Namespaces, Tables: set.Tables, Nodes: set.Nodes, Shards: set.Shards}
		if _, err := proto.Marshal(whole); err != nil {
			t.Errorf("%v cannot be sent: %v", whole, err)
		}
	})
}
