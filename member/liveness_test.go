package member

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/heliosdb/metadata/internal/failure"
	"github.com/heliosdb/metadata/leases"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

const topologyStream = metadatav1.Stream_STREAM_TOPOLOGY

// register registers a storage node and returns its epoch.
func (c *cluster) register(id uint64, node, incarnation string) uint64 {
	c.t.Helper()
	reply, err := c.up[id].Write(c.t.Context(), &metadatav1.RegisterNodeRequest{Node: &metadatav1.NodeInfo{
		NodeId: node, Addr: "127.0.0.1:6000", NodeType: metadatav1.NodeType_NODE_TYPE_STORAGE, Incarnation: incarnation,
	}}, "test")
	if err != nil {
		c.t.Fatalf("registering %s: %v", node, err)
	}
	return reply.(*metadatav1.RegisterNodeResponse).GetNode().GetEpoch()
}

// beat sends one beat through a member and returns its answer.
func (c *cluster) beat(ctx context.Context, id uint64, node string, epoch uint64) *metadatav1.StreamHeartbeatsResponse {
	c.t.Helper()
	answers, err := c.up[id].Heartbeat(ctx, []*metadatav1.HeartbeatRequest{{NodeId: node, Epoch: epoch}})
	if err != nil || len(answers) != 1 {
		c.t.Fatalf("beating for %s: %v, %v", node, answers, err)
	}
	return answers[0]
}

// status returns a node's status as a member sees it, and the topology's revision.
func (c *cluster) status(id uint64, node string) (metadatav1.NodeStatus, uint64) {
	c.t.Helper()
	state, err := c.up[id].Topology(c.t.Context(), nil)
	if err != nil {
		return 0, 0 // no leader right now
	}
	n, _ := state.Model.Liveness.Node(node)
	return n.Status, state.Head.Revision
}

const (
	online  = metadatav1.NodeStatus_NODE_STATUS_ONLINE
	offline = metadatav1.NodeStatus_NODE_STATUS_OFFLINE
)

func TestSilenceTakesANodeOfflineAndABeatBringsItBack(t *testing.T) {
	c := newCluster(t, 3, quickLeases)
	c.start(1, 2, 3)
	c.leader(topologyStream)
	epoch := c.register(1, "s1", "first")
	_, before := c.status(1, "s1")
	for i := range 12 { // through every member, for longer than a lease
		if a := c.beat(t.Context(), uint64(i%3+1), "s1", epoch); a.GetGranted() == nil {
			t.Fatalf("beat %d: %v", i, a)
		}
		time.Sleep(50 * time.Millisecond)
	}
	if status, revision := c.status(2, "s1"); status != online || revision != before {
		t.Fatalf("after beats: %v at revision %d, was %d: beats are in the log", status, revision, before)
	}
	c.eventually("offline", func() bool { s, _ := c.status(2, "s1"); return s == offline })
	c.eventually("online again", func() bool {
		c.beat(t.Context(), 3, "s1", epoch)
		s, _ := c.status(3, "s1")
		return s == online
	})
	if _, revision := c.status(1, "s1"); revision != before+2 {
		t.Fatalf("revision %d; want one change for each transition after %d", revision, before)
	}
}

func TestASecondIncarnationHasToWaitForTheLease(t *testing.T) {
	c := newCluster(t, 1, quickLeases)
	c.start(1)
	c.leader(topologyStream)
	first := c.register(1, "s1", "first")
	_, err := c.up[1].Write(t.Context(), &metadatav1.RegisterNodeRequest{Node: &metadatav1.NodeInfo{
		NodeId: "s1", Addr: "127.0.0.1:6001", NodeType: metadatav1.NodeType_NODE_TYPE_STORAGE, Incarnation: "second",
	}}, "test")
	if !failure.Is(err, metadatav1.ErrorReason_ERROR_REASON_NODE_ALIVE) {
		t.Fatalf("got %v", err)
	}
	c.eventually("offline", func() bool { s, _ := c.status(1, "s1"); return s == offline })
	second := c.register(1, "s1", "second")
	if second <= first {
		t.Fatalf("epoch %d after %d", second, first)
	}
	a := c.beat(t.Context(), 1, "s1", first)
	if got := failure.ParseName(a.GetRefused().GetReason()); got != metadatav1.ErrorReason_ERROR_REASON_STALE_EPOCH {
		t.Fatalf("a beat of the first incarnation: %v", a)
	}
}

