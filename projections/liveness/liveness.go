// Package liveness is the read model of who is alive, as far as it was logged:
// the status of each node, since when, and how many nodes have each status.
//
// It folds the nodes' events of the topology stream and passes over those of
// shards. Heartbeats and leases are not logged and not here. A [Model] is an
// immutable value: any number of goroutines read it while its successors are
// made. A [Draft] belongs to one goroutine.
package liveness

import (
	"iter"
	"time"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/internal/cow"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// Node is what is known of a node's life.
type Node struct {
	ID     string
	Status metadatav1.NodeStatus
	Epoch  uint64    // of its registration
	Since  time.Time // of its status, in UTC; zero: not known
}

// statuses is the number of statuses that are counted.
const statuses = int(metadatav1.NodeStatus_NODE_STATUS_DRAINING) + 1

// Model is the liveness of all nodes at one revision.
type Model struct {
	nodes  cow.Set[Node]
	counts [statuses]int
}

// New returns the liveness at revision 0: no nodes.
func New() *Model {
	m := &Model{nodes: cow.New(func(a, b Node) bool { return a.ID < b.ID })}
	m.nodes.Freeze()
	return m
}

// Fold returns the model after some changes, given in order. The maps are copied
// once, whatever the number of changes.
func (m *Model) Fold(changes ...*events.Change) *Model {
	d := m.Draft()
	for _, c := range changes {
		for _, e := range c.Events() {
			d.Apply(e, c.Revision())
		}
	}
	d.nodes.Freeze()
	return &d.Model
}

// Node returns what is known of a node.
func (m *Model) Node(id string) (Node, bool) { return m.nodes.Get(Node{ID: id}) }

// Nodes yields all nodes by id.
func (m *Model) Nodes() iter.Seq[Node] { return m.nodes.All() }

// Len returns the number of nodes.
func (m *Model) Len() int { return m.nodes.Len() }

// Count returns the number of nodes with a status.
func (m *Model) Count(s metadatav1.NodeStatus) int {
	if s < 0 || int(s) >= len(m.counts) {
		return 0
	}
	return m.counts[s]
}

// Draft returns a private copy to apply events to. It costs next to nothing.
func (m *Model) Draft() *Draft {
	m.nodes.Freeze() // m may be the view of a live draft
	return &Draft{*m}
}

// Draft is a private copy of a model. It belongs to one goroutine.
type Draft struct{ Model }

// Freeze returns what the draft holds as a model of its own. The draft can be
// used on.
func (d *Draft) Freeze() *Model {
	d.nodes.Freeze()
	m := d.Model
	return &m
}
