package simulation

import (
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/commands"
	"github.com/heliosdb/metadata/internal/consistency"
	"github.com/heliosdb/metadata/internal/failure"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// pursuit is an operation with all attempts that a client makes for one answer. A write
// is tried with one request id, at any member, until it is answered or given up.
type pursuit struct {
	op       *consistency.Op
	link     int
	patience func() time.Duration // with one attempt
	lives    func() bool          // the process that wants to know; without it nobody tries again
	done     func()               // the operation has ended, or was given up
}

// pursue makes the first attempt.
func (c *clients) pursue(p pursuit, to uint64) {
	if isCommand(p.op.Request) && c.w.plan.network.duplication > 0 {
		p.op.Retry(to) // the network may deliver it again, after the answer to the first
	}
	c.attempt(p, to)
}

func (c *clients) attempt(p pursuit, to uint64) {
	c.w.call(p.link, to, p.op.Request, p.patience(), func(reply proto.Message, err error) {
		if p.lives() {
			c.attempted(p, reply, err)
		}
	})
}

// attempted takes the answer to an attempt.
func (c *clients) attempted(p pursuit, reply proto.Message, err error) {
	f := failure.As(err)
	again := f != nil && (f.Kind() == failure.Unavailable || f.Kind() == failure.Deadline || f.Kind() == failure.Exhausted)
	switch {
	case !isCommand(p.op.Request) || !again:
		p.op.End(reply, err, c.w.now)
		p.done()
	case !c.settling && c.w.chance(0.2):
		if inDoubt(f) {
			p.op.Unknown(c.w.now)
		} else {
			p.op.End(nil, err, c.w.now) // it was not carried out, and that is a promise
		}
		p.done()
	default:
		to := c.anyMember()
		if inDoubt(f) {
			p.op.Retry(to)
		}
		c.w.after(around(c.w.rng, 50*time.Millisecond), func() {
			if p.lives() {
				c.attempt(p, to)
			}
		})
	}
}

// patience is how long a client that is not hasty waits for an answer.
func (c *clients) patience() time.Duration {
	return within(c.w.rng, 500*time.Millisecond, 4*time.Second)
}

// inDoubt reports whether a write that failed so may still take effect.
func inDoubt(f *failure.Error) bool {
	return f.Reason == metadatav1.ErrorReason_ERROR_REASON_DEADLINE || f.Reason == metadatav1.ErrorReason_ERROR_REASON_OUTCOME_UNKNOWN
}

func isCommand(request proto.Message) bool {
	_, err := commands.StreamOf(request)
	return err == nil
}
