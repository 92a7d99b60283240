package commands

import (
	"fmt"
	"maps"
	"strconv"

	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/projections/topology"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// registerNode registers a node that is new, offline, or run by the incarnation
// that asks. The same incarnation asking again while it is alive, with the same
// values, is a retry and changes nothing.
func (d *topologyDraft) registerNode(c *metadatav1.RegisterNodeRequest) (unchanged proto.Message, err error) {
	in := c.GetNode()
	if err := checkNode(in); err != nil {
		return nil, within("node", err)
	}
	var previousEpoch uint64
	record, known := d.Node(in.NodeId)
	if known {
		previous := record.Message()
		if again, err := checkAgain(previous, in); err != nil || again {
			return previous, err
		}
		previousEpoch = previous.Epoch
	} else if d.NodeCount() >= MaxNodes {
		return nil, limit("MaxNodes", "there are %d nodes, which is the limit", d.NodeCount())
	}
	d.emit(&metadatav1.Event{Kind: &metadatav1.Event_NodeRegistered{NodeRegistered: &metadatav1.NodeRegistered{
		Node: &metadatav1.NodeInfo{
			NodeId:             in.NodeId,
			Addr:               in.Addr,
			NodeType:           in.NodeType,
			Status:             metadatav1.NodeStatus_NODE_STATUS_ONLINE,
			Epoch:              d.LastNodeEpoch() + 1,
			Labels:             orNil(in.Labels),
			Capacity:           copyCapacity(in.Capacity),
			Incarnation:        in.Incarnation,
			RegisteredRevision: d.revision,
			UpdatedRevision:    d.revision,
			StatusTime:         d.stamp,
		},
		PreviousEpoch: previousEpoch,
	}}})
	return nil, nil
}

// checkAgain judges a registration of a node that is registered: refused, or
// just the same again.
func checkAgain(previous, in *metadatav1.NodeInfo) (again bool, err error) {
	alive := previous.Status != metadatav1.NodeStatus_NODE_STATUS_OFFLINE
	if alive && previous.Incarnation != in.Incarnation {
		return false, reject(metadatav1.ErrorReason_ERROR_REASON_NODE_ALIVE,
			"another incarnation (%q) of node %q is alive, with epoch %d; stop it, or try again when its lease has run out",
			previous.Incarnation, in.NodeId, previous.Epoch).
			With("node_id", in.NodeId).With("epoch", strconv.FormatUint(previous.Epoch, 10))
	}
	if previous.NodeType != in.NodeType {
		return false, within("node", invalid("node_type", "node %q is registered as %s; unregister it before it registers as %s",
			in.NodeId, showType(previous.NodeType), showType(in.NodeType)))
	}
	same := previous.Addr == in.Addr && maps.Equal(previous.Labels, in.Labels) &&
		proto.Equal(previous.Capacity, copyCapacity(in.Capacity))
	return alive && same, nil
}

func checkNode(n *metadatav1.NodeInfo) error {
	if err := checkNodeID("node_id", n.GetNodeId()); err != nil {
		return err
	}
	if err := checkAddress("addr", n.Addr); err != nil {
		return err
	}
	switch n.NodeType {
	case metadatav1.NodeType_NODE_TYPE_COMPUTE, metadatav1.NodeType_NODE_TYPE_STORAGE:
	default:
		return invalid("node_type", "there is no node type %d; there are COMPUTE and STORAGE", int32(n.NodeType))
	}
	if len(n.Incarnation) > MaxNameBytes {
		return invalid("incarnation", "it has %d bytes; at most %d are allowed", len(n.Incarnation), MaxNameBytes)
	}
	return checkProperties("labels", n.Labels)
}

func (d *topologyDraft) unregisterNode(c *metadatav1.UnregisterNodeRequest) error {
	n, err := d.findNode(c.GetNodeId(), c.GetExpectedEpoch())
	if err != nil {
		return err
	}
	if shards := d.ShardCountOn(n.ID()); shards > 0 {
		return reject(metadatav1.ErrorReason_ERROR_REASON_NODE_IN_USE,
			"node %q is still in use (shards that name it: %d); move them to other nodes first", n.ID(), shards).
			With("node_id", n.ID()).With("shards", strconv.Itoa(shards))
	}
	d.emit(&metadatav1.Event{Kind: &metadatav1.Event_NodeUnregistered{NodeUnregistered: &metadatav1.NodeUnregistered{Node: n.Message()}}})
	return nil
}

func (d *topologyDraft) drainNode(c *metadatav1.DrainNodeRequest) (unchanged proto.Message, err error) {
	record, err := d.findNode(c.GetNodeId(), c.GetExpectedEpoch())
	if err != nil {
		return nil, err
	}
	n := record.Message()
	if n.Draining != c.Cancel {
		return n, nil
	}
	n.Draining = !c.Cancel
	n.UpdatedRevision = d.revision
	if n.Status != metadatav1.NodeStatus_NODE_STATUS_OFFLINE {
		n.Status, n.StatusTime = aliveStatus(n), d.stamp
	}
	if c.Cancel {
		d.emit(&metadatav1.Event{Kind: &metadatav1.Event_NodeDrainCancelled{NodeDrainCancelled: &metadatav1.NodeDrainCancelled{Node: n}}})
	} else {
		d.emit(&metadatav1.Event{Kind: &metadatav1.Event_NodeDrained{NodeDrained: &metadatav1.NodeDrained{Node: n}}})
	}
	return nil, nil
}

// aliveStatus returns the status of a node that is alive.
func aliveStatus(n *metadatav1.NodeInfo) metadatav1.NodeStatus {
	if n.Draining {
		return metadatav1.NodeStatus_NODE_STATUS_DRAINING
	}
	return metadatav1.NodeStatus_NODE_STATUS_ONLINE
}

// findNode finds the node that a command names, if it still has the epoch that
// the command expects; 0 expects none.
func (d *topologyDraft) findNode(id string, epoch uint64) (*topology.Node, error) {
	if id == "" {
		return nil, invalid("node_id", "the node id is empty")
	}
	n, ok := d.Node(id)
	if !ok {
		return nil, notFound("there is no node %q", id).With("node_id", id)
	}
	if epoch != 0 && epoch != n.Epoch() {
		return nil, reject(metadatav1.ErrorReason_ERROR_REASON_STALE_EPOCH,
			"node %q has epoch %d, not %d as expected: it registered again", id, n.Epoch(), epoch).
			With("node_id", id).With("epoch", strconv.FormatUint(n.Epoch(), 10))
	}
	return n, nil
}

// copyCapacity copies a capacity. One that says nothing is absent, so that equal
// nodes have equal messages.
func copyCapacity(c *metadatav1.NodeCapacity) *metadatav1.NodeCapacity {
	if c.GetCpuMillis() == 0 && c.GetMemoryBytes() == 0 && c.GetDiskBytes() == 0 {
		return nil
	}
	return &metadatav1.NodeCapacity{CpuMillis: c.CpuMillis, MemoryBytes: c.MemoryBytes, DiskBytes: c.DiskBytes}
}

func showType(t metadatav1.NodeType) string {
	switch t {
	case metadatav1.NodeType_NODE_TYPE_COMPUTE:
		return "COMPUTE"
	case metadatav1.NodeType_NODE_TYPE_STORAGE:
		return "STORAGE"
	}
	return fmt.Sprintf("type %d", int32(t))
}
