package client_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/client"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// readyCache returns a cache that has loaded.
func readyCache(t *testing.T, c *client.Client) *client.Cache {
	t.Helper()
	cache := must(c.NewCache(client.CacheOptions{BookmarkInterval: 50 * time.Millisecond}))(t)
	t.Cleanup(cache.Close)
	if err := cache.Ready(within(t, 10*time.Second)); err != nil {
		t.Fatal(err)
	}
	return cache
}

func TestCacheShowsWhatTheServiceHas(t *testing.T) {
	c := startCluster(t, 1).dial(t)
	ctx := within(t, 10*time.Second)
	must(c.CreateTable(ctx, createTable("before")))(t)
	must(c.RegisterNode(ctx, storageNode("s1", 6001)))(t)
	cache := readyCache(t, c)

	ns := must(c.CreateNamespace(ctx, &metadatav1.CreateNamespaceRequest{Namespace: &metadatav1.Namespace{Name: "sales"}}))(t)
	created := must(c.CreateTable(ctx, createTable("orders")))(t)
	moved := must(c.AlterTable(ctx, &metadatav1.AlterTableRequest{
		Table: &metadatav1.TableRef{Name: "orders"},
		Alterations: []*metadatav1.TableAlteration{{Action: &metadatav1.TableAlteration_RenameTable{
			RenameTable: &metadatav1.RenameTable{NewNamespace: "sales", NewName: "lines"},
		}}},
	}))(t)
	dropped := must(c.DropTable(ctx, &metadatav1.DropTableRequest{Table: &metadatav1.TableRef{Name: "before"}}))(t)
	if err := cache.WaitFor(ctx, dropped.GetResult().GetPosition()); err != nil {
		t.Fatal(err)
	}

	if _, ok := cache.Table("", "orders"); ok {
		t.Fatal("the table is still known by its old name")
	}
	if _, ok := cache.TableByID(1); ok {
		t.Fatal("a dropped table is known by its id")
	}
	got, ok := cache.Table("sales", "lines")
	if !ok || !proto.Equal(got, moved.GetTable()) {
		t.Fatalf("the cache shows %v, want %v", got, moved.GetTable())
	}
	if again, _ := cache.TableByID(created.GetTable().GetTableId()); again != got {
		t.Fatal("a table was decoded twice")
	}
	if listed := slices.Collect(cache.Tables("sales")); len(listed) != 1 || listed[0] != got {
		t.Fatalf("the tables of sales are %v", listed)
	}
	if names := slices.Collect(cache.Namespaces()); len(names) != 2 || !proto.Equal(names[1], ns.GetNamespace()) {
		t.Fatalf("the namespaces are %v", names)
	}
	node := must(c.GetNode(ctx, &metadatav1.GetNodeRequest{NodeId: "s1"}))(t).GetNode()
	if got, ok := cache.Node("s1"); !ok || !proto.Equal(got, node) {
		t.Fatalf("the cache shows node %v, want %v", got, node)
	}
	if p := cache.Position(); p.GetSchemaRevision() != dropped.GetResult().GetPosition().GetSchemaRevision() || p.GetClusterId() == "" {
		t.Fatalf("the position is %v", p)
	}
	if s := c.Stats(); s.CacheHits != 3 || s.CacheMisses != 2 {
		t.Fatalf("counted %+v", s)
	}
}

