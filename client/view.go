package client

import (
	"iter"

	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/client/follow"
	"github.com/heliosdb/metadata/projections"
	"github.com/heliosdb/metadata/projections/schema"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// View is tables and topology at one position. It is immutable: keep it as long
// as several answers have to fit together. Reading takes no locks.
//
// The messages that it returns are decoded once and shared by all readers: do
// not change them, clone them. The empty namespace means "public". A nil View is
// empty.
type View struct {
	position *metadatav1.Position
	schema   *schema.Model
	topology *projections.TopologyModel
	tables   tables // of schema
	routes   *routes
	decoded  *decoded // what is no table
}

// noSchema is what views show that have no tables.
var noSchema = schema.New()

// next returns the view of what a mirror shows. What has not changed since the view
// before (nil: there was none) stays decoded.
func (v *View) next(m *follow.Mirror) *View {
	n := &View{position: m.Position(), schema: m.Schema(), topology: m.Topology()}
	if n.schema == nil {
		n.schema = noSchema
	}
	folded := m.Folded(schemaStream)
	switch {
	case v == nil:
		n.tables = tablesOf(n.schema)
	case v.schema == n.schema:
		n.tables = v.tables
	case v.position.GetSchemaRevision()+uint64(len(folded)) == n.position.GetSchemaRevision() && len(folded) > 0:
		n.tables = v.tables.after(folded, n.schema)
	default:
		n.tables = tablesOf(n.schema)
	}
	if v != nil && v.topology == n.topology {
		n.routes = v.routes
	} else {
		n.routes = new(routes)
	}
	var kept *decoded
	if v != nil {
		kept = v.decoded
	}
	n.decoded = kept.orNew(n.objects())
	return n
}

// Position returns the position of the view; nil for a nil View.
func (v *View) Position() *metadatav1.Position { return proto.CloneOf(v.at()) }

func (v *View) at() *metadatav1.Position {
	if v == nil {
		return nil
	}
	return v.position
}

// Table returns a table by namespace and name.
func (v *View) Table(namespace, name string) (*metadatav1.TableSchema, bool) {
	if v == nil {
		return nil, false
	}
	t := v.tables.find(namespace, name)
	if t == nil {
		return nil, false
	}
	return t.decoded(), true
}

// TableByID returns a table by id.
func (v *View) TableByID(id uint64) (*metadatav1.TableSchema, bool) {
	if v == nil {
		return nil, false
	}
	r, ok := v.schema.Table(id)
	if !ok {
		return nil, false
	}
	return v.tableOf(r), true
}

// tableOf returns the message of a table of the schema.
func (v *View) tableOf(r *schema.Table) *metadatav1.TableSchema {
	return v.tables.find(r.Namespace(), r.Name()).decoded()
}

// Tables yields the tables of a namespace by name.
func (v *View) Tables(namespace string) iter.Seq[*metadatav1.TableSchema] {
	return func(yield func(*metadatav1.TableSchema) bool) {
		if v == nil {
			return
		}
		if namespace == "" {
			namespace = schema.Public
		}
		for r := range v.schema.TablesByName(namespace, "") {
			if r.Namespace() != namespace || !yield(v.tableOf(r)) {
				return
			}
		}
	}
}

// Namespaces yields the namespaces by name.
func (v *View) Namespaces() iter.Seq[*metadatav1.Namespace] {
	return func(yield func(*metadatav1.Namespace) bool) {
		if v == nil {
			return
		}
		for r := range v.schema.Namespaces("") {
			if !yield(messageOf(v.decoded, r)) {
				return
			}
		}
	}
}

// Namespace returns a namespace by name.
func (v *View) Namespace(name string) (*metadatav1.Namespace, bool) {
	if v == nil {
		return nil, false
	}
	r, ok := v.schema.Namespace(name)
	if !ok {
		return nil, false
	}
	return messageOf(v.decoded, r), true
}

// Node returns a node by id.
func (v *View) Node(id string) (*metadatav1.NodeInfo, bool) {
	if v == nil {
		return nil, false
	}
	r, ok := v.topology.Node(id)
	if !ok {
		return nil, false
	}
	return messageOf(v.decoded, r), true
}

// Nodes yields the nodes by id.
func (v *View) Nodes() iter.Seq[*metadatav1.NodeInfo] {
	return func(yield func(*metadatav1.NodeInfo) bool) {
		if v == nil {
			return
		}
		for r := range v.topology.Nodes("") {
			if !yield(messageOf(v.decoded, r)) {
				return
			}
		}
	}
}

// Shard returns a shard by id.
func (v *View) Shard(id uint64) (*metadatav1.ShardInfo, bool) {
	if v == nil {
		return nil, false
	}
	r, ok := v.topology.Shard(id)
	if !ok {
		return nil, false
	}
	return messageOf(v.decoded, r), true
}

// Shards yields the shards by key.
func (v *View) Shards() iter.Seq[*metadatav1.ShardInfo] {
	return func(yield func(*metadatav1.ShardInfo) bool) {
		if v == nil {
			return
		}
		for r := range v.topology.Shards(nil) {
			if !yield(messageOf(v.decoded, r)) {
				return
			}
		}
	}
}

// ShardsOn yields the shards that name a node, by key.
func (v *View) ShardsOn(node string) iter.Seq[*metadatav1.ShardInfo] {
	return func(yield func(*metadatav1.ShardInfo) bool) {
		if v == nil {
			return
		}
		for r := range v.topology.ShardsOn(node, nil) {
			if !yield(messageOf(v.decoded, r)) {
				return
			}
		}
	}
}

// Topology returns all nodes and shards, and the first 1,000 ranges that no
// shard holds. The lists are the caller's, what is in them is shared.
func (v *View) Topology() *metadatav1.Topology {
	t := &metadatav1.Topology{}
	if v == nil {
		return t
	}
	for n := range v.Nodes() {
		t.Nodes = append(t.Nodes, n)
	}
	for s := range v.Shards() {
		t.Shards = append(t.Shards, s)
	}
	t.Holes = v.topology.Holes(maxHoles)
	return t
}

// maxHoles is how many holes a Topology lists, as the service does.
const maxHoles = 1000

// objects is the number of objects in the view that are no tables.
func (v *View) objects() int {
	return v.schema.NamespaceCount() + v.topology.NodeCount() + v.topology.ShardCount()
}
