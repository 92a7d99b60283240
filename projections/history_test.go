package projections

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/heliosdb/metadata/events"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"
)

var (
	cluster = events.ClusterID{1, 2, 3}
	epoch0  = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
)

// history makes changes that fit, of any stream, from a source of choices.
type history struct {
	pick     func(n int) int // a number below n
	now      *naive
	revision uint64
}

func randomHistory(seed uint64) *history {
	return &history{pick: rand.New(rand.NewPCG(seed, 0)).IntN, now: newNaive()}
}

func drawnHistory(t *rapid.T) *history {
	return &history{
		pick: func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "pick") },
		now:  newNaive(),
	}
}

// change seals the events that act makes, at least one.
func (h *history) change(act func() *metadatav1.Event) *events.Change {
	h.revision++
	var evs []events.Event
	for more := true; more || len(evs) == 0; more = h.pick(4) == 0 {
		if m := act(); m != nil {
			h.now.apply(m)
			evs = append(evs, events.New(m))
		}
	}
	header := events.Header{Revision: h.revision, Time: epoch0.Add(time.Duration(h.revision) * time.Second), Actor: "t"}
	if h.pick(5) > 0 {
		header.RequestID = fmt.Sprint("r", h.revision)
	}
	return events.Seal(header, evs)
}

func (h *history) schema() *events.Change   { return h.change(h.schemaEvent) }
func (h *history) topology() *events.Change { return h.change(h.topologyEvent) }
func (h *history) service() *events.Change  { return h.change(h.serviceEvent) }

// of takes one of the values in a fixed order, or the zero value of none.
func of[K uint64 | string, V any](h *history, m map[K]V) (none V) {
	if len(m) == 0 {
		return none
	}
	return m[slices.Sorted(maps.Keys(m))[h.pick(len(m))]]
}

func (h *history) id(used map[uint64]bool) uint64 {
	if id := uint64(1 + h.pick(60)); !used[id] {
		return id
	}
	return free(used)
}

func (h *history) schemaEvent() *metadatav1.Event {
	table := proto.CloneOf(of(h, h.now.tables))
	switch action := h.pick(12); {
	case action == 0:
		ns := &metadatav1.Namespace{NamespaceId: h.id(h.now.usedSpaces), Name: fmt.Sprint("ns", h.pick(4)), Version: 1}
		if h.now.namespaces[ns.Name] != nil {
			return nil
		}
		return &metadatav1.Event{Kind: &metadatav1.Event_NamespaceCreated{NamespaceCreated: &metadatav1.NamespaceCreated{Namespace: ns}}}
	case action == 1:
		ns := of(h, h.now.namespaces)
		for _, t := range h.now.tables {
			if t.Namespace == ns.Name {
				return nil
			}
		}
		if ns.Name == "public" {
			return nil
		}
		return &metadatav1.Event{Kind: &metadatav1.Event_NamespaceDropped{NamespaceDropped: &metadatav1.NamespaceDropped{Namespace: ns}}}
	case action < 8 || table == nil:
		return h.createTable()
	case action < 10:
		return h.alterTable(table)
	}
	return &metadatav1.Event{Kind: &metadatav1.Event_TableDropped{TableDropped: &metadatav1.TableDropped{Table: table}}}
}

func (h *history) freeName() (namespace, name string, ok bool) {
	namespace, name = of(h, h.now.namespaces).Name, fmt.Sprint("t", h.pick(40))
	for _, t := range h.now.tables {
		if t.Namespace == namespace && t.Name == name {
			return "", "", false
		}
	}
	return namespace, name, true
}

func (h *history) createTable() *metadatav1.Event {
	namespace, name, ok := h.freeName()
	if !ok {
		return nil
	}
	t := &metadatav1.TableSchema{
		TableId: h.id(h.now.usedTables), Namespace: namespace, Name: name, Version: 1, CreatedRevision: h.revision,
		NamespaceId: h.now.namespaces[namespace].NamespaceId,
		Properties:  map[string]string{"a": "1", "b": "2", "c": "3"},
		Columns: []*metadatav1.ColumnSchema{
			{ColumnId: 1, Name: "id", DataType: &metadatav1.DataType{Kind: metadatav1.TypeKind_TYPE_KIND_INT64}},
		},
	}
	return &metadatav1.Event{Kind: &metadatav1.Event_TableCreated{TableCreated: &metadatav1.TableCreated{Table: t}}}
}