func TestCacheLoadsOnDemand(t *testing.T) {
	c := startCluster(t, 1).dial(t)
	ctx := within(t, 10*time.Second)
	created := must(c.CreateTable(ctx, createTable("t")))(t)
	for i := range 2 {
		must(c.RegisterNode(ctx, storageNode(fmt.Sprintf("s%d", i), 6000+i)))(t)
	}
	must(c.UpdateShardMap(ctx, &metadatav1.UpdateShardMapRequest{Changes: []*metadatav1.ShardMapChange{
		put(1, "", "m", "s0", "s1"),
	}}))(t)
	cache := must(c.NewCache(client.CacheOptions{}))(t)
	cache.Close()
	if err := cache.Err(); err == nil || !strings.Contains(err.Error(), "closed") {
		t.Fatalf("a closed cache says %v", err)
	}
	if err := cache.Ready(ctx); err == nil {
		t.Fatal("a closed cache is ready")
	}
	if _, ok := cache.Table("", "t"); ok {
		t.Fatal("a closed cache shows a table")
	}
	if got := must(cache.GetTable(ctx, "", "t"))(t); !proto.Equal(got, created.GetTable()) {
		t.Fatalf("got %v", got)
	}
	topology := must(cache.GetTopology(ctx))(t)
	if len(topology.GetNodes()) != 2 || len(topology.GetShards()) != 1 || len(topology.GetHoles()) != 1 {
		t.Fatalf("got %v", topology)
	}
	r := must(cache.GetRoute(ctx, []byte("a")))(t)
	if r.Shard.GetShardId() != 1 || r.Primary.GetNodeId() != "s0" || r.Mirror.GetNodeId() != "s1" || r.Witness != nil || r.Epoch == 0 {
		t.Fatalf("the route is %+v", r)
	}
	hole := func(err error) string {
		if h, ok := errors.AsType[*client.HoleError](err); ok && client.IsNotFound(err) {
			return fmt.Sprintf("%s-%s", h.Start, h.End)
		}
		return fmt.Sprint(err)
	}
	if _, err := cache.GetRoute(ctx, []byte("z")); hole(err) != "z-" {
		t.Fatalf("a key in a hole: %v", err)
	}
	must(c.UpdateShardMap(ctx, &metadatav1.UpdateShardMapRequest{Changes: []*metadatav1.ShardMapChange{put(2, "p", "t", "s1")}}))(t)
	if _, err := cache.GetRoute(ctx, []byte("n")); hole(err) != "n-p" {
		t.Fatalf("a key in a hole between shards: %v", err)
	}
	for _, w := range [][4]string{
		{"a", "m", "1 on s0", "<nil>"}, {"b", "q", "1 on s0, 2 on s1", "m-p"}, {"", "", "1 on s0, 2 on s1", "m-p"},
		{"q", "z", "2 on s1", "t-z"}, {"n", "o", "", "n-o"},
	} {
		routes, err := cache.GetRouteRange(ctx, []byte(w[0]), []byte(w[1]))
		var parts []string
		for _, r := range routes {
			parts = append(parts, fmt.Sprintf("%d on %s", r.Shard.GetShardId(), r.Primary.GetNodeId()))
		}
		if got := strings.Join(parts, ", "); got != w[2] || hole(err) != w[3] {
			t.Fatalf("[%s, %s) is routed to %q, %v; want %q, %s", w[0], w[1], got, err, w[2], w[3])
		}
	}
	if n := must(cache.GetNode(ctx, "s1"))(t); n.GetNodeId() != "s1" {
		t.Fatalf("the node is %v", n)
	}
	if s := must(cache.GetShard(ctx, 2))(t); s.GetPrimaryNode() != "s1" {
		t.Fatalf("the shard is %v", s)
	}
	if _, err := cache.GetNode(ctx, "s9"); !client.IsNotFound(err) {
		t.Fatalf("a node that there is not: %v", err)
	}
	if _, err := cache.GetShard(ctx, 9); !client.IsNotFound(err) {
		t.Fatalf("a shard that there is not: %v", err)
	}
}

// A cache that keeps a limited number of tables loads them when they are asked for, follows
// those that it has, and gets over a member's end.
func TestABoundedCacheLoadsTablesOnDemand(t *testing.T) {
	cluster := startCluster(t, 3)
	c := cluster.dial(t)
	ctx := within(t, 30*time.Second)
	const tables, most = 12, 4
	for i := range tables {
		must(c.CreateTable(ctx, createTable(fmt.Sprintf("t%d", i))))(t)
	}
	must(c.RegisterNode(ctx, storageNode("s0", 6000)))(t)
	must(c.UpdateShardMap(ctx, &metadatav1.UpdateShardMapRequest{Changes: []*metadatav1.ShardMapChange{put(1, "", "", "s0")}}))(t)
	cache := must(c.NewCache(client.CacheOptions{MaxTables: most, BookmarkInterval: 20 * time.Millisecond, MaxStaleness: 5 * time.Second}))(t)
	if err := cache.Sync(ctx); err != nil {
		t.Fatal(err)
	}
	if _, ok := cache.Table("", "t1"); ok {
		t.Fatal("a table is there that nobody asked for")
	}
	if r := must(cache.Route([]byte("k")))(t); r.Primary.GetNodeId() != "s0" {
		t.Fatalf("the route is %+v", r)
	}
	loaded := must(cache.GetTable(ctx, "", "t1"))(t)
	if byName, ok := cache.Table("", "t1"); !ok || byName != loaded {
		t.Fatalf("a table that was loaded is %v", byName)
	}
	if byID := must(cache.GetTableByID(ctx, loaded.GetTableId()))(t); byID != loaded {
		t.Fatal("a table that is there was loaded again")
	}
	must(c.DropTable(ctx, &metadatav1.DropTableRequest{Table: &metadatav1.TableRef{Name: "t1"}}))(t)
	if _, err := cache.GetTable(ctx, "", "t1"); !client.IsNotFound(err) {
		t.Fatalf("a table that was dropped: %v", err)
	}
	cluster.kill(cluster.leader(metadatav1.Stream_STREAM_SCHEMA))
	kept := 0
	for i := range tables {
		name := fmt.Sprintf("t%d", i)
		if i != 1 && must(cache.GetTable(ctx, "", name))(t).GetName() != name {
			t.Fatalf("%s is another table", name)
		}
	}
	for i := range tables {
		if _, ok := cache.Table("", fmt.Sprintf("t%d", i)); ok {
			kept++
		}
	}
	if kept > most {
		t.Fatalf("%d tables are kept, at most %d may be", kept, most)
	}
	created := must(c.CreateTable(ctx, createTable("t1")))(t)
	if got := must(cache.GetTable(ctx, "", "t1"))(t); got.GetTableId() != created.GetTable().GetTableId() {
		t.Fatalf("a table that was just written is %v", got)
	}
	if err := cache.Sync(ctx); err != nil || cache.Position().GetSchemaRevision() < created.GetResult().GetPosition().GetSchemaRevision() {
		t.Fatalf("the cache is at %v: %v", cache.Position(), err)
	}
}

