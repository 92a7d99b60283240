package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/heliosdb/metadata/client/follow"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// catchUp is how long the Get reads wait for the cache to show what they have to, before
// they ask the service.
const catchUp = 50 * time.Millisecond

// readable returns what a Get read may go by: a view that shows all that the client has
// written, and that reads of this cache have shown; nil: the service has to be asked. The
// error is that of a cache that is too old and configured to say so.
func (c *Cache) readable(ctx context.Context) (*View, error) {
	s, shows := c.current(), true
	if s.view != nil && !c.showsOwn(s.view) {
		within, cancel := context.WithTimeout(ctx, catchUp)
		defer cancel()
		shows = c.wait(within, func(v *View) (bool, error) { return c.showsOwn(v), nil }) == nil
		s = c.current()
	}
	if _, stale := errors.AsType[*StaleError](s.err); stale && c.options.FailWhenStale {
		c.found(false)
		return nil, s.err
	}
	if !shows {
		return nil, nil // the service is asked instead
	}
	return s.view, nil
}

// showsOwn reports whether a view shows what the client has written and what was passed on.
func (c *Cache) showsOwn(v *View) bool {
	return c.client.wrote.CoveredBy(v.position) && c.floor.CoveredBy(v.position)
}

// passedOn notes that an answer of the service about a stream was passed on: what is read
// later is not to be older. One that is not known, nil, tells nothing.
func (c *Cache) passedOn(s metadatav1.Stream, p *metadatav1.Position) {
	at := &metadatav1.Position{ClusterId: p.GetClusterId(), RecoveryEpoch: p.GetRecoveryEpoch()}
	follow.SetRevision(at, s, follow.RevisionOf(p, s))
	c.floor.Learn(at)
}

// load asks the service for what a key stands for, once for all who want it at the moment.
func load[A any](ctx context.Context, c *Cache, key string, ask func(context.Context) (A, error)) (A, error) {
	return shared(ctx, &c.loads, c.client.opts.Timeout, key, ask)
}

// GetTable is Table, but asks the service for a table that the cache does not know, or may
// know in an older state than this client has written or read. That there is no such table is
// not remembered: it is asked again, and until the cache has come so far, GetTable may still
// return from memory a table that a question about another of its names has found gone.
func (c *Cache) GetTable(ctx context.Context, namespace, name string) (*metadatav1.TableSchema, error) {
	v, err := c.readable(ctx)
	if err != nil {
		return nil, err
	}
	if t, ok := c.tableIn(v, namespace, name); c.found(ok) {
		return t, nil
	}
	return c.loadTable(ctx, &metadatav1.TableRef{Namespace: namespace, Name: name})
}

// GetTableByID is GetTable for a table's id.
func (c *Cache) GetTableByID(ctx context.Context, id uint64) (*metadatav1.TableSchema, error) {
	v, err := c.readable(ctx)
	if err != nil {
		return nil, err
	}
	if t, ok := c.tableByIDIn(v, id); c.found(ok) {
		return t, nil
	}
	return c.loadTable(ctx, &metadatav1.TableRef{TableId: id})
}

// loadTable asks the service for a table, which is put on the shelf if there is one.
func (c *Cache) loadTable(ctx context.Context, ref *metadatav1.TableRef) (*metadatav1.TableSchema, error) {
	key := fmt.Sprintf("table %d %q %q", ref.GetTableId(), ref.GetNamespace(), ref.GetName())
	return load(ctx, c, key, func(ctx context.Context) (found *metadatav1.TableSchema, err error) {
		if c.shelf != nil {
			l := c.shelf.begin()
			defer func() { c.shelf.end(l, found) }()
		}
		res, err := c.client.GetTable(ctx, &metadatav1.GetTableRequest{Table: ref, Read: now()})
		if err != nil {
			return nil, err
		}
		c.passedOn(schemaStream, res.GetPosition())
		return res.GetTable(), nil
	})
}

