package projections

import (
	"bytes"
	"cmp"
	"iter"
	"maps"
	"slices"
	"testing"

	"github.com/heliosdb/metadata/projections/schema"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"
)

// fataler is a test, rapid's or another.
type fataler interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

// record is what all records offer.
type record[M proto.Message] interface {
	Bytes() []byte
	Message() M
}

func equal[M proto.Message, R record[M]](t fataler, what string, got iter.Seq[R], want []M) {
	t.Helper()
	records := slices.Collect(got)
	if len(records) != len(want) {
		t.Fatalf("%s: %d records, want %d", what, len(records), len(want))
	}
	for i, r := range records {
		encoded, err := proto.MarshalOptions{Deterministic: true}.Marshal(want[i])
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(r.Bytes(), encoded) || !proto.Equal(r.Message(), want[i]) {
			t.Fatalf("%s: record %d is %v, want %v", what, i, r.Message(), want[i])
		}
	}
}

func TestSchemaAgainstNaive(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h, s := drawnHistory(t), NewSchema(cluster, 0)
		for range rapid.IntRange(1, 40).Draw(t, "changes") {
			s = s.Fold(h.schema())
		}
		compareSchema(t, s.Model, h.now)
	})
}

func compareSchema(t fataler, m *schema.Model, want *naive) {
	var spaces []*metadatav1.Namespace
	for _, name := range slices.Sorted(maps.Keys(want.namespaces)) {
		spaces = append(spaces, want.namespaces[name])
	}
	equal(t, "namespaces", m.Namespaces(""), spaces)
	slices.SortFunc(spaces, func(a, b *metadatav1.Namespace) int { return cmp.Compare(a.NamespaceId, b.NamespaceId) })
	equal(t, "namespaces by id", m.NamespacesByID(0), spaces)
	equal(t, "namespaces from the last id", m.NamespacesByID(spaces[len(spaces)-1].NamespaceId), spaces[len(spaces)-1:])
	equal(t, "tables by name", m.TablesByName("", ""), want.sortedTables())
	var byID []*metadatav1.TableSchema
	for _, id := range slices.Sorted(maps.Keys(want.tables)) {
		byID = append(byID, want.tables[id])
	}
	equal(t, "tables by id", m.TablesByID(0), byID)
	if len(byID) > 0 {
		equal(t, "tables from the last id", m.TablesByID(byID[len(byID)-1].TableId), byID[len(byID)-1:])
		sorted := want.sortedTables()
		half := sorted[len(sorted)/2:]
		equal(t, "tables from a name", m.TablesByName(half[0].Namespace, half[0].Name), half)
	}
	if m.TableCount() != len(want.tables) || m.NamespaceCount() != len(want.namespaces) {
		t.Fatalf("%d tables, %d namespaces", m.TableCount(), m.NamespaceCount())
	}
	size := 0
	for _, table := range want.tables {
		size += proto.Size(table)
	}
	if m.Size() != size {
		t.Fatalf("the size is %d, that of the tables %d", m.Size(), size)
	}
	inside := map[string]int{}
	for _, table := range want.tables {
		inside[table.Namespace]++
		got, ok := m.TableByName(table.Namespace, table.Name)
		same, _ := m.Table(table.TableId)
		if !ok || got != same || got.ID() != table.TableId || got.Version() != table.Version ||
			got.Namespace() != table.Namespace || got.Name() != table.Name {
			t.Fatalf("table %v is found as %v", table, got)
		}
	}
	for name, ns := range want.namespaces {
		got, ok := m.Namespace(name)
		same, _ := m.NamespaceByID(ns.NamespaceId)
		if !ok || got != same || got.ID() != ns.NamespaceId || got.Version() != ns.Version || m.TablesIn(name) != inside[name] {
			t.Fatalf("namespace %v with %d tables is found as %v with %d", ns, inside[name], got, m.TablesIn(name))
		}
	}
	for id := range uint64(70) {
		if m.UsedTableID(id) != want.usedTables[id] || m.UsedNamespaceID(id) != want.usedSpaces[id] {
			t.Fatalf("id %d: used by a table: %v, by a namespace: %v", id, m.UsedTableID(id), m.UsedNamespaceID(id))
		}
	}
	if m.FreeTableID() != free(want.usedTables) || m.FreeNamespaceID() != free(want.usedSpaces) {
		t.Fatalf("free ids %d and %d", m.FreeTableID(), m.FreeNamespaceID())
	}
}

func TestTopologyAgainstNaive(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h, s := drawnHistory(t), NewTopology(cluster, 0)
		for range rapid.IntRange(1, 40).Draw(t, "changes") {
			s = s.Fold(h.topology())
		}
		compareNodes(t, s.Model, h.now)
		compareShards(t, s.Model, h)
	})
}

// Histories drawn evenly go further than those that rapid draws, which prefers
// small numbers.
func TestLongHistoriesAgainstNaive(t *testing.T) {
	most, mostShards := 0, 0
	for seed := range uint64(25) {
		h, s := randomHistory(seed), NewSchema(cluster, 0)
		for range 150 {
			s = s.Fold(h.schema())
		}
		compareSchema(t, s.Model, h.now)
		most = max(most, s.Model.TableCount())
	}
	for seed := range uint64(25) {
		h, s := randomHistory(seed), NewTopology(cluster, 0)
		for i := range 150 {
			if s = s.Fold(h.topology()); i%10 == 0 {
				compareNodes(t, s.Model, h.now)
				compareShards(t, s.Model, h)
			}
		}
		mostShards = max(mostShards, s.Model.ShardCount())
	}
	if most < 40 || mostShards < 10 {
		t.Errorf("at most %d tables and %d shards: the histories are too tame", most, mostShards)
	}
}

