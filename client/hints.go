package client

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sort"
	"time"

	"google.golang.org/protobuf/proto"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

const (
	// maxHints bounds what is remembered beside what the cache shows; the oldest goes first.
	maxHints = 1024
	// hintLife is how long a hint counts if the subscription does not confirm it: nobody else
	// vouches for it.
	hintLife = 10 * time.Second
)

// StaleRouteError says that the route that the cache shows was refused, and that nothing
// newer is known yet.
type StaleRouteError struct {
	ShardID uint64
	Epoch   uint64 // up to which routes were refused
}

// Error names the shard.
func (e *StaleRouteError) Error() string {
	return fmt.Sprintf("client: the route to shard %d with epoch %d was refused as stale; ask GetRoute, or wait until the cache shows a newer one",
		e.ShardID, e.Epoch)
}

// hint is something about a range of keys that is newer than what the cache shows.
type hint struct {
	shard *metadatav1.ShardInfo
	stale bool                 // nothing is known but that this shard, up to its epoch, is refused
	at    *metadatav1.Position // in whose life of the cluster it is about the shard
	until time.Time
}

func (h *hint) holds(key []byte) bool {
	r := h.shard.GetKeyRange()
	return bytes.Compare(r.GetStart(), key) <= 0 && (len(r.GetEnd()) == 0 || bytes.Compare(key, r.GetEnd()) < 0)
}

func (h *hint) overlaps(start, end []byte) bool {
	r := h.shard.GetKeyRange()
	return (len(end) == 0 || bytes.Compare(r.GetStart(), end) < 0) && (len(r.GetEnd()) == 0 || bytes.Compare(start, r.GetEnd()) < 0)
}

// isNews reports whether a view does not know what the hint says.
func (h *hint) isNews(v *View) bool {
	if !sameLife(h.at, v.position) {
		return false // what was of an earlier life may never come to be
	}
	if !h.stale {
		return h.shard.GetUpdatedRevision() > v.position.GetTopologyRevision()
	}
	shown, ok := v.topology.Shard(h.shard.GetShardId())
	return ok && shown.Epoch() <= h.shard.GetEpoch()
}

// counts reports whether look-ups in a view go by the hint.
func (h *hint) counts(v *View, now time.Time) bool { return !now.After(h.until) && h.isNews(v) }

// knowsBetter reports whether another hint about the same keys says nothing new.
func (h *hint) knowsBetter(other *hint) bool {
	if h.stale {
		return other.stale && h.shard.GetShardId() == other.shard.GetShardId() && h.shard.GetEpoch() > other.shard.GetEpoch()
	}
	refused := other.stale && h.shard.GetShardId() == other.shard.GetShardId() && h.shard.GetEpoch() <= other.shard.GetEpoch()
	return !refused && h.shard.GetUpdatedRevision() >= other.shard.GetUpdatedRevision()
}

// Hint takes a shard as a node knows it that has refused a request for its stale epoch, or
// as anybody else does who may be ahead of this cache, and reports whether that is news. Until
// the cache shows it too, for 10 seconds at most, Route and RouteRange go by it. What is not
// newer than what the cache shows, or than another hint, changes nothing: it goes by
// UpdatedRevision, which only the service sets. The message is the cache's from then on.
func (c *Cache) Hint(shard *metadatav1.ShardInfo) bool {
	return c.addHint(hint{shard: shard})
}

// Invalidate says that a route was refused as stale. Until the cache shows another one, for
// 10 seconds at most, Route returns a [*StaleRouteError] for its keys, and GetRoute asks
// the service. A Route without a shard changes nothing.
func (c *Cache) Invalidate(r Route) {
	if r.Shard == nil {
		return // of a look-up that failed
	}
	stale := proto.CloneOf(r.Shard)
	stale.Epoch = max(stale.GetEpoch(), r.Epoch)
	c.addHint(hint{shard: stale, stale: true})
}

