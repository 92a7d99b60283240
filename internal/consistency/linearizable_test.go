package consistency

import (
	"bytes"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

func TestCommandThatShouldHaveBeenRefused(t *testing.T) {
	r := newRun()
	_, a := r.create(1, "a")
	r.alter(1, a)
	o, _ := r.alter(2, r.tableAt(2, "a"))
	r.right(t)
	request, _ := o.Request.(*metadatav1.AlterTableRequest)
	request.ExpectedVersion = proto.Uint64(1) // two writers who both saw version 1 were both accepted
	r.wrong(t, NotLinearizable, "no order of 3 operations on table-id/1, table/public/a explains their answers")
}

func TestShardOnANodeThatIsNotThere(t *testing.T) {
	r := newRun()
	n := r.node(1, "n", "i", 1, 0)
	r.setMap(1, n.GetNodeId())
	r.right(t)
	r = newRun()
	r.setMap(1, "n")
	r.wrong(t, NotLinearizable, "node/n, shards")
}

func TestShardsThatOverlap(t *testing.T) {
	r := newRun()
	r.node(1, "n", "i", 1, 0)
	r.setMap(1, "n")
	r.setMap(1, "n")
	r.wrong(t, NotLinearizable, "the longest order that does has 2 of them")
}

func TestDiagram(t *testing.T) {
	r := newRun()
	_, a := r.create(1, "a")
	old := r.position()
	r.alter(1, a)
	r.do(2, getTable("a", 0), &metadatav1.GetTableResponse{Table: a, Position: old})
	all := Check(r.h, r.truth)
	i := slices.IndexFunc(all, func(v Violation) bool { return v.Diagram != nil })
	if i < 0 {
		t.Fatalf("no violation with a diagram among %v", all)
	}
	var page bytes.Buffer
	if err := all[i].Diagram(&page); err != nil || !bytes.Contains(page.Bytes(), []byte("GetTableRequest")) {
		t.Fatalf("error %v, a page of %d bytes", err, page.Len())
	}
}

func TestConcurrentOperationsMayBeInAnyOrder(t *testing.T) {
	r := newRun()
	_, a := r.create(1, "a")
	w := r.h.Begin(1, 1, &metadatav1.DropTableRequest{Table: &metadatav1.TableRef{TableId: a.GetTableId()}, Write: &metadatav1.WriteOptions{RequestId: "d"}}, r.now)
	before := r.h.Begin(2, 1, getTable("a", 0), r.now)
	later := r.h.Begin(3, 2, getTable("a", 0), r.now)
	old := r.position()
	r.commit("d", &metadatav1.Event{Kind: &metadatav1.Event_TableDropped{TableDropped: &metadatav1.TableDropped{Table: a}}})
	r.tick()
	later.Refused(notFound, r.now)
	before.End(&metadatav1.GetTableResponse{Table: a, Position: old}, nil, r.now)
	w.End(&metadatav1.DropTableResponse{Table: a, Result: r.result()}, nil, r.now)
	r.right(t)
	later.Ended--
	before.Began = later.Ended + 1
	r.wrong(t, NotLinearizable, "table/public/a")
}

// The rules against a table of cases: what the contract says of a command after
// what has happened.
func TestRules(t *testing.T) {
	r := newRun()
	r.create(1, "a")
	r.create(1, "b")
	r.node(1, "n", "i", 1, 0)
	r.setMap(1, "n")
	line := func(s metadatav1.Stream) state {
		l, _ := newTimeline(s, r.truth)
		return l.at(l.head())
	}
	ref := &metadatav1.TableRef{Name: "a"}
	alter := func(a *metadatav1.TableAlteration) *metadatav1.AlterTableRequest {
		return &metadatav1.AlterTableRequest{Table: ref, Alterations: []*metadatav1.TableAlteration{a}}
	}
	shards := func(c ...*metadatav1.ShardMapChange) *metadatav1.UpdateShardMapRequest {
		return &metadatav1.UpdateShardMapRequest{Changes: c}
	}
	split := func(id uint64, key string) *metadatav1.ShardMapChange {
		return &metadatav1.ShardMapChange{Action: &metadatav1.ShardMapChange_Split{Split: &metadatav1.SplitShard{ShardId: id, SplitKeys: [][]byte{[]byte(key)}}}}
	}
	move := func(id uint64, to string) *metadatav1.ShardMapChange {
		return &metadatav1.ShardMapChange{Action: &metadatav1.ShardMapChange_Move{Move: &metadatav1.MoveShard{ShardId: id, PrimaryNode: to}}}
	}
	for name, c := range map[string]struct {
		command proto.Message
		reason  metadatav1.ErrorReason
		changed bool
	}{
		"create again":          {r.createRequest("", "a"), alreadyExists, false},
		"create another":        {r.createRequest("", "c"), accepted, true},
		"create elsewhere":      {&metadatav1.CreateTableRequest{Table: &metadatav1.TableSchema{Namespace: "x", Name: "a"}}, notFound, false},
		"drop another version":  {&metadatav1.DropTableRequest{Table: ref, ExpectedVersion: proto.Uint64(2)}, versionMismatch, false},
		"drop by id":            {&metadatav1.DropTableRequest{Table: &metadatav1.TableRef{TableId: 2}}, accepted, true},
		"drop what is not":      {&metadatav1.DropTableRequest{Table: &metadatav1.TableRef{TableId: 9}}, notFound, false},
		"rename onto another":   {alter(&metadatav1.TableAlteration{Action: &metadatav1.TableAlteration_RenameTable{RenameTable: &metadatav1.RenameTable{NewName: "b"}}}), alreadyExists, false},
		"rename onto itself":    {alter(&metadatav1.TableAlteration{Action: &metadatav1.TableAlteration_RenameTable{RenameTable: &metadatav1.RenameTable{NewName: "a"}}}), accepted, false},
		"drop the last column":  {alter(&metadatav1.TableAlteration{Action: &metadatav1.TableAlteration_DropColumn{DropColumn: &metadatav1.DropColumn{Name: "k"}}}), invalidField, false},
		"add a column":          {alter(&metadatav1.TableAlteration{Action: &metadatav1.TableAlteration_AddColumn{AddColumn: &metadatav1.AddColumn{Column: &metadatav1.ColumnSchema{Name: "v"}}}}), accepted, true},
		"add a column twice":    {alter(&metadatav1.TableAlteration{Action: &metadatav1.TableAlteration_AddColumn{AddColumn: &metadatav1.AddColumn{Column: &metadatav1.ColumnSchema{Name: "k"}}}}), alreadyExists, false},
		"drop public":           {&metadatav1.DropNamespaceRequest{Name: publicName}, protected, false},
		"drop no namespace":     {&metadatav1.DropNamespaceRequest{Name: "x"}, notFound, false},
		"create a namespace":    {&metadatav1.CreateNamespaceRequest{Namespace: &metadatav1.Namespace{Name: "x"}}, accepted, true},
		"drain":                 {&metadatav1.DrainNodeRequest{NodeId: "n"}, accepted, true},
		"cancel no drain":       {&metadatav1.DrainNodeRequest{NodeId: "n", Cancel: true}, accepted, false},
		"drain another epoch":   {&metadatav1.DrainNodeRequest{NodeId: "n", ExpectedEpoch: 2}, staleEpoch, false},
		"unregister in use":     {&metadatav1.UnregisterNodeRequest{NodeId: "n"}, nodeInUse, false},
		"register another type": {&metadatav1.RegisterNodeRequest{Node: &metadatav1.NodeInfo{NodeId: "n", Incarnation: "i"}}, invalidField, false},
		"split":                 {shards(split(2, "m")), accepted, true},
		"split at the edge":     {shards(split(2, "")), invalidField, false},
		"split no shard":        {shards(split(9, "m")), notFound, false},
		"move to itself":        {shards(move(2, "n")), accepted, false},
		"move to no node":       {shards(move(2, "o")), nodeUnsuitable, false},
		"overlap":               {putShard("", "n"), rangeOverlap, false},
		"overlap for a moment":  {shards(putShard("", "n").GetChanges()[0], &metadatav1.ShardMapChange{Action: &metadatav1.ShardMapChange_Delete{Delete: &metadatav1.DeleteShard{ShardId: 2}}}), accepted, true},
		"merge one with none": {shards(&metadatav1.ShardMapChange{Action: &metadatav1.ShardMapChange_Merge{Merge: &metadatav1.MergeShards{ShardIds: []uint64{2, 9}}}}),
			notFound, false},
		"a batch that undoes itself": {&metadatav1.ApplyBatchRequest{Commands: []*metadatav1.Command{
			{Command: &metadatav1.Command_DropTable{DropTable: &metadatav1.DropTableRequest{Table: ref}}},
			{Command: &metadatav1.Command_CreateTable{CreateTable: r.createRequest("", "a")}},
			{Command: &metadatav1.Command_CreateTable{CreateTable: r.createRequest("", "a")}},
		}}, alreadyExists, false},
	} {
		t.Run(name, func(t *testing.T) {
			if v := line(streamOf(c.command)).judge(c.command); v.reason != c.reason || v.changed != c.changed {
				t.Errorf("%v: got %v, changed %v; want %v, changed %v", c.command, v.reason, v.changed, c.reason, c.changed)
			}
		})
	}
}
