package consistency

import (
	"bytes"

	"google.golang.org/protobuf/proto"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// shardMap is an UpdateShardMap under way.
type shardMap struct {
	state
	touched []uint64 // shards made or changed, in order
	next    uint64   // stands for the next id that the service would assign
	open    bool
	changed bool
}

// provisional is the first id that stands for one that the service would assign. It
// is above all that it does assign.
const provisional = 1 << 40

// updateShardMap carries out the steps in order; ranges and placements are judged
// when all are done.
func (s state) updateShardMap(c *metadatav1.UpdateShardMapRequest) (state, verdict) {
	m := &shardMap{state: s, next: provisional}
	for _, step := range c.GetChanges() {
		if reason := m.step(step); reason != accepted {
			return s, verdict{reason: reason, open: m.open}
		}
	}
	for _, id := range m.touched {
		if i := m.shard(id); i != nil {
			if reason := m.fits(i); reason != accepted {
				return s, verdict{reason: reason, open: m.open}
			}
		}
	}
	return m.state, verdict{changed: m.changed, open: m.open}
}

func (m *shardMap) step(step *metadatav1.ShardMapChange) metadatav1.ErrorReason {
	switch a := step.GetAction().(type) {
	case *metadatav1.ShardMapChange_Put:
		return m.putShard(a.Put)
	case *metadatav1.ShardMapChange_Delete:
		i, reason := m.findShard(a.Delete.GetShardId(), a.Delete.ExpectedVersion)
		if reason == accepted {
			m.drop(i)
		}
		return reason
	case *metadatav1.ShardMapChange_Split:
		return m.split(a.Split)
	case *metadatav1.ShardMapChange_Merge:
		return m.merge(a.Merge)
	case *metadatav1.ShardMapChange_Move:
		return m.moveShard(a.Move)
	}
	return invalidField
}

func (m *shardMap) findShard(id uint64, expected *uint64) (*metadatav1.ShardInfo, metadatav1.ErrorReason) {
	i := m.shard(id)
	switch {
	case i == nil:
		m.open = m.open || m.next > provisional // it may be one that a step before made
		return nil, notFound
	case !expects(i.GetVersion(), expected):
		return nil, versionMismatch
	}
	return i, accepted
}

func (m *shardMap) drop(i *metadatav1.ShardInfo) {
	m.state, m.changed = m.remove(shardKey(i.GetShardId())), true
}

// set makes a shard what it is now; with id 0 it is a new one.
func (m *shardMap) set(i *metadatav1.ShardInfo) {
	if i.ShardId == 0 {
		i.ShardId = m.next
		m.next++
	}
	m.state, m.changed = m.put(object{key: shardKey(i.ShardId), message: i}), true
	m.touched = append(m.touched, i.ShardId)
}

func (m *shardMap) putShard(p *metadatav1.PutShard) metadatav1.ErrorReason {
	in := p.GetShard()
	r := in.GetKeyRange()
	if r == nil || len(r.GetEnd()) > 0 && bytes.Compare(r.GetStart(), r.GetEnd()) >= 0 {
		return invalidField
	}
	if reason := m.place(in); reason != accepted {
		return reason
	}
	before := m.shard(in.GetShardId())
	if before == nil {
		if p.GetExpectedVersion() != 0 {
			return notFound
		}
		m.open = m.open || in.GetShardId() != 0
		now := proto.CloneOf(in)
		now.Version, now.Epoch = 1, 1
		m.set(now)
		return accepted
	}
	if p.ExpectedVersion != nil && p.GetExpectedVersion() == 0 {
		return alreadyExists
	}
	if !expects(before.GetVersion(), p.ExpectedVersion) {
		return versionMismatch
	}
	now := successor(before, in)
	now.KeyRange = r
	if sameNodes(before, now) && bytes.Equal(before.GetKeyRange().GetStart(), r.GetStart()) && bytes.Equal(before.GetKeyRange().GetEnd(), r.GetEnd()) {
		return accepted
	}
	m.set(now)
	return accepted
}

func (m *shardMap) moveShard(v *metadatav1.MoveShard) metadatav1.ErrorReason {
	to := &metadatav1.ShardInfo{PrimaryNode: v.GetPrimaryNode(), MirrorNode: v.GetMirrorNode(), WitnessNode: v.GetWitnessNode()}
	if reason := m.place(to); reason != accepted {
		return reason
	}
	before, reason := m.findShard(v.GetShardId(), v.ExpectedVersion)
	if reason != accepted {
		return reason
	}
	if now := successor(before, to); !sameNodes(before, now) {
		m.set(now)
	}
	return accepted
}

func (m *shardMap) split(p *metadatav1.SplitShard) metadatav1.ErrorReason {
	parent, reason := m.findShard(p.GetShardId(), p.ExpectedVersion)
	if reason != accepted {
		return reason
	}
	start, end := parent.GetKeyRange().GetStart(), parent.GetKeyRange().GetEnd()
	bounds := [][]byte{start}
	for _, key := range p.GetSplitKeys() {
		if bytes.Compare(key, start) <= 0 || len(end) > 0 && bytes.Compare(key, end) >= 0 {
			return invalidField
		}
		start = key
		bounds = append(bounds, key)
	}
	bounds = append(bounds, end)
	m.open = m.open || len(p.GetChildIds()) > 0
	m.drop(parent)
	for at := range len(bounds) - 1 {
		child := successor(parent, parent)
		child.ShardId, child.Version = 0, 1
		child.KeyRange = &metadatav1.KeyRange{Start: bounds[at], End: bounds[at+1]}
		m.set(child)
	}
	return accepted
}

func (m *shardMap) merge(p *metadatav1.MergeShards) metadatav1.ErrorReason {
	var parents []*metadatav1.ShardInfo
	for at, id := range p.GetShardIds() {
		var expected *uint64
		if len(p.GetExpectedVersions()) > 0 {
			expected = &p.GetExpectedVersions()[at]
		}
		i, reason := m.findShard(id, expected)
		if reason != accepted {
			return reason
		}
		if at > 0 {
			end := parents[at-1].GetKeyRange().GetEnd()
			if len(end) == 0 || !bytes.Equal(end, i.GetKeyRange().GetStart()) {
				return invalidField
			}
		}
		parents = append(parents, i)
	}
	m.open = m.open || p.GetChildId() != 0
	first, last := parents[0], parents[len(parents)-1]
	for _, i := range parents {
		m.drop(i)
	}
	child := successor(first, first)
	child.ShardId, child.Version = 0, 1
	child.KeyRange = &metadatav1.KeyRange{Start: first.GetKeyRange().GetStart(), End: last.GetKeyRange().GetEnd()}
	m.set(child)
	return accepted
}

// successor returns a shard's next version, with the nodes of another.
func successor(i, on *metadatav1.ShardInfo) *metadatav1.ShardInfo {
	return &metadatav1.ShardInfo{
		ShardId: i.GetShardId(), KeyRange: i.GetKeyRange(), Epoch: i.GetEpoch() + 1, Version: i.GetVersion() + 1,
		PrimaryNode: on.GetPrimaryNode(), MirrorNode: on.GetMirrorNode(), WitnessNode: on.GetWitnessNode(),
	}
}

func sameNodes(a, b *metadatav1.ShardInfo) bool {
	return a.GetPrimaryNode() == b.GetPrimaryNode() && a.GetMirrorNode() == b.GetMirrorNode() && a.GetWitnessNode() == b.GetWitnessNode()
}

// nodesOf returns the nodes that a shard names.
func nodesOf(i *metadatav1.ShardInfo) (all []string) {
	for _, id := range []string{i.GetPrimaryNode(), i.GetMirrorNode(), i.GetWitnessNode()} {
		if id != "" {
			all = append(all, id)
		}
	}
	return all
}

// place checks that the nodes differ, exist and are STORAGE.
func (m *shardMap) place(i *metadatav1.ShardInfo) metadatav1.ErrorReason {
	primary, mirror, witness := i.GetPrimaryNode(), i.GetMirrorNode(), i.GetWitnessNode()
	if primary == "" || mirror == primary || witness != "" && (witness == primary || witness == mirror) {
		return invalidField
	}
	for _, id := range nodesOf(i) {
		if n := m.node(id); n.GetNodeType() != metadatav1.NodeType_NODE_TYPE_STORAGE {
			return nodeUnsuitable // or not there at all
		}
	}
	return accepted
}

// fits checks a shard of the map as it is at the end.
func (m *shardMap) fits(i *metadatav1.ShardInfo) metadatav1.ErrorReason {
	r := i.GetKeyRange()
	for _, other := range m.shards() {
		o := other.GetKeyRange()
		if other.GetShardId() != i.GetShardId() && below(r.GetStart(), o.GetEnd()) && below(o.GetStart(), r.GetEnd()) {
			return rangeOverlap
		}
	}
	for _, id := range nodesOf(i) {
		if m.node(id).GetDraining() {
			return nodeUnsuitable
		}
	}
	return accepted
}

// below reports whether a key lies before the end of a range; an empty end is none.
func below(key, end []byte) bool { return len(end) == 0 || bytes.Compare(key, end) < 0 }