// A bound is kept while a member is away for longer.
func TestABoundIsKeptWhileNobodyAnswers(t *testing.T) {
	cluster := startCluster(t, 1)
	c := cluster.dial(t)
	ctx := within(t, 30*time.Second)
	must(c.CreateTable(ctx, createTable("t")))(t)
	const most = 300 * time.Millisecond
	cache := must(c.NewCache(client.CacheOptions{MaxStaleness: most}))(t)
	if err := cache.Sync(ctx); err != nil {
		t.Fatal(err)
	}
	cluster.kill(1)
	killed := time.Now()
	for {
		// What was asked before it was killed may be answered; what is asked since is not.
		dead := time.Since(killed)
		if cache.Err() != nil {
			break
		}
		if dead > most {
			t.Fatalf("nobody has answered for %v, and it shows what it had, %v old", dead, cache.Staleness())
		}
		time.Sleep(time.Millisecond)
	}
	if _, ok := cache.Table("", "t"); ok {
		t.Fatal("a cache that is too old shows a table")
	}
	cluster.start(1)
	for deadline := time.Now().Add(20 * time.Second); cache.Err() != nil; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the member is back: %v", cache.Err())
		}
	}
	if _, ok := cache.Table("", "t"); !ok {
		t.Fatal("the table is gone")
	}
}

func put(id uint64, start, end string, nodes ...string) *metadatav1.ShardMapChange {
	s := &metadatav1.ShardInfo{
		ShardId: id, KeyRange: &metadatav1.KeyRange{Start: []byte(start), End: []byte(end)}, PrimaryNode: nodes[0],
	}
	if len(nodes) > 1 {
		s.MirrorNode = nodes[1]
	}
	return &metadatav1.ShardMapChange{Action: &metadatav1.ShardMapChange_Put{Put: &metadatav1.PutShard{Shard: s}}}
}

