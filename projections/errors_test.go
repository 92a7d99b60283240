package projections

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/projections/internal/fold"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"google.golang.org/protobuf/encoding/protowire"
)

func tableCreated(id uint64, namespace, name string) *metadatav1.Event {
	t := &metadatav1.TableSchema{TableId: id, Namespace: namespace, Name: name}
	return &metadatav1.Event{Kind: &metadatav1.Event_TableCreated{TableCreated: &metadatav1.TableCreated{Table: t}}}
}

func tableAltered(id uint64, namespace, name string) *metadatav1.Event {
	t := &metadatav1.TableSchema{TableId: id, Namespace: namespace, Name: name}
	return &metadatav1.Event{Kind: &metadatav1.Event_TableAltered{TableAltered: &metadatav1.TableAltered{Table: t}}}
}

func tableDropped(id uint64) *metadatav1.Event {
	return &metadatav1.Event{Kind: &metadatav1.Event_TableDropped{TableDropped: &metadatav1.TableDropped{
		Table: &metadatav1.TableSchema{TableId: id}}}}
}

func namespaceCreated(id uint64, name string) *metadatav1.Event {
	return &metadatav1.Event{Kind: &metadatav1.Event_NamespaceCreated{NamespaceCreated: &metadatav1.NamespaceCreated{
		Namespace: &metadatav1.Namespace{NamespaceId: id, Name: name}}}}
}

func namespaceDropped(name string) *metadatav1.Event {
	return &metadatav1.Event{Kind: &metadatav1.Event_NamespaceDropped{NamespaceDropped: &metadatav1.NamespaceDropped{
		Namespace: &metadatav1.Namespace{Name: name}}}}
}

func shardInfo(id uint64, start, end string) *metadatav1.ShardInfo {
	return &metadatav1.ShardInfo{
		ShardId: id, KeyRange: &metadatav1.KeyRange{Start: []byte(start), End: []byte(end)}, PrimaryNode: "n",
	}
}

func shardCreated(id uint64, start, end string) *metadatav1.Event {
	return &metadatav1.Event{Kind: &metadatav1.Event_ShardCreated{ShardCreated: &metadatav1.ShardCreated{Shard: shardInfo(id, start, end)}}}
}

func shardChanged(id uint64, start, end string) *metadatav1.Event {
	return &metadatav1.Event{Kind: &metadatav1.Event_ShardChanged{ShardChanged: &metadatav1.ShardChanged{Shard: shardInfo(id, start, end)}}}
}

func seal(revision uint64, messages ...*metadatav1.Event) *events.Change {
	var evs []events.Event
	for _, m := range messages {
		evs = append(evs, events.New(m))
	}
	return events.Seal(events.Header{Revision: revision, Time: epoch0, RequestID: "r"}, evs)
}

func TestSchemaFoldErrors(t *testing.T) {
	s := NewSchema(cluster, 1).Fold(seal(1,
		namespaceCreated(2, "a"), tableCreated(1, "a", "x"), tableCreated(2, "", "y"), tableCreated(3, "a", "z"), tableDropped(3)))
	hash := s.Hash()
	for name, m := range map[string]*metadatav1.Event{
		"event of topology":          shardCreated(1, "", ""),
		"namespace exists":           namespaceCreated(3, "a"),
		"namespace id given":         namespaceCreated(2, "b"),
		"public has tables":          namespaceDropped("public"),
		"no such namespace":          namespaceDropped("b"),
		"namespace has tables":       namespaceDropped("a"),
		"table exists":               tableCreated(4, "a", "x"),
		"table of public exists":     tableCreated(4, "public", "y"),
		"table id given":             tableCreated(3, "a", "w"),
		"table without namespace":    tableCreated(4, "b", "x"),
		"table with an endless name": tableCreated(4, "a", strings.Repeat("x", 1<<16)),
		"altered unknown":            tableAltered(3, "a", "z"),
		"altered to a taken name":    tableAltered(2, "a", "x"),
		"altered to no namespace":    tableAltered(2, "b", "x"),
		"dropped unknown":            tableDropped(3),
		"dropped what never lived":   tableDropped(77),
	} {
		wantFoldError(t, name, func() { s.Fold(seal(2, m)) })
	}
	if s.Hash() != hash {
		t.Error("a fold that failed changed the state")
	}
}

