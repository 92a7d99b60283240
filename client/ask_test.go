package client

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/heliosdb/metadata/client/internal/frames"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// moving is a service whose shard map changes between two calls: the n-th look for a shard
// finds the n-th, and the last one from then on.
type moving struct {
	*answering
	shards []*metadatav1.ShardInfo // nil: there is a hole
	later  []*metadatav1.ShardInfo // what a listing finds
	nodes  map[string]bool
	looks  atomic.Int64
	slow   time.Duration
}

var errNone = connect.NewError(connect.CodeNotFound, errors.New("there is none"))

func (m *moving) GetShard(context.Context, *metadatav1.GetShardRequest) (*metadatav1.GetShardResponse, error) {
	n := m.looks.Add(1)
	time.Sleep(m.slow)
	s := m.shards[min(int(n), len(m.shards))-1]
	if s == nil {
		return nil, errNone
	}
	return &metadatav1.GetShardResponse{Shard: s, Position: m.at()}, nil
}

func (m *moving) ListShards(context.Context, *metadatav1.ListShardsRequest) (*metadatav1.ListShardsResponse, error) {
	return &metadatav1.ListShardsResponse{Shards: m.later, Position: m.at()}, nil
}

func (m *moving) GetNode(_ context.Context, r *metadatav1.GetNodeRequest) (*metadatav1.GetNodeResponse, error) {
	if !m.nodes[r.GetNodeId()] {
		return nil, errNone
	}
	return &metadatav1.GetNodeResponse{Node: &metadatav1.NodeInfo{NodeId: r.GetNodeId()}, Position: m.at()}, nil
}

// startMoving returns a cache that shows nothing, of a service that moves.
func startMoving(t *testing.T, m *moving) *Cache {
	t.Helper()
	m.answering = &answering{&publisher{}, func() *metadatav1.Position { return frames.At(1, 3, 20) }}
	cache := openCache(t, newClient(t, startHandler(t, m)), CacheOptions{})
	cache.Close()
	return cache
}

// A route is whole, though it takes several calls and the map changes between them.
func TestARouteThatMovesWhileItIsAskedFor(t *testing.T) {
	here, there := shard(1, "a", "m", "gone", 4, 8), shard(1, "a", "m", "n2", 5, 9)
	cache := startMoving(t, &moving{shards: []*metadatav1.ShardInfo{here, here, there}, nodes: map[string]bool{"n2": true}})
	r, err := cache.GetRoute(soon(t), []byte("k"))
	if err != nil || r.Epoch != 5 || r.Primary.GetNodeId() != "n2" {
		t.Fatalf("its node left meanwhile: %v, %v", r, err)
	}
	cache = startMoving(t, &moving{shards: []*metadatav1.ShardInfo{nil}, later: []*metadatav1.ShardInfo{there}, nodes: map[string]bool{"n2": true}})
	if r, err := cache.GetRoute(soon(t), []byte("k")); err != nil || r.Epoch != 5 {
		t.Fatalf("the hole was filled meanwhile: %v, %v", r, err)
	}
	next := shard(2, "p", "", "n2", 1, 2)
	cache = startMoving(t, &moving{shards: []*metadatav1.ShardInfo{nil}, later: []*metadatav1.ShardInfo{next}})
	_, err = cache.GetRoute(soon(t), []byte("k"))
	if hole, ok := errors.AsType[*HoleError](err); !ok || string(hole.Start) != "k" || string(hole.End) != "p" {
		t.Fatalf("a hole: %v", err)
	}
	if !cache.floor.CoveredBy(frames.At(1, 0, 20)) || cache.floor.CoveredBy(frames.At(1, 0, 19)) {
		t.Fatal("where the hole was seen is forgotten")
	}
	// It does not go on for ever.
	m := &moving{shards: []*metadatav1.ShardInfo{here}}
	if _, err := startMoving(t, m).GetRoute(soon(t), []byte("k")); !IsNotFound(err) || m.looks.Load() != askTries {
		t.Fatalf("its node never comes: %v after %d looks", err, m.looks.Load())
	}
}

// Many who ask for the same at the same moment cost the service no more than a few.
func TestManyWhoAskForOneRoute(t *testing.T) {
	m := &moving{
		shards: []*metadatav1.ShardInfo{shard(1, "a", "m", "n2", 5, 9)}, nodes: map[string]bool{"n2": true}, slow: 300 * time.Millisecond,
	}
	cache := startMoving(t, m)
	var work sync.WaitGroup
	for range 100 {
		work.Go(func() {
			if r, err := cache.GetRoute(soon(t), []byte("k")); err != nil || r.Epoch != 5 {
				t.Errorf("the route is %v, %v", r, err)
			}
		})
	}
	work.Wait()
	if n := m.looks.Load(); n > 10 {
		t.Fatalf("100 who ask for one route cost %d looks", n)
	}
}

// Readers, hints and views at the same time: each route is one that was there.
func TestRoutesWhileTheCacheChanges(t *testing.T) {
	first := []*metadatav1.ShardInfo{shard(1, "", "m", "n1", 1, 8), shard(2, "m", "", "n2", 1, 8)}
	c := showing(t, 10, first...)
	ctx, stop := context.WithCancel(t.Context())
	var work sync.WaitGroup
	for range 3 {
		work.Go(func() {
			newest := uint64(0)
			for ctx.Err() == nil {
				r, err := c.Route([]byte("k"))
				if _, refused := errors.AsType[*StaleRouteError](err); refused {
					continue
				}
				if err != nil || r.Shard.GetShardId() != 1 || r.Epoch < newest {
					t.Errorf("the route is %v, %v; it was of epoch %d", r, err, newest)
					return
				}
				newest = r.Epoch
			}
		})
	}
	for epoch := uint64(2); epoch < 300; epoch++ {
		moved := shard(1, "", "m", "n3", epoch, 10+epoch)
		if c.Hint(moved); epoch%3 == 0 {
			r, _ := c.Route([]byte("z"))
			c.Invalidate(r)
		}
		c.shows(t, 10+epoch, moved, first[1])
	}
	stop()
	work.Wait()
}
