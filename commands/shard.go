package commands

import (
	"bytes"

	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/internal/keytext"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// put creates a shard, or replaces range and placement of the one with its id.
func (m *shardMap) put(s *metadatav1.PutShard) error {
	in := s.GetShard()
	if err := checkRange(in.GetKeyRange()); err != nil {
		return within("shard.key_range", err)
	}
	if err := m.checkPlacement(in); err != nil {
		return within("shard", err)
	}
	if _, ok := m.Shard(in.ShardId); ok {
		return m.replace(s)
	}
	if s.GetExpectedVersion() != 0 {
		return notFound("there is no shard %d, but its version is expected to be %d", in.ShardId, *s.ExpectedVersion)
	}
	id, err := m.claim("shard.shard_id", in.ShardId)
	if err != nil {
		return err
	}
	m.touch(id)
	m.emit(&metadatav1.Event{Kind: &metadatav1.Event_ShardCreated{ShardCreated: &metadatav1.ShardCreated{
		Shard: m.newShard(id, in.KeyRange.Start, in.KeyRange.End, in, 1),
	}}})
	return nil
}

// replace is the part of put for a shard that exists.
func (m *shardMap) replace(s *metadatav1.PutShard) error {
	in := s.Shard
	if s.ExpectedVersion != nil && *s.ExpectedVersion == 0 {
		return alreadyExists("shard %d exists already, but is expected not to", in.ShardId)
	}
	previous, err := m.find("shard.shard_id", in.ShardId, s.ExpectedVersion)
	if err != nil {
		return err
	}
	now := m.successor(previous, in)
	now.KeyRange = copyRange(in.KeyRange)
	if samePlacement(previous, now) && proto.Equal(previous.KeyRange, now.KeyRange) {
		return nil
	}
	m.touch(in.ShardId)
	m.emit(&metadatav1.Event{Kind: &metadatav1.Event_ShardChanged{ShardChanged: &metadatav1.ShardChanged{Shard: now, Previous: previous}}})
	return nil
}

func (m *shardMap) move(s *metadatav1.MoveShard) error {
	to := &metadatav1.ShardInfo{PrimaryNode: s.GetPrimaryNode(), MirrorNode: s.GetMirrorNode(), WitnessNode: s.GetWitnessNode()}
	if err := m.checkPlacement(to); err != nil {
		return err
	}
	previous, err := m.find("shard_id", s.GetShardId(), s.ExpectedVersion)
	if err != nil {
		return err
	}
	now := m.successor(previous, to)
	if samePlacement(previous, now) {
		return nil
	}
	m.touch(s.ShardId)
	m.emit(&metadatav1.Event{Kind: &metadatav1.Event_ShardMoved{ShardMoved: &metadatav1.ShardMoved{Shard: now, Previous: previous}}})
	return nil
}

func (m *shardMap) delete(s *metadatav1.DeleteShard) error {
	gone, err := m.find("shard_id", s.GetShardId(), s.ExpectedVersion)
	if err != nil {
		return err
	}
	m.emit(&metadatav1.Event{Kind: &metadatav1.Event_ShardDeleted{ShardDeleted: &metadatav1.ShardDeleted{Shard: gone}}})
	return nil
}

func (m *shardMap) split(s *metadatav1.SplitShard) error {
	parent, err := m.find("shard_id", s.GetShardId(), s.ExpectedVersion)
	if err != nil {
		return err
	}
	keys := s.SplitKeys
	if n := len(keys); n < 1 || n > MaxSplitKeys {
		return invalid("split_keys", "%d were given; 1 to %d are allowed", n, MaxSplitKeys)
	}
	if n := len(s.ChildIds); n != 0 && n != len(keys)+1 {
		return invalid("child_ids", "%d were given for %d children", n, len(keys)+1)
	}
	start, end := parent.KeyRange.GetStart(), parent.KeyRange.GetEnd()
	for i, key := range keys {
		if len(key) > MaxKeyBytes {
			return element("split_keys", i, invalid("", "the key has %d bytes; at most %d are allowed", len(key), MaxKeyBytes))
		}
		if bytes.Compare(key, start) <= 0 || len(end) > 0 && bytes.Compare(key, end) >= 0 {
			return element("split_keys", i, invalid("", "%s does not lie inside %s", keytext.Format(key), showRange(start, end)))
		}
		start = key
	}
	children := make([]*metadatav1.ShardInfo, len(keys)+1)
	start = parent.KeyRange.GetStart()
	for i := range children {
		upper := end
		if i < len(keys) {
			upper = keys[i]
		}
		var id uint64
		if len(s.ChildIds) > 0 {
			id = s.ChildIds[i]
		}
		if id, err = m.claimChild(children[:i], id); err != nil {
			return element("child_ids", i, err)
		}
		children[i] = m.newShard(id, start, upper, parent, parent.Epoch+1)
		m.touch(id)
		start = upper
	}
	m.emit(&metadatav1.Event{Kind: &metadatav1.Event_ShardSplit{ShardSplit: &metadatav1.ShardSplit{Children: children, Parent: parent}}})
	return nil
}

// claimChild is claim for a shard with siblings that are not in the map yet.
func (m *shardMap) claimChild(siblings []*metadatav1.ShardInfo, id uint64) (uint64, error) {
	for _, s := range siblings {
		if s.ShardId == id {
			return 0, invalid("", "%d is the id of two children", id)
		}
	}
	return m.claim("", id)
}

func (m *shardMap) merge(s *metadatav1.MergeShards) error {
	ids := s.GetShardIds()
	if n := len(ids); n < 2 || n > MaxMergedShards {
		return invalid("shard_ids", "%d were given; 2 to %d are allowed", n, MaxMergedShards)
	}
	if n := len(s.ExpectedVersions); n != 0 && n != len(ids) {
		return invalid("expected_versions", "%d were given for %d shards; name one for each, or none", n, len(ids))
	}
	parents := make([]*metadatav1.ShardInfo, len(ids))
	var epoch uint64
	for i, id := range ids {
		var expected *uint64
		if len(s.ExpectedVersions) > 0 {
			expected = &s.ExpectedVersions[i]
		}
		parent, err := m.find("", id, expected)
		if err != nil {
			return element("shard_ids", i, err)
		}
		if i > 0 {
			if err := checkNeighbours(parents[i-1], parent); err != nil {
				return element("shard_ids", i, err)
			}
		}
		parents[i] = parent
		epoch = max(epoch, parent.Epoch)
	}
	id, err := m.claim("child_id", s.ChildId)
	if err != nil {
		return err
	}
	m.touch(id)
	first, last := parents[0], parents[len(parents)-1]
	child := m.newShard(id, first.KeyRange.GetStart(), last.KeyRange.GetEnd(), first, epoch+1)
	m.emit(&metadatav1.Event{Kind: &metadatav1.Event_ShardsMerged{ShardsMerged: &metadatav1.ShardsMerged{Shard: child, Parents: parents}}})
	return nil
}

func checkNeighbours(left, right *metadatav1.ShardInfo) error {
	end, start := left.KeyRange.GetEnd(), right.KeyRange.GetStart()
	if len(end) > 0 && bytes.Equal(end, start) {
		return nil
	}
	return invalid("", "shard %d %s does not begin where shard %d %s ends", right.ShardId,
		showRange(start, right.KeyRange.GetEnd()), left.ShardId, showRange(left.KeyRange.GetStart(), end))
}

// newShard returns a shard of this revision with the nodes of another.
func (m *shardMap) newShard(id uint64, start, end []byte, on *metadatav1.ShardInfo, epoch uint64) *metadatav1.ShardInfo {
	return &metadatav1.ShardInfo{
		ShardId:         id,
		KeyRange:        copyRange(&metadatav1.KeyRange{Start: start, End: end}),
		PrimaryNode:     on.PrimaryNode,
		MirrorNode:      on.MirrorNode,
		WitnessNode:     on.WitnessNode,
		Epoch:           epoch,
		Version:         1,
		CreatedRevision: m.revision,
		UpdatedRevision: m.revision,
	}
}

// successor returns the shard as its next version, with the nodes of another.
func (m *shardMap) successor(s, on *metadatav1.ShardInfo) *metadatav1.ShardInfo {
	return &metadatav1.ShardInfo{
		ShardId:         s.ShardId,
		KeyRange:        s.KeyRange,
		PrimaryNode:     on.PrimaryNode,
		MirrorNode:      on.MirrorNode,
		WitnessNode:     on.WitnessNode,
		Epoch:           s.Epoch + 1,
		Version:         s.Version + 1,
		CreatedRevision: s.CreatedRevision,
		UpdatedRevision: m.revision,
	}
}

func samePlacement(a, b *metadatav1.ShardInfo) bool {
	return a.PrimaryNode == b.PrimaryNode && a.MirrorNode == b.MirrorNode && a.WitnessNode == b.WitnessNode
}

// checkPlacement checks that the nodes differ, exist and are STORAGE. Whether one
// is being drained is judged at the end, for splits and merges too.
func (m *shardMap) checkPlacement(s *metadatav1.ShardInfo) error {
	if s.GetPrimaryNode() == "" {
		return invalid("primary_node", "a shard needs a primary node")
	}
	if s.MirrorNode == s.PrimaryNode {
		return invalid("mirror_node", "%q is the primary node too", s.MirrorNode)
	}
	if s.WitnessNode != "" && (s.WitnessNode == s.PrimaryNode || s.WitnessNode == s.MirrorNode) {
		return invalid("witness_node", "%q is the primary or mirror node too", s.WitnessNode)
	}
	for _, role := range [...]struct{ path, id string }{
		{"primary_node", s.PrimaryNode}, {"mirror_node", s.MirrorNode}, {"witness_node", s.WitnessNode},
	} {
		if role.id == "" {
			continue
		}
		n, ok := m.Node(role.id)
		if !ok {
			return within(role.path, unsuitable(role.id, "there is no node %q; register it first", role.id))
		}
		if n.Type() != metadatav1.NodeType_NODE_TYPE_STORAGE {
			return within(role.path, unsuitable(role.id, "node %q is %s; only STORAGE nodes hold shards", role.id, showType(n.Type())))
		}
	}
	return nil
}

func unsuitable(node, format string, args ...any) error {
	return reject(metadatav1.ErrorReason_ERROR_REASON_NODE_UNSUITABLE, format, args...).With("node_id", node)
}

func checkRange(r *metadatav1.KeyRange) error {
	if r == nil {
		return invalid("", "a shard needs a range; an empty one means all keys")
	}
	if n := max(len(r.Start), len(r.End)); n > MaxKeyBytes {
		return invalid("", "a key has %d bytes; at most %d are allowed", n, MaxKeyBytes)
	}
	if len(r.End) > 0 && bytes.Compare(r.Start, r.End) >= 0 {
		return invalid("", "%s is empty: its end has to be greater than its start, or absent for no upper bound", showRange(r.Start, r.End))
	}
	return nil
}

// copyRange copies the bytes, because a command is not ours to keep. Empty ends
// are nil, so that equal ranges have equal messages.
func copyRange(r *metadatav1.KeyRange) *metadatav1.KeyRange {
	c := new(metadatav1.KeyRange)
	if len(r.Start) > 0 {
		c.Start = bytes.Clone(r.Start)
	}
	if len(r.End) > 0 {
		c.End = bytes.Clone(r.End)
	}
	return c
}

// showRange prints a range for a message.
func showRange(start, end []byte) string {
	return keytext.Range(&metadatav1.KeyRange{Start: start, End: end})
}
