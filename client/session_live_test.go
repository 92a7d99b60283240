package client_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/heliosdb/metadata/client"
	"github.com/heliosdb/metadata/leases"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// startLeasing runs members whose leases are short.
func startLeasing(t *testing.T, n int) *cluster {
	t.Helper()
	c := newCluster(n, func(format string, args ...any) { t.Helper(); t.Fatalf(format, args...) })
	c.leases = leases.Options{Lease: 1500 * time.Millisecond, Interval: 100 * time.Millisecond}
	t.Cleanup(c.close)
	c.startAll()
	return c
}

func joinAs(id string) client.JoinOptions {
	node := storageNode(id, 6000).GetNode()
	node.Incarnation = ""
	return client.JoinOptions{Node: node}
}

func statusOf(t *testing.T, c *client.Client, id string) metadatav1.NodeStatus {
	t.Helper()
	node, err := c.GetNode(within(t, 10*time.Second), &metadatav1.GetNodeRequest{NodeId: id})
	if client.IsNotFound(err) {
		return metadatav1.NodeStatus_NODE_STATUS_UNSPECIFIED
	}
	return must(node, err)(t).GetNode().GetStatus()
}

func TestANodeJoinsAndLeaves(t *testing.T) {
	c := startLeasing(t, 1).dial(t)
	ctx := within(t, 20*time.Second)
	cache := readyCache(t, c)
	opts := joinAs("s1")
	opts.Cache, opts.Load = cache, func() *metadatav1.NodeLoad { return &metadatav1.NodeLoad{CpuMillis: 42} }
	s := must(c.JoinAsNode(ctx, opts))(t)
	if s.Epoch() == 0 || s.Err() != nil || statusOf(t, c, "s1") != metadatav1.NodeStatus_NODE_STATUS_ONLINE {
		t.Fatalf("joined with epoch %d, %v", s.Epoch(), s.Err())
	}
	select {
	case <-s.Done():
		t.Fatal("the lease is lost")
	case <-time.After(2 * time.Second): // longer than a lease
	}
	if s.Epoch() == 0 {
		t.Fatalf("the lease was not renewed: %v", s.Err())
	}
	done := s.Done()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	<-done
	if s.Epoch() != 0 || s.Joined(ctx) == nil || s.Err() == nil || s.Close() != nil {
		t.Fatalf("closed, it has epoch %d, %v", s.Epoch(), s.Err())
	}
	if got := statusOf(t, c, "s1"); got != metadatav1.NodeStatus_NODE_STATUS_UNSPECIFIED {
		t.Fatalf("the node has left and is %v", got)
	}

	// With a shard on it, it is drained instead.
	s = must(c.JoinAsNode(ctx, joinAs("s2")))(t)
	must(c.UpdateShardMap(ctx, &metadatav1.UpdateShardMapRequest{Changes: []*metadatav1.ShardMapChange{put(1, "", "m", "s2")}}))(t)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if got := must(c.GetNode(ctx, &metadatav1.GetNodeRequest{NodeId: "s2"}))(t).GetNode(); !got.GetDraining() {
		t.Fatalf("the node has left: %v", got)
	}
}

func TestANodeThatIsCutOffFencesItself(t *testing.T) {
	cluster := startLeasing(t, 1)
	c := cluster.dial(t)
	s := must(c.JoinAsNode(within(t, 20*time.Second), joinAs("s1")))(t)
	epoch, done := s.Epoch(), s.Done()
	cut := time.Now()
	cluster.kill(1)
	select {
	case <-done:
	case <-time.After(5 * time.Second):
		t.Fatal("nobody answers, and it goes on")
	}
	if took := time.Since(cut); took > 3*time.Second || s.Epoch() != 0 {
		t.Fatalf("a lease of 1.5 s is given up after %v", took)
	}
	cluster.start(1)
	if err := s.Joined(within(t, 20*time.Second)); err != nil {
		t.Fatal(err)
	}
	if again := s.Epoch(); again != epoch || s.Done() == done {
		t.Fatalf("it comes back with epoch %d, it had %d", again, epoch)
	}
	// Somebody removes it: it registers again.
	ctx := within(t, 10*time.Second)
	must(c.UnregisterNode(ctx, &metadatav1.UnregisterNodeRequest{NodeId: "s1"}))(t)
	<-s.Done()
	for s.Epoch() <= epoch {
		if err := s.Joined(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestASessionOutlivesLeaders(t *testing.T) {
	cluster := startLeasing(t, 3)
	c := cluster.dial(t)
	s := must(c.JoinAsNode(within(t, 20*time.Second), joinAs("s1")))(t)
	epoch := s.Epoch()
	for range 2 {
		leader := cluster.leader(metadatav1.Stream_STREAM_TOPOLOGY)
		cluster.kill(leader)
		cluster.leader(metadatav1.Stream_STREAM_TOPOLOGY)
		if err := s.Joined(within(t, 20*time.Second)); err != nil {
			t.Fatal(err)
		}
		cluster.start(leader)
		cluster.awaitReady(leader)
	}
	if err := s.Joined(within(t, 20*time.Second)); err != nil || s.Epoch() != epoch {
		t.Fatalf("it has epoch %d, it had %d: %v", s.Epoch(), epoch, err)
	}
	if got := statusOf(t, c, "s1"); got != metadatav1.NodeStatus_NODE_STATUS_ONLINE {
		t.Fatalf("the node is %v", got)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestOnlyOneProcessIsANode(t *testing.T) {
	cluster := startLeasing(t, 1)
	c, first := cluster.dial(t), cluster.dial(t)
	s := must(first.JoinAsNode(within(t, 20*time.Second), joinAs("s1")))(t)
	epoch := s.Epoch()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err := c.JoinAsNode(ctx, joinAs("s1"))
	if !errors.Is(err, context.DeadlineExceeded) || client.Reason(err) != metadatav1.ErrorReason_ERROR_REASON_NODE_ALIVE {
		t.Fatalf("a second process: %v", err)
	}
	first.Close() // it vanishes without leaving
	if s.Epoch() != 0 || s.Close() == nil {
		t.Fatal("a session outlives its client")
	}
	second := must(c.JoinAsNode(within(t, 20*time.Second), joinAs("s1")))(t)
	if second.Epoch() <= epoch {
		t.Fatalf("the second process has epoch %d, the first had %d", second.Epoch(), epoch)
	}
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestANodeThatCannotJoinIsTold(t *testing.T) {
	c := startLeasing(t, 1).dial(t)
	opts := joinAs("s1")
	opts.Node.Addr = "nowhere"
	if _, err := c.JoinAsNode(within(t, 20*time.Second), opts); !client.IsInvalid(err) || !strings.Contains(err.Error(), "nowhere") {
		t.Fatalf("a bad address: %v", err)
	}
	if _, err := c.JoinAsNode(t.Context(), client.JoinOptions{}); err == nil || !strings.Contains(err.Error(), "no id") {
		t.Fatalf("no node: %v", err)
	}
}