func TestRoutesFollowTheShardMap(t *testing.T) {
	c := startCluster(t, 1).dial(t)
	ctx := within(t, 10*time.Second)
	cache := readyCache(t, c)
	for i := range 3 {
		must(c.RegisterNode(ctx, storageNode(fmt.Sprintf("s%d", i), 6000+i)))(t)
	}
	update := func(changes ...*metadatav1.ShardMapChange) {
		t.Helper()
		res := must(c.UpdateShardMap(ctx, &metadatav1.UpdateShardMapRequest{Changes: changes}))(t)
		if err := cache.WaitFor(ctx, res.GetResult().GetPosition()); err != nil {
			t.Fatal(err)
		}
	}
	shape := func(start, end string) string {
		routes, err := cache.RouteRange([]byte(start), []byte(end))
		var parts []string
		for _, r := range routes {
			parts = append(parts, fmt.Sprintf("%d on %s", r.Shard.GetShardId(), r.Primary.GetNodeId()))
		}
		var hole *client.HoleError
		if errors.As(err, &hole) {
			parts = append(parts, fmt.Sprintf("hole %s-%s", hole.Start, hole.End))
		} else if err != nil {
			t.Fatal(err)
		}
		return strings.Join(parts, ", ")
	}
	want := func(start, end, routes string) {
		t.Helper()
		if got := shape(start, end); got != routes {
			t.Fatalf("[%s, %s) is routed to %q, want %q", start, end, got, routes)
		}
	}
	want("", "", "hole -")
	update(put(1, "b", "m", "s0", "s1"), put(2, "p", "t", "s1"))
	want("", "", "1 on s0, 2 on s1, hole -b")
	want("c", "d", "1 on s0")
	want("c", "r", "1 on s0, 2 on s1, hole m-p")
	want("q", "", "2 on s1, hole t-")
	want("m", "n", "hole m-n")
	update(put(3, "t", "", "s2"))
	want("q", "", "2 on s1, 3 on s2")
	want("u", "v", "3 on s2")
	update(&metadatav1.ShardMapChange{Action: &metadatav1.ShardMapChange_Delete{Delete: &metadatav1.DeleteShard{ShardId: 3}}})

	before := must(cache.Route([]byte("k")))(t)
	if before.Primary.GetAddr() != "127.0.0.1:6000" || before.Mirror.GetNodeId() != "s1" || before.Witness != nil {
		t.Fatalf("the route is %+v", before)
	}
	update(&metadatav1.ShardMapChange{Action: &metadatav1.ShardMapChange_Split{Split: &metadatav1.SplitShard{
		ShardId: 1, SplitKeys: [][]byte{[]byte("f")}, ChildIds: []uint64{10, 11},
	}}})
	split := must(cache.Route([]byte("k")))(t)
	if split.Shard.GetShardId() != 11 || split.Epoch <= before.Epoch {
		t.Fatalf("after the split the route is %+v, before it was %+v", split, before)
	}
	want("a", "g", "10 on s0, 11 on s0, hole a-b")
	update(&metadatav1.ShardMapChange{Action: &metadatav1.ShardMapChange_Move{Move: &metadatav1.MoveShard{
		ShardId: 11, PrimaryNode: "s2", WitnessNode: "s0",
	}}})
	moved := must(cache.Route([]byte("k")))(t)
	if moved.Primary.GetNodeId() != "s2" || moved.Mirror != nil || moved.Witness.GetNodeId() != "s0" || moved.Epoch <= split.Epoch {
		t.Fatalf("after the move the route is %+v, before it was %+v", moved, split)
	}
	if s, ok := cache.Shard(11); !ok || s != moved.Shard {
		t.Fatalf("shard 11 is %v", s)
	}
	if _, err := cache.Route([]byte("z")); err == nil || !strings.Contains(err.Error(), `"z" to the end`) {
		t.Fatalf("a key in a hole: %v", err)
	}
	if _, err := cache.Route([]byte("n")); err == nil || !strings.Contains(err.Error(), `"n" to "p"`) {
		t.Fatalf("a key in a hole: %v", err)
	}
	service := must(c.GetTopology(ctx, &metadatav1.GetTopologyRequest{}))(t).GetTopology()
	if got := cache.Topology(); !proto.Equal(got, service) {
		t.Fatalf("the cache shows\n%v\nthe service has\n%v", got, service)
	}
}

func TestCacheSurvivesARestart(t *testing.T) {
	cluster := startCluster(t, 1)
	c := cluster.dial(t)
	ctx := within(t, 20*time.Second)
	must(c.CreateTable(ctx, createTable("t")))(t)
	cache := readyCache(t, c)
	cluster.kill(1)
	// What was sent before may still arrive, so nothing is said of when it begins to age.
	for deadline := time.Now().Add(10 * time.Second); cache.Staleness() < 300*time.Millisecond; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("nobody answers, but the cache says it is %v old", cache.Staleness())
		}
	}
	if _, ok := cache.Table("", "t"); !ok {
		t.Fatal("the cache forgot a table while the service was away")
	}
	cluster.start(1)
	created := must(c.CreateTable(ctx, createTable("u")))(t)
	if err := cache.WaitFor(ctx, created.GetResult().GetPosition()); err != nil {
		t.Fatal(err)
	}
	if _, ok := cache.Table("", "u"); !ok {
		t.Fatal("the cache does not show what it waited for")
	}
	for deadline := time.Now().Add(10 * time.Second); cache.Staleness() > 90*time.Millisecond; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the cache stays stale: %v", cache.Staleness())
		}
	}
}

func TestWaitForWhatNeverComes(t *testing.T) {
	c := startCluster(t, 1).dial(t)
	cache := readyCache(t, c)
	err := cache.WaitFor(t.Context(), &metadatav1.Position{ClusterId: strings.Repeat("0", 32)})
	if err == nil || !strings.Contains(err.Error(), "cluster 0000") {
		t.Fatalf("a foreign position: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := cache.WaitFor(ctx, &metadatav1.Position{SchemaRevision: 1 << 40}); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("a position of the future: %v", err)
	}
	done := make(chan error)
	go func() { done <- cache.WaitFor(t.Context(), &metadatav1.Position{SchemaRevision: 1 << 40}) }()
	cache.Close()
	if err := <-done; err == nil || !strings.Contains(err.Error(), "closed") {
		t.Fatalf("waiting at a closed cache: %v", err)
	}
	if _, err := c.NewCache(client.CacheOptions{BookmarkInterval: time.Hour}); err == nil || !strings.Contains(err.Error(), "1h") {
		t.Fatalf("an interval of an hour: %v", err)
	}
}
