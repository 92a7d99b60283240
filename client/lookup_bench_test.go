package client

import (
	"fmt"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/client/follow"
	"github.com/heliosdb/metadata/client/internal/frames"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

const (
	manyTables = 10_000
	manyShards = 256
	manyNodes  = 6
)

// full returns a cache that shows 10,000 tables, and 256 shards by the first byte of
// their keys.
func full(tb testing.TB) *Cache {
	tb.Helper()
	nodes := frames.Nodes(manyNodes)
	for i := range manyShards {
		s := &metadatav1.ShardInfo{
			ShardId: uint64(i) + 1, KeyRange: &metadatav1.KeyRange{Start: []byte{byte(i)}}, Epoch: 1, Version: 1,
			PrimaryNode: fmt.Sprint("n", i%manyNodes+1), MirrorNode: fmt.Sprint("n", (i+1)%manyNodes+1),
		}
		if i < manyShards-1 {
			s.KeyRange.End = []byte{byte(i + 1)}
		}
		nodes.GetSnapshot().Shards = append(nodes.GetSnapshot().Shards, s)
	}
	m := follow.NewMirror()
	for _, f := range []frames.Frame{frames.Tables(manyTables), nodes, frames.Bookmark(frames.At(1, manyTables, manyNodes))} {
		if _, err := m.Step(f); err != nil {
			tb.Fatal(err)
		}
	}
	c := &Cache{client: new(Client)}
	c.state.Store(&cacheState{view: (*View)(nil).next(m), next: make(chan struct{})})
	return c
}

// names returns the names of all tables, and looks each up once.
func (c *Cache) names(tb testing.TB) []string {
	names := make([]string, manyTables)
	for i := range names {
		names[i] = fmt.Sprint("t", i+1)
		if t, ok := c.Table("", names[i]); !ok || t.GetName() != names[i] {
			tb.Fatalf("%s is %v", names[i], t)
		}
	}
	return names
}

// laidOut asks for the route of each shard, twice what lays them out.
func (c *Cache) laidOut(tb testing.TB) {
	for range 2 {
		for i := range manyShards {
			if r, err := c.Route([]byte{byte(i), 7}); err != nil || r.Shard.GetShardId() != uint64(i)+1 {
				tb.Fatalf("the route of %d is %v, %v", i, r, err)
			}
		}
	}
	if c.View().routes.flat.Load() == nil {
		tb.Fatal("the routes are not laid out")
	}
}

func TestLookupsAllocateNothing(t *testing.T) {
	for _, most := range []time.Duration{0, time.Hour} {
		c := full(t)
		c.options.MaxStaleness = most
		c.mu.Lock()
		c.view = c.state.Load().view
		c.publish(&cacheState{view: c.view, fresh: time.Now()})
		c.mu.Unlock()
		allocateNothing(t, c)
	}
}

func allocateNothing(t *testing.T, c *Cache) {
	t.Helper()
	names := c.names(t)
	c.laidOut(t)
	i, key := 0, []byte{0, 0}
	table := testing.AllocsPerRun(1000, func() { i++; c.Table("public", names[i]) })
	byID := testing.AllocsPerRun(1000, func() { i++; c.TableByID(uint64(i)) })
	route := testing.AllocsPerRun(1000, func() { key[0]++; _, _ = c.Route(key) })
	node := testing.AllocsPerRun(1000, func() { c.Node("n3") })
	shard := testing.AllocsPerRun(1000, func() { c.Shard(77) })
	if table+byID+route+node+shard > 0 {
		t.Errorf("allocations: Table %v, TableByID %v, Route %v, Node %v, Shard %v", table, byID, route, node, shard)
	}
	ctx := t.Context()
	getTable := testing.AllocsPerRun(1000, func() { i--; _, _ = c.GetTable(ctx, "public", names[i]) })
	getRoute := testing.AllocsPerRun(1000, func() { key[0]++; _, _ = c.GetRoute(ctx, key) })
	getNode := testing.AllocsPerRun(1000, func() { _, _ = c.GetNode(ctx, "n3") })
	getShard := testing.AllocsPerRun(1000, func() { _, _ = c.GetShard(ctx, 77) })
	if getTable+getRoute+getNode+getShard > 0 {
		t.Errorf("allocations: GetTable %v, GetRoute %v, GetNode %v, GetShard %v", getTable, getRoute, getNode, getShard)
	}
	moved, _ := c.Shard(7)
	moved = proto.CloneOf(moved)
	moved.UpdatedRevision, moved.Epoch = 1<<40, 2
	if !c.Hint(moved) {
		t.Fatal("a hint is no news")
	}
	hinted := testing.AllocsPerRun(1000, func() { _, _ = c.Route(moved.GetKeyRange().GetStart()) })
	beside := testing.AllocsPerRun(1000, func() { key[0] = 99; _, _ = c.Route(key) })
	if hinted+beside > 0 {
		t.Errorf("allocations: Route by a hint %v, beside one %v", hinted, beside)
	}
	if s := c.client.Stats(); s.CacheHits < 19_000 || s.CacheMisses != 0 {
		t.Errorf("they are counted as %+v", s)
	}
}

// Of many readers who come together, one lays the routes out: the one that makes up the number.
func TestRoutesAreLaidOutOnce(t *testing.T) {
	c := full(t)
	r := c.View().routes
	for range manyShards / routesPerLookup {
		_, _ = c.Route([]byte{1})
	}
	if r.flat.Load() != nil {
		t.Fatal("the routes are laid out too early")
	}
	r.lookups.Add(1) // somebody else, who is about to lay them out
	_, _ = c.Route([]byte{1})
	if r.flat.Load() != nil {
		t.Fatal("two have laid the routes out")
	}
}

// Routes that are laid out are those of the model, in holes too.
func TestRoutesLaidOut(t *testing.T) {
	shards := []*metadatav1.ShardInfo{
		{ShardId: 1, KeyRange: &metadatav1.KeyRange{Start: []byte("b"), End: []byte("d")}},
		{ShardId: 2, KeyRange: &metadatav1.KeyRange{Start: []byte("d"), End: []byte("f")}},
		{ShardId: 3, KeyRange: &metadatav1.KeyRange{Start: []byte("h")}},
	}
	for _, s := range shards {
		s.PrimaryNode, s.Epoch = "n1", s.ShardId
	}
	nodes := frames.Nodes(1)
	nodes.GetSnapshot().Shards = shards
	m := follow.NewMirror()
	for _, f := range []frames.Frame{frames.Tables(1), nodes, frames.Bookmark(frames.At(1, 1, 1))} {
		if _, err := m.Step(f); err != nil {
			t.Fatal(err)
		}
	}
	v := (*View)(nil).next(m)
	for range 3 { // at first through the model
		for key, want := range map[string]uint64{"": 0, "a": 0, "b": 1, "c~": 1, "d": 2, "ezz": 2, "f": 0, "g~": 0, "h": 3, "\xff": 3} {
			r, err := v.Route([]byte(key))
			if r.Epoch != want || (err != nil) != (want == 0) || want > 0 && (r.Primary.GetNodeId() != "n1" || !proto.Equal(r.Shard, shards[want-1])) {
				t.Errorf("the route of %q is %v, %v; want shard %d", key, r, err, want)
			}
		}
	}
	if v.routes.flat.Load() == nil {
		t.Error("the routes were not laid out")
	}
	// Another revision of the schema has the same routes, another one of the topology its own.
	next := func(f frames.Frame) *View {
		if _, err := m.Step(f); err != nil {
			t.Fatal(err)
		}
		return v.next(m)
	}
	if n := next(frames.Created(2, 2)); n.routes != v.routes {
		t.Error("a change of the schema drops the routes")
	}
	if n := next(frames.Registered(2)); n.routes == v.routes {
		t.Error("a change of the topology keeps the routes")
	}
}

// An old view goes on to show what it showed, and what did not change is not decoded
// again for the new one.
func TestViewsShareTables(t *testing.T) {
	m := follow.NewMirror()
	for _, f := range []frames.Frame{frames.Tables(3), frames.Nodes(1), frames.Bookmark(frames.At(1, 3, 1))} {
		if _, err := m.Step(f); err != nil {
			t.Fatal(err)
		}
	}
	old := (*View)(nil).next(m)
	before, _ := old.Table("", "t2")
	if _, err := m.Step(frames.Created(4, 5)); err != nil {
		t.Fatal(err)
	}
	now := old.next(m)
	if after, _ := now.Table("", "t2"); after != before {
		t.Error("a table is decoded again because of another one")
	}
	if _, ok := now.Table("", "t5"); !ok {
		t.Error("the new view lacks a new table")
	}
	if _, ok := old.Table("", "t5"); ok {
		t.Error("the old view shows a new table")
	}
}

func BenchmarkCachedTable(b *testing.B) {
	c := full(b)
	names := c.names(b)
	b.ReportAllocs()
	for at := 0; b.Loop(); at = (at + 7919) % len(names) {
		if _, ok := c.Table("public", names[at]); !ok {
			b.Fatal(names[at])
		}
	}
}

func BenchmarkCachedTables(b *testing.B) {
	c := full(b)
	names := c.names(b)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for at := 0; pb.Next(); at = (at + 7919) % len(names) {
			c.Table("public", names[at])
		}
	})
}

func BenchmarkCachedRoute(b *testing.B) {
	c := full(b)
	c.laidOut(b)
	key := make([]byte, 8)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		key[0], key[1] = byte(i*0x9e), byte(i)
		if _, err := c.Route(key); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkNextView takes over one created table among 10,000.
func BenchmarkNextView(b *testing.B) {
	m := follow.NewMirror()
	for _, f := range []frames.Frame{frames.Tables(manyTables), frames.Nodes(1), frames.Bookmark(frames.At(1, manyTables, 1))} {
		if _, err := m.Step(f); err != nil {
			b.Fatal(err)
		}
	}
	v := (*View)(nil).next(m)
	if _, err := m.Step(frames.Created(manyTables+1, manyTables+1)); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		v.next(m)
	}
}