// Names are looked for in memory that is used again, unless they are too long for it.
func TestNamesOfAnyLengthAreFound(t *testing.T) {
	s := NewSchema(cluster, 1).Fold(seal(1, tableCreated(1, "", "x")))
	for length := 1; length < 400; length += 7 {
		namespace, name := strings.Repeat("a", length), strings.Repeat("z", length)
		id := uint64(length + 1)
		s = s.Fold(seal(s.Head.Revision+1, namespaceCreated(id, namespace), tableCreated(id, namespace, name)))
		for range 2 {
			if found, ok := s.Model.TableByName(namespace, name); !ok || found.ID() != id || found.Name() != name || found.Namespace() != namespace {
				t.Fatalf("of a table with names of %d bytes %v, %v is found", length, found, ok)
			}
			if _, ok := s.Model.TableByName(namespace, name+"z"); ok {
				t.Fatal("a table that is not there is found")
			}
			if found, ok := s.Model.TableByName("", "x"); !ok || found.ID() != 1 {
				t.Fatal("the table of public is not found any more")
			}
		}
	}
}

func TestTopologyFoldErrors(t *testing.T) {
	node := &metadatav1.NodeInfo{NodeId: "m"}
	s := NewTopology(cluster, 1).Fold(seal(1, shardCreated(1, "a", "b"), shardCreated(2, "b", "c")))
	for name, m := range map[string]*metadatav1.Event{
		"event of schema":   tableDropped(1),
		"shard id given":    shardCreated(1, "x", "y"),
		"changed unknown":   shardChanged(9, "x", "y"),
		"offline unknown":   {Kind: &metadatav1.Event_NodeWentOffline{NodeWentOffline: &metadatav1.NodeWentOffline{Node: node}}},
		"online unknown":    {Kind: &metadatav1.Event_NodeCameOnline{NodeCameOnline: &metadatav1.NodeCameOnline{Node: node}}},
		"drained unknown":   {Kind: &metadatav1.Event_NodeDrained{NodeDrained: &metadatav1.NodeDrained{Node: node}}},
		"removed unknown":   {Kind: &metadatav1.Event_NodeUnregistered{NodeUnregistered: &metadatav1.NodeUnregistered{Node: node}}},
		"deleted unknown":   {Kind: &metadatav1.Event_ShardDeleted{ShardDeleted: &metadatav1.ShardDeleted{Shard: shardInfo(9, "", "")}}},
		"split unknown":     {Kind: &metadatav1.Event_ShardSplit{ShardSplit: &metadatav1.ShardSplit{Parent: shardInfo(9, "", ""), Children: []*metadatav1.ShardInfo{shardInfo(10, "", "")}}}},
		"split to given id": {Kind: &metadatav1.Event_ShardSplit{ShardSplit: &metadatav1.ShardSplit{Parent: shardInfo(1, "", ""), Children: []*metadatav1.ShardInfo{shardInfo(2, "", "")}}}},
		"merged unknown":    {Kind: &metadatav1.Event_ShardsMerged{ShardsMerged: &metadatav1.ShardsMerged{Shard: shardInfo(10, "", ""), Parents: []*metadatav1.ShardInfo{shardInfo(1, "", ""), shardInfo(9, "", "")}}}},
	} {
		wantFoldError(t, name, func() { s.Fold(seal(2, m)) })
	}
}

func TestFoldErrorsOfTheHead(t *testing.T) {
	s := NewSchema(cluster, 1).Fold(seal(1, tableCreated(1, "", "x")))
	early := events.Seal(events.Header{Revision: 2, Time: epoch0.Add(-time.Nanosecond)}, []events.Event{events.New(tableDropped(1))})
	for name, c := range map[string]*events.Change{
		"repeated":     seal(1, tableDropped(1)),
		"gap":          seal(3, tableDropped(1)),
		"other stream": seal(2, shardCreated(1, "", "")),
		"time":         early,
	} {
		wantFoldError(t, name, func() { s.Fold(c) })
		wantFoldError(t, name, func() { s.FoldAll([]*events.Change{c}) })
	}
}

// In the middle of a change ranges may overlap, and shards may begin at the same
// key.
func TestShardsMaySwapWithinAChange(t *testing.T) {
	s := NewTopology(cluster, 1).Fold(seal(1, shardCreated(1, "a", "b"), shardCreated(2, "b", "c")))
	draft := s.Model.Draft()
	draft.Apply(events.New(shardChanged(1, "b", "c")), 2)
	first, _ := draft.Shard(1)
	second, _ := draft.Shard(2)
	if other, ok := draft.Overlap(first); !ok || other != second {
		t.Error("the overlap with the shard behind is not seen")
	}
	if other, ok := draft.Overlap(second); !ok || other != first {
		t.Error("the overlap with the shard before is not seen")
	}
	s = s.Fold(seal(2, shardChanged(1, "b", "c"), shardChanged(2, "a", "b")))
	for key, want := range map[string]uint64{"a": 2, "b": 1} {
		got, ok := s.Model.ShardAt([]byte(key))
		if !ok || got.ID() != want {
			t.Errorf("key %s: %v", key, got)
			continue
		}
		if _, overlaps := s.Model.Overlap(got); overlaps {
			t.Errorf("shard %d overlaps after the swap", want)
		}
	}
	if s.Model.ShardCountOn("n") != 2 {
		t.Errorf("%d shards on n", s.Model.ShardCountOn("n"))
	}
}

