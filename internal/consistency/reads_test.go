package consistency

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

const (
	local   = metadatav1.Consistency_CONSISTENCY_LOCAL
	atLeast = metadatav1.Consistency_CONSISTENCY_AT_LEAST
)

func TestStaleLinearizableRead(t *testing.T) {
	r := newRun()
	_, a := r.create(1, "a")
	old := r.position()
	r.alter(1, a)
	o := r.do(2, getTable("a", local), &metadatav1.GetTableResponse{Table: a, Position: old})
	r.right(t)
	o.Request = getTable("a", 0)
	r.wrong(t, OutOfOrder, "got revision 1 of schema, but revision 2 had been seen before")
	r.wrong(t, NotLinearizable, "table/public/a")
}

func TestOrderHoldsAcrossObjects(t *testing.T) {
	r := newRun()
	_, a := r.create(1, "a")
	old := r.position()
	r.create(1, "b")
	r.do(2, getTable("a", 0), &metadatav1.GetTableResponse{Table: a, Position: old}) // of a alone, nothing is wrong
	r.wrong(t, OutOfOrder, "got revision 1 of schema, but revision 2 had been seen before")
	for _, v := range Check(r.h, r.truth) {
		if v.Kind == NotLinearizable {
			t.Errorf("unexpected: %v", v)
		}
	}
}

func TestWhatASubscriberSawCountsAsSeen(t *testing.T) {
	r := newRun()
	w := r.h.Begin(1, 1, r.createRequest("x", "a"), r.now)
	w.Unknown(r.now)
	r.tableCreated("x", "a")
	s := r.h.Subscription(2, &metadatav1.SubscribeRequest{Start: after(schemaAt(r, 0))}, r.tick())
	s.Frame(changesFrame(r, schemaStream, 1), r.tick())
	r.tick()
	empty := &metadatav1.ListTablesResponse{Position: schemaAt(r, 0)}
	r.do(3, &metadatav1.ListTablesRequest{}, empty)
	r.wrong(t, OutOfOrder, "got revision 0 of schema, but revision 1 had been seen before")
}

func TestReadShowsWhatTheLogDoesNotHave(t *testing.T) {
	r := newRun()
	_, a := r.create(1, "a")
	other := proto.CloneOf(a)
	other.Comment = "never"
	for _, level := range []metadatav1.Consistency{0, local, atLeast} {
		o := r.do(2, getTable("a", level), &metadatav1.GetTableResponse{Table: other, Position: r.position()})
		r.wrong(t, WrongRead, "the log says")
		o.Response = &metadatav1.GetTableResponse{Table: a, Position: r.position()}
		r.right(t)
	}
}

func TestReadWithoutPosition(t *testing.T) {
	r := newRun()
	_, a := r.create(1, "a")
	r.do(2, getTable("a", local), &metadatav1.GetTableResponse{Table: a})
	r.wrong(t, WrongRead, "has no position")
}

func TestReadOfAnotherCluster(t *testing.T) {
	r := newRun()
	_, a := r.create(1, "a")
	r.do(2, getTable("a", local), &metadatav1.GetTableResponse{Table: a, Position: &metadatav1.Position{ClusterId: strings.Repeat("0", 32), SchemaRevision: 1}})
	r.wrong(t, AheadOfCommit, "a position of cluster 0000")
}

func TestReadBeforeWhatWasAskedFor(t *testing.T) {
	r := newRun()
	_, a := r.create(1, "a")
	old := r.position()
	r.create(1, "b")
	request := getTable("a", atLeast)
	request.Read.AtLeast = old
	o := r.do(2, request, &metadatav1.GetTableResponse{Table: a, Position: old})
	r.right(t)
	request = proto.CloneOf(request)
	request.Read.AtLeast = r.position()
	o.Request = request
	r.wrong(t, WrongRead, "before the position that was asked for")
}

