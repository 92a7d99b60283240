package consistency

import (
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/internal/failure"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

func TestARightHistoryPasses(t *testing.T) {
	for name, r := range map[string]*run{"commit times unknown": newRun(), "commit times known": newRun().knowing()} {
		t.Run(name, func(t *testing.T) {
			_, a := r.create(1, "a")
			r.rejected(2, r.createRequest(r.id(), "a"), alreadyExists)
			_, a2 := r.alter(2, a)
			r.do(1, getTable("a", 0), &metadatav1.GetTableResponse{Table: a2, Position: r.position()})
			r.drop(1, a2)
			r.rejected(3, getTable("a", 0), notFound)
			n := r.node(4, "n", "i1", 1, 0)
			s := r.setMap(2, "n")
			r.split(2, s, "m")
			r.rejected(2, &metadatav1.UnregisterNodeRequest{NodeId: "n", Write: &metadatav1.WriteOptions{RequestId: r.id()}}, nodeInUse)
			r.rejected(5, &metadatav1.RegisterNodeRequest{
				Node:  &metadatav1.NodeInfo{NodeId: "n", Addr: "h:2", NodeType: metadatav1.NodeType_NODE_TYPE_STORAGE, Incarnation: "i2"},
				Write: &metadatav1.WriteOptions{RequestId: r.id()},
			}, nodeAlive)
			n = r.offline(n)
			r.do(1, &metadatav1.GetNodeRequest{NodeId: "n"}, &metadatav1.GetNodeResponse{Node: n, Position: r.position()})
			r.node(5, "n", "i2", 2, 1)
			r.right(t)
		})
	}
}

func TestAcknowledgedChangeIsMissing(t *testing.T) {
	r := newRun()
	r.do(1, r.createRequest("x", "a"), &metadatav1.CreateTableResponse{
		Table: table(1, "a", 1, 1, 1), Result: &metadatav1.WriteResult{Position: schemaAt(r, 1), Changed: true},
	})
	r.wrong(t, NotExactlyOnce, `request "x" is not in the log`)
}

func TestRequestTookEffectTwice(t *testing.T) {
	r := newRun()
	_, a := r.create(1, "a")
	r.commit("r1", &metadatav1.Event{Kind: &metadatav1.Event_TableDropped{TableDropped: &metadatav1.TableDropped{Table: a}}})
	r.wrong(t, NotExactlyOnce, `changes 1 and 2 of schema were both made by request "r1"`)
}

func TestChangeThatNobodyAskedFor(t *testing.T) {
	r := newRun()
	r.tableCreated("strange", "a")
	r.wrong(t, NotExactlyOnce, `request id "strange", which nobody sent`)
}

func TestAnswerDiffersFromTheChange(t *testing.T) {
	r := newRun()
	o, a := r.create(1, "a")
	other := proto.CloneOf(a)
	other.TableId = 9
	o.Response = &metadatav1.CreateTableResponse{Table: other, Result: r.result()}
	r.wrong(t, NotExactlyOnce, "the log says that the answer at revision 1 is")
}

func TestAnswerNamesAnotherRevision(t *testing.T) {
	r := newRun()
	r.create(1, "a")
	o, b := r.create(1, "b")
	o.Response = &metadatav1.CreateTableResponse{Table: b, Result: &metadatav1.WriteResult{Position: schemaAt(r, 1), Changed: true}}
	r.wrong(t, NotExactlyOnce, "acknowledged at revision 1 of schema, but request \"r2\" is in the log at revision 2")
}

func TestDefiniteRejectionTookEffect(t *testing.T) {
	r := newRun()
	o := r.h.Begin(1, 1, r.createRequest("x", "a"), r.now)
	r.tick()
	r.tableCreated("x", "a")
	o.End(nil, failure.New(alreadyExists, "no"), r.tick())
	r.wrong(t, NotExactlyOnce, "the outcome of none is open")
}

func TestAnAttemptOfUnknownOutcomeMayTakeEffect(t *testing.T) {
	r := newRun()
	_, a := r.create(1, "a")
	o := r.h.Begin(2, 1, r.createRequest("x", "a"), r.now)
	o.Retry(2) // the first attempt is still under way
	o.End(nil, failure.New(alreadyExists, "no"), r.tick())
	r.tick()
	r.drop(1, a)
	r.tableCreated("x", "a")
	r.right(t)
	o.Attempts = 1
	r.wrong(t, NotExactlyOnce, "the outcome of none is open")
}

func TestRetriesGetTheFirstAnswer(t *testing.T) {
	r := newRun()
	o, a := r.create(1, "a")
	r.create(1, "b")
	again := &metadatav1.CreateTableResponse{Table: a, Result: &metadatav1.WriteResult{Position: schemaAt(r, 1), Changed: true, Deduplicated: true}}
	second := r.do(1, o.Request, again)
	r.right(t)
	again = proto.CloneOf(again)
	again.Table.Comment = "another"
	second.Response = again
	r.wrong(t, NotExactlyOnce, "the log says that the answer at revision 1 is")
}

func TestReusedRequestID(t *testing.T) {
	r := newRun()
	r.create(1, "a")
	o := r.rejected(1, r.createRequest("r1", "b"), requestIDReused)
	r.right(t)
	o.Request = r.createRequest("r2", "b")
	r.wrong(t, WrongRejection, "REQUEST_ID_REUSED was true at none of the revisions")
}

func TestUnknownWriteMayBeInTheLogOrNot(t *testing.T) {
	r := newRun()
	r.h.Begin(1, 1, r.createRequest("x", "a"), r.now).Unknown(r.tick())
	r.h.Begin(1, 1, r.createRequest("y", "b"), r.now).End(nil, failure.New(metadatav1.ErrorReason_ERROR_REASON_OUTCOME_UNKNOWN, "?"), r.tick())
	r.tableCreated("y", "b")
	r.right(t)
}

func TestLogThatCannotBeFolded(t *testing.T) {
	r := newRun()
	r.create(1, "a")
	r.truth.Schema = append(r.truth.Schema, r.truth.Schema[0])
	r.wrong(t, BrokenTruth, "cannot be folded")
}

func TestEpochsOfRegistrationsGrow(t *testing.T) {
	r := newRun()
	r.node(1, "n", "i", 2, 0)
	r.node(1, "o", "i", 2, 0)
	r.wrong(t, BrokenTruth, `registers node "o" with epoch 2 after one with epoch 2`)
}

func TestBatchAnswer(t *testing.T) {
	r := newRun()
	batch := &metadatav1.ApplyBatchRequest{
		Commands: []*metadatav1.Command{
			{Command: &metadatav1.Command_CreateTable{CreateTable: r.createRequest("", "a")}},
			{Command: &metadatav1.Command_CreateTable{CreateTable: r.createRequest("", "b")}},
		},
		Write: &metadatav1.WriteOptions{RequestId: "x"},
	}
	created := func(t *metadatav1.TableSchema, command uint32) *metadatav1.Event {
		return &metadatav1.Event{Command: command, Kind: &metadatav1.Event_TableCreated{TableCreated: &metadatav1.TableCreated{Table: t}}}
	}
	o := r.h.Begin(1, 1, batch, r.now)
	r.tick()
	c := r.commit("x", created(table(1, "a", 1, 1, 1), 0), created(table(2, "b", 1, 1, 1), 1))
	answer := batchAnswer(2, c.Message().GetEvents())
	answer.Result = r.result()
	o.End(answer, nil, r.tick())
	r.rejected(2, batchWithID(batch, "y"), alreadyExists)
	r.right(t)
	answer = proto.CloneOf(answer)
	answer.Results[1].Objects[0].Version = 7
	o.Response = answer
	r.wrong(t, NotExactlyOnce, "the log says that the answer at revision 1 is")
}

// TestBatchNamesWhatItMakes: a later command of a batch may refer by its id to a table
// that an earlier one creates. The rules do not know that id, the change does.
func TestBatchNamesWhatItMakes(t *testing.T) {
	r := newRun()
	batch := func(drops uint64) *metadatav1.ApplyBatchRequest {
		return &metadatav1.ApplyBatchRequest{
			Commands: []*metadatav1.Command{
				{Command: &metadatav1.Command_CreateTable{CreateTable: r.createRequest("", "a")}},
				{Command: &metadatav1.Command_DropTable{DropTable: &metadatav1.DropTableRequest{Table: &metadatav1.TableRef{TableId: drops}}}},
			},
			Write: &metadatav1.WriteOptions{RequestId: r.id()},
		}
	}
	request := batch(1)
	o := r.h.Begin(1, 1, request, r.now)
	r.tick()
	a := table(1, "a", 1, 1, 1)
	c := r.commit(request.GetWrite().GetRequestId(),
		&metadatav1.Event{Command: 0, Kind: &metadatav1.Event_TableCreated{TableCreated: &metadatav1.TableCreated{Table: a}}},
		&metadatav1.Event{Command: 1, Kind: &metadatav1.Event_TableDropped{TableDropped: &metadatav1.TableDropped{Table: a}}})
	answer := batchAnswer(2, c.Message().GetEvents())
	answer.Result = r.result()
	o.End(answer, nil, r.tick())
	r.right(t)
	r.rejected(2, &metadatav1.DropTableRequest{Table: &metadatav1.TableRef{TableId: 1}, Write: &metadatav1.WriteOptions{RequestId: r.id()}}, alreadyExists)
	r.wrong(t, WrongRejection, "ALREADY_EXISTS")
}

func batchWithID(b *metadatav1.ApplyBatchRequest, id string) *metadatav1.ApplyBatchRequest {
	b = proto.CloneOf(b)
	b.Write = &metadatav1.WriteOptions{RequestId: id}
	return b
}

func TestAnotherCommandMadeTheChange(t *testing.T) {
	r := newRun()
	a, b := r.createRequest("x", "a"), r.createRequest("x", "b")
	lost := r.h.Begin(1, 1, b, r.now)
	lost.Unknown(r.tick())
	o := r.h.Begin(1, 1, a, r.now)
	r.tick()
	created := events.New(&metadatav1.Event{Kind: &metadatav1.Event_TableCreated{TableCreated: &metadatav1.TableCreated{Table: table(1, "a", 1, 1, 1)}}})
	seal := func(hash []byte) {
		r.truth.Schema = []*events.Change{events.Seal(events.Header{Revision: 1, Time: time.Unix(1, 0), RequestID: "x", CommandHash: hash}, []events.Event{created})}
	}
	seal(hashOf(a))
	o.End(&metadatav1.CreateTableResponse{Table: table(1, "a", 1, 1, 1), Result: r.result()}, nil, r.tick())
	r.right(t)
	seal(hashOf(b))
	r.wrong(t, NotExactlyOnce, "change 1 of schema was made by another command")
}

func TestDryRunUnderAnIDThatTookEffect(t *testing.T) {
	r := newRun()
	o, a := r.create(1, "a")
	request, _ := proto.Clone(o.Request).(*metadatav1.CreateTableRequest)
	request.Write.DryRun = true
	answer := &metadatav1.CreateTableResponse{Table: a, Result: &metadatav1.WriteResult{Position: r.position(), Changed: true, Deduplicated: true}}
	second := r.do(1, request, answer)
	r.right(t)
	answer = proto.CloneOf(answer)
	answer.Result.Changed = false
	second.Response = answer
	r.wrong(t, NotExactlyOnce, "took effect and changed nothing")
}
