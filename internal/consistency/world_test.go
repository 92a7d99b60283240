package consistency

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/internal/failure"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// run makes a history and a truth by hand: each method is a step of a service that
// does everything right, one after the other, one step a second.
type run struct {
	h     *History
	truth Truth
	now   time.Duration
	ids   uint64
	when  map[metadatav1.Stream][]time.Duration // of commit
}

func newRun() *run {
	r := &run{h: New(), when: make(map[metadatav1.Stream][]time.Duration)}
	r.truth.Cluster = events.ClusterID{1}
	return r
}

// knowing makes commit times known, as in the simulator.
func (r *run) knowing() *run {
	r.truth.Committed = func(s metadatav1.Stream, revision uint64) (time.Duration, bool) {
		return r.when[s][revision-1], true
	}
	return r
}

func (r *run) tick() time.Duration {
	r.now += time.Second
	return r.now
}

func (r *run) head(s metadatav1.Stream) uint64 { return uint64(len(r.truth.changes(s))) }

func (r *run) position() *metadatav1.Position {
	return &metadatav1.Position{
		ClusterId: r.truth.Cluster.String(), SchemaRevision: r.head(schemaStream), TopologyRevision: r.head(topologyStream),
	}
}

// commit puts a change into the log.
func (r *run) commit(id string, kinds ...*metadatav1.Event) *events.Change {
	var all []events.Event
	for _, k := range kinds {
		all = append(all, events.New(k))
	}
	s := events.StreamOf(kinds[0])
	c := events.Seal(events.Header{Revision: r.head(s) + 1, Time: time.Unix(int64(r.now/time.Second), 0), RequestID: id}, all)
	switch s {
	case schemaStream:
		r.truth.Schema = append(r.truth.Schema, c)
	case topologyStream:
		r.truth.Topology = append(r.truth.Topology, c)
	case serviceStream:
		r.truth.Service = append(r.truth.Service, c)
	}
	r.when[s] = append(r.when[s], r.now)
	return c
}

func (r *run) id() string {
	r.ids++
	return fmt.Sprintf("r%d", r.ids)
}

// do records an operation that begins now and is answered a second later.
func (r *run) do(client int, request, response proto.Message) *Op {
	o := r.h.Begin(client, 1, request, r.now)
	o.End(response, nil, r.tick())
	return o
}

func (r *run) rejected(client int, request proto.Message, reason metadatav1.ErrorReason) *Op {
	o := r.h.Begin(client, 1, request, r.now)
	o.End(nil, failure.New(reason, "no"), r.tick())
	return o
}

func table(id uint64, name string, version, created, updated uint64) *metadatav1.TableSchema {
	return &metadatav1.TableSchema{
		TableId: id, Namespace: publicName, Name: name, NamespaceId: 1, Version: version, CreatedRevision: created, UpdatedRevision: updated,
		Columns:    []*metadatav1.ColumnSchema{{ColumnId: 1, Name: "k", DataType: &metadatav1.DataType{Kind: metadatav1.TypeKind_TYPE_KIND_INT64}}},
		Comment:    fmt.Sprint("version ", version),
		CreateTime: &timestamppb.Timestamp{},
	}
}

func (r *run) createRequest(id, name string) *metadatav1.CreateTableRequest {
	return &metadatav1.CreateTableRequest{
		Table: &metadatav1.TableSchema{Name: name, Columns: table(0, name, 0, 0, 0).Columns},
		Write: &metadatav1.WriteOptions{RequestId: id},
	}
}

// tableCreated commits the creation of a table and returns it.
func (r *run) tableCreated(id, name string) *metadatav1.TableSchema {
	next := r.head(schemaStream) + 1
	t := table(next, name, 1, next, next)
	r.commit(id, &metadatav1.Event{Kind: &metadatav1.Event_TableCreated{TableCreated: &metadatav1.TableCreated{Table: t}}})
	return t
}

func (r *run) result() *metadatav1.WriteResult {
	return &metadatav1.WriteResult{Position: r.position(), Changed: true}
}

