package client

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/heliosdb/metadata/client/internal/frames"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// A member that is cut off goes on sending bookmarks. A cache with a bound finds out, shows
// nothing beyond it, and goes to another member.
func TestACacheLeavesAMemberThatLags(t *testing.T) {
	var head atomic.Uint64
	head.Store(3)
	at := func() *metadatav1.Position { return frames.At(1, head.Load(), 1) }
	lagging := func(ctx context.Context, _ *metadatav1.SubscribeRequest, send func(frames.Frame) bool) error {
		for _, f := range whole(1, 3, 1) {
			send(f)
		}
		for ctx.Err() == nil && send(frames.Bookmark(frames.At(1, 3, 1))) {
			time.Sleep(5 * time.Millisecond)
		}
		return nil
	}
	var others atomic.Int64
	sound := func(ctx context.Context, r *metadatav1.SubscribeRequest, send func(frames.Frame) bool) error {
		others.Add(1)
		return sends(ctx, send, frames.Created(r.GetAfter().GetSchemaRevision()+1, head.Load()), frames.Bookmark(at()))
	}
	c := newClient(t, startAnswering(t, &answering{&publisher{serve: lagging}, at}), startAnswering(t, &answering{&publisher{serve: sound}, at}))
	cache := openCache(t, c, CacheOptions{MaxStaleness: 400 * time.Millisecond, BookmarkInterval: 10 * time.Millisecond})
	if err := cache.Ready(soon(t)); err != nil {
		t.Fatal(err)
	}
	head.Store(4)
	if err := cache.WaitFor(soon(t), frames.At(1, 4, 1)); err != nil {
		t.Fatal(err)
	}
	if others.Load() == 0 {
		t.Fatal("it did not go to another member")
	}
}

// A cache that keeps a limited number of tables follows the schema apart. It leaves the member
// that lags there, and that subscription only.
func TestABoundedCacheLeavesAMemberThatLags(t *testing.T) {
	at := func() *metadatav1.Position { return frames.At(1, 9, 1) }
	var topologies, schemas atomic.Int64
	serving := func(schema uint64) func(context.Context, *metadatav1.SubscribeRequest, func(frames.Frame) bool) error {
		return func(ctx context.Context, r *metadatav1.SubscribeRequest, send func(frames.Frame) bool) error {
			if r.GetFilter().GetStreams()[0] == topologyStream {
				topologies.Add(1)
				send(frames.Nodes(1))
			} else {
				schemas.Add(1)
			}
			for ctx.Err() == nil && send(frames.Bookmark(frames.At(1, schema, 1))) {
				time.Sleep(5 * time.Millisecond)
			}
			return nil
		}
	}
	c := newClient(t, startAnswering(t, &answering{&publisher{serve: serving(3)}, at}), startAnswering(t, &answering{&publisher{serve: serving(9)}, at}))
	cache := openCache(t, c, CacheOptions{MaxTables: 10, MaxStaleness: 400 * time.Millisecond, BookmarkInterval: 10 * time.Millisecond})
	if err := cache.Ready(soon(t)); err != nil {
		t.Fatal(err)
	}
	if s, o := schemas.Load(), topologies.Load(); s != 2 || o != 1 {
		t.Fatalf("it took %d subscriptions to the schema, %d to the topology", s, o)
	}
}

// What is read is as old as is said, while other views are published.
func TestNoViewIsGivenTheAgeOfAnother(t *testing.T) {
	c := showing(t, 10)
	c.options.MaxStaleness = time.Hour
	old, young := *c.view, *c.view
	old.position, young.position = frames.At(1, 1, 10), frames.At(1, 1, 11)
	ctx, stop := context.WithCancel(t.Context())
	var work sync.WaitGroup
	for range 2 {
		work.Go(func() {
			for ctx.Err() == nil {
				if v := c.View(); v != nil && v.position.GetTopologyRevision() != 11 {
					t.Error("a view is shown that is two hours old")
					return
				}
			}
		})
	}
	for range 20_000 {
		c.mu.Lock()
		c.publish(&cacheState{view: &old, fresh: time.Now().Add(-2 * time.Hour)})
		c.publish(&cacheState{view: &young, fresh: time.Now()})
		c.mu.Unlock()
	}
	stop()
	work.Wait()
}

