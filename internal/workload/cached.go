package workload

import (
	"context"
	"encoding/binary"
	"fmt"
	"runtime"

	"github.com/heliosdb/metadata/client"
	"github.com/heliosdb/metadata/internal/measure"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

const (
	// lookups is how many reads of memory one measurement is of: each takes about as
	// long as looking at a clock.
	lookups = 1000
	// allocationCalls is how many measurements allocations are counted over.
	allocationCalls = 100
)

// memory runs look-ups that stay in this process, and counts their allocations besides.
// The operation is given a number that differs from call to call.
func (b *base) memory(ctx context.Context, plan measure.Plan, op func(client int) func(n int) error) (Report, error) {
	plan.Repeat = lookups
	report, err := b.loop(ctx, plan, func(client int) measure.Op {
		one, n := op(client), 0
		return func(context.Context) (string, error) {
			for range lookups {
				n++
				if err := one(n); err != nil {
					return "", err
				}
			}
			return "", nil
		}
	})
	if err != nil {
		return report, err
	}
	one := op(0)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for n := range allocationCalls * lookups {
		if err := one(n); err != nil {
			return report, err
		}
	}
	runtime.ReadMemStats(&after)
	// What else runs in this process allocates a little too.
	hundredths := (after.Mallocs - before.Mallocs) * 100 / (allocationCalls * lookups)
	report.AllocsPerOp = new(float64(hundredths) / 100)
	return report, nil
}

// openCache returns a cache that shows the service as it is now.
func (b *base) openCache(ctx context.Context, at *metadatav1.Position) (*client.Cache, error) {
	cache, err := b.Control.NewCache(client.CacheOptions{})
	if err != nil {
		return nil, err
	}
	b.Say("loading the cache")
	if err = cache.Ready(ctx); err == nil && at != nil {
		err = cache.WaitFor(ctx, at)
	}
	if err != nil {
		cache.Close()
		return nil, fmt.Errorf("loading the cache: %w", err)
	}
	return cache, nil
}

// cachedGet reads tables from the cache.
type cachedGet struct{ *base }

func (w *cachedGet) Prepare(ctx context.Context) error { return w.prepareTables(ctx) }

func (w *cachedGet) Run(ctx context.Context, plan measure.Plan) (Report, error) {
	// A linearizable answer names a position that is not before what Prepare did.
	newest, err := w.Control.ListTables(ctx, &metadatav1.ListTablesRequest{Namespace: w.id, PageSize: 1})
	if err != nil {
		return Report{}, err
	}
	cache, err := w.openCache(ctx, newest.GetPosition())
	if err != nil {
		return Report{}, err
	}
	defer cache.Close()
	names := make([]string, w.Tables)
	for i := range names {
		names[i] = TableName(int64(i))
	}
	return w.memory(ctx, plan, func(client int) func(int) error {
		// Strides that share no factor with the number of names visit all of them, out of order.
		at, stride := client, 7919
		return func(int) error {
			at = (at + stride) % len(names)
			if _, ok := cache.Table(w.id, names[at]); !ok {
				return &refusedError{"not_cached", "the cache does not have table " + names[at]}
			}
			return nil
		}
	})
}

// route finds shards in the cache.
type route struct {
	*base
	nodes  []string
	shards []uint64 // that are ours
}

// The map that route makes where there is none.
const (
	routeNodes  = 6
	routeShards = 256
)

func (w *route) Prepare(ctx context.Context) error {
	there, err := w.Control.ListShards(ctx, &metadatav1.ListShardsRequest{PageSize: 1})
	if err != nil {
		return err
	}
	if len(there.GetShards()) > 0 {
		w.Say("using the shard map that is there")
		return nil
	}
	if w.nodes, err = w.registerNodes(ctx, routeNodes, metadatav1.NodeType_NODE_TYPE_STORAGE); err != nil {
		return err
	}
	req := new(metadatav1.UpdateShardMapRequest)
	for i := range routeShards {
		keys := new(metadatav1.KeyRange)
		if i > 0 {
			keys.Start = []byte{byte(i)}
		}
		if i < routeShards-1 {
			keys.End = []byte{byte(i + 1)}
		}
		req.Changes = append(req.Changes, &metadatav1.ShardMapChange{Action: &metadatav1.ShardMapChange_Put{
			Put: &metadatav1.PutShard{Shard: &metadatav1.ShardInfo{
				KeyRange: keys, PrimaryNode: w.nodes[i%routeNodes], MirrorNode: w.nodes[(i+1)%routeNodes],
			}},
		}})
	}
	made, err := w.Control.UpdateShardMap(ctx, req)
	for _, s := range made.GetShards() {
		w.shards = append(w.shards, s.GetShardId())
	}
	return err
}

func (w *route) Run(ctx context.Context, plan measure.Plan) (Report, error) {
	newest, err := w.Control.ListShards(ctx, &metadatav1.ListShardsRequest{PageSize: 1})
	if err != nil {
		return Report{}, err
	}
	cache, err := w.openCache(ctx, newest.GetPosition())
	if err != nil {
		return Report{}, err
	}
	defer cache.Close()
	return w.memory(ctx, plan, func(client int) func(int) error {
		key, spread := make([]byte, 8), uint64(client)
		return func(n int) error {
			// A multiplicative hash: keys all over the range, and no source to wait for.
			binary.BigEndian.PutUint64(key, (uint64(n)+spread)*0x9e3779b97f4a7c15)
			_, err := cache.Route(key)
			return err
		}
	})
}

func (w *route) Clean(ctx context.Context) error {
	req := new(metadatav1.UpdateShardMapRequest)
	for _, id := range w.shards {
		req.Changes = append(req.Changes, &metadatav1.ShardMapChange{Action: &metadatav1.ShardMapChange_Delete{
			Delete: &metadatav1.DeleteShard{ShardId: id},
		}})
	}
	if len(req.Changes) > 0 {
		if _, err := w.Control.UpdateShardMap(ctx, req); err != nil {
			return err
		}
	}
	return w.unregisterNodes(ctx, w.nodes)
}