func TestReadAheadOfCommit(t *testing.T) {
	for name, r := range map[string]*run{"commit times unknown": newRun(), "commit times known": newRun().knowing()} {
		t.Run(name, func(t *testing.T) {
			r.create(1, "a")
			o := r.h.Begin(2, 1, getTable("b", local), r.now)
			end := r.tick()
			r.tick()
			_, b := r.create(1, "b")
			o.End(&metadatav1.GetTableResponse{Table: b, Position: r.position()}, nil, r.now)
			r.right(t)
			o.Ended = end // before b's writer began
			r.wrong(t, AheadOfCommit, "revision 2 of schema")
		})
	}
}

func TestPages(t *testing.T) {
	r := newRun()
	_, a := r.create(1, "a")
	_, b := r.create(1, "b")
	_, c := r.create(1, "c")
	page := func(token, next string, tables ...*metadatav1.TableSchema) *Op {
		return r.do(1, &metadatav1.ListTablesRequest{PageToken: token}, &metadatav1.ListTablesResponse{Tables: tables, NextPageToken: next, Position: r.position()})
	}
	first, second := page("", "t", a, b), page("t", "", c)
	r.right(t)
	for name, wrong := range map[string]struct {
		o      *Op
		next   string
		tables []*metadatav1.TableSchema
		says   string
	}{
		"leaves one out":     {first, "t", []*metadatav1.TableSchema{a, c}, "object 1 of the page"},
		"begins late":        {first, "t", []*metadatav1.TableSchema{b}, "object 0 of the page"},
		"ends early":         {first, "", []*metadatav1.TableSchema{a, b}, "1 objects are missing behind the last page"},
		"shows one too many": {second, "", []*metadatav1.TableSchema{c, c}, "object 1 of the page"},
	} {
		t.Run(name, func(t *testing.T) {
			before := wrong.o.Response
			wrong.o.Response = &metadatav1.ListTablesResponse{Tables: wrong.tables, NextPageToken: wrong.next, Position: r.position()}
			r.wrong(t, WrongRead, wrong.says)
			wrong.o.Response = before
		})
	}
}

func TestTopologyReads(t *testing.T) {
	r := newRun()
	n := r.node(1, "n", "i", 1, 0)
	s := r.setMap(1, "n")
	children := r.split(1, s, "m")
	r.do(1, &metadatav1.GetShardRequest{Shard: &metadatav1.GetShardRequest_Key{Key: []byte("z")}},
		&metadatav1.GetShardResponse{Shard: children[1], Position: r.position()})
	r.rejected(1, &metadatav1.GetShardRequest{Shard: &metadatav1.GetShardRequest_ShardId{ShardId: s.GetShardId()}}, notFound)
	r.do(1, &metadatav1.ListShardsRequest{NodeId: "n"}, &metadatav1.ListShardsResponse{Shards: children, Position: r.position()})
	r.do(1, &metadatav1.ListNodesRequest{}, &metadatav1.ListNodesResponse{Nodes: []*metadatav1.NodeInfo{n}, Position: r.position()})
	o := r.do(1, &metadatav1.GetTopologyRequest{}, &metadatav1.GetTopologyResponse{
		Topology: &metadatav1.Topology{Nodes: []*metadatav1.NodeInfo{n}, Shards: children}, Position: r.position(),
	})
	r.right(t)
	o.Response = &metadatav1.GetTopologyResponse{Topology: &metadatav1.Topology{Nodes: []*metadatav1.NodeInfo{n}, Shards: children[:1]}, Position: r.position()}
	r.wrong(t, WrongRead, "1 objects are missing")
}

func TestRejectionThatIsNotTrue(t *testing.T) {
	r := newRun()
	r.rejected(1, r.createRequest(r.id(), "a"), alreadyExists)
	r.wrong(t, WrongRejection, "ALREADY_EXISTS was true at none of the revisions 0 to 0")
}

func TestRejectionOnOldState(t *testing.T) {
	r := newRun()
	_, a := r.create(1, "a")
	r.drop(1, a)
	r.rejected(2, r.createRequest(r.id(), "a"), alreadyExists) // as a deposed leader would
	r.wrong(t, WrongRejection, "ALREADY_EXISTS was true up to revision 1 of schema at the latest")
	r.wrong(t, NotLinearizable, "table/public/a")
}

