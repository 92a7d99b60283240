package consistency

import (
	"google.golang.org/protobuf/proto"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// verdict is what the contract says of a command in a state.
type verdict struct {
	reason  metadatav1.ErrorReason // why it is refused; UNSPECIFIED: it is carried out
	changed bool                   // something changes by it
	// open says that the rules do not know all of the command's content: it may also
	// change nothing, or be refused for its content.
	open bool
}

// The reasons that the rules know, by short names.
const (
	accepted        = metadatav1.ErrorReason_ERROR_REASON_UNSPECIFIED
	invalidField    = metadatav1.ErrorReason_ERROR_REASON_INVALID_FIELD
	notFound        = metadatav1.ErrorReason_ERROR_REASON_NOT_FOUND
	alreadyExists   = metadatav1.ErrorReason_ERROR_REASON_ALREADY_EXISTS
	idUsed          = metadatav1.ErrorReason_ERROR_REASON_ID_USED
	versionMismatch = metadatav1.ErrorReason_ERROR_REASON_VERSION_MISMATCH
	notEmpty        = metadatav1.ErrorReason_ERROR_REASON_NAMESPACE_NOT_EMPTY
	protected       = metadatav1.ErrorReason_ERROR_REASON_PROTECTED
	nodeAlive       = metadatav1.ErrorReason_ERROR_REASON_NODE_ALIVE
	nodeInUse       = metadatav1.ErrorReason_ERROR_REASON_NODE_IN_USE
	nodeUnsuitable  = metadatav1.ErrorReason_ERROR_REASON_NODE_UNSUITABLE
	staleEpoch      = metadatav1.ErrorReason_ERROR_REASON_STALE_EPOCH
	rangeOverlap    = metadatav1.ErrorReason_ERROR_REASON_RANGE_OVERLAP
	requestIDReused = metadatav1.ErrorReason_ERROR_REASON_REQUEST_ID_REUSED
	consumerFenced  = metadatav1.ErrorReason_ERROR_REASON_CONSUMER_FENCED
	historyTrimmed  = metadatav1.ErrorReason_ERROR_REASON_HISTORY_TRIMMED

	foreignPosition = metadatav1.ErrorReason_ERROR_REASON_FOREIGN_POSITION
	offlineStatus   = metadatav1.NodeStatus_NODE_STATUS_OFFLINE
)

// judge says what becomes of a command, or of all commands of a batch, in a state
// that holds all objects that they touch. Objects in the state after it have no ids
// and epochs yet: it serves to judge what follows in the same batch.
func (s state) judge(request proto.Message) verdict {
	_, v := s.carryOutAll(request)
	return v
}

func (s state) carryOutAll(request proto.Message) (state, verdict) {
	var all verdict
	for _, command := range commandsOf(request) {
		next, v := s.carryOut(command)
		all.open = all.open || v.open
		if v.reason != accepted {
			all.reason, all.changed = v.reason, false
			return s, all
		}
		all.changed = all.changed || v.changed
		s = next
	}
	return s, all
}

func (s state) carryOut(command proto.Message) (state, verdict) {
	switch c := command.(type) {
	case *metadatav1.CreateNamespaceRequest:
		return s.createNamespace(c)
	case *metadatav1.DropNamespaceRequest:
		return s.dropNamespace(c)
	case *metadatav1.CreateTableRequest:
		return s.createTable(c)
	case *metadatav1.AlterTableRequest:
		return s.alterTable(c)
	case *metadatav1.DropTableRequest:
		return s.dropTable(c)
	case *metadatav1.RegisterNodeRequest:
		return s.registerNode(c)
	case *metadatav1.UnregisterNodeRequest:
		return s.unregisterNode(c)
	case *metadatav1.DrainNodeRequest:
		return s.drainNode(c)
	case *metadatav1.UpdateShardMapRequest:
		return s.updateShardMap(c)
	case *metadatav1.CreateConsumerRequest:
		return s.createConsumer(c)
	case *metadatav1.OpenConsumerRequest:
		return s.openConsumer(c)
	case *metadatav1.AcknowledgeConsumerRequest:
		return s.acknowledgeConsumer(c)
	case *metadatav1.DeleteConsumerRequest:
		return s.deleteConsumer(c)
	}
	return s, verdict{open: true}
}

// allows reports whether a command may be answered so.
func (v verdict) allows(o *Op) bool {
	if o.Response != nil {
		if v.reason != accepted {
			return v.open
		}
		return v.open || v.changed == resultOf(o.Response).GetChanged()
	}
	if v.open {
		switch o.Reason {
		case invalidField, alreadyExists, idUsed, nodeUnsuitable, rangeOverlap, notFound:
			return true
		}
	}
	return v.reason != accepted && v.reason == o.Reason
}

func refuse(s state, reason metadatav1.ErrorReason) (state, verdict) {
	return s, verdict{reason: reason}
}

func carriedOut(s state) (state, verdict) { return s, verdict{changed: true} }

// expects compares a version with the one that a command expects, if it does.
func expects(version uint64, expected *uint64) bool { return expected == nil || *expected == version }

func (s state) registerNode(c *metadatav1.RegisterNodeRequest) (state, verdict) {
	in := c.GetNode()
	before := s.node(in.GetNodeId())
	now := &metadatav1.NodeInfo{
		NodeId: in.GetNodeId(), Addr: in.GetAddr(), NodeType: in.GetNodeType(), Labels: in.GetLabels(), Capacity: in.GetCapacity(),
		Incarnation: in.GetIncarnation(), Status: metadatav1.NodeStatus_NODE_STATUS_ONLINE,
	}
	if before != nil {
		alive := before.GetStatus() != offlineStatus
		switch {
		case alive && before.GetIncarnation() != in.GetIncarnation():
			return refuse(s, nodeAlive)
		case before.GetNodeType() != in.GetNodeType():
			return refuse(s, invalidField)
		case alive && sameNode(before, now):
			return s, verdict{}
		}
	}
	return carriedOut(s.put(object{key: nodeKey(in.GetNodeId()), message: now}))
}

// sameNode compares what a node says of itself.
func sameNode(a, b *metadatav1.NodeInfo) bool {
	said := func(n *metadatav1.NodeInfo) *metadatav1.NodeInfo {
		m := &metadatav1.NodeInfo{Addr: n.GetAddr(), Labels: n.GetLabels()}
		if proto.Size(n.GetCapacity()) > 0 {
			m.Capacity = n.GetCapacity()
		}
		return m
	}
	return proto.Equal(said(a), said(b))
}

// findNode finds the node that a command names, if it has the epoch that the
// command expects; 0 expects none.
func (s state) findNode(id string, epoch uint64) (*metadatav1.NodeInfo, metadatav1.ErrorReason) {
	n := s.node(id)
	switch {
	case n == nil:
		return nil, notFound
	case epoch != 0 && epoch != n.GetEpoch():
		return nil, staleEpoch
	}
	return n, accepted
}

func (s state) unregisterNode(c *metadatav1.UnregisterNodeRequest) (state, verdict) {
	n, reason := s.findNode(c.GetNodeId(), c.GetExpectedEpoch())
	if reason != accepted {
		return refuse(s, reason)
	}
	for _, i := range s.shards() {
		if i.GetPrimaryNode() == n.GetNodeId() || i.GetMirrorNode() == n.GetNodeId() || i.GetWitnessNode() == n.GetNodeId() {
			return refuse(s, nodeInUse)
		}
	}
	return carriedOut(s.remove(nodeKey(n.GetNodeId())))
}

func (s state) drainNode(c *metadatav1.DrainNodeRequest) (state, verdict) {
	n, reason := s.findNode(c.GetNodeId(), c.GetExpectedEpoch())
	if reason != accepted {
		return refuse(s, reason)
	}
	if n.GetDraining() != c.GetCancel() {
		return s, verdict{}
	}
	n = proto.CloneOf(n)
	n.Draining = !c.GetCancel()
	return carriedOut(s.put(object{key: nodeKey(n.GetNodeId()), message: n}))
}
