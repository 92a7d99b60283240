package consistency

import (
	"testing"

	"google.golang.org/protobuf/proto"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// consumed makes consumers by hand: each method is a call that is carried out as asked, right
// or wrong.
type consumed struct{ *run }

const consumerName = "mirror"

func schemaOnly() *metadatav1.Filter { return &metadatav1.Filter{Streams: positioned[:1]} }

// write is a whole call that makes a change of the service stream.
func (r consumed) write(client int, request, response proto.Message, event *metadatav1.Event) {
	o := r.h.Begin(client, 1, request, r.now)
	r.tick()
	r.commit(optionsOf(request).GetRequestId(), event)
	o.End(response, nil, r.tick())
	r.tick()
}

func (r consumed) options() *metadatav1.WriteOptions {
	return &metadatav1.WriteOptions{RequestId: r.id()}
}

// changed is the result of a write of the service stream: positions do not cover it.
func (r consumed) changed(yes bool) *metadatav1.WriteResult {
	return &metadatav1.WriteResult{Changed: yes, Position: &metadatav1.Position{ClusterId: r.truth.Cluster.String()}}
}

// create creates a consumer behind a schema revision.
func (r consumed) create(client int, after uint64) *metadatav1.Consumer {
	said := &metadatav1.Consumer{Name: consumerName, Filter: schemaOnly(), Position: schemaAt(r.run, after)}
	c := proto.CloneOf(said)
	c.CreatedRevision, c.UpdatedRevision = r.head(serviceStream)+1, r.head(serviceStream)+1
	r.write(client, &metadatav1.CreateConsumerRequest{Consumer: said, Write: r.options()},
		&metadatav1.CreateConsumerResponse{Consumer: c, Result: r.changed(true)},
		&metadatav1.Event{Kind: &metadatav1.Event_ConsumerCreated{ConsumerCreated: &metadatav1.ConsumerCreated{Consumer: c}}})
	return c
}

// open has a client open the consumer.
func (r consumed) open(client int, before *metadatav1.Consumer) (*metadatav1.Consumer, *Holding) {
	c := proto.CloneOf(before)
	c.Epoch, c.UpdatedRevision = r.head(serviceStream)+1, r.head(serviceStream)+1
	r.write(client, &metadatav1.OpenConsumerRequest{Name: consumerName, Write: r.options()},
		&metadatav1.OpenConsumerResponse{Consumer: c, Result: r.changed(true)},
		&metadatav1.Event{Kind: &metadatav1.Event_ConsumerOpened{ConsumerOpened: &metadatav1.ConsumerOpened{Consumer: c}}})
	return c, r.h.Holding(client, c)
}

// acknowledge has a client that opened it as one state acknowledge a revision, which becomes
// the position of another.
func (r consumed) acknowledge(client int, held, before *metadatav1.Consumer, revision uint64) *metadatav1.Consumer {
	c := proto.CloneOf(before)
	c.Position, c.UpdatedRevision = schemaAt(r.run, revision), r.head(serviceStream)+1
	r.write(client, r.acknowledgement(held, revision),
		&metadatav1.AcknowledgeConsumerResponse{Consumer: c, Result: r.changed(true)},
		&metadatav1.Event{Kind: &metadatav1.Event_ConsumerAcknowledged{ConsumerAcknowledged: &metadatav1.ConsumerAcknowledged{Consumer: c}}})
	return c
}

func (r consumed) acknowledgement(held *metadatav1.Consumer, revision uint64) *metadatav1.AcknowledgeConsumerRequest {
	return &metadatav1.AcknowledgeConsumerRequest{Name: consumerName, Epoch: held.GetEpoch(), Position: schemaAt(r.run, revision), Write: r.options()}
}

func (r consumed) delete(client int, c *metadatav1.Consumer) {
	r.write(client, &metadatav1.DeleteConsumerRequest{Name: consumerName, Write: r.options()},
		&metadatav1.DeleteConsumerResponse{Consumer: c, Result: r.changed(true)},
		&metadatav1.Event{Kind: &metadatav1.Event_ConsumerDeleted{ConsumerDeleted: &metadatav1.ConsumerDeleted{Consumer: c}}})
}

// carryOut has a holder carry out schema revisions, one a second.
func (r consumed) carryOut(g *Holding, revisions ...uint64) {
	for _, revision := range revisions {
		g.CarriedOut(schemaStream, revision, r.tick())
	}
}

func getConsumer(level metadatav1.Consistency) *metadatav1.GetConsumerRequest {
	return &metadatav1.GetConsumerRequest{Name: consumerName, Read: &metadatav1.ReadOptions{Consistency: level}}
}

// newConsumed has three tables, and a consumer behind nothing that client 1 has opened.
func newConsumed() (r consumed, opened *metadatav1.Consumer, g *Holding) {
	r = consumed{newRun().knowing()}
	for _, name := range []string{"a", "b", "c"} {
		r.run.create(9, name)
	}
	opened, g = r.open(1, r.create(1, 0))
	return r, opened, g
}

func TestARightConsumerPasses(t *testing.T) {
	r, opened, g := newConsumed()
	r.rejected(2, &metadatav1.CreateConsumerRequest{Consumer: &metadatav1.Consumer{Name: consumerName}, Write: r.options()}, alreadyExists)
	r.carryOut(g, 1, 2)
	c := r.acknowledge(1, opened, opened, 2)
	r.do(1, r.acknowledgement(opened, 1), &metadatav1.AcknowledgeConsumerResponse{Consumer: c, Result: r.changed(false)})
	again, g2 := r.open(2, c)
	r.carryOut(g, 3) // the first one has not heard yet
	r.rejected(1, r.acknowledgement(opened, 3), consumerFenced)
	r.carryOut(g2, 3)
	c = r.acknowledge(2, again, again, 3)
	r.do(3, getConsumer(0), &metadatav1.GetConsumerResponse{Consumer: c})
	r.do(3, getConsumer(metadatav1.Consistency_CONSISTENCY_LOCAL), &metadatav1.GetConsumerResponse{Consumer: opened})
	r.delete(3, c)
	r.rejected(3, getConsumer(0), notFound)
	r.rejected(2, r.acknowledgement(again, 3), notFound)
	r.create(4, 3)
	r.commit("", &metadatav1.Event{Kind: &metadatav1.Event_HeadSigned{HeadSigned: &metadatav1.HeadSigned{Head: &metadatav1.SignedHead{Stream: schemaStream, Revision: 3}}}})
	r.right(t)
}

func TestConsumerLosesAChange(t *testing.T) {
	r, _, g := newConsumed()
	r.carryOut(g, 1, 3)
	r.wrong(t, WrongConsumer, "but never revision 2, which matches")
}

func TestConsumerIsGivenAChangeTwice(t *testing.T) {
	r, _, g := newConsumed()
	r.carryOut(g, 1, 2, 2)
	r.wrong(t, WrongConsumer, "carried out revision 2 of schema at 18s behind revision 2 (ordered, unique)")
}

func TestConsumerIsGivenWhatItAcknowledged(t *testing.T) {
	r, opened, g := newConsumed()
	r.carryOut(g, 1, 2)
	_, g2 := r.open(2, r.acknowledge(1, opened, opened, 2))
	r.carryOut(g2, 2, 3)
	r.wrong(t, WrongConsumer, "client 2, which opened consumer \"mirror\" with epoch 4: it carried out revision 2")
}

func TestPositionIsAheadOfTheHolder(t *testing.T) {
	r, opened, g := newConsumed()
	r.carryOut(g, 1)
	r.acknowledge(1, opened, opened, 2)
	r.carryOut(g, 2) // too late
	r.wrong(t, WrongConsumer, "its holder, client 1, had not carried out revision 2 by")
}

func TestPositionIsNotWhatWasAcknowledged(t *testing.T) {
	r, opened, g := newConsumed()
	r.carryOut(g, 1, 2)
	c := proto.CloneOf(opened)
	c.Position, c.UpdatedRevision = schemaAt(r.run, 2), 3
	r.write(1, r.acknowledgement(opened, 1), &metadatav1.AcknowledgeConsumerResponse{Consumer: c, Result: r.changed(true)},
		&metadatav1.Event{Kind: &metadatav1.Event_ConsumerAcknowledged{ConsumerAcknowledged: &metadatav1.ConsumerAcknowledged{Consumer: c}}})
	r.wrong(t, WrongConsumer, "its position in schema is 2, but 1 was acknowledged behind 0")
}

func TestPositionIsAheadOfCommit(t *testing.T) {
	r := consumed{newRun().knowing()}
	r.create(1, 1)
	r.run.create(9, "a")
	r.wrong(t, WrongConsumer, "its position is at revision 1 of schema")
}

func TestPositionGoesBack(t *testing.T) {
	r, opened, g := newConsumed()
	r.carryOut(g, 1, 2)
	r.acknowledge(1, opened, r.acknowledge(1, opened, opened, 2), 1)
	r.wrong(t, NotLinearizable, "(consumer_acknowledged)")
}

func TestFencedHolderMovesThePosition(t *testing.T) {
	r, opened, g := newConsumed()
	again, _ := r.open(2, opened)
	r.carryOut(g, 1)
	r.acknowledge(1, opened, again, 1)
	r.wrong(t, NotLinearizable, "the command is refused: CONSUMER_FENCED")
}

func TestEpochIsUsedAgain(t *testing.T) {
	r, opened, _ := newConsumed()
	same := proto.CloneOf(opened)
	same.UpdatedRevision = 3
	r.write(2, &metadatav1.OpenConsumerRequest{Name: consumerName, Write: r.options()},
		&metadatav1.OpenConsumerResponse{Consumer: same, Result: r.changed(true)},
		&metadatav1.Event{Kind: &metadatav1.Event_ConsumerOpened{ConsumerOpened: &metadatav1.ConsumerOpened{Consumer: same}}})
	r.wrong(t, NotLinearizable, "(consumer_opened)")
}

func TestNobodyAcknowledgedIt(t *testing.T) {
	r, opened, _ := newConsumed()
	c := proto.CloneOf(opened)
	c.Position, c.UpdatedRevision = schemaAt(r.run, 1), 3
	r.commit("strange", &metadatav1.Event{Kind: &metadatav1.Event_ConsumerAcknowledged{ConsumerAcknowledged: &metadatav1.ConsumerAcknowledged{Consumer: c}}})
	r.wrong(t, WrongConsumer, "nobody acknowledged it")
	r.wrong(t, NotExactlyOnce, `request id "strange", which nobody sent`)
}

func TestStaleConsumerIsRead(t *testing.T) {
	r, opened, g := newConsumed()
	r.carryOut(g, 1)
	r.acknowledge(1, opened, opened, 1)
	r.do(2, getConsumer(0), &metadatav1.GetConsumerResponse{Consumer: opened})
	r.wrong(t, NotLinearizable, "GetConsumer")
	r.wrong(t, WrongRejection, "was true up to revision 2 of service at the latest")
}

func TestConsumerThatNeverWasIsRead(t *testing.T) {
	r, opened, _ := newConsumed()
	other := proto.CloneOf(opened)
	other.UpdatedRevision = 7
	r.do(2, getConsumer(metadatav1.Consistency_CONSISTENCY_LOCAL), &metadatav1.GetConsumerResponse{Consumer: other})
	r.wrong(t, WrongRead, "the consumer was like that at none of the revisions 0 to 2")
}

func TestAcknowledgementShowsAnotherConsumer(t *testing.T) {
	r, opened, _ := newConsumed()
	other := proto.CloneOf(opened)
	other.Owner = "nobody"
	r.do(1, r.acknowledgement(opened, 0), &metadatav1.AcknowledgeConsumerResponse{Consumer: other, Result: r.changed(false)})
	r.wrong(t, WrongRejection, "was true at none of the revisions")
}

func TestConsumerBeginsBeforeTheFloor(t *testing.T) {
	r := consumed{newRun().knowing()}
	for _, name := range []string{"a", "b", "c"} {
		r.run.create(9, name)
	}
	r.commit("", &metadatav1.Event{Kind: &metadatav1.Event_HistoryTrimmed{HistoryTrimmed: &metadatav1.HistoryTrimmed{
		Floor: &metadatav1.HistoryFloor{Stream: schemaStream, OldestRevision: 3, PreviousDigest: make([]byte, 32)},
	}}})
	r.tick()
	r.rejected(1, &metadatav1.CreateConsumerRequest{Consumer: &metadatav1.Consumer{Name: consumerName, Position: schemaAt(r.run, 1)}, Write: r.options()}, historyTrimmed)
	c := r.create(1, 2)
	r.right(t)
	r.delete(1, c)
	r.create(1, 1)
	r.wrong(t, NotLinearizable, "the command is refused: HISTORY_TRIMMED")
}

// Two commands can have the same encoding: what was asked is the name, too.
func TestReusedRequestIDOfACommandThatLooksAlike(t *testing.T) {
	r, opened, _ := newConsumed()
	w := r.h.ops[len(r.h.ops)-1] // the one that opened it, with its name alone
	r.rejected(1, &metadatav1.DeleteConsumerRequest{Name: opened.GetName(), Write: optionsOf(w.Request)}, requestIDReused)
	r.right(t)
}