// create is a whole CreateTable.
func (r *run) create(client int, name string) (*Op, *metadatav1.TableSchema) {
	id := r.id()
	o := r.h.Begin(client, 1, r.createRequest(id, name), r.now)
	r.tick()
	t := r.tableCreated(id, name)
	o.End(&metadatav1.CreateTableResponse{Table: t, Result: r.result()}, nil, r.tick())
	r.tick()
	return o, t
}

// alter is a whole AlterTable that sets the comment.
func (r *run) alter(client int, t *metadatav1.TableSchema) (*Op, *metadatav1.TableSchema) {
	id := r.id()
	o := r.h.Begin(client, 1, &metadatav1.AlterTableRequest{
		Table:           &metadatav1.TableRef{Name: t.GetName()},
		ExpectedVersion: proto.Uint64(t.GetVersion()),
		Alterations: []*metadatav1.TableAlteration{{Action: &metadatav1.TableAlteration_SetComment{
			SetComment: &metadatav1.SetComment{Comment: fmt.Sprint("version ", t.GetVersion()+1)},
		}}},
		Write: &metadatav1.WriteOptions{RequestId: id},
	}, r.now)
	r.tick()
	now := table(t.GetTableId(), t.GetName(), t.GetVersion()+1, t.GetCreatedRevision(), r.head(schemaStream)+1)
	r.commit(id, &metadatav1.Event{Kind: &metadatav1.Event_TableAltered{TableAltered: &metadatav1.TableAltered{
		Table: now, PreviousName: t.GetName(), PreviousNamespace: publicName,
	}}})
	o.End(&metadatav1.AlterTableResponse{Table: now, Result: r.result()}, nil, r.tick())
	r.tick()
	return o, now
}

// drop is a whole DropTable.
func (r *run) drop(client int, t *metadatav1.TableSchema) *Op {
	id := r.id()
	o := r.h.Begin(client, 1, &metadatav1.DropTableRequest{
		Table: &metadatav1.TableRef{Name: t.GetName()}, Write: &metadatav1.WriteOptions{RequestId: id},
	}, r.now)
	r.tick()
	r.commit(id, &metadatav1.Event{Kind: &metadatav1.Event_TableDropped{TableDropped: &metadatav1.TableDropped{Table: t}}})
	o.End(&metadatav1.DropTableResponse{Table: t, Result: r.result()}, nil, r.tick())
	r.tick()
	return o
}

func getTable(name string, level metadatav1.Consistency) *metadatav1.GetTableRequest {
	return &metadatav1.GetTableRequest{Table: &metadatav1.TableRef{Name: name}, Read: &metadatav1.ReadOptions{Consistency: level}}
}

func schemaAt(r *run, revision uint64) *metadatav1.Position {
	return &metadatav1.Position{ClusterId: r.truth.Cluster.String(), SchemaRevision: revision}
}

// node is a whole RegisterNode.
func (r *run) node(client int, name, incarnation string, epoch, previous uint64) *metadatav1.NodeInfo {
	id := r.id()
	said := &metadatav1.NodeInfo{NodeId: name, Addr: "h:1", NodeType: metadatav1.NodeType_NODE_TYPE_STORAGE, Incarnation: incarnation}
	o := r.h.Begin(client, 1, &metadatav1.RegisterNodeRequest{Node: said, Write: &metadatav1.WriteOptions{RequestId: id}}, r.now)
	r.tick()
	n := proto.CloneOf(said)
	n.Status, n.Epoch = metadatav1.NodeStatus_NODE_STATUS_ONLINE, epoch
	n.RegisteredRevision, n.UpdatedRevision = r.head(topologyStream)+1, r.head(topologyStream)+1
	r.commit(id, &metadatav1.Event{Kind: &metadatav1.Event_NodeRegistered{NodeRegistered: &metadatav1.NodeRegistered{Node: n, PreviousEpoch: previous}}})
	o.End(&metadatav1.RegisterNodeResponse{Node: n, Result: r.result()}, nil, r.tick())
	r.tick()
	return n
}

