package client

import (
	"bytes"
	"context"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

const (
	// askTries is how often a question that takes several calls is begun again, because what
	// the first call has shown is gone.
	askTries = 5
	// askPage is how many objects a page has.
	askPage = 1000
)

// now has a read show all that was committed before.
func now() *metadatav1.ReadOptions { return &metadatav1.ReadOptions{Consistency: linearizable} }

// askRoute asks for a key's shard and nodes, and at which position the shard is; the nodes are
// at least as new. The error is a [*HoleError] if there is none then.
func (c *Client) askRoute(ctx context.Context, key []byte) (r Route, at *metadatav1.Position, err error) {
	for range askTries {
		var shard *metadatav1.ShardInfo
		if shard, at, err = c.askShardAt(ctx, key); err != nil {
			return Route{}, at, err
		}
		var routes []Route
		if routes, err = c.withNodes(ctx, []*metadatav1.ShardInfo{shard}, at); err == nil {
			return routes[0], at, nil
		}
		if !IsNotFound(err) {
			break
		}
		// A node has left, so the shard is elsewhere by now.
	}
	return Route{}, nil, err
}

func (c *Client) askShardAt(ctx context.Context, key []byte) (*metadatav1.ShardInfo, *metadatav1.Position, error) {
	res, err := c.GetShard(ctx, &metadatav1.GetShardRequest{Shard: &metadatav1.GetShardRequest_Key{Key: key}, Read: now()})
	if !IsNotFound(err) {
		return res.GetShard(), res.GetPosition(), err
	}
	// There is a hole around the key. Where does it end?
	page, err := c.ListShards(ctx, &metadatav1.ListShardsRequest{KeyRange: &metadatav1.KeyRange{Start: key}, PageSize: 1, Read: now()})
	if err != nil {
		return nil, nil, err
	}
	hole := &HoleError{Start: bytes.Clone(key)}
	for _, s := range page.GetShards() {
		if bytes.Compare(s.GetKeyRange().GetStart(), key) <= 0 {
			return s, page.GetPosition(), nil // it has been added meanwhile
		}
		hole.End = s.GetKeyRange().GetStart()
	}
	return nil, page.GetPosition(), hole
}

// askRange asks for the shards of a range and their nodes, and at which position the shards
// are; the nodes are at least as new. The error is a [*HoleError] beside the routes if a part
// of the range is held by none then.
func (c *Client) askRange(ctx context.Context, start, end []byte) (routes []Route, at *metadatav1.Position, err error) {
	for range askTries {
		var shards []*metadatav1.ShardInfo
		if shards, at, err = c.shardPages(ctx, start, end); err == nil {
			routes, err = c.withNodes(ctx, shards, at)
		}
		if err == nil {
			return routes, at, holeIn(routes, start, end)
		}
		if !isGone(err) && !IsNotFound(err) {
			break
		}
	}
	return nil, nil, err
}

// isGone reports whether the revision of a listing's first page is gone.
func isGone(err error) bool {
	return Reason(err) == metadatav1.ErrorReason_ERROR_REASON_PAGE_REVISION_GONE
}

func (c *Client) shardPages(ctx context.Context, start, end []byte) (all []*metadatav1.ShardInfo, at *metadatav1.Position, err error) {
	for token := ""; ; {
		page, err := c.ListShards(ctx, &metadatav1.ListShardsRequest{
			KeyRange: &metadatav1.KeyRange{Start: start, End: end}, PageSize: askPage, PageToken: token, Read: now(),
		})
		if err != nil {
			return nil, nil, err
		}
		at, all = page.GetPosition(), append(all, page.GetShards()...)
		if token = page.GetNextPageToken(); token == "" {
			return all, at, nil
		}
	}
}

// withNodes returns the routes to shards, with nodes at least as new as a position.
func (c *Client) withNodes(ctx context.Context, shards []*metadatav1.ShardInfo, at *metadatav1.Position) ([]Route, error) {
	behind := &metadatav1.ReadOptions{Consistency: atLeast, AtLeast: at}
	nodes := map[string]*metadatav1.NodeInfo{"": nil}
	routes := make([]Route, len(shards))
	for i, s := range shards {
		for _, id := range [...]string{s.GetPrimaryNode(), s.GetMirrorNode(), s.GetWitnessNode()} {
			if _, known := nodes[id]; known {
				continue
			}
			res, err := c.GetNode(ctx, &metadatav1.GetNodeRequest{NodeId: id, Read: behind})
			if err != nil {
				return nil, err
			}
			nodes[id] = res.GetNode()
		}
		routes[i] = Route{
			Shard: s, Epoch: s.GetEpoch(),
			Primary: nodes[s.GetPrimaryNode()], Mirror: nodes[s.GetMirrorNode()], Witness: nodes[s.GetWitnessNode()],
		}
	}
	return routes, nil
}

// wholeTopology reads all pages of the topology, and at which position they are.
func (c *Client) wholeTopology(ctx context.Context) (all *metadatav1.Topology, at *metadatav1.Position, err error) {
	for range askTries {
		if all, at, err = c.topologyPages(ctx); err == nil {
			return all, at, nil
		}
		if !isGone(err) {
			break
		}
	}
	return nil, nil, err
}

func (c *Client) topologyPages(ctx context.Context) (all *metadatav1.Topology, at *metadatav1.Position, err error) {
	all = &metadatav1.Topology{}
	for token := ""; ; {
		page, err := c.GetTopology(ctx, &metadatav1.GetTopologyRequest{
			PageSize: askPage, PageToken: token, Read: now(),
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
