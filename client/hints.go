package client

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
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
	stale bool // nothing is known but that this shard, up to its epoch, is refused
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
	if !h.stale {
		return h.shard.GetUpdatedRevision() > v.position.GetTopologyRevision()
	}
	shown, ok := v.topology.Shard(h.shard.GetShardId())
	return ok && shown.Epoch() <= h.shard.GetEpoch()
}

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
// the service.
func (c *Cache) Invalidate(r Route) {
	stale := proto.CloneOf(r.Shard)
	stale.Epoch = max(stale.GetEpoch(), r.Epoch)
	c.addHint(hint{shard: stale, stale: true})
}

func (c *Cache) addHint(h hint) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.view == nil || h.shard == nil || !h.isNews(c.view) {
		return false
	}
	h.until = time.Now().Add(hintLife)
	var kept []hint
	if all := c.hints.Load(); all != nil {
		kept = slices.Clone(*all)
	}
	r := h.shard.GetKeyRange()
	for _, other := range kept {
		if other.overlaps(r.GetStart(), r.GetEnd()) && other.knowsBetter(&h) {
			return false
		}
	}
	kept = slices.DeleteFunc(kept, func(other hint) bool { return other.overlaps(r.GetStart(), r.GetEnd()) })
	if len(kept) >= maxHints {
		kept = kept[1:]
	}
	kept = append(kept, h)
	c.hints.Store(&kept)
	return true
}

// dropHints leaves out what a view knows. The lock is held.
func (c *Cache) dropHints(v *View) {
	all := c.hints.Load()
	if all == nil {
		return
	}
	now := time.Now()
	kept := slices.DeleteFunc(slices.Clone(*all), func(h hint) bool { return !h.isNews(v) || now.After(h.until) })
	if len(kept) == 0 {
		c.hints.Store(nil)
		return
	}
	c.hints.Store(&kept)
}

// hintAt returns the hint about a key; nil: there is none.
func (c *Cache) hintAt(v *View, key []byte) *hint {
	all := c.hints.Load()
	if all == nil {
		return nil
	}
	now := time.Now()
	for i := range *all {
		if h := &(*all)[i]; h.holds(key) && h.isNews(v) && !now.After(h.until) {
			return h
		}
	}
	return nil
}

// route is the route that a hint says, with the nodes that the view knows.
func (h *hint) route(v *View) (Route, error) {
	s := h.shard
	r := Route{Shard: s, Epoch: s.GetEpoch()}
	known := !h.stale
	for _, n := range []struct {
		id string
		to **metadatav1.NodeInfo
	}{{s.GetPrimaryNode(), &r.Primary}, {s.GetMirrorNode(), &r.Mirror}, {s.GetWitnessNode(), &r.Witness}} {
		if n.id != "" {
			node, ok := v.Node(n.id)
			*n.to, known = node, known && ok
		}
	}
	if !known {
		return Route{}, &StaleRouteError{ShardID: s.GetShardId(), Epoch: s.GetEpoch()}
	}
	return r, nil
}

// nextHint returns where the first hint begins that holds keys of a range, behind its start.
func (c *Cache) nextHint(v *View, start, end []byte) (key []byte, ok bool) {
	all := c.hints.Load()
	if all == nil {
		return nil, false
	}
	now := time.Now()
	for i := range *all {
		h := &(*all)[i]
		from := h.shard.GetKeyRange().GetStart()
		if bytes.Compare(start, from) < 0 && h.overlaps(start, end) && h.isNews(v) && !now.After(h.until) && (!ok || bytes.Compare(from, key) < 0) {
			key, ok = from, true
		}
	}
	return key, ok
}

// hintedRange is RouteRange where hints may be about some of the keys: it goes by the view
// up to the next hint, and by that to its end.
func (c *Cache) hintedRange(v *View, start, end []byte) (routes []Route, err error) {
	for next := start; ; {
		var part []Route
		var failed error
		until, last := end, true
		if h := c.hintAt(v, next); h != nil {
			var r Route
			r, failed = h.route(v)
			part = []Route{r}
			if to := h.shard.GetKeyRange().GetEnd(); len(to) > 0 && (len(end) == 0 || bytes.Compare(to, end) < 0) {
				until, last = to, false
			}
		} else {
			if key, ok := c.nextHint(v, next, end); ok {
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