// GetNode is Node, but asks the service as GetTable does.
func (c *Cache) GetNode(ctx context.Context, id string) (*metadatav1.NodeInfo, error) {
	v, err := c.readable(ctx)
	if err != nil {
		return nil, err
	}
	if n, ok := v.Node(id); c.found(ok) {
		return n, nil
	}
	return load(ctx, c, "node "+id, func(ctx context.Context) (*metadatav1.NodeInfo, error) {
		res, err := c.client.GetNode(ctx, &metadatav1.GetNodeRequest{NodeId: id, Read: now()})
		if err != nil {
			return nil, err
		}
		c.passedOn(topologyStream, res.GetPosition())
		return res.GetNode(), nil
	})
}

// GetShard is Shard, but asks the service as GetTable does.
func (c *Cache) GetShard(ctx context.Context, id uint64) (*metadatav1.ShardInfo, error) {
	v, err := c.readable(ctx)
	if err != nil {
		return nil, err
	}
	if s, ok := v.Shard(id); c.found(ok) {
		return s, nil
	}
	return load(ctx, c, fmt.Sprint("shard ", id), func(ctx context.Context) (*metadatav1.ShardInfo, error) {
		res, err := c.client.GetShard(ctx, &metadatav1.GetShardRequest{
			Shard: &metadatav1.GetShardRequest_ShardId{ShardId: id}, Read: now(),
		})
		if err != nil {
			return nil, err
		}
		c.passedOn(topologyStream, res.GetPosition())
		return res.GetShard(), nil
	})
}

// GetTopology is Topology, but asks the service while the cache shows nothing, or less than
// this client has written or read.
func (c *Cache) GetTopology(ctx context.Context) (*metadatav1.Topology, error) {
	v, err := c.readable(ctx)
	if err != nil {
		return nil, err
	}
	if c.found(v != nil) {
		return v.Topology(), nil
	}
	all, err := load(ctx, c, "topology", func(ctx context.Context) (*metadatav1.Topology, error) {
		all, at, err := c.client.wholeTopology(ctx)
		c.passedOn(topologyStream, at)
		return all, err
	})
	if err != nil {
		return nil, err
	}
	return &metadatav1.Topology{ // the lists are the caller's
		Nodes: slices.Clone(all.GetNodes()), Shards: slices.Clone(all.GetShards()), Holes: slices.Clone(all.GetHoles()),
	}, nil
}

// GetRoute is Route, but asks the service for a key that the cache has no route for, or may
// have an older one for than this client has written or read. What the service says is a
// hint from then on; the nodes in it may be newer than the shard. The error is a [*HoleError]
// if the service knows no shard for the key either.
func (c *Cache) GetRoute(ctx context.Context, key []byte) (Route, error) {
	v, err := c.readable(ctx)
	if err != nil {
		return Route{}, err
	}
	if v != nil {
		if r, err := c.routeIn(v, key); c.found(err == nil) {
			return r, nil
		}
	} else {
		c.found(false)
	}
	return load(ctx, c, "route "+string(key), func(ctx context.Context) (Route, error) {
		r, at, err := c.client.askRoute(ctx, key)
		c.passedOn(topologyStream, at)
		c.Hint(r.Shard)
		return r, err
	})
}

// GetRouteRange is RouteRange, but asks the service, all shards of one revision, if the cache
// does not know the whole range, or may know it in an older state than this client has
// written or read. The nodes may be newer than the shards. The error is a [*HoleError], with
// the routes there are, if the service knows no shard for a part of the range either.
func (c *Cache) GetRouteRange(ctx context.Context, start, end []byte) ([]Route, error) {
	v, err := c.readable(ctx)
	if err != nil {
		return nil, err
	}
	if v != nil {
		if routes, err := c.rangeIn(v, start, end); c.found(err == nil) {
			return routes, nil
		}
	} else {
		c.found(false)
	}
	routes, err := load(ctx, c, fmt.Sprintf("range %q %q", start, end), func(ctx context.Context) ([]Route, error) {
		routes, at, err := c.client.askRange(ctx, start, end)
		c.passedOn(topologyStream, at)
		return routes, err
	})
	return slices.Clone(routes), err // of others who have asked too
}
