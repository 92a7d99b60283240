package simulation

import (
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/client/follow"
	"github.com/heliosdb/metadata/commands"
	"github.com/heliosdb/metadata/internal/consistency"
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

	open  *consistency.Op // under way
	wrote follow.Seen     // what its writes were answered with
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
	k.c.pursue(pursuit{op: k.open, link: k.link, patience: k.patience, lives: func() bool { return true }, done: func() { k.done(k.open) }}, to)
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
	return k.c.patience()
}

// done ends an operation.
func (k *caller) done(o *consistency.Op) {
	k.open = nil
	k.c.requests.Learn(o)
	if answer, ok := o.Response.(withResult); ok && o.Known {
		k.wrote.Learn(answer.GetResult().GetPosition())
	}
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
