package server

import (
	"context"
	"encoding/binary"
	"iter"

	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/commands"
	"github.com/heliosdb/metadata/internal/failure"
	"github.com/heliosdb/metadata/projections"
	"github.com/heliosdb/metadata/projections/topology"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// GetNode is of the contract.
func (s service) GetNode(ctx context.Context, r *metadatav1.GetNodeRequest) (*metadatav1.GetNodeResponse, error) {
	state, position, err := s.topology.read(ctx, r.GetRead())
	if err != nil {
		return nil, err
	}
	node, ok := state.Model.Node(r.GetNodeId())
	if !ok {
		return nil, failure.New(metadatav1.ErrorReason_ERROR_REASON_NOT_FOUND, "there is no node %q", r.GetNodeId())
	}
	answer := &metadatav1.GetNodeResponse{Position: position}
	answer.Node = single(ctx, answer, 1, node)
	return answer, nil
}

// GetShard is of the contract.
func (s service) GetShard(ctx context.Context, r *metadatav1.GetShardRequest) (*metadatav1.GetShardResponse, error) {
	state, position, err := s.topology.read(ctx, r.GetRead())
	if err != nil {
		return nil, err
	}
	shard, err := findShard(state.Model, r)
	if err != nil {
		return nil, err
	}
	answer := &metadatav1.GetShardResponse{Position: position}
	answer.Shard = single(ctx, answer, 1, shard)
	return answer, nil
}

func findShard(m *projections.TopologyModel, r *metadatav1.GetShardRequest) (*topology.Shard, error) {
	if by, ok := r.GetShard().(*metadatav1.GetShardRequest_Key); ok {
		if shard, ok := m.ShardAt(by.Key); ok {
			return shard, nil
		}
		return nil, failure.New(metadatav1.ErrorReason_ERROR_REASON_NOT_FOUND,
			"no shard holds the key %s: the shard map has a hole there", quoteKey(by.Key))
	}
	if shard, ok := m.Shard(r.GetShardId()); ok {
		return shard, nil
	}
	return nil, failure.New(metadatav1.ErrorReason_ERROR_REASON_NOT_FOUND, "there is no shard with id %d", r.GetShardId())
}

// ListNodes is of the contract.
func (s service) ListNodes(ctx context.Context, r *metadatav1.ListNodesRequest) (*metadatav1.ListNodesResponse, error) {
	only := r.GetNodeType()
	filter := filterHash(binary.AppendUvarint(nil, uint64(only)))
	t, err := parseToken(r.GetPageToken(), listNodes, filter)
	if err != nil {
		return nil, err
	}
	state, position, err := s.topology.page(ctx, t, r.GetRead())
	if err != nil {
		return nil, err
	}
	answer := &metadatav1.ListNodesResponse{Position: position}
	p := newPage(ctx, r.GetPageSize())
	var last string
	for node := range nodesBehind(state.Model, cursor(t)) {
		if only != metadatav1.NodeType_NODE_TYPE_UNSPECIFIED && node.Type() != only {
			continue
		}
		if !put(p, &answer.Nodes, 1, node) {
			answer.NextPageToken = s.topology.next(state, listNodes, filter, []byte(last))
			break
		}
		last = node.ID()
	}
	p.into(answer)
	return answer, nil
}

// nodesBehind yields the nodes with ids greater than id.
func nodesBehind(m *projections.TopologyModel, id string) iter.Seq[*topology.Node] {
	return func(yield func(*topology.Node) bool) {
		for node := range m.Nodes(id) {
			if node.ID() != id && !yield(node) {
				return
			}
		}
	}
}

// ListShards is of the contract.
func (s service) ListShards(ctx context.Context, r *metadatav1.ListShardsRequest) (*metadatav1.ListShardsResponse, error) {
	keys := r.GetKeyRange()
	filter := filterHash([]byte(r.GetNodeId()), keys.GetStart(), keys.GetEnd())
	t, err := parseToken(r.GetPageToken(), listShards, filter)
	if err != nil {
		return nil, err
	}
	if err := checkRange(keys); err != nil {
		return nil, err
	}
	state, position, err := s.topology.page(ctx, t, r.GetRead())
	if err != nil {
		return nil, err
	}
	answer := &metadatav1.ListShardsResponse{Position: position}
	p := newPage(ctx, r.GetPageSize())
	var last []byte
	for shard := range selectShards(state.Model, r.GetNodeId(), keys, t) {
		if !put(p, &answer.Shards, 1, shard) {
			answer.NextPageToken = s.topology.next(state, listShards, filter, last)
			break
		}
		last = shard.Start()
	}
	p.into(answer)
	return answer, nil
}

func checkRange(keys *metadatav1.KeyRange) error {
	if end := keys.GetEnd(); len(end) > 0 && string(keys.GetStart()) >= string(end) {
		return failure.InvalidField("key_range", "its start %s is not before its end %s",
			quoteKey(keys.GetStart()), quoteKey(end))
	}
	return nil
}

// selectShards yields the shards that overlap a range and name a node (empty:
// any), from behind a token on.
func selectShards(m *projections.TopologyModel, node string, keys *metadatav1.KeyRange, t *token) iter.Seq[*topology.Shard] {
	var all iter.Seq[*topology.Shard]
	switch {
	case node != "" && t != nil:
		all = m.ShardsOn(node, t.cursor)
	case node != "":
		all = m.ShardsOn(node, nil)
	case t != nil:
		all = m.Shards(t.cursor)
	default:
		all = m.ShardsWithin(keys.GetStart(), keys.GetEnd())
	}
	return func(yield func(*topology.Shard) bool) {
		for shard := range all {
			if end := keys.GetEnd(); len(end) > 0 && string(shard.Start()) >= string(end) {
				return
			}
			ended := len(shard.End()) > 0 && string(shard.End()) <= string(keys.GetStart())
			if ended || isLast(t, shard) {
				continue
			}
			if !yield(shard) {
				return
			}
		}
	}
}

// isLast reports whether a shard was the last one of the page before.
func isLast(t *token, shard *topology.Shard) bool {
	return t != nil && string(shard.Start()) == string(t.cursor)
}

// GetTopology is of the contract.
func (s service) GetTopology(ctx context.Context, r *metadatav1.GetTopologyRequest) (*metadatav1.GetTopologyResponse, error) {
	filter := filterHash()
	t, err := parseToken(r.GetPageToken(), getTopology, filter)
	if err != nil {
		return nil, err
	}
	if t != nil && len(t.cursor) == 0 {
		return nil, badToken("is damaged; begin without a token")
	}
	state, position, err := s.topology.page(ctx, t, r.GetRead())
	if err != nil {
		return nil, err
	}
	answer := &metadatav1.GetTopologyResponse{Position: position, Topology: &metadatav1.Topology{}}
	p := newPage(ctx, r.GetPageSize())
	if t == nil {
		answer.Topology.Holes = boundHoles(state.Model.Holes(commands.MaxListedHoles))
	}
	if next := fillTopology(p, state.Model, t, answer.Topology); next != nil {
		answer.NextPageToken = s.topology.next(state, getTopology, filter, next)
	}
	p.into(answer.Topology)
	return answer, nil
}

// boundHoles cuts a list of holes to what one answer carries.
func boundHoles(holes []*metadatav1.KeyRange) []*metadatav1.KeyRange {
	room := commands.MaxListedHoleBytes
	for i, h := range holes {
		if room -= proto.Size(h); room < 0 {
			return holes[:i]
		}
	}
	return holes
}

// Cursors of GetTopology begin with what they are the key of.
const (
	nodeCursor  = 'n'
	shardCursor = 's'
)

// fillTopology adds nodes and then shards until the page is full, and returns
// the cursor for the next one; nil if this was the last.
func fillTopology(p *page, m *projections.TopologyModel, t *token, to *metadatav1.Topology) []byte {
	last := []byte{nodeCursor}
	if t != nil {
		last = t.cursor
	}
	if last[0] == nodeCursor {
		for node := range nodesBehind(m, string(last[1:])) {
			if !put(p, &to.Nodes, 1, node) {
				return last
			}
			last = append([]byte{nodeCursor}, node.ID()...)
		}
		t = nil
	} else {
		t = &token{cursor: last[1:]}
	}
	for shard := range selectShards(m, "", nil, t) {
		if !put(p, &to.Shards, 2, shard) {
			return last
		}
		last = append([]byte{shardCursor}, shard.Start()...)
	}
	return nil
}

// quoteKey shows a key, or the beginning of a long one.
func quoteKey(key []byte) string {
	if len(key) > maxQuoted {
		return quote(key[:maxQuoted]) + "..."
	}
	return quote(key)
}