// offline commits that a node's lease ran out.
func (r *run) offline(n *metadatav1.NodeInfo) *metadatav1.NodeInfo {
	n = proto.CloneOf(n)
	n.Status, n.UpdatedRevision = metadatav1.NodeStatus_NODE_STATUS_OFFLINE, r.head(topologyStream)+1
	r.commit("", &metadatav1.Event{Kind: &metadatav1.Event_NodeWentOffline{NodeWentOffline: &metadatav1.NodeWentOffline{Node: n}}})
	r.tick()
	return n
}

// setMap is a whole UpdateShardMap that puts one new shard.
func (r *run) setMap(client int, primary string) *metadatav1.ShardInfo {
	id := r.id()
	o := r.h.Begin(client, 1, putShard(id, primary), r.now)
	r.tick()
	next := r.head(topologyStream) + 1
	s := &metadatav1.ShardInfo{
		ShardId: next, KeyRange: &metadatav1.KeyRange{}, PrimaryNode: primary, Epoch: 1, Version: 1, CreatedRevision: next, UpdatedRevision: next,
	}
	r.commit(id, &metadatav1.Event{Kind: &metadatav1.Event_ShardCreated{ShardCreated: &metadatav1.ShardCreated{Shard: s}}})
	o.End(&metadatav1.UpdateShardMapResponse{Shards: []*metadatav1.ShardInfo{s}, Result: r.result()}, nil, r.tick())
	r.tick()
	return s
}

func putShard(id, primary string) *metadatav1.UpdateShardMapRequest {
	return &metadatav1.UpdateShardMapRequest{
		Changes: []*metadatav1.ShardMapChange{{Action: &metadatav1.ShardMapChange_Put{
			Put: &metadatav1.PutShard{Shard: &metadatav1.ShardInfo{KeyRange: &metadatav1.KeyRange{}, PrimaryNode: primary}},
		}}},
		Write: &metadatav1.WriteOptions{RequestId: id},
	}
}

// split is a whole UpdateShardMap that cuts a shard at a key.
func (r *run) split(client int, s *metadatav1.ShardInfo, key string) []*metadatav1.ShardInfo {
	id := r.id()
	o := r.h.Begin(client, 1, &metadatav1.UpdateShardMapRequest{
		Changes: []*metadatav1.ShardMapChange{{Action: &metadatav1.ShardMapChange_Split{
			Split: &metadatav1.SplitShard{ShardId: s.GetShardId(), SplitKeys: [][]byte{[]byte(key)}, ExpectedVersion: proto.Uint64(s.GetVersion())},
		}}},
		Write: &metadatav1.WriteOptions{RequestId: id},
	}, r.now)
	r.tick()
	next := r.head(topologyStream) + 1
	child := func(id uint64, start, end []byte) *metadatav1.ShardInfo {
		return &metadatav1.ShardInfo{
			ShardId: id, KeyRange: &metadatav1.KeyRange{Start: start, End: end}, PrimaryNode: s.GetPrimaryNode(),
			Epoch: s.GetEpoch() + 1, Version: 1, CreatedRevision: next, UpdatedRevision: next,
		}
	}
	children := []*metadatav1.ShardInfo{child(100+next, nil, []byte(key)), child(200+next, []byte(key), nil)}
	r.commit(id, &metadatav1.Event{Kind: &metadatav1.Event_ShardSplit{ShardSplit: &metadatav1.ShardSplit{Children: children, Parent: s}}})
	o.End(&metadatav1.UpdateShardMapResponse{Shards: children, RemovedShardIds: []uint64{s.GetShardId()}, Result: r.result()}, nil, r.tick())
	r.tick()
	return children
}

// right expects no violation.
func (r *run) right(t *testing.T) {
	t.Helper()
	for _, v := range Check(r.h, r.truth) {
		t.Errorf("unexpected: %v", v)
	}
}

// wrong expects a violation of a kind that says something.
func (r *run) wrong(t *testing.T, kind Kind, says string) {
	t.Helper()
	all := Check(r.h, r.truth)
	for _, v := range all {
		if v.Kind == kind && strings.Contains(v.String(), says) {
			return
		}
	}
	t.Errorf("no violation of %q that says %q, but %d others: %v", kind, says, len(all), all)
}
