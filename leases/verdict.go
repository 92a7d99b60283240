package leases

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/internal/failure"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// Outcome is what the Table thinks of a beat.
type Outcome uint8

// The outcomes.
const (
	// NotLeading: this member does not keep the leases; ask the leader.
	NotLeading Outcome = iota
	// Granted: the lease is renewed.
	Granted
	// NotFound: no such node is registered; it has to register.
	NotFound
	// StaleEpoch: the registration is not the present one; the node has to
	// register again.
	StaleEpoch
	// Expiring: the node's lease ran out and it is being taken offline; it has
	// to beat again.
	Expiring
	// Reviving: the node is offline and is being brought online because of the
	// beat; it has to beat again. The next Tick hands the transition out.
	Reviving
)

var outcomeNames = [...]string{"not leading", "granted", "not found", "stale epoch", "expiring", "reviving"}

// String returns the outcome in words.
func (o Outcome) String() string {
	if int(o) < len(outcomeNames) {
		return outcomeNames[o]
	}
	return fmt.Sprintf("Outcome(%d)", uint8(o))
}

// Verdict answers a beat.
type Verdict struct {
	Outcome Outcome
	NodeID  string
	Epoch   uint64                // of the beat
	Current uint64                // epoch of the present registration; 0: none or not leading
	Status  metadatav1.NodeStatus // of the node as committed; UNSPECIFIED if there is none
}

// Failure returns why the lease is not granted, nil if it is. Reasons STALE_EPOCH
// and NOT_FOUND ask the node to register again, the others to beat again.
func (v Verdict) Failure() *failure.Error {
	switch v.Outcome {
	case Granted:
		return nil
	case NotFound:
		return failure.New(metadatav1.ErrorReason_ERROR_REASON_NOT_FOUND,
			"node %q is not registered; register it", v.NodeID).With("node_id", v.NodeID)
	case StaleEpoch:
		return failure.New(metadatav1.ErrorReason_ERROR_REASON_STALE_EPOCH,
			"epoch %d of node %q is not the present one, which is %d; register again", v.Epoch, v.NodeID, v.Current).With("node_id", v.NodeID)
	case Expiring:
		return failure.New(metadatav1.ErrorReason_ERROR_REASON_LEASE_CHANGING,
			"the lease of node %q ran out and the node is being taken offline; beat again", v.NodeID).With("node_id", v.NodeID)
	case Reviving:
		return failure.New(metadatav1.ErrorReason_ERROR_REASON_LEASE_CHANGING,
			"node %q is offline and is being brought online; beat again", v.NodeID).With("node_id", v.NodeID)
	default:
		return failure.New(metadatav1.ErrorReason_ERROR_REASON_NO_LEADER,
			"this member does not lead the topology stream and grants no lease to node %q; beat again", v.NodeID)
	}
}

// Transition is a change of a node's liveness that the leader has to propose.
type Transition struct {
	NodeID string
	Epoch  uint64 // of the node's registration
	Term   uint64 // of the leadership that it was decided in; it must not be decided in another
	Online bool   // bring online, else take offline
}

// Command returns the command to submit: a ReviveNode or an ExpireNodeLease.
func (t Transition) Command() proto.Message {
	if t.Online {
		return &metadatav1.ReviveNode{NodeId: t.NodeID, Epoch: t.Epoch}
	}
	return &metadatav1.ExpireNodeLease{NodeId: t.NodeID, Epoch: t.Epoch}
}

// String describes the transition.
func (t Transition) String() string {
	to := "offline"
	if t.Online {
		to = "online"
	}
	return fmt.Sprintf("node %q, epoch %d, goes %s (term %d)", t.NodeID, t.Epoch, to, t.Term)
}