func compareNodes(t fataler, m *TopologyModel, want *naive) {
	var nodes []*metadatav1.NodeInfo
	counts := map[metadatav1.NodeStatus]int{}
	for _, id := range slices.Sorted(maps.Keys(want.nodes)) {
		n := want.nodes[id]
		nodes = append(nodes, n)
		counts[n.Status]++
		got, ok := m.Node(id)
		if !ok || got.ID() != id || got.Epoch() != n.Epoch || got.Status() != n.Status || got.Type() != n.NodeType ||
			got.Incarnation() != n.Incarnation || got.Draining() != n.Draining {
			t.Fatalf("node %v is found as %v", n, got)
		}
		alive, ok := m.Liveness.Node(id)
		if !ok || alive.Epoch != n.Epoch || alive.Status != n.Status || !alive.Since.Equal(n.StatusTime.AsTime()) {
			t.Fatalf("liveness of %v is %+v", n, alive)
		}
	}
	equal(t, "nodes", m.Nodes(""), nodes)
	if m.NodeCount() != len(nodes) || m.Liveness.Len() != len(nodes) || m.LastNodeEpoch() != want.epoch {
		t.Fatalf("%d nodes, liveness of %d, last epoch %d", m.NodeCount(), m.Liveness.Len(), m.LastNodeEpoch())
	}
	for s := range metadatav1.NodeStatus_name {
		if status := metadatav1.NodeStatus(s); m.Liveness.Count(status) != counts[status] {
			t.Fatalf("%d nodes are %v, want %d", m.Liveness.Count(status), status, counts[status])
		}
	}
}

func compareShards(t fataler, m *TopologyModel, h *history) {
	want := h.now
	sorted := want.sortedShards()
	equal(t, "shards", m.Shards(nil), sorted)
	byID := slices.Clone(sorted)
	slices.SortFunc(byID, func(a, b *metadatav1.ShardInfo) int { return cmp.Compare(a.ShardId, b.ShardId) })
	equal(t, "shards by id", m.ShardsByID(0), byID)
	if len(byID) > 0 {
		equal(t, "shards from the last id", m.ShardsByID(byID[len(byID)-1].ShardId), byID[len(byID)-1:])
	}
	if m.ShardCount() != len(sorted) || m.FreeShardID() != free(want.usedShards) {
		t.Fatalf("%d shards, free id %d", m.ShardCount(), m.FreeShardID())
	}
	for _, s := range sorted {
		got, ok := m.Shard(s.ShardId)
		if !ok || got.ID() != s.ShardId || got.Epoch() != s.Epoch || got.Version() != s.Version ||
			got.Primary() != s.PrimaryNode || got.Mirror() != s.MirrorNode || got.Witness() != s.WitnessNode ||
			!bytes.Equal(got.Start(), s.KeyRange.Start) || !bytes.Equal(got.End(), s.KeyRange.End) || !m.UsedShardID(s.ShardId) {
			t.Fatalf("shard %v is found as %v", s, got.Message())
		}
		if other, overlaps := m.Overlap(got); overlaps {
			t.Fatalf("shard %v overlaps %v", s, other.Message())
		}
	}
	for i := range 256 {
		compareKey(t, m, sorted, []byte{byte(i)})
	}
	compareKey(t, m, sorted, nil)
	compareKey(t, m, sorted, []byte("zz"))
	for id := range want.nodes {
		on := slices.DeleteFunc(slices.Clone(sorted), func(s *metadatav1.ShardInfo) bool { return !names(s, id) })
		equal(t, "shards on "+id, m.ShardsOn(id, nil), on)
		if m.ShardCountOn(id) != len(on) {
			t.Fatalf("%d shards on %s, want %d", m.ShardCountOn(id), id, len(on))
		}
		if len(on) > 1 {
			equal(t, "later shards on "+id, m.ShardsOn(id, on[1].KeyRange.Start), on[1:])
		}
	}
	compareRange(t, m, h, sorted)
	holes, all := m.Holes(1000), want.holes()
	if len(holes) != len(all) {
		t.Fatalf("holes %v, want %v", holes, all)
	}
	for i := range holes {
		if !proto.Equal(holes[i], all[i]) {
			t.Fatalf("holes %v, want %v", holes, all)
		}
	}
	if len(m.Holes(1)) != min(1, len(all)) {
		t.Fatal("the limit of holes is not kept")
	}
}

func compareKey(t fataler, m *TopologyModel, sorted []*metadatav1.ShardInfo, key []byte) {
	got, ok := m.ShardAt(key)
	at := slices.IndexFunc(sorted, func(s *metadatav1.ShardInfo) bool { return holds(s, key) })
	if ok != (at >= 0) || ok && got.ID() != sorted[at].ShardId {
		t.Fatalf("key %x is in %v, want shard %d of %v", key, got, at, sorted)
	}
}

func compareRange(t fataler, m *TopologyModel, h *history, sorted []*metadatav1.ShardInfo) {
	start := []byte{byte(h.pick(256))}
	end := []byte{start[0] + byte(h.pick(256-int(start[0])))}
	if bytes.Equal(start, end) {
		end = nil
	}
	within := slices.DeleteFunc(slices.Clone(sorted), func(s *metadatav1.ShardInfo) bool {
		before := len(s.KeyRange.End) > 0 && bytes.Compare(s.KeyRange.End, start) <= 0
		behind := len(end) > 0 && bytes.Compare(s.KeyRange.Start, end) >= 0
		return before || behind
	})
	equal(t, "shards within a range", m.ShardsWithin(start, end), within)
}