// Who is to hear of a cache that is too old hears of one that became so while it was waited
// for.
func TestACacheThatGrowsTooOldMeanwhile(t *testing.T) {
	c := showing(t, 10)
	c.client = newClient(t, "127.0.0.1:1")
	c.options.MaxStaleness, c.options.FailWhenStale = MinMaxStaleness, true
	c.mu.Lock()
	c.publish(&cacheState{view: c.view, fresh: time.Now().Add(catchUp/2 - MinMaxStaleness)})
	c.mu.Unlock()
	c.client.wrote.Learn(frames.At(1, 1, 11)) // which it does not show
	_, err := c.GetTable(t.Context(), "", "t1")
	if _, stale := errors.AsType[*StaleError](err); !stale {
		t.Fatalf("the service was asked: %v", err)
	}
}

// Beyond its bound a cache shows nothing; its Get reads ask the service, or fail if so
// configured.
func TestACacheThatIsTooOld(t *testing.T) {
	var head atomic.Uint64
	head.Store(3)
	at := func() *metadatav1.Position { return frames.At(1, head.Load(), 1) }
	serve := func(ctx context.Context, r *metadatav1.SubscribeRequest, send func(frames.Frame) bool) error {
		all := whole(1, 3, 1)
		if r.GetAfter() != nil {
			all = nil
		}
		for ctx.Err() == nil && (len(all) == 0 || send(all[0])) {
			if all = all[min(1, len(all)):]; len(all) == 0 {
				time.Sleep(5 * time.Millisecond)
				if !send(frames.Bookmark(frames.At(1, 3, 1))) {
					return nil
				}
			}
		}
		return nil
	}
	c := newClient(t, startAnswering(t, &answering{&publisher{serve: serve}, at}))
	const most = 300 * time.Millisecond
	asks := openCache(t, c, CacheOptions{MaxStaleness: most})
	fails := openCache(t, c, CacheOptions{MaxStaleness: most, FailWhenStale: true})
	for _, cache := range []*Cache{asks, fails} {
		if err := cache.Ready(soon(t)); err != nil {
			t.Fatal(err)
		}
		if _, ok := cache.Table("", "t1"); !ok || cache.Staleness() > most {
			t.Fatalf("a fresh cache is %v old: %v", cache.Staleness(), cache.Err())
		}
	}
	head.Store(4) // nobody ever sends it
	for _, cache := range []*Cache{asks, fails} {
		eventually(t, "the cache is too old", func() bool { return cache.Staleness() > most })
		_, ok := cache.Table("", "t1")
		stale, is := errors.AsType[*StaleError](cache.Err())
		if ok || cache.View() != nil || !is || stale.Max != most || stale.Age <= most {
			t.Fatalf("a cache that is too old shows %v and says %v", cache.View(), cache.Err())
		}
		if cache.Position().GetSchemaRevision() != 3 {
			t.Fatalf("its position is %v", cache.Position())
		}
	}
	for what, wait := range map[string]func(context.Context) error{"Ready": asks.Ready, "Sync": asks.Sync} {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		err := wait(ctx)
		if _, stale := errors.AsType[*StaleError](err); !stale || !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("%s of a cache that is too old: %v", what, err)
		}
	}
	if all := asks.Topology(); all != nil {
		t.Fatalf("a cache that is too old shows %v", all)
	}
	table, err := asks.GetTable(t.Context(), "", "t1")
	if err != nil || table.GetName() != "from the service" {
		t.Fatalf("asked the service: %v, %v", table, err)
	}
	if _, err := fails.GetTable(t.Context(), "", "t1"); err == nil || !strings.Contains(err.Error(), "at most 300ms are allowed") {
		t.Fatalf("configured to fail: %v", err)
	}
	if _, err := fails.GetRoute(t.Context(), nil); err == nil {
		t.Fatal("configured to fail, it routes")
	}
}
