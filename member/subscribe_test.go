package member

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/heliosdb/metadata/feed"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// follow collects the revisions of the schema stream that a subscription delivers.
func (c *cluster) follow(id uint64, request *metadatav1.SubscribeRequest) (revisions func() []uint64, stop func()) {
	ctx, cancel := context.WithCancel(c.t.Context())
	var mu sync.Mutex
	var seen []uint64
	var wg sync.WaitGroup
	wg.Go(func() {
		err := c.up[id].Subscribe(ctx, request, func(f feed.Frame) error {
			mu.Lock()
			defer mu.Unlock()
			for _, change := range f.Message().GetChanges().GetChanges() {
				seen = append(seen, change.GetRevision())
			}
			return nil
		})
		if !errors.Is(err, context.Canceled) {
			c.t.Errorf("subscription ended with %v", err)
		}
	})
	return func() []uint64 {
			mu.Lock()
			defer mu.Unlock()
			return append([]uint64(nil), seen...)
		}, func() {
			cancel()
			wg.Wait()
		}
}

func TestSubscribersHearEveryChangeOnce(t *testing.T) {
	c := newCluster(t, 3, nil)
	c.start(1, 2, 3)
	const tables = 30
	for i := range tables / 2 {
		c.mustCreate(1, fmt.Sprintf("t%d", i))
	}
	c.converged()
	for id := uint64(1); id <= 3; id++ {
		revisions, stop := c.follow(id, &metadatav1.SubscribeRequest{
			Start:  &metadatav1.SubscribeRequest_After{After: &metadatav1.Position{SchemaRevision: 3}},
			Filter: &metadatav1.Filter{Streams: []metadatav1.Stream{schemaStream}},
		})
		defer stop()
		defer func() {
			c.eventually("all changes", func() bool { return len(revisions()) >= tables-3 })
			for i, r := range revisions() {
				if r != uint64(i+4) {
					t.Errorf("member %d: change %d has revision %d: %v", id, i, r, revisions())
					return
				}
			}
		}()
	}
	for i := range tables / 2 {
		c.mustCreate(2, fmt.Sprintf("u%d", i))
	}
}

// Subscribers that never read must not keep anybody waiting.
func TestSubscribersThatNeverReadCostNobodyAnything(t *testing.T) {
	c := newCluster(t, 1, nil)
	c.start(1)
	c.mustCreate(1, "first")
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	var stuck atomic.Int32
	for range 10 {
		wg.Go(func() {
			_ = c.up[1].Subscribe(ctx, &metadatav1.SubscribeRequest{
				Start: &metadatav1.SubscribeRequest_Snapshot{Snapshot: true},
			}, func(feed.Frame) error {
				stuck.Add(1)
				<-ctx.Done()
				return ctx.Err()
			})
		})
	}
	c.eventually("ten stuck subscribers", func() bool { return stuck.Load() == 10 })
	revisions, stop := c.follow(1, &metadatav1.SubscribeRequest{
		Start: &metadatav1.SubscribeRequest_After{After: &metadatav1.Position{}},
	})
	for i := range 200 {
		c.mustCreate(1, fmt.Sprintf("t%d", i))
	}
	c.eventually("a subscriber that reads has it all", func() bool { return len(revisions()) == 201 })
	stop()
	cancel()
	wg.Wait()
}

// A rolling restart under load: each member stops the way an operator stops it,
// and no write through the others fails.
func TestARollingRestartFailsNoWrite(t *testing.T) {
	c := newCluster(t, 3, nil)
	c.start(1, 2, 3)
	c.leader(schemaStream)
	written := 0
	for id := uint64(1); id <= 3; id++ {
		other := c.up[id%3+1]
		halt := make(chan struct{})
		var wg sync.WaitGroup
		var count atomic.Int32
		for w := range 4 {
			wg.Go(func() {
				for i := 0; ; i++ {
					select {
					case <-halt:
						return
					default:
					}
					ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
					_, err := other.Write(ctx, createTable(fmt.Sprintf("m%d_w%d_%d", id, w, i)), "test")
					cancel()
					if err != nil {
						t.Errorf("while member %d restarts: %v", id, err)
						return
					}
					count.Add(1)
				}
			})
		}
		time.Sleep(100 * time.Millisecond)
		c.stop(id)
		time.Sleep(50 * time.Millisecond)
		c.start(id)
		c.leader(schemaStream)
		close(halt)
		wg.Wait()
		written += int(count.Load())
	}
	if n := c.converged(); n != written {
		t.Fatalf("%d tables, %d acknowledged", n, written)
	}
}
