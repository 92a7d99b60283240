// Package topology is the read model of nodes and shards: who there is, and who
// holds which keys.
//
// A [Model] is an immutable value: any number of goroutines read it while its
// successors are made, and anybody may fold from it. A [Draft] is a private copy
// that changes in place; it belongs to one goroutine. Both fold with the one
// function [Draft.Apply]. Records hold an object's own encoding, as it was
// logged; it is never encoded again.
//
// Shards of a model do not overlap, but those of a draft may in the middle of a
// change: [Model.Overlap] tells. Folding is total: an event that cannot be
// applied panics with a fold error (projections.FoldError), because nothing
// validates a logged event again.
package topology

import (
	"iter"
	"math"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/internal/cow"
	"github.com/heliosdb/metadata/internal/idset"
	"github.com/heliosdb/metadata/projections/internal/fold"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// Model is nodes and shards at one revision.
type Model struct {
	nodes         cow.Set[nodeItem]
	shards        cow.Set[shardItem]
	keys          cow.Set[keyItem]
	placements    cow.Set[placementItem]
	usedShards    idset.Set
	lastNodeEpoch uint64
}

type nodeItem struct {
	id   string
	node *Node
}

type shardItem struct {
	id    uint64
	shard *Shard
}

// keyItem orders shards by key. The id keeps shards apart that begin at the same
// key in the middle of a change.
type keyItem struct {
	start string
	id    uint64
	shard *Shard
}

func lessKey(a, b keyItem) bool {
	if a.start != b.start {
		return a.start < b.start
	}
	return a.id < b.id
}

// placementItem orders the shards of each node by key.
type placementItem struct {
	node string
	keyItem
}

func lessPlacement(a, b placementItem) bool {
	if a.node != b.node {
		return a.node < b.node
	}
	return lessKey(a.keyItem, b.keyItem)
}

// New returns the topology at revision 0: nothing.
func New() *Model {
	m := &Model{
		nodes:      cow.New(func(a, b nodeItem) bool { return a.id < b.id }),
		shards:     cow.New(func(a, b shardItem) bool { return a.id < b.id }),
		keys:       cow.New(lessKey),
		placements: cow.New(lessPlacement),
		usedShards: idset.New(),
	}
	m.freeze()
	return m
}

// Fold returns the model after some changes, given in order. The maps are copied
// once, whatever the number of changes.
func (m *Model) Fold(changes ...*events.Change) *Model {
	d := m.Draft()
	for _, c := range changes {
		for _, e := range c.Events() {
			d.Apply(e, c.Revision())
		}
	}
	d.freeze()
	return &d.Model
}

// Draft returns a private copy to apply events to. It costs next to nothing.
func (m *Model) Draft() *Draft {
	m.freeze() // m may be the view of a live draft
	return &Draft{*m}
}

func (m *Model) freeze() {
	m.nodes.Freeze()
	m.shards.Freeze()
	m.keys.Freeze()
	m.placements.Freeze()
	m.usedShards.Freeze()
}

// Node returns a node by id.
func (m *Model) Node(id string) (*Node, bool) {
	item, ok := m.nodes.Get(nodeItem{id: id})
	return item.node, ok
}

// Nodes yields the nodes whose ids are not less than from, by id.
func (m *Model) Nodes(from string) iter.Seq[*Node] {
	return func(yield func(*Node) bool) {
		for item := range m.nodes.From(nodeItem{id: from}) {
			if !yield(item.node) {
				return
			}
		}
	}
}

// NodeCount returns the number of nodes.
func (m *Model) NodeCount() int { return m.nodes.Len() }

// LastNodeEpoch returns the last epoch that any registration was given.
func (m *Model) LastNodeEpoch() uint64 { return m.lastNodeEpoch }

// Shard returns a shard by id.
func (m *Model) Shard(id uint64) (*Shard, bool) {
	item, ok := m.shards.Get(shardItem{id: id})
	return item.shard, ok
}

// ShardAt returns the shard that holds a key.
func (m *Model) ShardAt(key []byte) (*Shard, bool) {
	for item := range m.keys.Back(keyItem{start: fold.View(key), id: math.MaxUint64}) {
		return item.shard, item.shard.Contains(key)
	}
	return nil, false
}

// Shards yields the shards that begin at or behind start, by key.
func (m *Model) Shards(start []byte) iter.Seq[*Shard] {
	return func(yield func(*Shard) bool) {
		for item := range m.keys.From(keyItem{start: fold.View(start)}) {
			if !yield(item.shard) {
				return
			}
		}
	}
}

// ShardsByID yields the shards whose ids are not less than from, by id.
func (m *Model) ShardsByID(from uint64) iter.Seq[*Shard] {
	return func(yield func(*Shard) bool) {
		for item := range m.shards.From(shardItem{id: from}) {
			if !yield(item.shard) {
				return
			}
		}
	}
}

// ShardsWithin yields the shards that overlap [start, end), by key; an empty end
// means no upper bound.
func (m *Model) ShardsWithin(start, end []byte) iter.Seq[*Shard] {
	return func(yield func(*Shard) bool) {
		if s, ok := m.ShardAt(start); ok && string(start) != s.start && !yield(s) {
			return
		}
		for s := range m.Shards(start) {
			if len(end) > 0 && s.start >= string(end) || !yield(s) {
				return
			}
		}
	}
}

// ShardsOn yields the shards that name a node and begin at or behind start, by
// key.
func (m *Model) ShardsOn(node string, start []byte) iter.Seq[*Shard] {
	return func(yield func(*Shard) bool) {
		from := placementItem{node, keyItem{start: fold.View(start)}}
		for item := range m.placements.From(from) {
			if item.node != node || !yield(item.shard) {
				return
			}
		}
	}
}

// ShardCount returns the number of shards.
func (m *Model) ShardCount() int { return m.shards.Len() }

// ShardCountOn returns the number of shards that name a node. It counts them.
func (m *Model) ShardCountOn(node string) int {
	n := 0
	for range m.ShardsOn(node, nil) {
		n++
	}
	return n
}

// Overlap returns a neighbour in order of keys whose range overlaps that of s, a
// shard of the model. If it finds none for each shard that a change touched,
// no shards overlap at all.
func (m *Model) Overlap(s *Shard) (*Shard, bool) {
	at := keyItem{start: s.start, id: s.id}
	for item := range m.keys.Back(at) {
		if item.id != s.id {
			if item.shard.end == "" || item.shard.end > s.start {
				return item.shard, true
			}
			break
		}
	}
	for item := range m.keys.From(at) {
		if item.id != s.id {
			if s.end == "" || s.end > item.start {
				return item.shard, true
			}
			break
		}
	}
	return nil, false
}

// Holes returns the ranges that no shard holds, by key, at most limit. It looks
// at all shards.
func (m *Model) Holes(limit int) []*metadatav1.KeyRange {
	var holes []*metadatav1.KeyRange
	next := "" // first key that no shard so far holds
	for item := range m.keys.All() {
		if len(holes) >= limit {
			return holes
		}
		if next < item.start {
			holes = append(holes, &metadatav1.KeyRange{Start: []byte(next), End: []byte(item.start)})
		}
		if item.shard.end == "" {
			return holes
		}
		next = max(next, item.shard.end)
	}
	if len(holes) < limit {
		holes = append(holes, &metadatav1.KeyRange{Start: []byte(next)})
	}
	return holes
}

// UsedShardID reports whether a shard ever had this id.
func (m *Model) UsedShardID(id uint64) bool { return m.usedShards.Contains(id) }

// FreeShardID returns the smallest id above 0 that no shard ever had.
func (m *Model) FreeShardID() uint64 {
	id, ok := m.usedShards.FirstFree(1)
	if !ok {
		return math.MaxUint64 // 2^64 shards do not happen
	}
	return id
}
