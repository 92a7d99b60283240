package client

import (
	"context"
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

// Table returns a table by namespace and name. Like all messages that the cache
// returns it is shared: do not change it.
func (c *Cache) Table(namespace, name string) (*metadatav1.TableSchema, bool) {
	t, ok := c.View().Table(namespace, name)
	return t, c.found(ok)
}

// TableByID returns a table by id.
func (c *Cache) TableByID(id uint64) (*metadatav1.TableSchema, bool) {
	t, ok := c.View().TableByID(id)
	return t, c.found(ok)
}

// Tables yields the tables of a namespace by name, all of one revision.
func (c *Cache) Tables(namespace string) iter.Seq[*metadatav1.TableSchema] {
	return c.View().Tables(namespace)
}

// Namespaces yields the namespaces by name, all of one revision.
func (c *Cache) Namespaces() iter.Seq[*metadatav1.Namespace] { return c.View().Namespaces() }

// Node returns a node by id.
func (c *Cache) Node(id string) (*metadatav1.NodeInfo, bool) {
	n, ok := c.View().Node(id)
	return n, c.found(ok)
}

// Nodes yields the nodes by id, all of one revision.
func (c *Cache) Nodes() iter.Seq[*metadatav1.NodeInfo] { return c.View().Nodes() }

// Shard returns a shard by id.
func (c *Cache) Shard(id uint64) (*metadatav1.ShardInfo, bool) {
	s, ok := c.View().Shard(id)
	return s, c.found(ok)
}

// Shards yields the shards by key, all of one revision.
func (c *Cache) Shards() iter.Seq[*metadatav1.ShardInfo] { return c.View().Shards() }

// Topology returns all nodes and shards of one revision.
func (c *Cache) Topology() *metadatav1.Topology {
	v := c.View()
	c.found(v != nil)
	return v.Topology()
}

// Route returns the shard that holds a key, with its nodes. The error is a
// [*HoleError] if no shard does, else Err.
func (c *Cache) Route(key []byte) (Route, error) {
	s := c.state.Load()
	if s.err != nil {
		c.found(false)
		return Route{}, s.err
	}
	r, err := s.view.Route(key)
	c.found(err == nil)
	return r, err
}

// RouteRange returns the shards that overlap [start, end), by key, with their
// nodes; an empty end means no upper bound. The error is a [*HoleError] if a part
// of the range is held by no shard, with the routes there are; else Err.
func (c *Cache) RouteRange(start, end []byte) ([]Route, error) {
	s := c.state.Load()
	if s.err != nil {
		c.found(false)
		return nil, s.err
	}
	routes, err := s.view.RouteRange(start, end)
	c.found(err == nil)
	return routes, err
}

// GetTable is Table, but asks the service for a table that the cache does not
// know.
func (c *Cache) GetTable(ctx context.Context, namespace, name string) (*metadatav1.TableSchema, error) {
	if t, ok := c.Table(namespace, name); ok {
		return t, nil
	}
	res, err := c.client.GetTable(ctx, &metadatav1.GetTableRequest{
		Table: &metadatav1.TableRef{Namespace: namespace, Name: name},
	})
	return res.GetTable(), err
}

// GetTopology is Topology, but asks the service while the cache shows nothing.
func (c *Cache) GetTopology(ctx context.Context) (*metadatav1.Topology, error) {
	if v := c.View(); v != nil {
		c.found(true)
		return v.Topology(), nil
	}
	c.found(false)
	return c.client.wholeTopology(ctx)
}

// GetRoute is Route, but asks the service for a key that the cache has no route
// for.
func (c *Cache) GetRoute(ctx context.Context, key []byte) (Route, error) {
	if r, err := c.Route(key); err == nil {
		return r, nil
	}
	return c.client.route(ctx, key)
}

// route asks the service for a key's shard and nodes. The nodes are read behind
// the shard, so they may be newer.
func (c *Client) route(ctx context.Context, key []byte) (Route, error) {
	res, err := c.GetShard(ctx, &metadatav1.GetShardRequest{Shard: &metadatav1.GetShardRequest_Key{Key: key}})
	if err != nil {
		return Route{}, err
	}
	s := res.GetShard()
	r := Route{Shard: s, Epoch: s.GetEpoch()}
	behind := &metadatav1.ReadOptions{
		Consistency: metadatav1.Consistency_CONSISTENCY_AT_LEAST, AtLeast: res.GetPosition(),
	}
	for id, to := range map[string]**metadatav1.NodeInfo{
		s.GetPrimaryNode(): &r.Primary, s.GetMirrorNode(): &r.Mirror, s.GetWitnessNode(): &r.Witness,
	} {
		if id == "" {
			continue
		}
		node, err := c.GetNode(ctx, &metadatav1.GetNodeRequest{NodeId: id, Read: behind})
		if err != nil {
			return Route{}, err
		}
		*to = node.GetNode()
	}
	return r, nil
}

// topologyTries is how often a listing is begun again because the revision of its
// first page is gone.
const topologyTries = 5

// wholeTopology reads all pages of the topology.
func (c *Client) wholeTopology(ctx context.Context) (*metadatav1.Topology, error) {
	var err error
	for range topologyTries {
		var all *metadatav1.Topology
		if all, err = c.topologyPages(ctx); err == nil {
			return all, nil
		}
		if Reason(err) != metadatav1.ErrorReason_ERROR_REASON_PAGE_REVISION_GONE {
			break
		}
	}
	return nil, err
}

func (c *Client) topologyPages(ctx context.Context) (*metadatav1.Topology, error) {
	const pageSize = 1000
	all := &metadatav1.Topology{}
	for token := ""; ; {
		page, err := c.GetTopology(ctx, &metadatav1.GetTopologyRequest{PageSize: pageSize, PageToken: token})
		if err != nil {
			return nil, err
		}
		all.Nodes = append(all.Nodes, page.GetTopology().GetNodes()...)
		all.Shards = append(all.Shards, page.GetTopology().GetShards()...)
		all.Holes = append(all.Holes, page.GetTopology().GetHoles()...)
		if token = page.GetNextPageToken(); token == "" {
			return all, nil
		}
	}
}
