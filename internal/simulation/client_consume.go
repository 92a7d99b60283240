package simulation

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/client/consume"
	"github.com/heliosdb/metadata/client/follow"
	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/internal/consistency"
	"github.com/heliosdb/metadata/internal/failure"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// consumer is a named consumer and the processes that take it from each other.
type consumer struct {
	c       *clients
	name    string
	filter  *metadatav1.Filter
	batch   int           // so many changes are carried out together
	pace    time.Duration // mean time that carrying out a change takes
	holders []*holder
}

// holder is a process that opens the consumer, carries out what comes, and acknowledges
// it. It crashes between any two of its steps, and comes back knowing nothing.
type holder struct {
	of     *consumer
	link   int
	number int
	run    int // counts the processes; what belongs to an earlier one does not count

	opened     *metadatav1.Consumer // nil: it has not got it, or was fenced off
	holding    *consistency.Holding
	machine    *consume.Machine
	resumption *follow.Resumption
	session    *consistency.Subscription
	cancel     func()
}

// maxHolders is how many processes want a consumer at most.
const maxHolders = 2

func newConsumer(c *clients, name string) *consumer {
	rng := c.w.rng
	n := &consumer{
		c: c, name: name, filter: c.requests.Subscribe(0).GetFilter(),
		batch: pick(rng, 1, 5, 20), pace: pick(rng, 5*time.Millisecond, 50*time.Millisecond, 300*time.Millisecond),
	}
	if f := events.NewFilter(n.filter); !f.MatchStream(streams[0]) && !f.MatchStream(streams[1]) {
		n.filter = nil // nothing can match: the service refuses it
	}
	for range 1 + rng.IntN(maxHolders) {
		n.holders = append(n.holders, &holder{of: n, link: rng.IntN(c.w.plan.clients)})
	}
	return n
}

func (n *consumer) begin() {
	for _, h := range n.holders {
		n.c.w.after(around(n.c.w.rng, 2*time.Second), h.begin)
	}
	n.look()
}

// look reads the consumer now and then.
func (n *consumer) look() {
	n.c.w.after(around(n.c.w.rng, 3*time.Second), func() {
		if n.c.settling {
			return
		}
		read := &metadatav1.ReadOptions{Consistency: pick(n.c.w.rng, metadatav1.Consistency_CONSISTENCY_LINEARIZABLE, metadatav1.Consistency_CONSISTENCY_LOCAL)}
		to := n.c.anyMember()
		o := n.c.history.Begin(n.c.number(), to, &metadatav1.GetConsumerRequest{Name: n.name, Read: read}, n.c.w.now)
		n.c.pursue(pursuit{op: o, link: n.holders[0].link, patience: n.c.patience, lives: func() bool { return true }, done: n.look}, to)
	})
}

// settle leaves the consumer to one process, which goes on until nothing is left.
func (n *consumer) settle() {
	for _, h := range n.holders[1:] {
		h.end()
	}
	if h := n.holders[0]; h.opened == nil {
		h.begin()
	}
}

// behind says what the consumer still has to acknowledge, or "".
func (n *consumer) behind() string {
	kept, ok := n.c.w.judge.pasts.service.newest().Model.Consumer(n.name)
	if !ok {
		return fmt.Sprintf("there is no consumer %q", n.name)
	}
	filter := events.NewFilter(n.filter)
	for _, s := range positioned {
		if newest := uint64(len(n.c.w.judge.chain(s).changes)); filter.MatchStream(s) && kept.Revision(s) != newest {
			return fmt.Sprintf("consumer %q has acknowledged revision %d of %d of %s", n.name, kept.Revision(s), newest, events.StreamName(s))
		}
	}
	return ""
}

// begin starts a process.
func (h *holder) begin() {
	h.end()
	h.number = h.of.c.number()
	h.of.c.w.counts.add("consuming processes", 1)
	h.open()
	h.tick()
	h.meetAccident()
}

// end ends the process without a word.
func (h *holder) end() {
	h.run++
	h.letGo()
}

// letGo forgets the consumer.
func (h *holder) letGo() {
	if h.cancel != nil {
		h.cancel()
		h.session.Broke(nil, h.of.c.w.now)
	}
	h.opened, h.cancel, h.machine = nil, nil, nil
}

// later has the process do something after a while, if it still runs.
func (h *holder) later(mean time.Duration, f func()) {
	run := h.run
	h.of.c.w.after(around(h.of.c.w.rng, mean), func() {
		if h.run == run {
			f()
		}
	})
}

// meetAccident has something happen to the process some time.
func (h *holder) meetAccident() {
	h.later(15*time.Second, func() {
		w := h.of.c.w
		switch {
		case h.of.c.settling:
			return
		case w.chance(0.1):
			w.counts.add("consumers deleted", 1)
			h.call(&metadatav1.DeleteConsumerRequest{Name: h.of.name, Write: h.options()}, func(*consistency.Op) {})
		case w.chance(0.5):
			h.crash()
			return
		default: // it leaves the consumer to the others for a while, or fences them off
			h.begin()
			return
		}
		h.meetAccident()
	})
}

