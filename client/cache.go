package client

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync/atomic"
	"time"

	"github.com/heliosdb/metadata/client/follow"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// Limits of CacheOptions.
const (
	// MinCacheInterval and MaxCacheInterval bound CacheOptions.BookmarkInterval.
	MinCacheInterval = 10 * time.Millisecond
	MaxCacheInterval = time.Minute
)

var (
	errLoading = errors.New("client: the cache is still loading; wait for Ready")
	errEmpty   = errors.New("client: a nil View shows nothing")
	errClosed  = errors.New("client: the cache is closed")
)

// CacheOptions configure a Cache. The zero value works.
type CacheOptions struct {
	// BookmarkInterval is how often the service says that nothing has changed,
	// and so how exact Staleness is. 0: 1 second.
	BookmarkInterval time.Duration
}

// Cache is a copy of all tables, nodes and shards that one subscription keeps
// fresh. Reads come from memory and take no locks; what they show never goes back
// in time, is never ahead of commit, and is at most Staleness old.
//
// A cache that meets what this build does not know (a newer kind of event), or
// what cannot be, breaks: it drops what it has, finds nothing any more, and Err
// says why. GetTable, GetTopology and GetRoute ask the service then.
type Cache struct {
	client *Client
	state  atomic.Pointer[cacheState]
	fresh  atomic.Int64 // nanoseconds since begin; 0: never
	begin  time.Time
	cancel context.CancelFunc
	done   chan struct{}
}

// cacheState is what a cache shows.
type cacheState struct {
	view *View
	err  error         // why there is no view
	next chan struct{} // closed when another state replaces this one
}

// NewCache returns a cache and begins to load it. Close it.
func (c *Client) NewCache(opts CacheOptions) (*Cache, error) {
	if i := opts.BookmarkInterval; i != 0 && (i < MinCacheInterval || i > MaxCacheInterval) {
		return nil, fmt.Errorf("client: a bookmark interval of %v; use %v to %v", i, MinCacheInterval, MaxCacheInterval)
	}
	cache := &Cache{client: c, begin: time.Now(), done: make(chan struct{})}
	cache.state.Store(&cacheState{err: errLoading, next: make(chan struct{})})
	ctx, cancel := context.WithCancel(c.life)
	cache.cancel = cancel
	request := &metadatav1.SubscribeRequest{
		Start:                  &metadatav1.SubscribeRequest_Snapshot{Snapshot: true},
		BookmarkIntervalMillis: uint32(opts.BookmarkInterval.Milliseconds()),
	}
	c.background.Go(func() {
		defer close(cache.done)
		resumption := follow.NewResumption(request, len(c.endpoints), judge)
		resumption.PreferSnapshots()
		cache.run(func(yield func(follow.Frame, error) bool) {
			c.follow(ctx, resumption, yield)
		})
	})
	return cache, nil
}

// Close ends the subscription and drops what the cache holds. It may be called
// more than once.
func (c *Cache) Close() {
	c.cancel()
	<-c.done
}

// run folds frames until there are no more.
func (c *Cache) run(frames iter.Seq2[follow.Frame, error]) {
	m := follow.NewMirror()
	var view *View
	for frame, err := range frames {
		changed := false
		if err == nil {
			changed, err = m.StepFrame(frame)
		}
		if err != nil {
			c.stop(err)
			return
		}
		if changed {
			view = view.next(m)
			c.publish(&cacheState{view: view})
		}
		if m.Current() {
			c.fresh.Store(int64(max(time.Since(c.begin), 1)))
		}
	}
}

// stop drops what the cache holds.
func (c *Cache) stop(err error) {
	if errors.Is(err, context.Canceled) {
		err = errClosed
	} else {
		c.client.log.Error("the cache is broken", "error", err)
		err = fmt.Errorf("client: the cache is broken: %w", err)
	}
	c.publish(&cacheState{err: err})
}

// publish replaces the state. Only the cache's goroutine does.
func (c *Cache) publish(s *cacheState) {
	s.next = make(chan struct{})
	close(c.state.Swap(s).next)
}

// View returns what the cache shows now; nil while it is loading and when it is
// broken or closed, see Err.
func (c *Cache) View() *View { return c.state.Load().view }

// Err returns why the cache shows nothing: it is loading, broken or closed; nil
// if it shows something.
func (c *Cache) Err() error { return c.state.Load().err }

// Position returns the position that the cache shows; nil if it shows nothing.
func (c *Cache) Position() *metadatav1.Position { return c.View().Position() }

// Staleness returns the time since the service last confirmed that what the
// cache shows is all there is, or since the cache began. It grows while the
// service cannot be reached, and while a snapshot replaces what is shown.
func (c *Cache) Staleness() time.Duration {
	return time.Since(c.begin) - time.Duration(c.fresh.Load())
}

// Ready waits until the cache has loaded once. It returns the context's error, or
// why the cache will never be ready.
func (c *Cache) Ready(ctx context.Context) error {
	return c.wait(ctx, func(*View) (bool, error) { return true, nil })
}

// WaitFor waits until the cache shows a position, such as that of a write's
// answer. It returns the context's error, or why the cache will never show it:
// the position is of another cluster or of a future that was lost, or the cache is
// broken or closed.
func (c *Cache) WaitFor(ctx context.Context, p *metadatav1.Position) error {
	return c.wait(ctx, func(v *View) (bool, error) { return v.covers(p) })
}

func (c *Cache) wait(ctx context.Context, enough func(*View) (bool, error)) error {
	for {
		s := c.state.Load()
		switch {
		case s.view != nil:
			if done, err := enough(s.view); done || err != nil {
				return err
			}
		case !errors.Is(s.err, errLoading):
			return s.err
		}
		select {
		case <-s.next:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// covers reports whether the view shows everything up to a position.
func (v *View) covers(p *metadatav1.Position) (bool, error) {
	at := v.position
	if p.GetClusterId() != "" {
		if p.GetClusterId() != at.GetClusterId() {
			return false, fmt.Errorf("client: the position is of cluster %s, the cache shows cluster %s", p.GetClusterId(), at.GetClusterId())
		}
		if p.GetRecoveryEpoch() < at.GetRecoveryEpoch() {
			return false, fmt.Errorf("client: the position is of recovery epoch %d, which was replaced by %d: start anew",
				p.GetRecoveryEpoch(), at.GetRecoveryEpoch())
		}
		if p.GetRecoveryEpoch() > at.GetRecoveryEpoch() {
			return false, nil
		}
	}
	for _, s := range follow.Streams {
		if follow.RevisionOf(at, s) < follow.RevisionOf(p, s) {
			return false, nil
		}
	}
	return true, nil
}
