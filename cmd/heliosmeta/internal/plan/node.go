package plan

import (
	"fmt"
	"maps"

	"google.golang.org/protobuf/proto"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// node compares what a registration says. What the service keeps about a node
// (its status, epoch, draining) is not the document's.
func (p *Plan) node(have, want *metadatav1.NodeInfo) {
	name := "node " + want.GetNodeId()
	if have == nil {
		p.line(Add, "%s (%s at %s)", name, typeName(want), want.GetAddr())
		p.register(want)
		return
	}
	var below parts
	if have.GetNodeType() != want.GetNodeType() {
		below.add(Cannot, "type %s cannot become %s: unregister the node first", typeName(have), typeName(want))
		p.object(name, below)
		return
	}
	if have.GetAddr() != want.GetAddr() {
		below.add(Change, "addr %s -> %s", have.GetAddr(), want.GetAddr())
	}
	if !maps.Equal(have.GetLabels(), want.GetLabels()) {
		below.add(Change, "labels %s -> %s", pairs(have.GetLabels()), pairs(want.GetLabels()))
	}
	if !proto.Equal(capacity(have), capacity(want)) {
		below.add(Change, "capacity %s -> %s", showCapacity(have), showCapacity(want))
	}
	if len(below) > 0 {
		p.registerAgain(have, want, &below)
	}
	p.object(name, below)
}

// registerAgain changes a registration, which ends the one before. A process that
// registered itself is not robbed of its registration while it lives: it would
// only come back and say again what it said before.
func (p *Plan) registerAgain(have, want *metadatav1.NodeInfo, below *parts) {
	alive := have.GetStatus() != metadatav1.NodeStatus_NODE_STATUS_OFFLINE
	if alive && have.GetIncarnation() != want.GetIncarnation() {
		*below = nil
		below.add(Cannot, "a running process (incarnation %q) says what the node is like: change its settings, or stop it and apply again", have.GetIncarnation())
		return
	}
	p.register(want)
	if have.GetDraining() {
		// A registration ends the draining; nobody asked for that.
		p.Topology = append(p.Topology, &metadatav1.Command{Command: &metadatav1.Command_DrainNode{
			DrainNode: &metadatav1.DrainNodeRequest{NodeId: want.GetNodeId()},
		}})
	}
}

func (p *Plan) register(n *metadatav1.NodeInfo) {
	p.Topology = append(p.Topology, &metadatav1.Command{Command: &metadatav1.Command_RegisterNode{
		RegisterNode: &metadatav1.RegisterNodeRequest{Node: n},
	}})
}

// capacity is never nil, so that an absent one equals one that says nothing.
func capacity(n *metadatav1.NodeInfo) *metadatav1.NodeCapacity {
	if c := n.GetCapacity(); c != nil {
		return c
	}
	return new(metadatav1.NodeCapacity)
}

func showCapacity(n *metadatav1.NodeInfo) string {
	c := n.GetCapacity()
	return fmt.Sprintf("{cpu_millis=%d, memory_bytes=%d, disk_bytes=%d}", c.GetCpuMillis(), c.GetMemoryBytes(), c.GetDiskBytes())
}

func typeName(n *metadatav1.NodeInfo) string {
	switch n.GetNodeType() {
	case metadatav1.NodeType_NODE_TYPE_COMPUTE:
		return "COMPUTE"
	case metadatav1.NodeType_NODE_TYPE_STORAGE:
		return "STORAGE"
	}
	return n.GetNodeType().String()
}
