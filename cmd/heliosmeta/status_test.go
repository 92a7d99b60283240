package main

import (
	"bytes"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/heliosdb/metadata/cmd/heliosmeta/internal/output"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

func TestStatusSaysWhatIsWrongFirst(t *testing.T) {
	stream := func(s metadatav1.Stream, role metadatav1.Role, lag uint64) *metadatav1.StreamStatus {
		return &metadatav1.StreamStatus{Stream: s, Role: role, Term: 3, Revision: 12, Lag: lag}
	}
	status := &metadatav1.StatusResponse{
		ClusterName: "prod", ClusterId: "ab", MemberId: 1, Position: &metadatav1.Position{SchemaRevision: 12, TopologyRevision: 4},
		Members: []*metadatav1.MemberStatus{
			{MemberId: 1, Reachable: true, ApiAddress: "a:1", RaftAddress: "r:1", StoreBytes: 1536, FreeBytes: 3 << 40, MemoryBytes: 900,
				Uptime: durationpb.New(90 * time.Second), Version: "v1", Streams: []*metadatav1.StreamStatus{
					stream(metadatav1.Stream_STREAM_SCHEMA, metadatav1.Role_ROLE_LEADER, 0),
					stream(metadatav1.Stream_STREAM_TOPOLOGY, metadatav1.Role_ROLE_FOLLOWER, 7),
				}},
			{MemberId: 2, RaftAddress: "r:2"},
			{MemberId: 3, Reachable: true, ApiAddress: "a:3", RaftAddress: "r:3", Version: "v1"},
			{MemberId: 4, Reachable: true, ApiAddress: "a:4", RaftAddress: "r:4", Version: "v1", Quarantine: &metadatav1.Quarantine{Reason: "damaged"}},
		},
		Alarms: []*metadatav1.Alarm{
			{Severity: metadatav1.Severity_SEVERITY_WARNING, MemberId: 2, Message: "member 2 does not answer", Advice: "start it"},
		},
		Consumers: []*metadatav1.ConsumerStatus{
			{Name: "audit", Lag: &metadatav1.ConsumerLag{SchemaChanges: 3, TopologyChanges: 1}, AcknowledgedTime: timestamppb.New(time.Unix(1e9, 0))},
			{Name: "search", Lag: &metadatav1.ConsumerLag{SchemaChanges: 9, Trimmed: true}},
		},
	}
	var b bytes.Buffer
	if err := (output.Printer{To: &b, Format: output.Table}).Rows(func(r *output.Rows) { statusRows(r, status) }); err != nil {
		t.Fatal(err)
	}
	want := `cluster prod (id ab), position 12:4, as member 1 sees it

WARNING: member 2 does not answer
  next: start it
  try:  heliosmeta status --endpoints a:3  (how another member sees it)

MEMBER  API  RAFT  SCHEMA         TOPOLOGY         LAG  STORE    FREE     MEMORY  UP     VERSION
1       a:1  r:1   leader t3 r12  follower t3 r12  7    1.5 KiB  3.0 TiB  900 B   1m30s  v1
2       -    r:2   no answer      no answer        -    -        -        -       -      -
3       a:3  r:3   starting       starting         0    0 B      0 B      0 B     0s     v1
4       a:4  r:4   quarantine     quarantine       0    0 B      0 B      0 B     0s     v1

CONSUMER  LAG                     ACKNOWLEDGED
audit     3:1                     2001-09-09T01:46:40Z
search    9:0 (some are trimmed)  -
`
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", &b, want)
	}
}

func TestEachFrameHasItsLines(t *testing.T) {
	shard := &metadatav1.ShardInfo{ShardId: 2, KeyRange: &metadatav1.KeyRange{Start: []byte{0x20}}, PrimaryNode: "a", MirrorNode: "b", Epoch: 3, Version: 1}
	node := &metadatav1.NodeInfo{NodeId: "a", Addr: "a:1", NodeType: metadatav1.NodeType_NODE_TYPE_STORAGE, Status: metadatav1.NodeStatus_NODE_STATUS_OFFLINE, Epoch: 5}
	for _, c := range []struct {
		frame *metadatav1.SubscribeResponse
		want  []string
	}{
		{&metadatav1.SubscribeResponse{Frame: &metadatav1.SubscribeResponse_Snapshot{Snapshot: &metadatav1.SnapshotChunk{
			Stream: metadatav1.Stream_STREAM_TOPOLOGY, Revision: 9, Nodes: []*metadatav1.NodeInfo{node}, Shards: []*metadatav1.ShardInfo{shard},
		}}}, []string{
			"topology 9 snapshot node a (STORAGE at a:1, OFFLINE, epoch 5)",
			`topology 9 snapshot shard 2 [0x20, end) on a, mirror b (epoch 3, version 1)`,
		}},
		{&metadatav1.SubscribeResponse{Frame: &metadatav1.SubscribeResponse_Changes{Changes: &metadatav1.Changes{
			Stream: metadatav1.Stream_STREAM_TOPOLOGY, Changes: []*metadatav1.Change{{Revision: 10, Actor: "me", Events: []*metadatav1.Event{
				{Kind: &metadatav1.Event_NodeWentOffline{NodeWentOffline: &metadatav1.NodeWentOffline{Node: node}}},
				{Kind: &metadatav1.Event_ShardsMerged{ShardsMerged: &metadatav1.ShardsMerged{Shard: shard, Parents: []*metadatav1.ShardInfo{shard, shard}}}},
				{},
			}}},
		}}}, []string{
			"topology 10  by me node-went-offline node a (STORAGE at a:1, OFFLINE, epoch 5)",
			"topology 10  by me shards-merged shard 2 [0x20, end) on a, mirror b (epoch 3, version 1) and shard 2 [0x20, end) on a, mirror b (epoch 3, version 1) into shard 2 [0x20, end) on a, mirror b (epoch 3, version 1)",
			"topology 10  by me unknown event: this program is older than the service",
		}},
		{&metadatav1.SubscribeResponse{Frame: &metadatav1.SubscribeResponse_Reset_{Reset_: &metadatav1.Reset{
			Stream: metadatav1.Stream_STREAM_SCHEMA, Reason: "HISTORY_TRIMMED",
		}}}, []string{"reset schema: forget what came before (HISTORY_TRIMMED)"}},
		{&metadatav1.SubscribeResponse{Frame: &metadatav1.SubscribeResponse_Reset_{Reset_: &metadatav1.Reset{Reason: "X"}}},
			[]string{"reset all streams: forget what came before (X)"}},
		{&metadatav1.SubscribeResponse{}, []string{"unknown frame: this program is older than the service"}},
	} {
		got := frameLines(c.frame)
		if len(got) != len(c.want) {
			t.Errorf("%d lines, want %d: %q", len(got), len(c.want), got)
			continue
		}
		for i := range got {
			if got[i] != c.want[i] {
				t.Errorf("got  %s\nwant %s", got[i], c.want[i])
			}
		}
	}
}

// Every event of the contract is described by its object.
func TestEveryEventHasAnObject(t *testing.T) {
	fields := (&metadatav1.Event{}).ProtoReflect().Descriptor().Oneofs().ByName("kind").Fields()
	for i := range fields.Len() {
		e := (&metadatav1.Event{}).ProtoReflect()
		e.Set(fields.Get(i), e.NewField(fields.Get(i)))
		text := describeEvent(e.Interface().(*metadatav1.Event))
		if _, about, _ := bytes.Cut([]byte(text), []byte(" ")); len(about) == 0 {
			t.Errorf("%s is described as %q: its object is missing", fields.Get(i).Name(), text)
		}
	}
}