func (h *history) alterTable(t *metadatav1.TableSchema) *metadatav1.Event {
	altered := &metadatav1.TableAltered{Table: t, PreviousNamespace: t.Namespace, PreviousName: t.Name}
	t.Version++
	t.Comment = fmt.Sprint("at ", h.revision)
	if namespace, name, ok := h.freeName(); ok && h.pick(2) == 0 {
		t.Namespace, t.Name, t.NamespaceId = namespace, name, h.now.namespaces[namespace].NamespaceId
	}
	return &metadatav1.Event{Kind: &metadatav1.Event_TableAltered{TableAltered: altered}}
}

func (h *history) topologyEvent() *metadatav1.Event {
	if len(h.now.nodes) < 3 || h.pick(4) == 0 {
		return h.nodeEvent()
	}
	return h.shardEvent()
}

func (h *history) nodeEvent() *metadatav1.Event {
	n := proto.CloneOf(of(h, h.now.nodes))
	action := h.pick(8)
	if n == nil || action < 3 {
		n = &metadatav1.NodeInfo{NodeId: fmt.Sprint("n", h.pick(6)), NodeType: metadatav1.NodeType_NODE_TYPE_STORAGE}
		n.Epoch, n.Incarnation = h.now.epoch+1, fmt.Sprint("run", h.revision)
		h.status(n, metadatav1.NodeStatus_NODE_STATUS_ONLINE)
		return &metadatav1.Event{Kind: &metadatav1.Event_NodeRegistered{NodeRegistered: &metadatav1.NodeRegistered{Node: n}}}
	}
	switch action {
	case 3:
		for _, s := range h.now.shards {
			if names(s, n.NodeId) {
				return nil
			}
		}
		return &metadatav1.Event{Kind: &metadatav1.Event_NodeUnregistered{NodeUnregistered: &metadatav1.NodeUnregistered{Node: n}}}
	case 4:
		h.status(n, metadatav1.NodeStatus_NODE_STATUS_ONLINE)
		return &metadatav1.Event{Kind: &metadatav1.Event_NodeCameOnline{NodeCameOnline: &metadatav1.NodeCameOnline{Node: n}}}
	case 5:
		h.status(n, metadatav1.NodeStatus_NODE_STATUS_OFFLINE)
		return &metadatav1.Event{Kind: &metadatav1.Event_NodeWentOffline{NodeWentOffline: &metadatav1.NodeWentOffline{Node: n}}}
	case 6:
		n.Draining = true
		h.status(n, metadatav1.NodeStatus_NODE_STATUS_DRAINING)
		return &metadatav1.Event{Kind: &metadatav1.Event_NodeDrained{NodeDrained: &metadatav1.NodeDrained{Node: n}}}
	}
	n.Draining = false
	h.status(n, metadatav1.NodeStatus_NODE_STATUS_ONLINE)
	return &metadatav1.Event{Kind: &metadatav1.Event_NodeDrainCancelled{NodeDrainCancelled: &metadatav1.NodeDrainCancelled{Node: n}}}
}

func (h *history) status(n *metadatav1.NodeInfo, s metadatav1.NodeStatus) {
	n.Status = s
	n.StatusTime = timestamppb.New(epoch0.Add(time.Duration(h.revision) * time.Second))
}

func (h *history) shard(start, end []byte) *metadatav1.ShardInfo {
	s := &metadatav1.ShardInfo{
		ShardId: h.id(h.now.usedShards), KeyRange: &metadatav1.KeyRange{Start: start, End: end}, Version: 1, Epoch: 1,
	}
	h.now.usedShards[s.ShardId] = true // so that the next one gets another
	h.place(s)
	return s
}

