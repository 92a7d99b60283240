package server

import (
	"google.golang.org/protobuf/proto"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// The rules of the contract for beats, again: protovalidate takes 1 us for a beat, ten
// times what its lease takes, and this takes a hundredth. A test compares the two.
const (
	maxMoreBeats     = 255 // StreamHeartbeatsRequest.more
	maxNodeIDBytes   = 128 // HeartbeatRequest.node_id
	maxClusterIDSize = 32  // Position.cluster_id, in characters, of which each has a byte at least
)

// sound reports whether a message is one of a heartbeat stream that certainly breaks no
// rule. Where it is not certain, protovalidate has the word.
func sound(message proto.Message) bool {
	m, ok := message.(*metadatav1.StreamHeartbeatsRequest)
	if !ok || !soundBeat(m.GetHeartbeat()) || len(m.GetMore()) > maxMoreBeats {
		return false
	}
	for _, b := range m.GetMore() {
		if !soundBeat(b) {
			return false
		}
	}
	return true
}

func soundBeat(b *metadatav1.HeartbeatRequest) bool {
	n := len(b.GetNodeId())
	return n > 0 && n <= maxNodeIDBytes && b.GetEpoch() > 0 &&
		len(b.GetAcknowledged().GetClusterId()) <= maxClusterIDSize
}
