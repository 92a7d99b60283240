package endtoend

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/heliosdb/metadata/client"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

const schema = metadatav1.Stream_STREAM_SCHEMA

// writers create tables until stopped and remember what was acknowledged.
type writers struct {
	mu           sync.Mutex
	acknowledged map[string]uint64 // revision by table
	wg           sync.WaitGroup
	cancel       context.CancelFunc
}

func startWriters(t *testing.T, c *client.Client, prefix string, n int) *writers {
	ctx, cancel := context.WithCancel(t.Context())
	w := &writers{acknowledged: make(map[string]uint64), cancel: cancel}
	for i := range n {
		w.wg.Go(func() {
			for j := 0; ctx.Err() == nil; j++ {
				name := fmt.Sprintf("%s_%d_%d", prefix, i, j)
				reply, err := c.CreateTable(ctx, &metadatav1.CreateTableRequest{Table: table(name)})
				if ctx.Err() != nil {
					return // not acknowledged: it may or may not be there
				}
				if err != nil {
					t.Errorf("creating %s: %v", name, err)
					return
				}
				w.mu.Lock()
				w.acknowledged[name] = reply.GetResult().GetPosition().GetSchemaRevision()
				w.mu.Unlock()
			}
		})
	}
	return w
}

func (w *writers) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.acknowledged)
}

func (w *writers) stop() map[string]uint64 {
	w.cancel()
	w.wg.Wait()
	return w.acknowledged
}

// checkHistory reads all changes from a member and holds them against what was
// acknowledged: each is there once, at the revision that was told.
func checkHistory(t *testing.T, c *client.Client, acknowledged map[string]uint64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	there := make(map[string]uint64)
	next := uint64(1)
	for frame, err := range c.Watch(ctx, &metadatav1.SubscribeRequest{
		Start:  &metadatav1.SubscribeRequest_After{After: &metadatav1.Position{}},
		Filter: &metadatav1.Filter{Streams: []metadatav1.Stream{schema}}, FailOnGap: true,
	}) {
		if err != nil {
			t.Fatal(err)
		}
		if frame.GetBookmark() != nil {
			break // all that was committed has been sent
		}
		for _, change := range frame.GetChanges().GetChanges() {
			if change.GetRevision() != next {
				t.Fatalf("revision %d after %d", change.GetRevision(), next-1)
			}
			next++
			for _, e := range change.GetEvents() {
				if created := e.GetTableCreated().GetTable(); created != nil {
					if _, twice := there[created.GetName()]; twice {
						t.Fatalf("%s was created twice", created.GetName())
					}
					there[created.GetName()] = change.GetRevision()
				}
			}
		}
	}
	for name, revision := range acknowledged {
		if there[name] != revision {
			t.Errorf("%s was acknowledged at revision %d, the history has it at %d", name, revision, there[name])
		}
	}
}

func TestKillingTheLeaderAndThenAllLosesNothing(t *testing.T) {
	c := newCluster(t, 3)
	c.start(0, 1, 2)
	c.ready(0, 1, 2)
	w := startWriters(t, c.client(), "a", 4)
	c.eventually("some writes", func() bool { return w.count() > 50 })

	leader := c.leader(schema)
	c.kill(leader)
	before := w.count()
	c.eventually("writes go on without the leader", func() bool { return w.count() > before+50 })
	c.start(leader)
	c.ready(leader)

	before = w.count()
	c.eventually("writes with three", func() bool { return w.count() > before+50 })
	for i := range 3 {
		c.kill(i) // with writes in flight
	}
	w.stop()
	c.start(0, 1, 2)
	c.ready(0, 1, 2)
	if len(w.acknowledged) < 150 {
		t.Fatalf("only %d writes were acknowledged", len(w.acknowledged))
	}
	for i := range 3 {
		checkHistory(t, c.client(i), w.acknowledged)
	}
}

func TestAMemberThatWasDownTakesACheckpoint(t *testing.T) {
	c := newCluster(t, 3, "--checkpoint-revisions", "100", "--trailing-entries", "10")
	c.start(0, 1, 2)
	c.ready(0, 1, 2)
	if err := c.stop(2); err != nil {
		t.Fatalf("SIGTERM: %v", err)
	}
	w := startWriters(t, c.client(0, 1), "b", 4)
	c.eventually("enough writes to cut the log", func() bool { return w.count() > 500 })
	acknowledged := w.stop()
	c.start(2)
	c.ready(2)
	c.eventually("equal digests", func() bool {
		status, err := c.client(2).Status(t.Context(), &metadatav1.StatusRequest{})
		if err != nil || len(status.GetMembers()) != 3 {
			return false
		}
		seen := make(map[string]bool)
		for _, m := range status.GetMembers() {
			if len(m.GetStreams()) == 0 || m.GetStreams()[0].GetRevision() < uint64(len(acknowledged)) {
				return false
			}
			seen[m.GetStreams()[0].GetDigest()] = true
		}
		return len(seen) == 1
	})
	for name := range acknowledged {
		_, err := c.client(2).GetTable(t.Context(), &metadatav1.GetTableRequest{
			Table: &metadatav1.TableRef{Name: name},
			Read:  &metadatav1.ReadOptions{Consistency: metadatav1.Consistency_CONSISTENCY_LOCAL},
		})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		break
	}
}

// What the project promises a new user: apply a real schema, lose the leader, and
// find every table on each member that is left and on the one that comes back.
func TestApplyOfTPCDSOutlivesTheLeader(t *testing.T) {
	c := newCluster(t, 3)
	c.start(0, 1, 2)
	c.ready(0, 1, 2)
	c.run(c.api, "apply", "-f", "examples/tpcds.yaml")
	leader := c.leader(schema)
	c.kill(leader)
	c.run(c.api, "apply", "-f", "examples/tpch.yaml")
	c.start(leader)
	c.ready(0, 1, 2)
	for i := range 3 {
		list := c.run(c.api[i:i+1], "table", "list")
		for _, name := range []string{"store_sales", "web_site", "customer_demographics", "lineitem"} {
			if !strings.Contains(list, name) {
				t.Errorf("member %d does not list %s:\n%s", i+1, name, list)
			}
		}
	}
}
