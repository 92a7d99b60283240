package clienttest_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/heliosdb/metadata/client"
	"github.com/heliosdb/metadata/client/clienttest"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func soon(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := contextOf(t, 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func contextOf(t *testing.T, d time.Duration) (context.Context, context.CancelFunc) {
	t.Helper()
	return context.WithTimeout(t.Context(), d)
}

func namespace(name string) *metadatav1.CreateNamespaceRequest {
	return &metadatav1.CreateNamespaceRequest{Namespace: &metadatav1.Namespace{Name: name}}
}

// What is stopped answers nobody, and has all that it had when it is started again; a cache
// follows without help.
func TestAServiceIsStoppedAndStarted(t *testing.T) {
	s, c := clienttest.New(t)
	ctx := soon(t)
	if _, err := c.CreateNamespace(ctx, namespace("before")); err != nil {
		t.Fatal(err)
	}
	cache, err := c.NewCache(client.CacheOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := cache.Ready(ctx); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.Stop(), s.Stop()); err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	if _, err := c.CreateNamespace(short, namespace("between")); err == nil {
		t.Fatal("a service that is stopped answers")
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err != nil {
		t.Fatalf("it runs already: %v", err)
	}
	if _, err := c.CreateNamespace(ctx, namespace("before")); !client.IsAlreadyExists(err) {
		t.Fatalf("what it had is gone: %v", err)
	}
	after, err := c.CreateNamespace(ctx, namespace("after"))
	if err != nil {
		t.Fatal(err)
	}
	if err := cache.WaitFor(ctx, after.GetResult().GetPosition()); err != nil {
		t.Fatal(err)
	}
}

// A node that vanishes is offline after its lease, as short as the test wants it.
func TestLeasesAreAsShortAsWished(t *testing.T) {
	s, err := clienttest.Run(clienttest.Options{Lease: 200 * time.Millisecond, HeartbeatInterval: 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Stop() })
	c, err := client.New(client.Options{Endpoints: s.Endpoints()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	ctx := soon(t)
	_, err = c.RegisterNode(ctx, &metadatav1.RegisterNodeRequest{Node: &metadatav1.NodeInfo{
		NodeId: "n", Addr: "127.0.0.1:6000", NodeType: metadatav1.NodeType_NODE_TYPE_STORAGE, Incarnation: "one",
	}})
	if err != nil {
		t.Fatal(err)
	}
	for {
		res, err := c.GetNode(ctx, &metadatav1.GetNodeRequest{NodeId: "n"})
		if err != nil {
			t.Fatal(err)
		}
		if res.GetNode().GetStatus() == metadatav1.NodeStatus_NODE_STATUS_OFFLINE {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// Two services are of two clusters, unless they are given one name.
func TestServicesAreOfTheirOwnClusters(t *testing.T) {
	cluster := func(c *client.Client) string {
		t.Helper()
		status, err := c.Status(soon(t), &metadatav1.StatusRequest{})
		if err != nil {
			t.Fatal(err)
		}
		return status.GetClusterId()
	}
	first, c := clienttest.New(t)
	_, other := clienttest.New(t)
	before := cluster(c)
	if before == cluster(other) {
		t.Fatal("two services are of one cluster")
	}
	if err := errors.Join(first.Stop(), first.Start()); err != nil {
		t.Fatal(err)
	}
	if after := cluster(c); after != before {
		t.Fatalf("it was of cluster %s and is started again as %s", before, after)
	}
	_, one := clienttest.New(t, clienttest.Options{Name: "shared"})
	_, two := clienttest.New(t, clienttest.Options{Name: "shared"})
	if cluster(one) != cluster(two) {
		t.Fatal("two services of one name are of two clusters")
	}
}

func TestOptionsAreChecked(t *testing.T) {
	if _, err := clienttest.Run(clienttest.Options{Lease: -1}); err == nil {
		t.Fatal("a lease below 0 is taken")
	}
	for _, members := range []int{-1, clienttest.MaxMembers + 1} {
		if _, err := clienttest.Run(clienttest.Options{Members: members}); err == nil || !strings.Contains(err.Error(), "have 1 to 9") {
			t.Fatalf("%d members: %v", members, err)
		}
	}
}
