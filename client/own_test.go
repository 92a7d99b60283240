package client

import (
	"context"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/client/internal/frames"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// What others have seen of another cluster is of no use, whether it is told before or after
// the client knows whose it is.
func TestAPositionOfAnotherClusterIsNotTaken(t *testing.T) {
	_, c := startFakes(t, 1, inCluster("aaaa", 3))
	foreign := &metadatav1.Position{ClusterId: "bbbb", SchemaRevision: 90}
	c.Observe(foreign) // nobody knows better
	if err := getTableOnce(t, c); err != nil {
		t.Fatal(err)
	}
	own := &metadatav1.Position{ClusterId: "aaaa", SchemaRevision: 3}
	check := func(when string) {
		t.Helper()
		if seen := c.Position(); !proto.Equal(seen, own) || !c.wrote.CoveredBy(own) {
			t.Fatalf("%s it has seen %v, and written %v", when, seen, c.wrote.Position())
		}
	}
	check("told before,")
	c.Observe(foreign)
	check("told after,")
	own.SchemaRevision = 4
	c.Observe(own)
	if seen := c.Position(); !proto.Equal(seen, own) || c.wrote.CoveredBy(frames.At(1, 3, 0)) {
		t.Fatalf("told of its own cluster, it has seen %v, and written %v", seen, c.wrote.Position())
	}
}

// A client has seen what its caches show and its Watches have yielded.
func TestWhatCachesAndWatchesShowIsSeen(t *testing.T) {
	c := startPublishers(t, func(ctx context.Context, r *metadatav1.SubscribeRequest, send func(frames.Frame) bool) error {
		all := whole(1, 3, 2)
		if r.GetAfter() != nil {
			all = []frames.Frame{frames.Created(5, 5), frames.Bookmark(frames.At(1, 5, 2)), frames.Created(6, 7)}
		}
		return sends(ctx, send, all...)
	})
	cache := openCache(t, c, CacheOptions{})
	if err := cache.Ready(soon(t)); err != nil {
		t.Fatal(err)
	}
	if got := c.Position(); !proto.Equal(got, frames.At(1, 3, 2)) {
		t.Fatalf("a cache shows %v, its client has seen %v", cache.Position(), got)
	}
	after := &metadatav1.SubscribeRequest{Start: &metadatav1.SubscribeRequest_After{After: frames.At(1, 4, 2)}}
	for frame, err := range c.Watch(soon(t), after) {
		if err != nil {
			t.Fatal(err)
		}
		all := frame.GetChanges().GetChanges()
		if len(all) > 0 && all[len(all)-1].GetRevision() == 7 {
			break
		}
	}
	if got := c.Position(); !proto.Equal(got, frames.At(1, 7, 2)) {
		t.Fatalf("after a Watch its client has seen %v", got)
	}
}