func TestImportRefusesOtherCheckpoints(t *testing.T) {
	exported := records(t, NewSchema(cluster, 1).Fold(seal(1, tableCreated(1, "", "x"))))
	varint := func(num protowire.Number, v uint64) []byte {
		head := slices.Clone(exported[0])
		return protowire.AppendVarint(protowire.AppendTag(head, num, protowire.VarintType), v)
	}
	for name, into := range map[string]*Schema{
		"other cluster": NewSchema(events.ClusterID{9}, 1),
		"other epoch":   NewSchema(cluster, 2),
	} {
		if _, err := into.Import(oneBuffer(exported)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := NewTopology(cluster, 1).Import(oneBuffer(exported)); err == nil {
		t.Error("other stream: no error")
	}
	for name, head := range map[string][]byte{"format": varint(1, 2), "level": varint(8, 2)} {
		_, err := NewSchema(cluster, 1).Import(oneBuffer([][]byte{head}))
		if _, ok := errors.AsType[*events.UnsupportedError](err); !ok {
			t.Errorf("newer %s: %v", name, err)
		}
	}
	stop := errors.New("stop")
	_, err := NewSchema(cluster, 1).Import(func(yield func([]byte, error) bool) { yield(nil, stop) })
	if !errors.Is(err, stop) {
		t.Errorf("an error of the reader: %v", err)
	}
	if _, err := NewSchema(cluster, 1).Import(oneBuffer(nil)); err == nil {
		t.Error("nothing was taken for a checkpoint")
	}
}

// importAndUse reads everything of a state that Verify finds nothing in.
func importAndUse[D Domain[D]](blank *State[D], records [][]byte) {
	if s, err := blank.Import(oneBuffer(records)); err == nil && s.Verify() == nil {
		use(s)
	}
}

// TestVerify puts objects into a checkpoint whose outside is as it should be and whose
// inside does not decode. Import, which every restart goes through, does not look there.
func TestVerify(t *testing.T) {
	schema, topology := NewSchema(cluster, 1).FoldAll(schemaHistory(2, 40)), NewTopology(cluster, 1).FoldAll(topologyHistory(2, 40))
	if err := errors.Join(schema.Verify(), topology.Verify()); err != nil {
		t.Fatalf("states that were folded: %v", err)
	}
	const comment, columns, capacity, mirror = 3, 4, 7, 4
	verifies(t, NewSchema(cluster, 1), records(t, schema), map[protowire.Number]protowire.Number{
		fold.RecordNamespace: comment, fold.RecordTable: columns,
	})
	verifies(t, NewTopology(cluster, 1), records(t, topology), map[protowire.Number]protowire.Number{
		fold.RecordNode: capacity, fold.RecordShard: mirror,
	})
}

// Remembered changes are looked into by Import itself.
func TestImportRefusesRememberedChanges(t *testing.T) {
	schema, topology := NewSchema(cluster, 1).FoldAll(schemaHistory(2, 40)), NewTopology(cluster, 1).FoldAll(topologyHistory(2, 40))
	const changeTime = 2
	lying := spoil(t, records(t, schema), fold.RecordRequest, changeTime)
	if _, err := NewSchema(cluster, 1).Import(oneBuffer(lying)); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("a remembered change that does not decode: %v", err)
	}
	other := NewSchema(cluster, 1)
	other.Head, other.Requests = schema.Head, topology.Requests
	if _, err := NewSchema(cluster, 1).Import(oneBuffer(records(t, other))); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("changes of another stream are remembered: %v", err)
	}
}

// spoil damages, in the first record of a kind, a field of its object.
func spoil(t *testing.T, exported [][]byte, kind, field protowire.Number) [][]byte {
	t.Helper()
	at := slices.IndexFunc(exported, func(r []byte) bool {
		num, _, _, err := fold.SplitRecord(r)
		return err == nil && num == kind
	})
	if at < 1 {
		t.Fatalf("no record %d in the checkpoint", kind)
	}
	_, _, value, _ := fold.SplitRecord(exported[at])
	lying := slices.Clone(exported)
	value = protowire.AppendTag(slices.Clone(value), field, protowire.BytesType)
	lying[at] = fold.AppendRecord(nil, kind, protowire.AppendBytes(value, []byte{0xff}))
	return lying
}