// crash ends the process; another one begins after a while.
func (h *holder) crash() {
	w := h.of.c.w
	w.counts.add("consuming processes crashed", 1)
	h.end()
	h.later(2*time.Second, h.begin)
}

// crashes ends the process between two of its steps, now and then.
func (h *holder) crashes() bool {
	if h.of.c.settling || !h.of.c.w.chance(0.02) {
		return false
	}
	h.crash()
	return true
}

func (h *holder) options() *metadatav1.WriteOptions {
	return &metadatav1.WriteOptions{RequestId: h.of.c.requests.RequestID()}
}

// call has a request answered; then gets the operation, which may have been given up.
func (h *holder) call(request proto.Message, then func(*consistency.Op)) {
	c, run, to := h.of.c, h.run, h.of.c.anyMember()
	o := c.history.Begin(h.number, to, request, c.w.now)
	c.pursue(pursuit{op: o, link: h.link, patience: c.patience, lives: func() bool { return h.run == run }, done: func() { then(o) }}, to)
}

// open takes the consumer over, and creates it if there is none.
func (h *holder) open() {
	h.letGo()
	owner := fmt.Sprint("process ", h.number)
	h.call(&metadatav1.OpenConsumerRequest{Name: h.of.name, Owner: owner, Write: h.options()}, func(o *consistency.Op) {
		answer, ok := o.Response.(*metadatav1.OpenConsumerResponse)
		switch {
		case ok && !h.crashes():
			h.begins(answer.GetConsumer())
		case ok:
		case o.Reason == metadatav1.ErrorReason_ERROR_REASON_NOT_FOUND:
			h.create(pick(h.of.c.w.rng, nil, &metadatav1.Position{}))
		default:
			h.later(200*time.Millisecond, h.open)
		}
	})
}

// create creates the consumer: behind a position, or behind what is newest if it is nil.
func (h *holder) create(position *metadatav1.Position) {
	h.of.c.w.counts.add("consumers created", 1)
	created := &metadatav1.Consumer{Name: h.of.name, Filter: h.of.filter, Position: position}
	h.call(&metadatav1.CreateConsumerRequest{Consumer: created, Write: h.options()}, func(*consistency.Op) {
		h.later(50*time.Millisecond, h.open)
	})
}

// begins goes on from the position that is kept.
func (h *holder) begins(opened *metadatav1.Consumer) {
	h.opened, h.holding = opened, h.of.c.history.Holding(h.number, opened)
	var err error
	if h.machine, err = consume.New(opened.GetPosition(), consume.Options{
		BatchChanges: h.of.batch, AckChanges: 2 * h.of.batch, AckInterval: ackInterval,
	}); err != nil {
		h.of.c.w.violate("consumer", "%s: %v", h.of.name, err)
		return
	}
	h.follow()
}

// follow subscribes behind what was sent.
func (h *holder) follow() {
	h.resumption = follow.NewResumption(&metadatav1.SubscribeRequest{
		Start:  &metadatav1.SubscribeRequest_After{After: h.machine.Received()},
		Filter: h.opened.GetFilter(), FailOnGap: true, BookmarkIntervalMillis: 1500,
	}, len(h.of.c.w.members), follow.JudgeFailure)
	h.subscribe(h.of.c.anyMember())
}

func (h *holder) subscribe(to uint64) {
	w := h.of.c.w
	epoch, run, request := h.opened.GetEpoch(), h.run, h.resumption.Next()
	session := h.of.c.history.Subscription(h.number, request, w.now)
	mine := func() bool { return h.run == run && h.opened.GetEpoch() == epoch && h.session == session }
	h.session = session
	h.cancel = w.subscribe(h.link, to, request, func(frame *metadatav1.SubscribeResponse) {
		if mine() {
			session.Frame(frame, w.now)
			h.take(frame)
		}
	}, func(err error) {
		if mine() {
			session.Broke(err, w.now)
			h.cancel = nil
			h.broke(to, err)
		}
	})
}

// broke goes on at another member. What no member has any more is lost to the consumer:
// then it is created anew, behind what is newest.
func (h *holder) broke(asked uint64, err error) {
	w := h.of.c.w
	wait, again := h.resumption.Broke(err)
	switch {
	case failure.Is(err, metadatav1.ErrorReason_ERROR_REASON_HISTORY_TRIMMED) || w.historyGone(err):
		w.counts.add("consumers that lost history", 1)
		h.letGo()
		h.call(&metadatav1.DeleteConsumerRequest{Name: h.of.name, Write: h.options()}, func(*consistency.Op) { h.create(nil) })
	case again:
		h.later(wait+50*time.Millisecond, func() {
			if h.opened != nil && h.cancel == nil {
				h.subscribe(asked%uint64(len(w.members)) + 1)
			}
		})
	default:
		h.later(time.Second, func() {
			if h.opened != nil && h.cancel == nil {
				h.follow()
			}
		})
	}
}
