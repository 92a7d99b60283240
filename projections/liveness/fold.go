package liveness

import (
	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/projections/internal/fold"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// Apply folds one event of the change with this revision. Events that are not
// about nodes change nothing. It panics with a fold error if the event does not
// fit the model.
func (d *Draft) Apply(e events.Event, revision uint64) {
	node := events.NodeOf(e.Message())
	if node == nil {
		return
	}
	_, removed := e.Message().GetKind().(*metadatav1.Event_NodeUnregistered)
	_, registered := e.Message().GetKind().(*metadatav1.Event_NodeRegistered)
	var known bool
	if removed {
		known = d.remove(node.GetNodeId())
	} else {
		known = d.Put(node)
	}
	if !known && !registered {
		fold.FailEvent(e, revision, "node %q does not exist", node.GetNodeId())
	}
}

// Put stores a node as it is now, and reports whether it was known.
func (d *Draft) Put(info *metadatav1.NodeInfo) (known bool) {
	n := Node{ID: info.GetNodeId(), Status: info.GetStatus(), Epoch: info.GetEpoch()}
	if info.GetStatusTime() != nil {
		n.Since = info.GetStatusTime().AsTime()
	}
	before, known := d.nodes.Put(n)
	if known {
		d.count(before.Status, -1)
	}
	d.count(n.Status, 1)
	return known
}

func (d *Draft) remove(id string) (known bool) {
	gone, known := d.nodes.Delete(Node{ID: id})
	if known {
		d.count(gone.Status, -1)
	}
	return known
}

func (d *Draft) count(s metadatav1.NodeStatus, by int) {
	if s >= 0 && int(s) < len(d.counts) {
		d.counts[s] += by
	}
}
