package simulation

import (
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/commands"
	"github.com/heliosdb/metadata/internal/consistency"
	"github.com/heliosdb/metadata/internal/failure"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// caller is a client that does one thing after the other. A write is tried with one
// request id until it is answered or the caller gives up; sometimes it is tried again
// although it was answered, or its request id is used for something else. Positions are
// handed back with reads.
type caller struct {
	c      *clients
	link   int
	number int
	pace   time.Duration // mean time between operations
	hasty  bool          // gives the service little time
	home   uint64        // the member that it asks first; 0: any

	open *consistency.Op // under way
}

func newCaller(c *clients, link int) *caller {
	rng := c.w.rng
	k := &caller{c: c, link: link, number: c.number(), pace: pick(rng, 100*time.Millisecond, 300*time.Millisecond, time.Second), hasty: rng.IntN(3) == 0}
	if c.w.plan.busy {
		k.pace = 100 * time.Millisecond
	}
	if rng.IntN(2) == 0 {
		k.home = c.anyMember()
	}
	return k
}

// think waits before the next operation.
func (k *caller) think() {
	k.c.w.after(around(k.c.w.rng, k.pace), func() {
		if !k.c.settling && k.open == nil {
			k.begin(k.c.requests.Next(k.number))
		}
	})
}

func (k *caller) begin(request proto.Message) {
	to := k.to()
	k.open = k.c.history.Begin(k.number, to, request, k.c.w.now)
	if _, err := commands.StreamOf(request); err == nil && k.c.w.plan.network.duplication > 0 {
		k.open.Retry(to) // the network may deliver it again, after the answer to the first
	}
	k.try(k.open, to)
}

func (k *caller) to() uint64 {
	if k.home != 0 && k.c.w.chance(0.8) {
		return k.home
	}
	return k.c.anyMember()
}

func (k *caller) patience() time.Duration {
	if k.hasty && !k.c.settling {
		return within(k.c.w.rng, 20*time.Millisecond, 600*time.Millisecond)
	}
	return within(k.c.w.rng, 500*time.Millisecond, 4*time.Second)
}

func (k *caller) try(o *consistency.Op, to uint64) {
	k.c.w.call(k.link, to, o.Request, k.patience(), func(reply proto.Message, err error) {
		k.answered(o, reply, err)
	})
}

// answered takes the answer to an attempt.
func (k *caller) answered(o *consistency.Op, reply proto.Message, err error) {
	_, notAWrite := commands.StreamOf(o.Request)
	f := failure.As(err)
	again := f != nil && (f.Kind() == failure.Unavailable || f.Kind() == failure.Deadline || f.Kind() == failure.Exhausted)
	switch {
	case notAWrite != nil || !again:
		o.End(reply, err, k.c.w.now)
		k.done(o)
	case !k.c.settling && k.c.w.chance(0.2):
		if inDoubt(f) {
			o.Unknown(k.c.w.now)
		} else {
			o.End(nil, err, k.c.w.now) // it was not carried out, and that is a promise
		}
		k.done(o)
	default:
		to := k.c.anyMember()
		if inDoubt(f) {
			o.Retry(to)
		}
		k.c.w.after(around(k.c.w.rng, 50*time.Millisecond), func() { k.try(o, to) })
	}
}

// inDoubt reports whether a write that failed so may still take effect.
func inDoubt(f *failure.Error) bool {
	return f.Reason == metadatav1.ErrorReason_ERROR_REASON_DEADLINE || f.Reason == metadatav1.ErrorReason_ERROR_REASON_OUTCOME_UNKNOWN
}

// done ends an operation.
func (k *caller) done(o *consistency.Op) {
	k.open = nil
	k.c.requests.Learn(o)
	switch {
	case k.c.settling:
	case o.Known && isCommand(o.Request) && k.c.w.chance(0.05):
		k.c.w.counts.add("answered requests sent again", 1)
		k.begin(o.Request)
	case isCommand(o.Request) && k.c.w.chance(0.02):
		k.c.w.counts.add("request ids used again", 1)
		k.begin(withRequestID(k.c.requests, k.number, commands.WriteOptionsOf(o.Request).GetRequestId()))
	default:
		k.think()
	}
}

func isCommand(request proto.Message) bool {
	_, err := commands.StreamOf(request)
	return err == nil
}

// withRequestID returns another command with a request id that was used.
func withRequestID(requests *consistency.Workload, client int, id string) proto.Message {
	for {
		request := requests.Next(client)
		if options := commands.WriteOptionsOf(request); options != nil {
			options.RequestId = id
			return request
		}
	}
}
