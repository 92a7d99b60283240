package simulation

import (
	"fmt"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/commands"
	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/internal/failure"
	"github.com/heliosdb/metadata/raftlog"
)

// short names a request for the trace.
func short(request proto.Message) string {
	name := string(proto.MessageName(request).Name())
	if id := commands.WriteOptionsOf(request).GetRequestId(); id != "" {
		return name + " " + id
	}
	return name
}

// outcome names an answer for the trace.
func outcome(reply proto.Message, err error) string {
	if f := failure.As(err); f != nil {
		return failure.Name(f.Reason)
	}
	if err != nil {
		return err.Error()
	}
	if r, ok := reply.(withResult); ok {
		p := r.GetResult().GetPosition()
		return fmt.Sprintf("%s at %d/%d", proto.MessageName(reply).Name(), p.GetSchemaRevision(), p.GetTopologyRevision())
	}
	return string(proto.MessageName(reply).Name())
}

func changeText(c *events.Change) string {
	s := c.RequestID()
	for _, e := range c.Events() {
		s += fmt.Sprintf(" %v", e.Message())
	}
	return s
}

func softText(s raftlog.SoftState) string {
	switch {
	case s.Role == raftlog.Leader:
		return fmt.Sprintf("leads in term %d", s.Term)
	case s.Leader != 0:
		return fmt.Sprintf("follows m%d in term %d", s.Leader, s.Term)
	case s.Role == raftlog.Follower:
		return fmt.Sprintf("has no leader in term %d", s.Term)
	default:
		return fmt.Sprintf("campaigns in term %d", s.Term)
	}
}

func messageText(m *raftpb.Message) string {
	s := fmt.Sprintf("%s term %d index %d commit %d", m.GetType(), m.GetTerm(), m.GetIndex(), m.GetCommit())
	if n := len(m.GetEntries()); n > 0 {
		s += fmt.Sprintf(", %d entries", n)
	}
	if m.GetReject() {
		s += ", rejected"
	}
	return s
}
