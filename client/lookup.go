package client

import (
	"iter"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// found counts a read of the cache.
func (c *Cache) found(ok bool) bool {
	if ok {
		c.client.metrics.hits.add()
	} else {
		c.client.metrics.misses.add()
	}
	return ok
}

// Table returns a table by namespace and name; false: there is none, or the cache shows
// nothing, which Err tells apart, as does GetTable. Like all messages that the cache returns
// it is shared: do not change it.
func (c *Cache) Table(namespace, name string) (*metadatav1.TableSchema, bool) {
	t, ok := c.tableIn(c.View(), namespace, name)
	return t, c.found(ok)
}

func (c *Cache) tableIn(v *View, namespace, name string) (*metadatav1.TableSchema, bool) {
	if c.shelf == nil || v == nil {
		return v.Table(namespace, name)
	}
	t := c.shelf.find(namespace, name)
	return t, t != nil
}

// TableByID returns a table by id; false as Table does.
func (c *Cache) TableByID(id uint64) (*metadatav1.TableSchema, bool) {
	t, ok := c.tableByIDIn(c.View(), id)
	return t, c.found(ok)
}

func (c *Cache) tableByIDIn(v *View, id uint64) (*metadatav1.TableSchema, bool) {
	if c.shelf == nil || v == nil {
		return v.TableByID(id)
	}
	t := c.shelf.findID(id)
	return t, t != nil
}

// Tables yields the tables of a namespace by name, all of one revision; none while the cache
// shows nothing, see Err. Who has to know takes a View, which is nil then.
func (c *Cache) Tables(namespace string) iter.Seq[*metadatav1.TableSchema] {
	return c.View().Tables(namespace)
}

// Namespaces yields the namespaces by name, all of one revision; none as Tables does.
func (c *Cache) Namespaces() iter.Seq[*metadatav1.Namespace] { return c.View().Namespaces() }

// Node returns a node by id; false: there is none, or the cache shows nothing, which Err
// tells apart, as does GetNode.
func (c *Cache) Node(id string) (*metadatav1.NodeInfo, bool) {
	n, ok := c.View().Node(id)
	return n, c.found(ok)
}

// Nodes yields the nodes by id, all of one revision; none as Tables does.
func (c *Cache) Nodes() iter.Seq[*metadatav1.NodeInfo] { return c.View().Nodes() }

// Shard returns a shard by id; false as Node does.
func (c *Cache) Shard(id uint64) (*metadatav1.ShardInfo, bool) {
	s, ok := c.View().Shard(id)
	return s, c.found(ok)
}

// Shards yields the shards by key, all of one revision; none as Tables does.
func (c *Cache) Shards() iter.Seq[*metadatav1.ShardInfo] { return c.View().Shards() }

// Topology returns all nodes and shards of one revision; nil while the cache shows nothing,
// see Err.
func (c *Cache) Topology() *metadatav1.Topology {
	v := c.View()
	if !c.found(v != nil) {
		return nil
	}
	return v.Topology()
}

// Route returns the shard that holds a key, with its nodes, by the hints if one is newer
// than the view. The error is a [*HoleError] if no shard does, a [*StaleRouteError] after
// Invalidate, else Err.
func (c *Cache) Route(key []byte) (Route, error) {
	s := c.current()
	if s.err != nil {
		c.found(false)
		return Route{}, s.err
	}
	r, err := c.routeIn(s.view, key)
	c.found(err == nil)
	return r, err
}

func (c *Cache) routeIn(v *View, key []byte) (Route, error) {
	hints, v := c.hintsBeside(v)
	if h := c.hintAt(hints, v, key); h != nil {
		return h.route(v)
	}
	return v.Route(key)
}

// RouteRange returns the shards that overlap [start, end), by key, with their
// nodes; an empty end means no upper bound. Where hints are newer than the view, it goes by
// them; a shard before a hint may say that it reaches beyond the hint's first key. The error
// is a [*HoleError] if a part of the range is held by no shard, with the routes there are; a
// [*StaleRouteError] after Invalidate, with the routes before; else Err.
func (c *Cache) RouteRange(start, end []byte) ([]Route, error) {
	s := c.current()
	if s.err != nil {
		c.found(false)
		return nil, s.err
	}
	routes, err := c.rangeIn(s.view, start, end)
	c.found(err == nil)
	return routes, err
}

func (c *Cache) rangeIn(v *View, start, end []byte) ([]Route, error) {
	hints, v := c.hintsBeside(v)
	if len(hints) == 0 {
		return v.RouteRange(start, end)
	}
	return c.hintedRange(hints, v, start, end)
}
