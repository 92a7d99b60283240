package client

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/heliosdb/metadata/client/internal/frames"
	"github.com/heliosdb/metadata/internal/fakefeed"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/proto/heliosdb/metadata/v1/metadatav1connect"
)

// sends is a subscription that sends frames and stays open.
func sends(ctx context.Context, send func(frames.Frame) bool, all ...frames.Frame) error {
	for _, f := range all {
		if !send(f) {
			return nil
		}
	}
	<-ctx.Done()
	return ctx.Err()
}

// whole is a snapshot of both streams, and the position that it is at.
func whole(epoch, schema, topology uint64) []frames.Frame {
	return []frames.Frame{frames.Tables(schema), frames.Nodes(topology), frames.Bookmark(frames.At(epoch, schema, topology))}
}

func openCache(t *testing.T, c *Client, o CacheOptions) *Cache {
	t.Helper()
	cache, err := c.NewCache(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cache.Close)
	return cache
}

func soon(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// eventually waits for something that another goroutine brings about.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it does not come about that %s", what)
		}
	}
}

// A cache that meets what it cannot fold shows nothing, says why, and loads again until it
// can.
func TestABrokenCacheDropsWhatItHasAndRecovers(t *testing.T) {
	newer := frames.Created(4, 4)
	newer.GetChanges().GetChanges()[0].FeatureLevel = 99
	tooNew := frames.Chunk(&metadatav1.SnapshotChunk{Stream: schemaStream, FeatureLevel: 99})
	proceed := make(chan struct{})
	var sessions atomic.Int64
	var upgraded atomic.Bool
	c := startPublishers(t, func(ctx context.Context, _ *metadatav1.SubscribeRequest, send func(frames.Frame) bool) error {
		switch {
		case sessions.Add(1) == 1:
			for _, f := range whole(1, 3, 1) {
				send(f)
			}
			<-proceed
			return sends(ctx, send, newer)
		case !upgraded.Load():
			return sends(ctx, send, tooNew)
		}
		return sends(ctx, send, whole(1, 5, 1)...)
	})
	cache := openCache(t, c, CacheOptions{})
	if err := cache.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	kept := cache.View()
	close(proceed)
	err := cache.WaitFor(t.Context(), frames.At(1, 4, 1))
	if err == nil || !strings.Contains(err.Error(), "broken") || !strings.Contains(err.Error(), "feature level 99") {
		t.Fatalf("the cache says %v", err)
	}
	if _, ok := cache.Table("", "t1"); ok || cache.View() != nil || cache.Err() == nil || cache.Position() != nil {
		t.Fatal("a broken cache shows what it had")
	}
	if _, err := cache.Route([]byte("k")); err == nil || !strings.Contains(err.Error(), "feature level 99") {
		t.Fatalf("a broken cache routes: %v", err)
	}
	if _, err := cache.RouteRange(nil, nil); err == nil {
		t.Fatal("a broken cache routes a range")
	}
	if _, ok := kept.Table("", "t1"); !ok {
		t.Fatal("a view changed")
	}
	upgraded.Store(true)
	eventually(t, "the cache shows what it can fold again", func() bool { return cache.Err() == nil })
	if _, ok := cache.Table("", "t5"); !ok {
		t.Fatal("the cache lacks what came when it loaded again")
	}
}

// Changes that do not fit together are no reason to show less than before: the cache loads
// again, and never leads back.
func TestACacheLoadsAgainAfterAGap(t *testing.T) {
	var sessions atomic.Int64
	c := startPublishers(t, func(ctx context.Context, _ *metadatav1.SubscribeRequest, send func(frames.Frame) bool) error {
		switch sessions.Add(1) {
		case 1:
			return sends(ctx, send, append(whole(1, 3, 1), frames.Created(5, 5))...)
		case 2: // a member that is behind
			return sends(ctx, send, append(whole(1, 2, 1), frames.Created(3, 3), frames.Created(4, 6))...)
		}
		return nil
	})
	cache := openCache(t, c, CacheOptions{})
	if err := cache.WaitFor(soon(t), frames.At(1, 6, 1)); err != nil {
		t.Fatal(err)
	}
	if n := sessions.Load(); n != 2 {
		t.Fatalf("it took %d subscriptions", n)
	}
}

// What the service refuses is tried again, what is shown stays, and Ready says what is in
// the way.
func TestACacheThatIsRefusedTriesAgain(t *testing.T) {
	var refuse atomic.Bool
	refuse.Store(true)
	c := startPublishers(t, func(ctx context.Context, _ *metadatav1.SubscribeRequest, send func(frames.Frame) bool) error {
		if refuse.Load() {
			return connect.NewError(connect.CodeUnauthenticated, errors.New("no token"))
		}
		return sends(ctx, send, whole(1, 3, 1)...)
	})
	cache := openCache(t, c, CacheOptions{})
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	err := cache.Ready(ctx)
	if !errors.Is(err, context.DeadlineExceeded) || !IsRefused(err) || !strings.Contains(err.Error(), "no token") {
		t.Fatalf("while it is refused: %v", err)
	}
	if err := cache.Err(); !IsRefused(err) {
		t.Fatalf("while it is refused, it says %v", err)
	}
	refuse.Store(false)
	if err := cache.Ready(soon(t)); err != nil {
		t.Fatal(err)
	}
}

