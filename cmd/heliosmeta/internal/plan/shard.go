package plan

import (
	"bytes"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/internal/keytext"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// shards compares shard by shard: by id where the document has one, by range where
// it has none. All changes of the map are one command, so that ranges may change
// places.
func (p *Plan) shards(want, have []*metadatav1.ShardInfo) error {
	m := newShardMap(have)
	targets := make([]*metadatav1.ShardInfo, len(want))
	for i, s := range want {
		targets[i] = m.claim(s)
	}
	var changes []*metadatav1.ShardMapChange
	for i, s := range want {
		if other := m.overlap(s); other != nil {
			p.line(Cannot, "%s %s cannot be: shard %d holds %s, and no document says what becomes of it; split, merge or delete it first",
				shardName(s), keytext.Range(s.GetKeyRange()), other.GetShardId(), keytext.Range(other.GetKeyRange()))
			continue
		}
		if change := p.shard(targets[i], s); change != nil {
			changes = append(changes, change)
		}
	}
	if n := len(changes); n > MaxShardChanges {
		return fmt.Errorf("the documents change %d shards; one command changes %d: apply them in parts", n, MaxShardChanges)
	}
	if len(changes) > 0 {
		p.Topology = append(p.Topology, &metadatav1.Command{Command: &metadatav1.Command_UpdateShardMap{
			UpdateShardMap: &metadatav1.UpdateShardMapRequest{Changes: changes},
		}})
	}
	return nil
}

// shard returns the change that makes one shard of another; nil if they are alike.
func (p *Plan) shard(have, want *metadatav1.ShardInfo) *metadatav1.ShardMapChange {
	if have == nil {
		p.line(Add, "%s %s on %s", shardName(want), keytext.Range(want.GetKeyRange()), placement(want))
		return &metadatav1.ShardMapChange{Action: &metadatav1.ShardMapChange_Put{
			Put: &metadatav1.PutShard{Shard: want, ExpectedVersion: new(uint64(0))},
		}}
	}
	var below parts
	ranged := !sameRange(have, want)
	if ranged {
		below.add(Change, "range %s -> %s", keytext.Range(have.GetKeyRange()), keytext.Range(want.GetKeyRange()))
	}
	if placement(have) != placement(want) {
		below.add(Change, "nodes %s -> %s", placement(have), placement(want))
	}
	p.object(shardName(have), below)
	switch {
	case ranged:
		target := proto.CloneOf(want)
		target.ShardId = have.GetShardId()
		return &metadatav1.ShardMapChange{Action: &metadatav1.ShardMapChange_Put{
			Put: &metadatav1.PutShard{Shard: target, ExpectedVersion: new(have.GetVersion())},
		}}
	case len(below) > 0:
		return &metadatav1.ShardMapChange{Action: &metadatav1.ShardMapChange_Move{Move: &metadatav1.MoveShard{
			ShardId: have.GetShardId(), PrimaryNode: want.GetPrimaryNode(), MirrorNode: want.GetMirrorNode(),
			WitnessNode: want.GetWitnessNode(), ExpectedVersion: new(have.GetVersion()),
		}}}
	}
	return nil
}

// shardMap is the present map, and which of its shards documents have claimed.
type shardMap struct {
	sorted  []*metadatav1.ShardInfo // by start
	byID    map[uint64]*metadatav1.ShardInfo
	claimed map[uint64]bool
}

func newShardMap(have []*metadatav1.ShardInfo) *shardMap {
	m := &shardMap{
		sorted:  slices.Clone(have),
		byID:    make(map[uint64]*metadatav1.ShardInfo, len(have)),
		claimed: make(map[uint64]bool),
	}
	slices.SortFunc(m.sorted, func(a, b *metadatav1.ShardInfo) int {
		return bytes.Compare(a.GetKeyRange().GetStart(), b.GetKeyRange().GetStart())
	})
	for _, s := range have {
		m.byID[s.GetShardId()] = s
	}
	return m
}

// claim returns the present shard that a document is about; nil if it is new.
func (m *shardMap) claim(want *metadatav1.ShardInfo) *metadatav1.ShardInfo {
	found := m.byID[want.GetShardId()]
	if want.GetShardId() == 0 {
		start := want.GetKeyRange().GetStart()
		at, ok := slices.BinarySearchFunc(m.sorted, start, func(s *metadatav1.ShardInfo, key []byte) int {
			return bytes.Compare(s.GetKeyRange().GetStart(), key)
		})
		if ok && sameRange(m.sorted[at], want) {
			found = m.sorted[at]
		}
	}
	if found != nil {
		m.claimed[found.GetShardId()] = true
	}
	return found
}

// overlap returns a shard that would be in the way and that no document is about.
// Documents that are in each other's way are for the service to refuse.
func (m *shardMap) overlap(want *metadatav1.ShardInfo) *metadatav1.ShardInfo {
	start, end := want.GetKeyRange().GetStart(), want.GetKeyRange().GetEnd()
	// The first shard that ends behind start: present shards never overlap, so
	// their ends are in order too.
	at, _ := slices.BinarySearchFunc(m.sorted, start, func(s *metadatav1.ShardInfo, key []byte) int {
		if upper := s.GetKeyRange().GetEnd(); len(upper) > 0 && bytes.Compare(upper, key) <= 0 {
			return -1
		}
		return 1
	})
	for _, s := range m.sorted[at:] {
		if len(end) > 0 && bytes.Compare(s.GetKeyRange().GetStart(), end) >= 0 {
			return nil
		}
		if !m.claimed[s.GetShardId()] {
			return s
		}
	}
	return nil
}

func sameRange(a, b *metadatav1.ShardInfo) bool {
	return bytes.Equal(a.GetKeyRange().GetStart(), b.GetKeyRange().GetStart()) &&
		bytes.Equal(a.GetKeyRange().GetEnd(), b.GetKeyRange().GetEnd())
}

func shardName(s *metadatav1.ShardInfo) string {
	if s.GetShardId() == 0 {
		return "shard"
	}
	return fmt.Sprintf("shard %d", s.GetShardId())
}

// placement prints the nodes of a shard.
func placement(s *metadatav1.ShardInfo) string {
	text := s.GetPrimaryNode()
	if s.GetMirrorNode() != "" {
		text += ", mirror " + s.GetMirrorNode()
	}
	if s.GetWitnessNode() != "" {
		text += ", witness " + s.GetWitnessNode()
	}
	return text
}
