package client

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/heliosdb/metadata/client/follow"
	"github.com/heliosdb/metadata/events"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// Limits of CacheOptions.
const (
	// MinCacheInterval and MaxCacheInterval bound CacheOptions.BookmarkInterval.
	MinCacheInterval = 10 * time.Millisecond
	MaxCacheInterval = time.Minute
	// MinMaxStaleness and MaxMaxStaleness bound CacheOptions.MaxStaleness.
	MinMaxStaleness = 100 * time.Millisecond
	MaxMaxStaleness = time.Hour
	// MaxCachedTables bounds CacheOptions.MaxTables.
	MaxCachedTables = 10_000_000
)

var (
	errLoading = errors.New("client: the cache is still loading; wait for Ready")
	errEmpty   = errors.New("client: a nil View shows nothing")
	errClosed  = errors.New("client: the cache is closed")
)

// CacheOptions configure a Cache. The zero value works.
type CacheOptions struct {
	// BookmarkInterval is how often the service says that nothing has changed. 0: 1 second.
	BookmarkInterval time.Duration
	// MaxStaleness is how old what reads find may be. An older cache shows nothing, as one
	// that is loading, until it has caught up; its Get reads ask the service. It costs two
	// small linearizable reads every quarter of it, at most every 5 seconds. 0: no bound.
	MaxStaleness time.Duration
	// FailWhenStale has the Get reads of a cache that is too old fail with a [*StaleError]
	// instead of asking the service.
	FailWhenStale bool
	// MaxTables, unless 0, bounds the tables that are kept: they are loaded when they are asked
	// for by GetTable or GetTableByID, and followed from then on. Views, Tables and Namespaces
	// show none. Nodes and shards are kept whole. 0: all tables are kept.
	MaxTables int
}

func (o CacheOptions) check() error {
	if i := o.BookmarkInterval; i != 0 && (i < MinCacheInterval || i > MaxCacheInterval) {
		return fmt.Errorf("client: a bookmark interval of %v; use %v to %v", i, MinCacheInterval, MaxCacheInterval)
	}
	if s := o.MaxStaleness; s != 0 && (s < MinMaxStaleness || s > MaxMaxStaleness) {
		return fmt.Errorf("client: a staleness of at most %v; use %v to %v, or 0 for no bound", s, MinMaxStaleness, MaxMaxStaleness)
	}
	if o.FailWhenStale && o.MaxStaleness == 0 {
		return errors.New("client: FailWhenStale without MaxStaleness: nothing is ever too old")
	}
	if o.MaxTables < 0 || o.MaxTables > MaxCachedTables {
		return fmt.Errorf("client: a cache of %d tables; use 1 to %d, or 0 for all", o.MaxTables, MaxCachedTables)
	}
	return nil
}

// StaleError says that a cache is older than it may be.
type StaleError struct{ Age, Max time.Duration }

// Error says how old.
func (e *StaleError) Error() string {
	return fmt.Sprintf("client: the cache is %v old, at most %v are allowed: the service does not answer, or what it sends comes late",
		e.Age.Round(time.Millisecond), e.Max)
}

// Cache is a copy of all tables, nodes and shards that one subscription keeps fresh (two,
// if MaxTables is set). Reads come from memory, take no locks and allocate nothing.
//
// What it shows never goes back in time and is never ahead of commit. What is at most
// Staleness old is said by Staleness; for certain only with MaxStaleness. The reads that
// take a context show besides what this client has written before. All others do so after
// Sync.
//
// It goes on by itself after whatever happens: while the service cannot be reached it shows
// what it has; when the service starts it anew (after a restoration from a backup, or when
// all endpoints have become another cluster's) it loads behind the readers' backs. When it
// meets what this build does not know (a newer kind of event), or what cannot be, it shows
// nothing, says why by Err, and loads again, at first soon and then every half minute. A cluster
// that lost everything and began anew under the same name it may take for the old one: see Watch.
type Cache struct {
	client  *Client
	options CacheOptions
	watch   *watch // the one that all models come from
	shelf   *shelf // of tables; nil: the models have all
	changes *watch // of the schema, that the shelf goes by
	begin   time.Time
	state   atomic.Pointer[cacheState]
	hints   atomic.Pointer[[]hint] // nil: none
	floor   follow.Seen            // in answers that this cache has passed on
	loads   sharing                // what the service is asked for
	cancel  context.CancelFunc
	work    sync.WaitGroup

	mu        sync.Mutex // held to change what follows, state and hints
	freshness follow.Freshness
	view      *View // the last one, even if it is not shown any more
	suspect   bool  // the view, because of what came after it
	trouble   error // what has kept it from hearing anything new; nil: nothing
}

// cacheState is what a cache shows, and how fresh that is: readers take both at once, so
// that no view is given another one's age.
type cacheState struct {
	view  *View
	err   error         // why there is no view
	fresh time.Time     // all that was committed before is shown; zero: nothing is known
	next  chan struct{} // closed when another state replaces this one
}

