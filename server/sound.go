package server

import (
	"google.golang.org/protobuf/proto"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// The rules of the contract for beats and for messages of calls, again: protovalidate
// takes 1 us for a beat or a call, ten times what a beat's lease takes, and this takes a
// hundredth. Tests compare the two.
const (
	maxMoreBeats     = 255  // StreamHeartbeatsRequest.more
	maxNodeIDBytes   = 128  // HeartbeatRequest.node_id
	maxClusterIDSize = 32   // Position.cluster_id, in characters, of which each has a byte at least
	maxCalls         = 1024 // PipelineRequest.calls, and .cancelled
	maxMethodBytes   = 64   // PipelineCall.method
)

// sound reports whether a message is one of a stream of beats or calls that certainly
// breaks no rule. Where it is not certain, protovalidate has the word.
func sound(message proto.Message) bool {
	switch m := message.(type) {
	case *metadatav1.StreamHeartbeatsRequest:
		return soundBeat(m.GetHeartbeat()) && len(m.GetMore()) <= maxMoreBeats && all(m.GetMore(), soundBeat)
	case *metadatav1.PipelineRequest:
		return len(m.GetCalls()) <= maxCalls && len(m.GetCancelled()) <= maxCalls && all(m.GetCalls(), soundCall)
	}
	return false
}

func all[M any](messages []M, sound func(M) bool) bool {
	for _, m := range messages {
		if !sound(m) {
			return false
		}
	}
	return true
}

func soundCall(c *metadatav1.PipelineCall) bool {
	n := len(c.GetMethod())
	return n > 0 && n <= maxMethodBytes
}

func soundBeat(b *metadatav1.HeartbeatRequest) bool {
	n := len(b.GetNodeId())
	return n > 0 && n <= maxNodeIDBytes && b.GetEpoch() > 0 &&
		len(b.GetAcknowledged().GetClusterId()) <= maxClusterIDSize
}
