package client

import (
	"context"
	"errors"
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
	s := c.current()
	if _, stale := errors.AsType[*StaleError](s.err); stale && c.options.FailWhenStale {
		c.found(false)
		return nil, s.err
	}
	if s.view == nil || c.showsOwn(s.view) {
		return s.view, nil
	}
	within, cancel := context.WithTimeout(ctx, catchUp)
	defer cancel()
	if c.wait(within, func(v *View) (bool, error) { return c.showsOwn(v), nil }) != nil {
		return nil, nil // the service is asked instead
	}
	return c.current().view, nil
}

// showsOwn reports whether a view shows what the client has written and what was passed on.
func (c *Cache) showsOwn(v *View) bool {
	return c.client.wrote.CoveredBy(v.position) && c.floor.CoveredBy(v.position)
}

// passedOn notes that an answer of the service about a stream was passed on: what is read
// later is not to be older.
func (c *Cache) passedOn(s metadatav1.Stream, p *metadatav1.Position) {
	at := &metadatav1.Position{ClusterId: p.GetClusterId(), RecoveryEpoch: p.GetRecoveryEpoch()}
	follow.SetRevision(at, s, follow.RevisionOf(p, s))
	c.floor.Learn(at)
}

// GetTable is Table, but asks the service for a table that the cache does not know, or may
// know in an older state than this client has written or read.
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
	var found *metadatav1.TableSchema
	if c.shelf != nil {
		l := c.shelf.begin()
		defer func() { c.shelf.end(l, found) }()
	}
	res, err := c.client.GetTable(ctx, &metadatav1.GetTableRequest{
		Table: ref, Read: &metadatav1.ReadOptions{Consistency: linearizable},
	})
	if err != nil {
		return nil, err
	}
	c.passedOn(schemaStream, res.GetPosition())
	found = res.GetTable()
	return found, nil
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
	all, at, err := c.client.wholeTopology(ctx)
	if err == nil {
		c.passedOn(topologyStream, at)
	}
	return all, err
}

// GetRoute is Route, but asks the service for a key that the cache has no route for, or may
// have an older one for than this client has written or read. What the service says is a
// hint from then on.
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
	r, at, err := c.client.route(ctx, key)
	if err == nil {
		c.passedOn(topologyStream, at)
		c.Hint(r.Shard)
	}
	return r, err
}

// route asks the service for a key's shard and nodes, and at which position the shard is. The
// nodes are read behind it, so they may be newer.
func (c *Client) route(ctx context.Context, key []byte) (Route, *metadatav1.Position, error) {
	res, err := c.GetShard(ctx, &metadatav1.GetShardRequest{
		Shard: &metadatav1.GetShardRequest_Key{Key: key}, Read: &metadatav1.ReadOptions{Consistency: linearizable},
	})
	if err != nil {
		return Route{}, nil, err
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
			return Route{}, nil, err
		}
		*to = node.GetNode()
	}
	return r, res.GetPosition(), nil
}

// topologyTries is how often a listing is begun again because the revision of its
// first page is gone.
const topologyTries = 5

// wholeTopology reads all pages of the topology, and at which position they are.
func (c *Client) wholeTopology(ctx context.Context) (all *metadatav1.Topology, at *metadatav1.Position, err error) {
	for range topologyTries {
		if all, at, err = c.topologyPages(ctx); err == nil {
			return all, at, nil
		}
		if Reason(err) != metadatav1.ErrorReason_ERROR_REASON_PAGE_REVISION_GONE {
			break
		}
	}
	return nil, nil, err
}

func (c *Client) topologyPages(ctx context.Context) (all *metadatav1.Topology, at *metadatav1.Position, err error) {
	const pageSize = 1000
	all = &metadatav1.Topology{}
	for token := ""; ; {
		page, err := c.GetTopology(ctx, &metadatav1.GetTopologyRequest{
			PageSize: pageSize, PageToken: token, Read: &metadatav1.ReadOptions{Consistency: linearizable},
		})
		if err != nil {
			return nil, nil, err
		}
		at = page.GetPosition()
		all.Nodes = append(all.Nodes, page.GetTopology().GetNodes()...)
		all.Shards = append(all.Shards, page.GetTopology().GetShards()...)
		all.Holes = append(all.Holes, page.GetTopology().GetHoles()...)
		if token = page.GetNextPageToken(); token == "" {
			return all, at, nil
		}
	}
}