func TestRejectionsThatExcludeEachOther(t *testing.T) {
	r := newRun()
	_, a := r.create(1, "a")
	w := r.h.Begin(1, 1, &metadatav1.DropTableRequest{Table: &metadatav1.TableRef{Name: "a"}, Write: &metadatav1.WriteOptions{RequestId: "d"}}, r.now)
	r.tick()
	r.rejected(2, getTable("a", 0), notFound)
	r.tick()
	late := r.rejected(3, r.createRequest(r.id(), "a"), alreadyExists) // each is possible while the drop is under way, but not in this order
	r.commit("d", &metadatav1.Event{Kind: &metadatav1.Event_TableDropped{TableDropped: &metadatav1.TableDropped{Table: a}}})
	w.End(&metadatav1.DropTableResponse{Table: a, Result: r.result()}, nil, r.tick())
	r.wrong(t, WrongRejection, "ALREADY_EXISTS was true up to revision 1")
	late.Request, late.Reason = getTable("a", 0), notFound
	r.right(t)
}

func TestLocalReadThatFoundNothing(t *testing.T) {
	r := newRun()
	_, a := r.create(1, "a")
	o := r.rejected(2, getTable("a", local), notFound) // as a member that lags says
	r.right(t)
	request := getTable("a", atLeast)
	request.Read.AtLeast = r.position()
	o.Request = request
	r.wrong(t, WrongRejection, "NOT_FOUND was true at none of the revisions 1 to 1")
	r.drop(1, a)
	r.tick()
	o.Ended = r.now
	r.right(t)
}

func TestForeignPosition(t *testing.T) {
	r := newRun()
	r.create(1, "a")
	request := getTable("a", atLeast)
	request.Read.AtLeast = &metadatav1.Position{ClusterId: strings.Repeat("0", 32)}
	o := r.rejected(1, request, foreignPosition)
	r.right(t)
	request = proto.CloneOf(request)
	request.Read.AtLeast = r.position()
	o.Request = request
	r.wrong(t, WrongRejection, "is one of this cluster")
}

func TestBeats(t *testing.T) {
	r := newRun()
	n := r.node(1, "n", "i", 1, 0)
	beat := &metadatav1.HeartbeatRequest{NodeId: "n", Epoch: 1}
	granted := &metadatav1.HeartbeatResponse{NodeId: "n", Status: n.GetStatus(), Position: r.position()}
	r.do(1, beat, granted)
	r.rejected(1, &metadatav1.HeartbeatRequest{NodeId: "n", Epoch: 7}, staleEpoch)
	r.right(t)
	r.offline(n)
	granted = proto.CloneOf(granted)
	granted.Position = r.position()
	r.do(2, &metadatav1.ListNodesRequest{}, &metadatav1.ListNodesResponse{Nodes: []*metadatav1.NodeInfo{r.nodeNow("n")}, Position: r.position()})
	r.tick()
	r.do(1, beat, granted)
	r.wrong(t, WrongRejection, "of topology")
}

func (r *run) nodeNow(id string) *metadatav1.NodeInfo {
	line, _ := newTimeline(topologyStream, r.truth)
	return line.nodeAt(id, line.head())
}

func TestUnchangedAnswers(t *testing.T) {
	r := newRun()
	n := r.node(1, "n", "i", 1, 0)
	again := &metadatav1.RegisterNodeRequest{
		Node:  &metadatav1.NodeInfo{NodeId: "n", Addr: "h:1", NodeType: metadatav1.NodeType_NODE_TYPE_STORAGE, Incarnation: "i"},
		Write: &metadatav1.WriteOptions{RequestId: r.id()},
	}
	o := r.do(1, again, &metadatav1.RegisterNodeResponse{Node: n, Result: &metadatav1.WriteResult{Position: r.position()}})
	r.right(t)
	again = proto.CloneOf(again)
	again.Node.Addr = "h:2"
	o.Request = again
	r.wrong(t, WrongRead, "changes something")
}
