package client

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"connectrpc.com/connect"
	"github.com/cenkalti/backoff/v5"
	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/proto/heliosdb/metadata/v1/metadatav1connect"
)

const (
	// attemptTimeout is after how long without an answer the next member is
	// asked: a member may be paused, or behind a broken link.
	attemptTimeout = 3 * time.Second
	minBackoff     = 5 * time.Millisecond
	maxBackoff     = 500 * time.Millisecond
)

// method is a unary rpc as the generated client offers it.
type method[Req, Res any] = func(metadatav1connect.MetadataServiceClient, context.Context, *Req) (*Res, error)

// read makes a call without effect: it may be repeated at will.
func read[Req, Res any](ctx context.Context, c *Client, req *Req, call method[Req, Res]) (*Res, error) {
	return attempts(ctx, c, 0, req, call)
}

// write makes a call with effect. All attempts carry one request id, so at most
// one takes effect.
func write[Req, Res any, P interface {
	*Req
	proto.Message
	GetWrite() *metadatav1.WriteOptions
}](ctx context.Context, c *Client, s metadatav1.Stream, req *Req, call method[Req, Res]) (*Res, error) {
	p := P(req)
	if p.GetWrite().GetRequestId() == "" {
		p = proto.Clone(p).(P)
		setRequestID(p, uuid.Must(uuid.NewV7()).String())
	}
	res, err := attempts(ctx, c, s, (*Req)(p), call)
	if err != nil && gaveUp(err) && !p.GetWrite().GetDryRun() {
		err = &unknownOutcomeError{requestID: p.GetWrite().GetRequestId(), cause: err}
	}
	return res, err
}

// setRequestID fills in the request id of a write.
func setRequestID(m proto.Message, id string) {
	r := m.ProtoReflect()
	options := r.Mutable(r.Descriptor().Fields().ByName("write")).Message()
	options.Interface().(*metadatav1.WriteOptions).RequestId = id
}

// gaveUp reports whether err means that no member gave an answer.
func gaveUp(err error) bool {
	code := connect.CodeOf(err)
	return code == connect.CodeDeadlineExceeded || code == connect.CodeCanceled ||
		errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}

// attempts asks one member after the other until one answers, the context ends
// or the answer is final.
func attempts[Req, Res any](
	ctx context.Context, c *Client, s metadatav1.Stream, req *Req, call method[Req, Res],
) (*Res, error) {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.opts.Timeout)
		defer cancel()
	}
	pause := newBackoff()
	for attempt := 0; ; attempt++ {
		index := c.pick(s, attempt)
		res, err := once(ctx, c.endpoints[index], req, call)
		if err == nil {
			c.answered(index, attempt)
			return res, nil
		}
		wait, again := retryable(err)
		if !again || ctx.Err() != nil {
			return nil, err
		}
		c.log.Debug("retrying", "endpoint", c.endpoints[index].address, "attempt", attempt+1, "error", err)
		c.metrics.retries.Add(1)
		c.leaders.forget(s)
		// The first round through the endpoints is quick: the next one is
		// likely to be fine.
		if attempt+1 >= len(c.endpoints) {
			wait = max(wait, pause.NextBackOff())
		}
		if !sleep(ctx, wait) {
			return nil, err
		}
	}
}

// once makes one attempt.
func once[Req, Res any](ctx context.Context, e *endpoint, req *Req, call method[Req, Res]) (*Res, error) {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	return call(e.unary, ctx, req)
}

// pick chooses the endpoint of an attempt: first the stream's leader if it is
// known, else the one that answered last, then the others in turn.
func (c *Client) pick(s metadatav1.Stream, attempt int) int {
	start := int(c.preferred.Load())
	if s != 0 {
		if leader, ok := c.leader(s); ok {
			start = leader
		}
	}
	return (start + attempt) % len(c.endpoints)
}

// answered remembers who answered.
func (c *Client) answered(index, attempt int) {
	if attempt > 0 {
		c.preferred.Store(uint32(index))
	}
}

func newBackoff() *backoff.ExponentialBackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.MaxInterval = minBackoff, maxBackoff
	return b
}

// sleep waits unless the context ends first. Without a wait it yields a little
// by chance, so that callers do not move in step.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		d = time.Duration(rand.Int64N(int64(time.Millisecond)))
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
