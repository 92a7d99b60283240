package commands

import (
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// expireNodeLease takes a silent node offline. Between the leader's noticing and
// this decision the node may have registered again, gone, or been taken offline:
// then there is nothing to do.
func (d *topologyDraft) expireNodeLease(c *metadatav1.ExpireNodeLease) {
	n := d.current(c.GetNodeId(), c.GetEpoch())
	if n == nil || n.Status == metadatav1.NodeStatus_NODE_STATUS_OFFLINE {
		return
	}
	n.Status = metadatav1.NodeStatus_NODE_STATUS_OFFLINE
	n.StatusTime, n.UpdatedRevision = d.stamp, d.revision
	d.emit(&metadatav1.Event{Kind: &metadatav1.Event_NodeWentOffline{NodeWentOffline: &metadatav1.NodeWentOffline{Node: n}}})
}

// reviveNode brings an offline node back that was heard of again under the same
// registration. A node that was being drained still is.
func (d *topologyDraft) reviveNode(c *metadatav1.ReviveNode) {
	n := d.current(c.GetNodeId(), c.GetEpoch())
	if n == nil || n.Status != metadatav1.NodeStatus_NODE_STATUS_OFFLINE {
		return
	}
	n.Status = aliveStatus(n)
	n.StatusTime, n.UpdatedRevision = d.stamp, d.revision
	d.emit(&metadatav1.Event{Kind: &metadatav1.Event_NodeCameOnline{NodeCameOnline: &metadatav1.NodeCameOnline{Node: n}}})
}

// current returns a copy of the node if it has this epoch, otherwise nil.
func (d *topologyDraft) current(id string, epoch uint64) *metadatav1.NodeInfo {
	record, ok := d.Node(id)
	if !ok || record.Epoch() != epoch {
		return nil
	}
	return record.Message()
}