func (h *history) place(s *metadatav1.ShardInfo) {
	s.PrimaryNode, s.MirrorNode, s.WitnessNode = of(h, h.now.nodes).NodeId, "", ""
	if m := of(h, h.now.nodes).NodeId; m != s.PrimaryNode {
		s.MirrorNode = m
	}
	if w := of(h, h.now.nodes).NodeId; w != s.PrimaryNode && w != s.MirrorNode {
		s.WitnessNode = w
	}
}

// between picks a key strictly inside a range whose bounds are at most one byte
// long.
func (h *history) between(r *metadatav1.KeyRange) (key []byte, ok bool) {
	low, high := 0, 256
	if len(r.Start) > 0 {
		low = int(r.Start[0])
	}
	if len(r.End) > 0 {
		high = int(r.End[0])
	}
	if high-low < 2 {
		return nil, false
	}
	return []byte{byte(low + 1 + h.pick(high-low-1))}, true
}

func (h *history) shardEvent() *metadatav1.Event {
	old := of(h, h.now.shards)
	if old == nil {
		return h.fillHole()
	}
	s := proto.CloneOf(old)
	s.Version++
	s.Epoch++
	key, inside := h.between(s.KeyRange)
	switch action := h.pick(8); {
	case action < 3 && inside:
		left, right := h.shard(s.KeyRange.Start, key), h.shard(key, s.KeyRange.End)
		return &metadatav1.Event{Kind: &metadatav1.Event_ShardSplit{ShardSplit: &metadatav1.ShardSplit{
			Children: []*metadatav1.ShardInfo{left, right}, Parent: old}}}
	case action == 3 && inside:
		s.KeyRange.Start = key
		return &metadatav1.Event{Kind: &metadatav1.Event_ShardChanged{ShardChanged: &metadatav1.ShardChanged{Shard: s, Previous: old}}}
	case action == 4:
		return &metadatav1.Event{Kind: &metadatav1.Event_ShardDeleted{ShardDeleted: &metadatav1.ShardDeleted{Shard: old}}}
	case action == 5:
		return h.merge(old)
	case action == 6:
		return h.fillHole()
	}
	h.place(s)
	return &metadatav1.Event{Kind: &metadatav1.Event_ShardMoved{ShardMoved: &metadatav1.ShardMoved{Shard: s, Previous: old}}}
}

func (h *history) merge(left *metadatav1.ShardInfo) *metadatav1.Event {
	for _, right := range h.now.sortedShards() {
		if len(left.KeyRange.End) > 0 && string(right.KeyRange.Start) == string(left.KeyRange.End) {
			return &metadatav1.Event{Kind: &metadatav1.Event_ShardsMerged{ShardsMerged: &metadatav1.ShardsMerged{
				Shard:   h.shard(left.KeyRange.Start, right.KeyRange.End),
				Parents: []*metadatav1.ShardInfo{left, right},
			}}}
		}
	}
	return nil
}

func (h *history) fillHole() *metadatav1.Event {
	holes := h.now.holes()
	if len(holes) == 0 {
		return nil
	}
	hole := holes[h.pick(len(holes))]
	return &metadatav1.Event{Kind: &metadatav1.Event_ShardCreated{ShardCreated: &metadatav1.ShardCreated{
		Shard: h.shard(hole.Start, hole.End)}}}
}

// holes returns the ranges of keys of at most one byte that no shard holds, by
// looking at every key.
func (n *naive) holes() []*metadatav1.KeyRange {
	var holes []*metadatav1.KeyRange
	open := false
	for i := -1; i < 256; i++ {
		key := []byte{}
		if i >= 0 {
			key = []byte{byte(i)}
		}
		held := false
		for _, s := range n.shards {
			held = held || holds(s, key)
		}
		switch {
		case !held && !open:
			holes = append(holes, &metadatav1.KeyRange{Start: key})
		case held && open:
			holes[len(holes)-1].End = key
		}
		open = !held
	}
	return holes
}

func panicOf(f func()) (value any) {
	defer func() { value = recover() }()
	f()
	return nil
}

func wantFoldError(t *testing.T, name string, f func()) {
	t.Helper()
	if err, ok := panicOf(f).(*FoldError); !ok || err.Reason == "" {
		t.Errorf("%s: no FoldError", name)
	}
}
