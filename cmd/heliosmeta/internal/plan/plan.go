// Package plan finds what lies between what documents describe and what is there:
// the commands that close the gap, one batch for each stream, and the lines that
// show it to people.
//
// A document is the whole of its object: columns, properties or a comment that it
// does not have are taken away. The order of columns is not compared, because
// columns are only ever appended. Objects that no document names are left alone.
//
// Make is a pure function; its plan for a state that already is as described is
// empty. It refuses nothing: what cannot be done becomes a line that says so and
// what to do instead. Every command on an existing object carries the version that
// the plan was made for, so that a plan made on an old state fails as a whole.
package plan

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/cmd/heliosmeta/internal/document"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// MaxCommands and MaxShardChanges are what one batch takes of a stream.
const (
	MaxCommands     = 10_000
	MaxShardChanges = 10_000
	MaxBatchBytes   = 3 << 20
)

// State is what is there, as far as the documents name it. Shards are all there
// are, because ranges of others matter.
type State struct {
	Namespaces map[string]*metadatav1.Namespace
	Tables     map[string]*metadatav1.TableSchema // by "namespace.name"
	Nodes      map[string]*metadatav1.NodeInfo
	Shards     []*metadatav1.ShardInfo
}

// Mark says what happens on a line.
type Mark string

// The marks.
const (
	Add    Mark = "+"
	Change Mark = "~"
	Remove Mark = "-"
	Cannot Mark = "!"
)

// Line is one line of the difference: an object, or a part of the one before it.
type Line struct {
	Mark Mark   `json:"mark"`
	Part bool   `json:"part,omitempty"` // of the object before it
	Text string `json:"text"`
}

// String returns the line as it is printed.
func (l Line) String() string {
	if l.Part {
		return "    " + string(l.Mark) + " " + l.Text
	}
	return string(l.Mark) + " " + l.Text
}

// Plan is what to do.
type Plan struct {
	Lines     []Line
	Schema    []*metadatav1.Command
	Topology  []*metadatav1.Command
	Unchanged int // objects that are as described
}

// Impossible returns how many lines say what cannot be done.
func (p *Plan) Impossible() int {
	n := 0
	for _, line := range p.Lines {
		if line.Mark == Cannot {
			n++
		}
	}
	return n
}

// Make finds the difference.
func Make(want *document.Set, have State) (*Plan, error) {
	p := new(Plan)
	for _, n := range want.Namespaces {
		p.namespace(have.Namespaces[n.GetName()], n)
	}
	for _, t := range want.Tables {
		p.table(have.Tables[t.GetNamespace()+"."+t.GetName()], t)
	}
	for _, n := range want.Nodes {
		p.node(have.Nodes[n.GetNodeId()], n)
	}
	if err := p.shards(want.Shards, have.Shards); err != nil {
		return nil, err
	}
	for _, batch := range [][]*metadatav1.Command{p.Schema, p.Topology} {
		if n := len(batch); n > MaxCommands {
			return nil, fmt.Errorf("the documents need %d commands; one batch takes %d: apply them in parts", n, MaxCommands)
		}
		if n := proto.Size(&metadatav1.ApplyBatchRequest{Commands: batch}); n > MaxBatchBytes {
			return nil, fmt.Errorf("the documents need a batch of %d bytes; one takes %d: apply them in parts", n, MaxBatchBytes)
		}
	}
	return p, nil
}

func (p *Plan) line(mark Mark, format string, args ...any) {
	p.Lines = append(p.Lines, Line{Mark: mark, Text: fmt.Sprintf(format, args...)})
}

// parts are the lines below an object's own, gathered before it is known whether
// there are any.
type parts []Line

func (p *parts) add(mark Mark, format string, args ...any) {
	*p = append(*p, Line{Mark: mark, Part: true, Text: fmt.Sprintf(format, args...)})
}

// object adds the lines of an object that exists; without parts it is unchanged.
func (p *Plan) object(name string, below parts) {
	if len(below) == 0 {
		p.Unchanged++
		return
	}
	p.line(Change, "%s", name)
	p.Lines = append(p.Lines, below...)
}

func (p *Plan) namespace(have, want *metadatav1.Namespace) {
	name := "namespace " + want.GetName()
	if have == nil {
		p.line(Add, "%s", name)
		p.Schema = append(p.Schema, &metadatav1.Command{Command: &metadatav1.Command_CreateNamespace{
			CreateNamespace: &metadatav1.CreateNamespaceRequest{Namespace: want},
		}})
		return
	}
	var below parts
	if have.GetComment() != want.GetComment() {
		below.add(Cannot, "comment %q cannot become %q: namespaces cannot be altered; correct the document", have.GetComment(), want.GetComment())
	}
	if !maps.Equal(have.GetProperties(), want.GetProperties()) {
		below.add(Cannot, "properties %s cannot become %s: namespaces cannot be altered; correct the document",
			pairs(have.GetProperties()), pairs(want.GetProperties()))
	}
	p.object(name, below)
}

// pairs prints properties or labels in order of their keys.
func pairs(m map[string]string) string {
	texts := make([]string, 0, len(m))
	for _, key := range slices.Sorted(maps.Keys(m)) {
		texts = append(texts, key+"="+m[key])
	}
	return "{" + strings.Join(texts, ", ") + "}"
}
