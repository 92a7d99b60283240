package events

import (
	"strings"
	"testing"
	"time"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

var streams = []metadatav1.Stream{
	metadatav1.Stream_STREAM_SCHEMA, metadatav1.Stream_STREAM_TOPOLOGY, metadatav1.Stream_STREAM_SERVICE,
}

var noon = time.Date(2026, 3, 4, 12, 0, 0, 5, time.UTC)

func sampleTable() *metadatav1.TableSchema {
	return &metadatav1.TableSchema{
		TableId: 7, Namespace: "shop", Name: "orders", NamespaceId: 2,
		Columns: []*metadatav1.ColumnSchema{
			{ColumnId: 1, Name: "id", DataType: &metadatav1.DataType{Kind: metadatav1.TypeKind_TYPE_KIND_INT64}},
			{
				ColumnId: 3, Name: "total", Nullable: true, Default: proto.String("0"), Comment: "net",
				DataType:      &metadatav1.DataType{Kind: metadatav1.TypeKind_TYPE_KIND_DECIMAL, Precision: 12, Scale: 2},
				ToastStrategy: metadatav1.ToastStrategy_TOAST_STRATEGY_MAIN,
			},
		},
		PrimaryKey: []string{"id"}, Comment: "all orders", Version: 4,
		Properties:      map[string]string{"owner": "ann", "a": "1", "zone": "eu"},
		CreatedRevision: 11, UpdatedRevision: 15, RetiredColumnIds: []uint32{2},
		CreateTime: timestamppb.New(noon), UpdateTime: timestamppb.New(noon.Add(time.Hour)),
	}
}

func sampleNode() *metadatav1.NodeInfo {
	return &metadatav1.NodeInfo{
		NodeId: "s1", Addr: "10.0.0.1:7000", NodeType: metadatav1.NodeType_NODE_TYPE_STORAGE,
		Status: metadatav1.NodeStatus_NODE_STATUS_ONLINE, Epoch: 9, Labels: map[string]string{"zone": "a"},
		Capacity:    &metadatav1.NodeCapacity{CpuMillis: 8000, MemoryBytes: 1 << 34, DiskBytes: 1 << 40},
		Incarnation: "run-1", RegisteredRevision: 3, UpdatedRevision: 5, StatusTime: timestamppb.New(noon),
	}
}

func sampleShard(id uint64, start, end string, nodes ...string) *metadatav1.ShardInfo {
	s := &metadatav1.ShardInfo{
		ShardId: id, KeyRange: &metadatav1.KeyRange{Start: []byte(start), End: []byte(end)},
		PrimaryNode: nodes[0], Epoch: id + 1, Version: 2, CreatedRevision: 6, UpdatedRevision: 8,
	}
	if len(nodes) > 1 {
		s.MirrorNode = nodes[1]
	}
	if len(nodes) > 2 {
		s.WitnessNode = nodes[2]
	}
	return s
}

func sampleConsumer() *metadatav1.Consumer {
	return &metadatav1.Consumer{
		Name: "billing", Description: "invoices", Epoch: 3, Owner: "host-1/77", CreatedRevision: 4, UpdatedRevision: 9,
		Filter: &metadatav1.Filter{
			Streams:    []metadatav1.Stream{metadatav1.Stream_STREAM_SCHEMA, metadatav1.Stream_STREAM_TOPOLOGY},
			Kinds:      []metadatav1.ObjectKind{metadatav1.ObjectKind_OBJECT_KIND_TABLE, metadatav1.ObjectKind_OBJECT_KIND_SHARD},
			Namespaces: []string{"shop"}, Tables: []string{"orders"}, Nodes: []string{"s1"}, Shards: []uint64{1, 2},
		},
		Position: &metadatav1.Position{
			ClusterId: ClusterID{1, 2, 3}.String(), RecoveryEpoch: 1, SchemaRevision: 41, TopologyRevision: 300,
		},
		AcknowledgedTime: timestamppb.New(noon),
	}
}

// digits returns so many bytes that are easy to find again.
func digits(n int) []byte { return []byte(strings.Repeat("0123456789", n/10+1))[:n] }

// samples returns one event of each kind, in order of their field numbers.
func samples() []*metadatav1.Event {
	ns := &metadatav1.Namespace{
		NamespaceId: 2, Name: "shop", Comment: "c", Version: 1, CreatedRevision: 10,
		Properties: map[string]string{"k": "v", "b": ""}, CreateTime: timestamppb.New(noon),
	}
	whole, left, right := sampleShard(1, "", "", "s1", "s2", "s3"), sampleShard(2, "", "m", "s1"), sampleShard(3, "m", "", "s1")
	return []*metadatav1.Event{
		{Kind: &metadatav1.Event_NamespaceCreated{NamespaceCreated: &metadatav1.NamespaceCreated{Namespace: ns}}},
		{Kind: &metadatav1.Event_NamespaceDropped{NamespaceDropped: &metadatav1.NamespaceDropped{Namespace: ns}}},
		{Kind: &metadatav1.Event_TableCreated{TableCreated: &metadatav1.TableCreated{Table: sampleTable()}}, Command: 17},
		{Kind: &metadatav1.Event_TableAltered{TableAltered: &metadatav1.TableAltered{
			Table: sampleTable(), PreviousNamespace: "public", PreviousName: "sales"}}},
		{Kind: &metadatav1.Event_TableDropped{TableDropped: &metadatav1.TableDropped{Table: sampleTable()}}},
		{Kind: &metadatav1.Event_NodeRegistered{NodeRegistered: &metadatav1.NodeRegistered{Node: sampleNode(), PreviousEpoch: 4}}},
		{Kind: &metadatav1.Event_NodeUnregistered{NodeUnregistered: &metadatav1.NodeUnregistered{Node: sampleNode()}}},
		{Kind: &metadatav1.Event_NodeCameOnline{NodeCameOnline: &metadatav1.NodeCameOnline{Node: sampleNode()}}},
		{Kind: &metadatav1.Event_NodeWentOffline{NodeWentOffline: &metadatav1.NodeWentOffline{Node: sampleNode()}}},
		{Kind: &metadatav1.Event_NodeDrained{NodeDrained: &metadatav1.NodeDrained{Node: sampleNode()}}},
		{Kind: &metadatav1.Event_NodeDrainCancelled{NodeDrainCancelled: &metadatav1.NodeDrainCancelled{Node: sampleNode()}}},
		{Kind: &metadatav1.Event_ShardCreated{ShardCreated: &metadatav1.ShardCreated{Shard: whole}}},
		{Kind: &metadatav1.Event_ShardChanged{ShardChanged: &metadatav1.ShardChanged{
			Shard: sampleShard(2, "a", "m", "s4"), Previous: left}}},
		{Kind: &metadatav1.Event_ShardMoved{ShardMoved: &metadatav1.ShardMoved{
			Shard: sampleShard(2, "", "m", "s5", "s1"), Previous: left}}},
		{Kind: &metadatav1.Event_ShardSplit{ShardSplit: &metadatav1.ShardSplit{
			Children: []*metadatav1.ShardInfo{left, right}, Parent: whole}}},
		{Kind: &metadatav1.Event_ShardsMerged{ShardsMerged: &metadatav1.ShardsMerged{
			Shard: sampleShard(4, "", "", "s1"), Parents: []*metadatav1.ShardInfo{left, right}}}},
		{Kind: &metadatav1.Event_ShardDeleted{ShardDeleted: &metadatav1.ShardDeleted{Shard: right}}},
		{Kind: &metadatav1.Event_ConsumerCreated{ConsumerCreated: &metadatav1.ConsumerCreated{Consumer: sampleConsumer()}}},
		{Kind: &metadatav1.Event_ConsumerOpened{ConsumerOpened: &metadatav1.ConsumerOpened{Consumer: sampleConsumer()}}},
		{Kind: &metadatav1.Event_ConsumerAcknowledged{ConsumerAcknowledged: &metadatav1.ConsumerAcknowledged{Consumer: sampleConsumer()}}},
		{Kind: &metadatav1.Event_ConsumerDeleted{ConsumerDeleted: &metadatav1.ConsumerDeleted{Consumer: sampleConsumer()}}},
		{Kind: &metadatav1.Event_HeadSigned{HeadSigned: &metadatav1.HeadSigned{Head: &metadatav1.SignedHead{
			Stream: metadatav1.Stream_STREAM_SCHEMA, Revision: 41, Digest: digits(32), Time: timestamppb.New(noon),
			KeyId: digits(8), Signature: digits(64),
		}}}},
		{Kind: &metadatav1.Event_HistoryTrimmed{HistoryTrimmed: &metadatav1.HistoryTrimmed{
			Floor: &metadatav1.HistoryFloor{
				Stream: metadatav1.Stream_STREAM_TOPOLOGY, OldestRevision: 200, PreviousDigest: digits(32), OldestTime: timestamppb.New(noon),
			},
			PassedConsumers: []string{"audit", "billing"},
		}}},
	}
}

// sampleChange seals the samples of one stream.
func sampleChange(s metadatav1.Stream) *Change {
	var evs []Event
	for _, m := range samples() {
		if StreamOf(m) == s {
			evs = append(evs, New(m))
		}
	}
	return Seal(Header{
		Revision: 41, Time: noon, Actor: "ann", RequestID: "req-1", CommandHash: []byte("0123456789abcdef0123456789abcdef"),
	}, evs)
}

func sampleBatch() *Batch {
	c := sampleChange(metadatav1.Stream_STREAM_SCHEMA)
	next := Seal(Header{Revision: 42, Time: noon.Add(time.Second)}, []Event{New(samples()[0])})
	return &Batch{
		Stream: metadatav1.Stream_STREAM_SCHEMA, Cluster: ClusterID{1, 2, 3}, RecoveryEpoch: 1, Term: 5,
		Previous: Digest{4, 5, 6}, Changes: []*Change{c, next},
	}
}

func TestSamplesCoverEveryKind(t *testing.T) {
	fields := (*metadatav1.Event)(nil).ProtoReflect().Descriptor().Oneofs().ByName("kind").Fields()
	all := samples()
	if len(all) != fields.Len() {
		t.Fatalf("%d samples for %d kinds of events", len(all), fields.Len())
	}
	for i, m := range all {
		f := m.ProtoReflect().WhichOneof(fields.Get(0).ContainingOneof())
		if f.Number() != fields.Get(i).Number() {
			t.Errorf("sample %d is of kind %v, want %v", i, f.Name(), fields.Get(i).Name())
		}
		if StreamOf(m) == metadatav1.Stream_STREAM_UNSPECIFIED {
			t.Errorf("%v belongs to no stream", f.Name())
		}
		if len(Subjects(m)) == 0 {
			t.Errorf("%v has no subject", f.Name())
		}
	}
}
