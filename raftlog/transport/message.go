package transport

import (
	"fmt"

	"github.com/heliosdb/metadata/raftlog"
	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// Field numbers of raftpb.Message that are looked at before decoding.
const (
	fieldEntries   = 7
	fieldResponses = 14
)

// parseMessage decodes a raft message that claims to go from one member to
// another.
func parseMessage(b []byte, from, to uint64) (*pb.Message, error) {
	if err := checkShape(b); err != nil {
		return nil, err
	}
	m := &pb.Message{}
	if err := proto.Unmarshal(b, m); err != nil {
		return nil, &FrameError{Reason: fmt.Sprintf("not a raft message: %v", err)}
	}
	if m.GetFrom() != from || m.GetTo() != to {
		return nil, &FrameError{
			Reason: fmt.Sprintf("a message from %d to %d on a connection from %d to %d", m.GetFrom(), m.GetTo(), from, to),
			kind:   faultForged,
		}
	}
	return m, nil
}

// checkShape refuses, before memory is spent on them, messages that would decode
// to far more than their size: a few million empty entries fit in one frame.
// Responses only occur between a member and its own storage.
func checkShape(b []byte) error {
	entries := 0
	for len(b) > 0 {
		num, _, n := protowire.ConsumeField(b)
		if n < 0 {
			return &FrameError{Reason: fmt.Sprintf("not a raft message: %v", protowire.ParseError(n))}
		}
		switch num {
		case fieldEntries:
			if entries++; entries > MaxMessageEntries {
				return &FrameError{Reason: fmt.Sprintf("a message with over %d entries (MaxMessageEntries)", MaxMessageEntries)}
			}
		case fieldResponses:
			return &FrameError{Reason: "a message with storage responses"}
		}
		b = b[n:]
	}
	return nil
}

// appendMessage encodes a message as a frame. On an error b is returned as it was.
func appendMessage(b []byte, group raftlog.GroupID, m *pb.Message) ([]byte, error) {
	start := len(b)
	out, err := proto.MarshalOptions{}.MarshalAppend(beginFrame(b, frameMessage, group), m)
	if err != nil {
		return b, err
	}
	if size := len(out) - start - headerBytes; size > MaxFrame {
		return out[:start], &TooLargeError{What: fmt.Sprintf("a %v message", m.GetType()), Size: size, Limit: MaxFrame, Name: "MaxFrame"}
	}
	return endFrame(out, start), nil
}

// weight estimates a message's bytes in memory and on the wire.
func weight(m *pb.Message) int {
	const fixed = 64
	n := fixed + len(m.GetSnapshot().GetData())
	for _, e := range m.GetEntries() {
		n += fixed + len(e.GetData())
	}
	return n
}

// expendable says whether raft repeats a message by itself soon when it is
// lost. Votes, leadership transfers and snapshots are repeated late or never.
func expendable(m *pb.Message) bool {
	switch m.GetType() {
	case pb.MsgApp, pb.MsgAppResp, pb.MsgHeartbeat, pb.MsgHeartbeatResp, pb.MsgReadIndex, pb.MsgReadIndexResp:
		return true
	}
	return false
}