// A proxy that cuts each stream after a while costs a cache nothing.
func TestACacheBehindAProxyThatCutsStreams(t *testing.T) {
	feed, err := fakefeed.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(feed.Close)
	proxy := startCuttingProxy(t, feed.Addr(), 50*time.Millisecond)
	c := newClient(t, proxy)
	ctx := soon(t)
	seen := uint64(0)
	request := &metadatav1.SubscribeRequest{Start: &metadatav1.SubscribeRequest_After{After: &metadatav1.Position{}}, BookmarkIntervalMillis: 10}
	go func() {
		for range 100 {
			feed.Append(schemaStream, 1)
			time.Sleep(5 * time.Millisecond)
		}
	}()
	for frame, err := range c.Watch(ctx, request) {
		if err != nil {
			t.Fatal(err)
		}
		for _, change := range frame.GetChanges().GetChanges() {
			if seen++; change.GetRevision() != seen {
				t.Fatalf("change %d came where %d belongs", change.GetRevision(), seen)
			}
		}
		if seen == 100 {
			break
		}
	}
	if n := c.Stats().Reconnects; seen != 100 || n < 3 {
		t.Fatalf("%d changes came over %d reconnections", seen, n)
	}
}

// answering serves Subscribe as a publisher does, and the questions of caches.
type answering struct {
	*publisher
	at func() *metadatav1.Position
}

func (a *answering) ListNamespaces(context.Context, *metadatav1.ListNamespacesRequest) (*metadatav1.ListNamespacesResponse, error) {
	return &metadatav1.ListNamespacesResponse{Position: a.at()}, nil
}

func (a *answering) ListNodes(context.Context, *metadatav1.ListNodesRequest) (*metadatav1.ListNodesResponse, error) {
	return &metadatav1.ListNodesResponse{Position: a.at()}, nil
}

func (a *answering) GetTable(context.Context, *metadatav1.GetTableRequest) (*metadatav1.GetTableResponse, error) {
	return &metadatav1.GetTableResponse{Table: &metadatav1.TableSchema{Name: "from the service"}, Position: a.at()}, nil
}

func (a *answering) CreateTable(context.Context, *metadatav1.CreateTableRequest) (*metadatav1.CreateTableResponse, error) {
	return &metadatav1.CreateTableResponse{Result: &metadatav1.WriteResult{Position: a.at()}}, nil
}

func startAnswering(t *testing.T, a *answering) string {
	t.Helper()
	return startHandler(t, a)
}

func startHandler(t *testing.T, a metadatav1connect.MetadataServiceHandler) string {
	t.Helper()
	mux := http.NewServeMux()
	mux.Handle(metadatav1connect.NewMetadataServiceHandler(a))
	s := httptest.NewUnstartedServer(mux)
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetHTTP1(true)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// A cache that has closed stays closed, whatever was on its way.
func TestAClosedCacheStaysClosed(t *testing.T) {
	c := showing(t, 10)
	v := c.View()
	c.noteClosed()
	c.mu.Lock()
	c.freshness.Answered(time.Now(), frames.At(1, 1, 10))
	c.settle()
	c.show(v)
	c.publish(&cacheState{view: v})
	c.mu.Unlock()
	if c.View() != nil || !errors.Is(c.Err(), errClosed) {
		t.Fatalf("it shows %v: %v", c.View(), c.Err())
	}
}

// The Get reads show what the client has written: from the cache if it catches up at once,
// else from the service. Sync waits for it.
func TestACacheShowsOwnWrites(t *testing.T) {
	var head atomic.Uint64
	head.Store(3)
	grow := make(chan struct{})
	at := func() *metadatav1.Position { return frames.At(1, head.Load(), 1) }
	serve := func(ctx context.Context, _ *metadatav1.SubscribeRequest, send func(frames.Frame) bool) error {
		for _, f := range whole(1, 3, 1) {
			send(f)
		}
		<-grow
		return sends(ctx, send, frames.Created(4, 4))
	}
	c := newClient(t, startAnswering(t, &answering{&publisher{serve: serve}, at}))
	cache := openCache(t, c, CacheOptions{})
	if err := cache.Ready(soon(t)); err != nil {
		t.Fatal(err)
	}
	if got, err := cache.GetTable(t.Context(), "", "t1"); err != nil || got.GetName() != "t1" {
		t.Fatalf("before the write: %v, %v", got, err)
	}
	head.Store(4)
	if _, err := c.CreateTable(t.Context(), &metadatav1.CreateTableRequest{}); err != nil {
		t.Fatal(err)
	}
	if got, err := cache.GetTable(t.Context(), "", "t1"); err != nil || got.GetName() != "from the service" {
		t.Fatalf("after a write that the cache does not show: %v, %v", got, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := cache.Sync(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("the cache does not show it, but Sync says %v", err)
	}
	close(grow)
	if err := cache.Sync(soon(t)); err != nil {
		t.Fatal(err)
	}
	if got, err := cache.GetTable(t.Context(), "", "t1"); err != nil || got.GetName() != "t1" {
		t.Fatalf("after the cache shows the write: %v, %v", got, err)
	}
}

func TestCacheOptionsAreChecked(t *testing.T) {
	c := newClient(t, "h:1")
	for says, o := range map[string]CacheOptions{
		"bookmark interval of 1h0m0s":   {BookmarkInterval: time.Hour},
		"a staleness of at most 1ms":    {MaxStaleness: time.Millisecond},
		"nothing is ever too old":       {FailWhenStale: true},
		"a cache of -1 tables":          {MaxTables: -1},
		"a cache of 10000001 tables; u": {MaxTables: MaxCachedTables + 1},
	} {
		if _, err := c.NewCache(o); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%+v: %v", o, err)
		}
	}
	c.Close()
	cache := openCache(t, c, CacheOptions{})
	if err := cache.Ready(t.Context()); !errors.Is(err, errClosed) {
		t.Errorf("the cache of a closed client: %v", err)
	}
}
