package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v5"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/client/follow"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

const (
	// reloadPause and maxReloadPause are between two attempts to follow the service, when it
	// refuses that, or sends what cannot be folded.
	reloadPause    = 100 * time.Millisecond
	maxReloadPause = 30 * time.Second
	// questionsPerStaleness is how often the newest position is asked for in MaxStaleness, and
	// maxQuestionPause how often at least.
	questionsPerStaleness = 4
	maxQuestionPause      = 5 * time.Second
)

// errLags ends a session with a member that does not send what others have.
var errLags = errors.New("client: the member does not send what the others have committed")

// newResumption is of a subscription that loads everything that the models hold.
func (c *Cache) newResumption() *follow.Resumption {
	request := &metadatav1.SubscribeRequest{
		Start:                  &metadatav1.SubscribeRequest_Snapshot{Snapshot: true},
		BookmarkIntervalMillis: uint32(c.options.BookmarkInterval.Milliseconds()),
	}
	if c.shelf != nil {
		request.Filter = &metadatav1.Filter{Streams: []metadatav1.Stream{topologyStream}}
	}
	r := follow.NewResumption(request, len(c.client.endpoints), judge)
	r.PreferSnapshots()
	return r
}

func (c *Cache) newMirror() *follow.Mirror {
	if c.shelf != nil {
		return follow.NewMirror(topologyStream)
	}
	return follow.NewMirror()
}

// keep follows the service until the context ends.
func (c *Cache) keep(ctx context.Context) {
	defer c.noteClosed()
	m, pause := c.newMirror(), newReloadPause()
	for ctx.Err() == nil {
		bad, err := c.run(ctx, m, pause)
		if ctx.Err() != nil {
			return
		}
		if bad {
			c.client.log.Error("the cache shows nothing until it has loaded again", "error", err)
			m.Distrust()
			c.watch.resumption = c.newResumption()
			c.mu.Lock()
			c.trouble, c.suspect = err, true
			c.publish(&cacheState{
				err: fmt.Errorf("client: the cache is broken and loads again: %w", err), fresh: c.state.Load().fresh,
			})
			c.mu.Unlock()
		} else {
			c.client.log.Warn("the cache is not kept fresh; it tries again", "error", err)
		}
		sleep(ctx, pause.NextBackOff())
	}
}

func newReloadPause() *backoff.ExponentialBackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.Multiplier, b.MaxInterval = reloadPause, 2, maxReloadPause
	return b
}

// run folds frames until there are no more, and returns why; bad: what came is not to be
// folded.
func (c *Cache) run(ctx context.Context, m *follow.Mirror, pause *backoff.ExponentialBackOff) (bad bool, why error) {
	c.watch.run(ctx, func(frame follow.Frame, err error) bool {
		if err != nil {
			why = err
			return false
		}
		changed, err := m.StepFrame(frame)
		if err != nil {
			bad, why = true, err
			return false
		}
		c.took(m, changed)
		if m.Trusted() && m.Current() {
			pause.Reset()
		}
		return true
	})
	return bad, why
}

// took shows what a mirror shows after a frame.
func (c *Cache) took(m *follow.Mirror, changed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.trouble = nil
	if !m.Trusted() {
		return
	}
	if c.view != nil && !sameLife(m.Position(), c.view.position) {
		c.freshness = follow.Freshness{} // it was of another life
	}
	if changed || c.state.Load().view == nil {
		c.show(c.view.next(m))
	}
	switch {
	case c.options.MaxStaleness > 0:
		c.settle()
	case m.Current():
		c.publish(&cacheState{view: c.view, fresh: time.Now()})
	}
}

// sameLife reports whether two positions are of one life of one cluster.
func sameLife(a, b *metadatav1.Position) bool {
	return a.GetClusterId() == b.GetClusterId() && a.GetRecoveryEpoch() == b.GetRecoveryEpoch()
}

// show publishes a view, at the position to which the shelf has come, if there is one. The
// lock is held.
func (c *Cache) show(v *View) {
	if c.shelf != nil {
		v.position = proto.CloneOf(v.position)
		v.position.SchemaRevision = c.shelf.revision(v.position)
		if c.view != nil && sameLife(c.view.position, v.position) {
			v.position.SchemaRevision = max(v.position.SchemaRevision, c.view.position.SchemaRevision)
		}
	}
	if c.isClosed() {
		return
	}
	c.view, c.suspect = v, false
	if c.options.MaxStaleness > 0 && c.freshness.Since().IsZero() {
		return // until it is known how old it can be
	}
	c.publish(&cacheState{view: v, fresh: c.state.Load().fresh})
	c.dropHints(v)
}

// settle takes what the answers to the cache's questions amount to now. The lock is held.
func (c *Cache) settle() {
	if c.view == nil || c.suspect {
		return
	}
	c.freshness.Shown(c.view.position)
	since, now := c.freshness.Since(), c.state.Load()
	if since.IsZero() || now.view == c.view && !since.After(now.fresh) {
		return
	}
	c.publish(&cacheState{view: c.view, fresh: since})
	c.dropHints(c.view)
}

// noteTrouble remembers what keeps the cache from hearing anything new.
func (c *Cache) noteTrouble(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.trouble = err
}

// confirm asks where the streams are, again and again, so that it is known how old what
// the cache shows can be.
func (c *Cache) confirm(ctx context.Context) {
	pause := min(c.options.MaxStaleness/questionsPerStaleness, maxQuestionPause)
	for ; ctx.Err() == nil; sleep(ctx, pause) {
		asked := time.Now()
		within, cancel := context.WithTimeout(ctx, c.options.MaxStaleness)
		newest, err := c.client.newest(within)
		cancel()
		c.mu.Lock()
		if err == nil {
			c.freshness.Answered(asked, newest)
			c.settle()
		}
		var lagging []*watch
		behind, missed := c.freshness.Behind()
		if missed != nil && ageOf(behind) > c.options.MaxStaleness/2 && c.view != nil {
			lagging = c.lagging(missed)
			c.freshness.Forget()
		}
		c.mu.Unlock()
		for _, w := range lagging {
			w.interrupt(errLags)
		}
	}
}

// lagging returns the subscriptions that have not brought what the service had. The lock is
// held.
func (c *Cache) lagging(newest *metadatav1.Position) (all []*watch) {
	at := c.view.position
	if c.shelf == nil {
		return []*watch{c.watch}
	}
	other := !sameLife(at, newest)
	if other || at.GetTopologyRevision() < newest.GetTopologyRevision() {
		all = append(all, c.watch)
	}
	if other || at.GetSchemaRevision() < newest.GetSchemaRevision() {
		all = append(all, c.changes)
	}
	return all
}

// newest asks where the schema and the topology are now.
func (c *Client) newest(ctx context.Context) (*metadatav1.Position, error) {
	var schema, topology *metadatav1.Position
	var both errgroup.Group
	both.Go(func() error {
		res, err := read(ctx, c, follow.NewestSchema(), "ListNamespaces", service.ListNamespaces)
		schema = res.GetPosition()
		return err
	})
	both.Go(func() error {
		res, err := read(ctx, c, follow.NewestTopology(), "ListNodes", service.ListNodes)
		topology = res.GetPosition()
		return err
	})
	if err := both.Wait(); err != nil {
		return nil, err
	}
	if !sameLife(schema, topology) {
		return nil, errTorn
	}
	return follow.Newest(schema, topology), nil
}

// errTorn is a question that the cluster was restored under.
var errTorn = errors.New("client: the answers are of different recovery epochs")