// verifies damages, in one record of each kind, a field of its object.
func verifies[D Domain[D]](t *testing.T, blank *State[D], exported [][]byte, fields map[protowire.Number]protowire.Number) {
	t.Helper()
	for kind, field := range fields {
		s, err := blank.Import(oneBuffer(spoil(t, exported, kind, field)))
		if err != nil {
			t.Fatalf("record %d: Import looks inside: %v", kind, err)
		}
		if err := s.Verify(); err == nil || !strings.Contains(err.Error(), "damaged") {
			t.Errorf("record %d that does not decode: %v", kind, err)
		}
	}
}

// Damage ends in an error or, where it cannot be seen (a checkpoint has
// checksums below), in a state; never in a panic.
func TestImportOfDamagedCheckpointsNeverPanics(t *testing.T) {
	schema := records(t, NewSchema(cluster, 1).FoldAll(schemaHistory(2, 3)))
	topology := records(t, NewTopology(cluster, 1).FoldAll(topologyHistory(2, 8)))
	for i := range schema {
		damage(schema, i, func(r [][]byte) { importAndUse(NewSchema(cluster, 1), r) })
	}
	for i := range topology {
		damage(topology, i, func(r [][]byte) { importAndUse(NewTopology(cluster, 1), r) })
	}
	for _, missing := range []int{0, 1} {
		if _, err := NewSchema(cluster, 1).Import(oneBuffer(slices.Delete(slices.Clone(schema), missing, missing+1))); err == nil {
			t.Errorf("a schema checkpoint without record %d was taken", missing)
		}
	}
	twice := slices.Insert(slices.Clone(schema), 1, schema[1])
	if _, err := NewSchema(cluster, 1).Import(oneBuffer(twice)); err == nil {
		t.Error("a record that comes twice was taken")
	}
	last := len(topology) - 1
	for isRequest(topology[last]) {
		last--
	}
	if _, err := NewTopology(cluster, 1).Import(oneBuffer(slices.Delete(slices.Clone(topology), last, last+1))); err == nil {
		t.Error("a topology checkpoint without the last node epoch was taken")
	}
}

// Tables in a checkpoint are there once and have a namespace, in whatever order they
// come; their ids are used, whether it says so or not.
func TestImportChecksTables(t *testing.T) {
	s := NewSchema(cluster, 1)
	exported := records(t, s)
	last := len(exported) - 1 // used ids of namespaces
	table := func(namespace, name string, id uint64) []byte {
		return fold.AppendRecord(nil, fold.RecordTable, fold.Marshal(&metadatav1.TableSchema{TableId: id, Namespace: namespace, Name: name}))
	}
	for name, c := range map[string]struct {
		good   bool
		tables [][]byte
	}{
		"in order":        {true, [][]byte{table("", "a", 7), table("", "b", 2), table("", "c", 3)}},
		"in another":      {true, [][]byte{table("", "c", 3), table("", "a", 7), table("", "b", 2)}},
		"no namespace":    {false, [][]byte{table("", "a", 2), table("other", "a", 3)}},
		"no namespace, 1": {false, [][]byte{table("other", "a", 3), table("", "a", 2)}},
		"same name":       {false, [][]byte{table("", "a", 2), table("", "a", 3)}},
		"same id":         {false, [][]byte{table("", "a", 2), table("", "b", 2)}},
	} {
		all := slices.Concat(exported[:last], c.tables, exported[last:])
		got, err := NewSchema(cluster, 1).Import(oneBuffer(all))
		switch {
		case !c.good && (err == nil || !strings.Contains(err.Error(), "damaged")):
			t.Errorf("%s: %v", name, err)
		case c.good && err != nil:
			t.Errorf("%s: %v", name, err)
		case c.good && (got.Model.TablesIn("") != 3 || got.Model.FreeTableID() != 1 || got.Model.UsedTableID(6) ||
			!got.Model.UsedTableID(2) || !got.Model.UsedTableID(3) || !got.Model.UsedTableID(7)):
			t.Errorf("%s: %d tables, the next has id %d", name, got.Model.TablesIn(""), got.Model.FreeTableID())
		case c.good:
			if tb, ok := got.Model.TableByName("public", "a"); !ok || tb.ID() != 7 {
				t.Errorf("%s: table a is %v", name, tb)
			}
		}
	}
}

func damage(records [][]byte, i int, load func([][]byte)) {
	changed := slices.Clone(records)
	for at := range records[i] {
		for bit := range 8 {
			changed[i] = bytes.Clone(records[i])
			changed[i][at] ^= 1 << bit
			load(changed)
		}
		changed[i] = records[i][:at]
		load(changed)
	}
}