func (c *Cache) addHint(h hint) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.view == nil || h.shard == nil {
		return false
	}
	h.at, h.until = c.view.position, time.Now().Add(hintLife)
	if !h.isNews(c.view) {
		return false
	}
	c.dropHints(c.view)
	kept := slices.Clone(c.hinted())
	r := h.shard.GetKeyRange()
	for _, other := range kept {
		if other.overlaps(r.GetStart(), r.GetEnd()) && other.knowsBetter(&h) {
			return false
		}
	}
	kept = slices.DeleteFunc(kept, func(other hint) bool { return other.overlaps(r.GetStart(), r.GetEnd()) })
	if len(kept) >= maxHints {
		oldest := 0
		for i := range kept {
			if kept[i].until.Before(kept[oldest].until) {
				oldest = i
			}
		}
		kept = slices.Delete(kept, oldest, oldest+1)
	}
	kept = slices.Insert(kept, hintsUpTo(kept, r.GetStart()), h)
	c.hints.Store(&kept)
	return true
}

// hinted returns the hints, by key. No two are about the same key.
func (c *Cache) hinted() []hint {
	if all := c.hints.Load(); all != nil {
		return *all
	}
	return nil
}

// hintsBeside returns the hints, and the newest view if there is a newer one than this. They
// are taken in this order, so that what a hint has said that is gone is in the view.
func (c *Cache) hintsBeside(v *View) ([]hint, *View) {
	hints := c.hinted()
	if s := c.state.Load(); s.view != nil {
		v = s.view
	}
	return hints, v
}

// hintsUpTo returns how many hints begin at a key or before it.
func hintsUpTo(all []hint, key []byte) int {
	return sort.Search(len(all), func(i int) bool { return bytes.Compare(all[i].shard.GetKeyRange().GetStart(), key) > 0 })
}

// dropHints leaves out what has ended, and what a view knows. The lock is held.
func (c *Cache) dropHints(v *View) {
	all := c.hinted()
	now := time.Now()
	if !slices.ContainsFunc(all, func(h hint) bool { return !h.counts(v, now) }) {
		return
	}
	kept := slices.DeleteFunc(slices.Clone(all), func(h hint) bool { return !h.counts(v, now) })
	if len(kept) == 0 {
		c.hints.Store(nil)
		return
	}
	c.hints.Store(&kept)
}

// hintAt returns the hint about a key; nil: there is none.
func (c *Cache) hintAt(all []hint, v *View, key []byte) *hint {
	i := hintsUpTo(all, key) - 1
	if i < 0 || !all[i].holds(key) {
		return nil
	}
	if h := &all[i]; h.counts(v, time.Now()) {
		return h
	}
	if c.mu.TryLock() { // else somebody is about to change them anyway
		c.dropHints(c.view)
		c.mu.Unlock()
	}
	return nil
}

// route is the route that a hint says, with the nodes that the view knows.
func (h *hint) route(v *View) (Route, error) {
	s := h.shard
	r := Route{Shard: s, Epoch: s.GetEpoch()}
	var primary, mirror, witness bool
	r.Primary, primary = v.named(s.GetPrimaryNode())
	r.Mirror, mirror = v.named(s.GetMirrorNode())
	r.Witness, witness = v.named(s.GetWitnessNode())
	if h.stale || !primary || !mirror || !witness {
		return Route{}, &StaleRouteError{ShardID: s.GetShardId(), Epoch: s.GetEpoch()}
	}
	return r, nil
}

// nextHint returns where the first hint begins that holds keys of a range, behind its start.
func nextHint(all []hint, v *View, start, end []byte) (key []byte, ok bool) {
	now := time.Now()
	for i := hintsUpTo(all, start); i < len(all) && all[i].overlaps(start, end); i++ {
		if all[i].counts(v, now) {
			return all[i].shard.GetKeyRange().GetStart(), true
		}
	}
	return nil, false
}

// hintedRange is RouteRange where hints may be about some of the keys: it goes by the view
// up to the next hint, and by that to its end.
func (c *Cache) hintedRange(all []hint, v *View, start, end []byte) (routes []Route, err error) {
	for next := start; ; {
		var part []Route
		var failed error
		until, last := end, true
		if h := c.hintAt(all, v, next); h != nil {
			var r Route
			r, failed = h.route(v)
			part = []Route{r}
			if to := h.shard.GetKeyRange().GetEnd(); len(to) > 0 && (len(end) == 0 || bytes.Compare(to, end) < 0) {
				until, last = to, false
			}
		} else {
			if key, ok := nextHint(all, v, next, end); ok {
				until, last = key, false
			}
			part, failed = v.RouteRange(next, until)
		}
		if _, stale := errors.AsType[*StaleRouteError](failed); stale {
			return routes, failed
		}
		if routes, err = append(routes, part...), cmp.Or(err, failed); last {
			return routes, err
		}
		next = until
	}
}
