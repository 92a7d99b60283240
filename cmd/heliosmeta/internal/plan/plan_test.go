package plan

import (
	"io/fs"
	"strings"
	"testing"
	"time"

	"github.com/heliosdb/metadata/cmd/heliosmeta/internal/document"
	"github.com/heliosdb/metadata/commands"
	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/examples"
	"github.com/heliosdb/metadata/projections"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// service is the deciding core of the service, without anything around it.
type service struct {
	t        *testing.T
	schema   *projections.Schema
	topology *projections.Topology
}

func newService(t *testing.T) *service {
	return &service{t, projections.NewSchema(events.ClusterID{1}, 0), projections.NewTopology(events.ClusterID{1}, 0)}
}

// state is what is there.
func (s *service) state() State {
	have := State{
		Namespaces: make(map[string]*metadatav1.Namespace),
		Tables:     make(map[string]*metadatav1.TableSchema),
		Nodes:      make(map[string]*metadatav1.NodeInfo),
	}
	for n := range s.schema.Model.Namespaces("") {
		have.Namespaces[n.Name()] = n.Message()
	}
	for t := range s.schema.Model.TablesByID(0) {
		m := t.Message()
		have.Tables[m.GetNamespace()+"."+m.GetName()] = m
	}
	for n := range s.topology.Model.Nodes("") {
		have.Nodes[n.ID()] = n.Message()
	}
	for m := range s.topology.Model.Shards(nil) {
		have.Shards = append(have.Shards, m.Message())
	}
	return have
}

// apply carries out a plan.
func (s *service) apply(p *Plan) {
	s.t.Helper()
	now := commands.Env{Now: time.Unix(1e9, 0), Actor: "test"}
	if len(p.Schema) > 0 {
		d, err := commands.Schema(s.schema, now, &metadatav1.ApplyBatchRequest{Commands: p.Schema})
		if err != nil {
			s.t.Fatal(err)
		}
		s.schema = s.schema.Fold(d.Change)
	}
	if len(p.Topology) > 0 {
		d, err := commands.Topology(s.topology, now, &metadatav1.ApplyBatchRequest{Commands: p.Topology})
		if err != nil {
			s.t.Fatal(err)
		}
		s.topology = s.topology.Fold(d.Change)
	}
}

// plan makes the plan for a text.
func (s *service) plan(text string) *Plan {
	s.t.Helper()
	var set document.Set
	if err := set.Decode("test.yaml", []byte(text)); err != nil {
		s.t.Fatal(err)
	}
	p, err := Make(&set, s.state())
	if err != nil {
		s.t.Fatal(err)
	}
	return p
}

func show(p *Plan) string {
	var b strings.Builder
	for _, line := range p.Lines {
		b.WriteString(line.String() + "\n")
	}
	return b.String()
}

// expectNothing fails unless all that a text describes is there.
func (s *service) expectNothing(text string) {
	s.t.Helper()
	if p := s.plan(text); len(p.Lines)+len(p.Schema)+len(p.Topology) != 0 {
		s.t.Errorf("applied twice, the difference is:\n%s%v %v", show(p), p.Schema, p.Topology)
	}
}

func TestExamplesAppliedTwiceChangeNothing(t *testing.T) {
	for _, name := range []string{"tpch.yaml", "tpcds.yaml", "vectors.yaml", "topology.yaml"} {
		t.Run(name, func(t *testing.T) {
			text, err := fs.ReadFile(examples.Files, name)
			if err != nil {
				t.Fatal(err)
			}
			s := newService(t)
			p := s.plan(string(text))
			for _, line := range p.Lines {
				if line.Mark != Add {
					t.Errorf("in an empty cluster everything is added, but: %s", line)
				}
			}
			s.apply(p)
			s.expectNothing(string(text))
		})
	}
}

const before = `
kind: Namespace
name: shop
---
kind: Table
namespace: shop
name: orders
comment: old
columns:
  - {name: id, type: INT64}
  - {name: total, type: INT32, default: "0", comment: sum}
  - {name: note, type: STRING, toast: MAIN}
  - {name: gone, type: DATE}
primary_key: [id]
properties: {a: "1", b: "2"}
---
kind: Node
node_id: s1
addr: h:1
node_type: STORAGE
---
kind: Node
node_id: s2
addr: h:2
node_type: STORAGE
labels: {zone: a}
---
kind: Shard
shard_id: 1
end: k
primary_node: s1
---
kind: Shard
start: k
primary_node: s1
mirror_node: s2
`

// changed differs from before in everything that can be changed.
const changed = `
kind: Namespace
name: shop
---
kind: Table
namespace: shop
name: orders
columns:
  - {name: added, type: UUID, nullable: false, default: gen()}
  - {name: id, type: UINT64}
  - {name: total, type: "DECIMAL(15, 2)", nullable: false}
  - {name: note, type: STRING, comment: free}
primary_key: [id]
properties: {b: "3", c: "4"}
---
kind: Node
node_id: s1
addr: h:9
node_type: STORAGE
capacity: {disk_bytes: 7}
---
kind: Node
node_id: s2
addr: h:2
node_type: STORAGE
---
kind: Shard
shard_id: 1
end: g
primary_node: s1
mirror_node: s2
---
kind: Shard
start: k
primary_node: s2
---
kind: Shard
start: g
end: k
primary_node: s1
`

func TestDifference(t *testing.T) {
	s := newService(t)
	s.apply(s.plan(before))
	p := s.plan(changed)
	want := `~ table shop.orders
    - column gone
    ~ column id: type INT64 -> UINT64
    ~ column total: type INT32 -> DECIMAL(15, 2), nullable true -> false, default "0" -> none, comment "sum" -> ""
    ~ column note: comment "" -> "free", toast MAIN -> the type's default
    + column added UUID NOT NULL DEFAULT gen()
    ~ comment "old" -> ""
    - property a=1
    ~ property b=2 -> 3
    + property c=4
~ node s1
    ~ addr h:1 -> h:9
    ~ capacity {cpu_millis=0, memory_bytes=0, disk_bytes=0} -> {cpu_millis=0, memory_bytes=0, disk_bytes=7}
~ node s2
    ~ labels {zone=a} -> {}
~ shard 1
    ~ range ["", "k") -> ["", "g")
    ~ nodes s1 -> s1, mirror s2
~ shard 2
    ~ nodes s1, mirror s2 -> s2
+ shard ["g", "k") on s1
`
	if got := show(p); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if p.Unchanged != 1 || p.Impossible() != 0 {
		t.Errorf("%d unchanged and %d impossible, want 1 and 0", p.Unchanged, p.Impossible())
	}
	s.apply(p)
	s.expectNothing(changed)
}

func TestWhatCannotBeDone(t *testing.T) {
	s := newService(t)
	s.apply(s.plan(before))
	const impossible = `
kind: Namespace
name: shop
comment: new
properties: {x: y}
---
kind: Table
table_id: 99
namespace: shop
name: orders
comment: new
columns:
  - {name: total, type: INT32, default: "0", comment: sum, column_id: 9}
  - {name: note, type: STRING, toast: MAIN}
  - {name: gone, type: DATE}
primary_key: [total]
properties: {a: "1", b: "2"}
---
kind: Node
node_id: s1
addr: h:1
node_type: COMPUTE
---
kind: Node
node_id: s2
addr: h:3
node_type: STORAGE
incarnation: another
---
kind: Shard
shard_id: 7
start: c
end: d
primary_node: s1
`
	p := s.plan(impossible)
	want := `~ namespace shop
    ! comment "" cannot become "new": namespaces cannot be altered; correct the document
    ! properties {} cannot become {x=y}: namespaces cannot be altered; correct the document
~ table shop.orders
    ! table id 1 cannot become 99: ids stay; correct the document
    ! primary key (id) cannot become (total): primary keys cannot be altered; create another table
    ! column id cannot be dropped: it is in the primary key
    ! column total: id 2 cannot become 9: ids stay; correct the document
    ~ column total: nullable true -> false
    ~ comment "old" -> "new"
~ node s1
    ! type STORAGE cannot become COMPUTE: unregister the node first
~ node s2
    ! a running process (incarnation "") says what the node is like: change its settings, or stop it and apply again
! shard 7 ["c", "d") cannot be: shard 1 holds ["", "k"), and no document says what becomes of it; split, merge or delete it first
`
	if got := show(p); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if p.Impossible() != 9 {
		t.Errorf("%d impossible, want 9", p.Impossible())
	}
	// What is possible is done nevertheless.
	s.apply(p)
	table := s.state().Tables["shop.orders"]
	if table.GetComment() != "new" || table.GetColumns()[1].GetNullable() || len(table.GetColumns()) != 4 {
		t.Errorf("the table is %v", table)
	}
}

// A node that is being drained stays so when its registration is changed.
func TestDrainingSurvives(t *testing.T) {
	const node = "kind: Node\nnode_id: s1\naddr: h:1\nnode_type: STORAGE\n"
	s := newService(t)
	s.apply(s.plan(node))
	s.apply(&Plan{Topology: []*metadatav1.Command{{Command: &metadatav1.Command_DrainNode{
		DrainNode: &metadatav1.DrainNodeRequest{NodeId: "s1"},
	}}}})
	s.apply(s.plan(strings.ReplaceAll(node, "h:1", "h:2")))
	got := s.state().Nodes["s1"]
	if got.GetAddr() != "h:2" || !got.GetDraining() {
		t.Errorf("the node is %v, want h:2 and draining", got)
	}
}

// A plan made for an old state fails as a whole.
func TestPlansAreFenced(t *testing.T) {
	s := newService(t)
	s.apply(s.plan(before))
	old := s.plan(changed)
	s.apply(s.plan(changed))
	_, err := commands.Schema(s.schema, commands.Env{Now: time.Unix(1e9, 0)}, &metadatav1.ApplyBatchRequest{Commands: old.Schema})
	if err == nil || !strings.Contains(err.Error(), "has version 2, not 1 as expected") {
		t.Errorf("got %v", err)
	}
	_, err = commands.Topology(s.topology, commands.Env{Now: time.Unix(1e9, 0)}, &metadatav1.ApplyBatchRequest{Commands: old.Topology})
	if err == nil || !strings.Contains(err.Error(), "as expected") {
		t.Errorf("got %v", err)
	}
}

func TestTooMuchForOneBatch(t *testing.T) {
	set := new(document.Set)
	for range MaxCommands + 1 {
		set.Namespaces = append(set.Namespaces, &metadatav1.Namespace{Name: "n"})
	}
	if _, err := Make(set, State{}); err == nil || !strings.Contains(err.Error(), "10001 commands") {
		t.Errorf("got %v", err)
	}
	set = &document.Set{Tables: []*metadatav1.TableSchema{{Name: "t", Comment: strings.Repeat("x", MaxBatchBytes)}}}
	if _, err := Make(set, State{}); err == nil || !strings.Contains(err.Error(), "apply them in parts") {
		t.Errorf("got %v", err)
	}
}

// A column that leaves the primary key in the document only stays what it is: a step
// that the service refuses would take the whole batch down with it.
func TestAColumnOfThePrimaryKeyStaysNotNull(t *testing.T) {
	s := newService(t)
	s.apply(s.plan("kind: Table\nname: t\ncolumns: [{name: a, type: INT8}, {name: b, type: INT8}]\nprimary_key: [a]\n"))
	p := s.plan("kind: Table\nname: t\ncolumns: [{name: a, type: INT8}, {name: b, type: INT16}]\nprimary_key: [b]\n")
	want := `~ table public.t
    ! primary key (a) cannot become (b): primary keys cannot be altered; create another table
    ! column a cannot become nullable: it is in the primary key
    ~ column b: type INT8 -> INT16, nullable true -> false
`
	if got := show(p); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	s.apply(p)
}