// NewCache returns a cache and begins to load it. Close it.
func (c *Client) NewCache(opts CacheOptions) (*Cache, error) {
	if err := opts.check(); err != nil {
		return nil, err
	}
	cache := &Cache{client: c, options: opts, begin: time.Now()}
	cache.state.Store(&cacheState{err: errLoading, next: make(chan struct{})})
	ctx, cancel := context.WithCancel(c.life)
	cache.cancel = cancel
	if opts.MaxTables > 0 {
		cache.shelf = newShelf(opts.MaxTables)
		cache.changes = c.newWatch(cache.newChanges())
		cache.changes.broke = cache.noteTrouble
	}
	cache.watch = c.newWatch(cache.newResumption())
	cache.watch.broke = cache.noteTrouble
	jobs := []func(context.Context){cache.keep}
	if opts.MaxStaleness > 0 {
		jobs = append(jobs, cache.confirm)
	}
	if cache.shelf != nil {
		jobs = append(jobs, cache.keepShelf)
	}
	for _, job := range jobs {
		cache.work.Add(1)
		if !c.inBackground(func() { defer cache.work.Done(); job(ctx) }) {
			cache.work.Done()
			cache.noteClosed()
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.life.Err() == nil {
		c.caches[cache] = struct{}{}
	}
	return cache, nil
}

// Close ends the subscription and drops what the cache holds. It may be called
// more than once.
func (c *Cache) Close() {
	c.cancel()
	c.work.Wait()
	c.client.mu.Lock()
	defer c.client.mu.Unlock()
	delete(c.client.caches, c)
}

// noteClosed drops what the cache holds, for good.
func (c *Cache) noteClosed() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.publish(&cacheState{err: errClosed})
	c.view = nil
	c.hints.Store(nil)
}

// publish replaces the state, unless the cache is closed. The lock is held.
func (c *Cache) publish(s *cacheState) {
	if c.isClosed() {
		return
	}
	c.client.seen.Learn(s.view.at())
	s.next = make(chan struct{})
	close(c.state.Swap(s).next)
}

func (c *Cache) isClosed() bool {
	return c.state.Load().err == errClosed //nolint:errorlint // it is never wrapped
}

// current returns what reads go by: the state, unless it is too old.
func (c *Cache) current() *cacheState {
	s := c.state.Load()
	if most := c.options.MaxStaleness; most > 0 && s.view != nil {
		if age := c.ageAt(s); age > most {
			return &cacheState{err: &StaleError{Age: age, Max: most}, next: s.next}
		}
	}
	return s
}

// View returns what the cache shows now; nil while it is loading, too old, broken or
// closed, see Err.
func (c *Cache) View() *View {
	if c.options.MaxStaleness == 0 {
		return c.state.Load().view
	}
	return c.current().view
}

// Err returns why the cache shows nothing: it is loading (then with what is in the way, if
// something is), too old, broken or closed; nil if it shows something.
func (c *Cache) Err() error {
	err := c.current().err
	if !errors.Is(err, errLoading) {
		return err
	}
	return c.withTrouble(err)
}

func (c *Cache) withTrouble(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.trouble == nil {
		return err
	}
	return fmt.Errorf("%w; in the way: %w", err, c.trouble)
}

// Position returns the position that the cache has come to, however long ago; nil if it
// has nothing.
func (c *Cache) Position() *metadatav1.Position { return c.state.Load().view.Position() }

// Staleness returns how old what the cache shows may be. With MaxStaleness it is an upper
// bound: all that was committed so long ago is shown, whatever is slow, paused or cut off.
// Without, it is the time since a member sent something last, and that member may be
// behind without knowing. It grows while the service cannot be reached, while a snapshot
// replaces what is shown, and from the beginning on.
func (c *Cache) Staleness() time.Duration { return c.ageAt(c.state.Load()) }

func (c *Cache) ageAt(s *cacheState) time.Duration {
	if s.fresh.IsZero() {
		return ageOf(c.begin)
	}
	return ageOf(s.fresh)
}

// ageOf returns the time since a moment, the sleep of the machine included, during which
// the monotonic clock may stand still. A wall clock that is set forward makes it longer.
func ageOf(t time.Time) time.Duration {
	now := time.Now()
	return max(now.Sub(t), now.Round(0).Sub(t.Round(0)))
}

// Ready waits until the cache shows something, so that View is not nil: one that is too old
// is not ready. It returns the context's error with what is in the way, that the cache was
// closed, or that this build is too old for what the service sends.
func (c *Cache) Ready(ctx context.Context) error {
	return c.wait(ctx, func(*View) (bool, error) { return true, nil })
}

// WaitFor waits until the cache shows a position, such as that of a write's
// answer, and is not too old. It returns the context's error, or why the cache will never show it:
// the position is of another cluster or of a future that was lost, the cache was closed, or
// this build is too old for what the service sends.
func (c *Cache) WaitFor(ctx context.Context, p *metadatav1.Position) error {
	return c.wait(ctx, func(v *View) (bool, error) { return v.covers(p) })
}

// Sync waits until the cache shows all that this client has seen, its own writes included.
// It returns what WaitFor does.
func (c *Cache) Sync(ctx context.Context) error {
	p := c.client.Position()
	if p == nil {
		return c.Ready(ctx)
	}
	return c.WaitFor(ctx, p)
}

func (c *Cache) wait(ctx context.Context, enough func(*View) (bool, error)) error {
	for {
		s := c.current()
		switch {
		case s.view != nil:
			if done, err := enough(s.view); done || err != nil {
				return err
			}
		case errors.Is(s.err, errClosed) || isTooNew(s.err):
			return s.err
		}
		select {
		case <-s.next:
		case <-ctx.Done():
			err := context.Cause(ctx)
			if _, stale := errors.AsType[*StaleError](s.err); stale {
				err = fmt.Errorf("%w: %w", err, s.err)
			}
			return c.withTrouble(err)
		}
	}
}

// isTooNew reports whether what came is of a newer build than this one.
func isTooNew(err error) bool {
	_, ok := errors.AsType[*events.UnsupportedError](err)
	return ok
}

// covers reports whether the view shows everything up to a position, or why none ever will.
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
	}
	return follow.Covers(at, p), nil
}
