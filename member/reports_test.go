package member

import (
	"context"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/internal/failure"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// beatWith sends one beat with a load through a member, which has to be granted.
func (c *cluster) beatWith(id uint64, node string, epoch uint64, load *metadatav1.NodeLoad) {
	c.t.Helper()
	c.eventually("the beat to be granted", func() bool {
		answers, err := c.up[id].Heartbeat(c.t.Context(), []*metadatav1.HeartbeatRequest{{NodeId: node, Epoch: epoch, Load: load}})
		return err == nil && answers[0].GetGranted() != nil
	})
}

// reports asks a member what is known of nodes.
func (c *cluster) reports(id uint64, nodes ...string) *metadatav1.NodeReportsResponse {
	c.t.Helper()
	answer, err := c.up[id].NodeReports(c.t.Context(), &metadatav1.NodeReportsRequest{NodeIds: nodes})
	if err != nil {
		c.t.Fatalf("member %d: %v", id, err)
	}
	return answer
}

// Every member says what the leader has heard; a new leader knows a node from its next beat on.
func TestEveryMemberKnowsTheLoadOfNodes(t *testing.T) {
	c := newCluster(t, 3, nil)
	c.start(1, 2, 3)
	leader := c.leader(topologyStream)
	follower := leader%3 + 1
	epoch := c.register(1, "s1", "first")
	silent := c.register(1, "s2", "first")
	load := &metadatav1.NodeLoad{CpuMillis: 1500, MemoryBytes: 2, DiskBytes: 3, RequestsPerSecond: 4.5}
	_, before := c.status(1, "s1")
	c.beatWith(follower, "s1", epoch, load)
	for id := range uint64(3) {
		answer := c.reports(id+1, "s2", "nobody", "s1", "s1")
		if answer.GetLeader() != leader || len(answer.GetReports()) != 1 {
			t.Fatalf("member %d says %v", id+1, answer)
		}
		report := answer.GetReports()[0]
		if report.GetNodeId() != "s1" || report.GetEpoch() != epoch || !proto.Equal(report.GetLoad(), load) || report.GetAcknowledged() != nil {
			t.Errorf("member %d says %v", id+1, report)
		}
		if age := report.GetAge().AsDuration(); age < 0 || age > time.Minute || report.GetLeaseRemaining().AsDuration() <= 0 {
			t.Errorf("member %d: the beat is %v old, the lease lasts for %v", id+1, age, report.GetLeaseRemaining().AsDuration())
		}
	}
	time.Sleep(50 * time.Millisecond)
	if age := c.reports(follower, "s1").GetReports()[0].GetAge().AsDuration(); age < 50*time.Millisecond {
		t.Errorf("after 50 ms, the beat is %v old", age)
	}
	c.beatWith(leader, "s2", silent, nil)
	if report := c.reports(follower, "s2").GetReports()[0]; report.GetLoad() != nil {
		t.Errorf("a node that has said nothing of its load: %v", report)
	}
	if _, after := c.status(1, "s1"); after != before {
		t.Errorf("revision %d, was %d: beats are in the log", after, before)
	}

	c.kill(leader)
	c.eventually("another leader, which knows nothing of the node", func() bool {
		answer, err := c.up[follower].NodeReports(t.Context(), &metadatav1.NodeReportsRequest{NodeIds: []string{"s1"}})
		return err == nil && answer.GetLeader() != leader && len(answer.GetReports()) == 0
	})
	c.beatWith(follower, "s1", epoch, load)
	if answer := c.reports(follower, "s1"); len(answer.GetReports()) != 1 || !proto.Equal(answer.GetReports()[0].GetLoad(), load) {
		t.Errorf("after its next beat: %v", answer)
	}
}

func TestNobodyKnowsTheLoadWithoutALeader(t *testing.T) {
	c := newCluster(t, 3, nil)
	c.start(1, 2, 3)
	leader := c.leader(topologyStream)
	other, last := leader%3+1, (leader+1)%3+1
	c.kill(other)
	c.kill(leader) // the one that is left has nobody to elect it, at no moment
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err := c.up[last].NodeReports(ctx, &metadatav1.NodeReportsRequest{NodeIds: []string{"s1"}})
	if !failure.Is(err, metadatav1.ErrorReason_ERROR_REASON_NO_LEADER) {
		t.Fatalf("got %v", err)
	}
}