// A new leader knows of no beats; it must not take that for silence.
func TestALeaderChangeExpiresNobody(t *testing.T) {
	c := newCluster(t, 3, quickLeases)
	c.start(1, 2, 3)
	leader := c.leader(topologyStream)
	survivor := leader%3 + 1
	epoch := c.register(leader, "s1", "first")
	_, before := c.status(leader, "s1")
	c.kill(leader)
	deadline := time.Now().Add(800 * time.Millisecond)
	for time.Now().Before(deadline) {
		c.beat(t.Context(), survivor, "s1", epoch)
		time.Sleep(30 * time.Millisecond)
	}
	if status, revision := c.status(survivor, "s1"); status != online || revision != before {
		t.Fatalf("%v at revision %d, was %d", status, revision, before)
	}
}

// A beat that came while its node was being taken offline renewed nothing. If that
// attempt fails, the node must not hear that it has a full lease.
func TestABeatThatRenewedNothingIsNotGranted(t *testing.T) {
	c := newCluster(t, 1, quickLeases)
	c.start(1)
	c.leader(topologyStream)
	epoch := c.register(1, "s1", "first")
	r := c.up[1].running.Load()
	resume := make(chan struct{})
	r.topology.inputs.push(func() {
		r.topology.replica.Drain() // refuses the transition
		<-resume
	})
	c.eventually("the lease to run out", func() bool { return r.leases.Check("s1", epoch).Outcome == leases.Expiring })
	answer := make(chan *metadatav1.StreamHeartbeatsResponse, 1)
	go func() { answer <- c.beat(t.Context(), 1, "s1", epoch) }()
	c.eventually("the beat to arrive", func() bool {
		report, _ := r.leases.Report("s1", 0)
		return report.Beats > 0
	})
	close(resume)
	if a := <-answer; a.GetRefused() == nil {
		report, _ := r.leases.Report("s1", 0)
		t.Fatalf("got %v, the lease lasts for %v", a, report.Remaining)
	}
	c.eventually("a later beat is granted", func() bool { return c.beat(t.Context(), 1, "s1", epoch).GetGranted() != nil })
}

// A leader with a shorter lease breaks what an earlier one granted, so every member's
// status says when the members do not grant the same.
func TestDifferentLeasesRaiseAnAlarm(t *testing.T) {
	short := true
	c := newCluster(t, 3, func(c *Config) {
		quickLeases(c)
		if c.ID == 3 && short {
			c.Leases.Lease = 200 * time.Millisecond
		}
	})
	c.start(1, 2, 3)
	c.leader(topologyStream)
	alarmed := func(id uint64) bool {
		status, err := c.up[id].Status(t.Context())
		return err == nil && slices.ContainsFunc(status.GetAlarms(), func(a *metadatav1.Alarm) bool {
			return a.GetSeverity() == metadatav1.Severity_SEVERITY_CRITICAL &&
				strings.Contains(a.GetMessage(), "member 1: 300ms, member 2: 300ms, member 3: 200ms")
		})
	}
	for id := range c.up {
		c.eventually("an alarm", func() bool { return alarmed(id) })
	}
	short = false
	c.stop(3)
	c.start(3)
	c.eventually("all is well", func() bool {
		status, err := c.up[1].Status(t.Context())
		return err == nil && len(status.GetAlarms()) == 0
	})
}
