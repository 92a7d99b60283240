package client

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/heliosdb/metadata/client/follow"
	"github.com/heliosdb/metadata/client/internal/frames"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

func shard(id uint64, start, end, primary string, epoch, updated uint64) *metadatav1.ShardInfo {
	return &metadatav1.ShardInfo{
		ShardId: id, KeyRange: &metadatav1.KeyRange{Start: []byte(start), End: []byte(end)},
		PrimaryNode: primary, Epoch: epoch, Version: 1, UpdatedRevision: updated,
	}
}

// showing returns a cache that shows shards at a topology revision.
func showing(t *testing.T, revision uint64, shards ...*metadatav1.ShardInfo) *Cache {
	t.Helper()
	c := &Cache{client: new(Client)}
	c.state.Store(&cacheState{next: make(chan struct{})})
	c.shows(t, revision, shards...)
	return c
}

func (c *Cache) shows(t *testing.T, revision uint64, shards ...*metadatav1.ShardInfo) {
	t.Helper()
	c.showsIn(t, 1, revision, shards...)
}

func (c *Cache) showsIn(t *testing.T, epoch, revision uint64, shards ...*metadatav1.ShardInfo) {
	t.Helper()
	nodes := frames.Nodes(3)
	nodes.GetSnapshot().Revision, nodes.GetSnapshot().Shards = revision, shards
	m := follow.NewMirror()
	for _, f := range []frames.Frame{frames.Tables(1), nodes, frames.Bookmark(frames.At(epoch, 1, revision))} {
		if _, err := m.Step(f); err != nil {
			t.Fatal(err)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.show(c.view.next(m))
}

// routed says where keys are.
func routed(c *Cache, key string) string {
	r, err := c.Route([]byte(key))
	if stale, ok := errors.AsType[*StaleRouteError](err); ok {
		return fmt.Sprintf("stale %d/%d", stale.ShardID, stale.Epoch)
	}
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%d/%d on %s", r.Shard.GetShardId(), r.Epoch, r.Primary.GetNodeId())
}

func TestHintsAreTakenIfTheyAreNewer(t *testing.T) {
	c := showing(t, 10, shard(1, "a", "m", "n1", 4, 8), shard(2, "m", "", "n2", 1, 3))
	want := func(key, route string) {
		t.Helper()
		if got := routed(c, key); got != route {
			t.Fatalf("%q is routed to %s, want %s", key, got, route)
		}
	}
	want("k", "1/4 on n1")
	for name, old := range map[string]*metadatav1.ShardInfo{
		"of before":          shard(1, "a", "m", "n3", 3, 7),
		"what is shown":      shard(1, "a", "m", "n3", 4, 10),
		"without a revision": shard(1, "a", "m", "n3", 9, 0),
		"none":               nil,
	} {
		if c.Hint(old) {
			t.Errorf("%s: it is news", name)
		}
	}
	want("k", "1/4 on n1")
	// The shard was moved, and then split.
	if !c.Hint(shard(1, "a", "m", "n3", 5, 12)) || c.Hint(shard(1, "a", "m", "n2", 5, 11)) {
		t.Fatal("what is newer is not told from what is older")
	}
	want("k", "1/5 on n3")
	if !c.Hint(shard(7, "f", "m", "n2", 6, 13)) {
		t.Fatal("a child is no news")
	}
	want("k", "7/6 on n2")
	want("b", "1/4 on n1") // what came of it nobody has said yet
	want("z", "2/1 on n2")
	// The cache shows the split: hints are of no use any more.
	c.shows(t, 13, shard(6, "a", "f", "n3", 6, 13), shard(7, "f", "m", "n2", 6, 13), shard(2, "m", "", "n2", 1, 3))
	want("b", "6/6 on n3")
	if c.hints.Load() != nil {
		t.Fatal("hints stay that say nothing new")
	}
}

func TestRefusedRoutesAreNotGivenAgain(t *testing.T) {
	c := showing(t, 10, shard(1, "a", "m", "n1", 4, 8))
	r, err := c.Route([]byte("b"))
	if err != nil {
		t.Fatal(err)
	}
	c.Invalidate(r)
	if got := routed(c, "b"); got != "stale 1/4" {
		t.Fatalf("a refused route is %s", got)
	}
	if _, err := c.Route([]byte("b")); !strings.Contains(err.Error(), "shard 1 with epoch 4 was refused") {
		t.Fatalf("it says %v", err)
	}
	// A shard that is on its way counts; the refused one does not come back.
	if !c.Hint(shard(1, "a", "m", "n2", 5, 11)) {
		t.Fatal("what is newer than what was refused is no news")
	}
	c.Invalidate(r)
	if got := routed(c, "b"); got != "1/5 on n2" {
		t.Fatalf("after an older route was refused again: %s", got)
	}
	second, err := c.Route([]byte("b"))
	if err != nil {
		t.Fatal(err)
	}
	c.Invalidate(second)
	if got := routed(c, "b"); got != "stale 1/5" {
		t.Fatalf("after the hint was refused too: %s", got)
	}
	c.shows(t, 12, shard(1, "a", "m", "n3", 6, 12))
	if got := routed(c, "b"); got != "1/6 on n3" {
		t.Fatalf("when the cache shows a newer one: %s", got)
	}
}

func TestHintsEnd(t *testing.T) {
	c := showing(t, 10, shard(1, "a", "", "n1", 4, 8))
	c.Hint(shard(1, "a", "", "n2", 5, 1<<60)) // of nobody who knows
	all := *c.hints.Load()
	if left := time.Until(all[0].until); left > hintLife || left < hintLife/2 {
		t.Fatalf("it counts for %v", left)
	}
	all[0].until = time.Now().Add(-time.Second)
	if got := routed(c, "b"); got != "1/4 on n1" {
		t.Fatalf("after its life: %s", got)
	}
	if c.hints.Load() != nil {
		t.Fatal("a hint stays that has ended")
	}
	c.Hint(shard(1, "a", "", "n9", 6, 1<<61)) // on a node that the cache does not know
	if got := routed(c, "b"); got != "stale 1/6" {
		t.Fatalf("on an unknown node: %s", got)
	}
	for i := range 2 * maxHints {
		c.Hint(shard(uint64(i+10), fmt.Sprintf("b%06d", i), fmt.Sprintf("b%06d", i+1), "n1", 1, 100))
	}
	if n := len(*c.hints.Load()); n > maxHints {
		t.Fatalf("%d hints are kept", n)
	}
}

// What was said in an earlier life of the cluster, before it was restored from a backup, may
// never come to be.
func TestHintsAreOfOneLife(t *testing.T) {
	c := showing(t, 10, shard(1, "a", "", "n1", 4, 8))
	c.Hint(shard(1, "a", "", "n2", 5, 20))
	if got := routed(c, "b"); got != "1/5 on n2" {
		t.Fatalf("with a hint: %s", got)
	}
	c.showsIn(t, 2, 6, shard(1, "a", "", "n3", 3, 4))
	if got := routed(c, "b"); got != "1/3 on n3" || c.hints.Load() != nil {
		t.Fatalf("in the next life: %s", got)
	}
}

// Hints are found by their keys, wherever they came in between; the one that ends first makes
// room.
func TestManyHints(t *testing.T) {
	c := showing(t, 10, shard(1, "", "", "n1", 4, 8))
	key := func(i int) string { return fmt.Sprintf("k%06d", i) }
	order := rand.New(rand.NewPCG(1, 1)).Perm(maxHints + 1)
	for _, i := range order {
		c.Hint(shard(uint64(i+10), key(i), key(i+1), "n2", 1, 100))
	}
	all := *c.hints.Load()
	if len(all) != maxHints {
		t.Fatalf("%d hints are kept", len(all))
	}
	for at, i := range order {
		want := fmt.Sprintf("%d/1 on n2", i+10)
		if at == 0 {
			want = "1/4 on n1" // it had to make room
		}
		if got := routed(c, key(i)+"x"); got != want {
			t.Fatalf("%s is routed to %s, want %s", key(i), got, want)
		}
	}
	if got := routed(c, "a") + ", " + routed(c, "z"); got != "1/4 on n1, 1/4 on n1" {
		t.Fatalf("around the hints: %s", got)
	}
}

func TestNothingWasRouted(t *testing.T) {
	c := showing(t, 10)
	r, err := c.Route([]byte("k"))
	if !IsNotFound(err) {
		t.Fatalf("a key in a hole: %v", err)
	}
	c.Invalidate(r)
	if c.hints.Load() != nil {
		t.Fatal("a hint about nothing")
	}
}

func TestRangesGoByHints(t *testing.T) {
	c := showing(t, 10, shard(1, "a", "m", "n1", 4, 8), shard(2, "p", "t", "n2", 1, 3))
	ranges := func(start, end string) string {
		routes, err := c.RouteRange([]byte(start), []byte(end))
		var parts []string
		for _, r := range routes {
			parts = append(parts, fmt.Sprintf("%d/%d", r.Shard.GetShardId(), r.Epoch))
		}
		if err != nil {
			parts = append(parts, err.Error()[len("client: "):][:12])
		}
		return strings.Join(parts, " ")
	}
	for range 2 {
		for _, w := range [][3]string{
			{"a", "m", "1/4"}, {"b", "q", "1/4 2/1 no shard hol"}, {"a", "c", "1/4"}, {"p", "t", "2/1"},
		} {
			if got := ranges(w[0], w[1]); got != w[2] {
				t.Errorf("[%s, %s) is %q, want %q", w[0], w[1], got, w[2])
			}
		}
		c.Hint(shard(9, "x", "y", "n3", 1, 11)) // elsewhere: nothing changes
	}
	c.Hint(shard(8, "f", "m", "n3", 5, 11))
	for _, w := range [][3]string{
		{"a", "m", "1/4 8/5"}, {"g", "h", "8/5"}, {"p", "", "2/1 9/1 no shard hol"},
	} {
		if got := ranges(w[0], w[1]); got != w[2] {
			t.Errorf("with hints [%s, %s) is %q, want %q", w[0], w[1], got, w[2])
		}
	}
	r, err := c.Route([]byte("q"))
	if err != nil {
		t.Fatal(err)
	}
	c.Invalidate(r)
	if got := ranges("l", "z"); got != "8/5 the route to" { // which says more than the hole before it
		t.Errorf("with a refused route: %q", got)
	}
	if _, err := c.RouteRange([]byte("p"), []byte("q")); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("a range that was refused: %v", err)
	}
}
