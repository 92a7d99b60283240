package client

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"connectrpc.com/connect"
	"github.com/cenkalti/backoff/v5"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/heliosdb/metadata/client/internal/pipeline"
	"github.com/heliosdb/metadata/internal/canonical"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

const (
	minBackoff = 5 * time.Millisecond
	maxBackoff = 500 * time.Millisecond
)

// method is a unary rpc as an endpoint offers it, by itself.
type method[Req, Res any] = func(service, context.Context, *Req) (*Res, error)

// message is a pointer to a message.
type message[M any] interface {
	*M
	proto.Message
}

// attempt is one try of a call at one member.
type attempt[Res any] = func(ctx context.Context, e *endpoint, first bool) (*Res, error)

// callOnce calls a member: over the stream that it shares with others if there is one,
// else by itself. name is the method's.
func callOnce[Req, Res any, Q message[Req], A message[Res]](
	ctx context.Context, e *endpoint, req Q, name string, alone func(service, context.Context, Q) (A, error),
) (A, error) {
	pipe := e.grpc.pipelined()
	if pipe == nil {
		return alone(e.unary, ctx, req)
	}
	encoded, err := canonical.Marshal(req)
	if err != nil || len(encoded) > maxPipelined {
		return alone(e.unary, ctx, req)
	}
	answer, err := pipe.Call(ctx, name, encoded)
	if broken, ok := errors.AsType[*pipeline.BrokenError](err); ok && !broken.Sent {
		return alone(e.unary, ctx, req)
	}
	if err == nil {
		res := A(new(Res))
		if err = decodeAnswer(answer, res); err == nil {
			return res, nil
		}
	}
	return nil, asConnect(err)
}

// read makes a call without effect: it may be repeated at will.
func read[Req, Res any, Q message[Req], A message[Res]](
	ctx context.Context, c *Client, req Q, name string, alone func(service, context.Context, Q) (A, error),
) (*Res, error) {
	return perform(ctx, c.tries(0), func(ctx context.Context, e *endpoint, _ bool) (*Res, error) {
		return callOnce(ctx, e, req, name, alone)
	})
}

// readPage is read for answers so large that they would keep others on the same stream
// waiting.
func readPage[Req, Res any](ctx context.Context, c *Client, req *Req, call method[Req, Res]) (*Res, error) {
	return perform(ctx, c.tries(0), func(ctx context.Context, e *endpoint, _ bool) (*Res, error) {
		return call(e.unary, ctx, req)
	})
}

// write makes a call with effect. All attempts carry one request id, so at most
// one takes effect.
func write[Req, Res any, Q interface {
	message[Req]
	GetWrite() *metadatav1.WriteOptions
}, A message[Res]](
	ctx context.Context, c *Client, s metadatav1.Stream, req Q, name string, alone func(service, context.Context, Q) (A, error),
) (*Res, error) {
	p := req
	known := uint64(0)
	if p.GetWrite().GetRequestId() == "" {
		p = withOptions(p, func(o *metadatav1.WriteOptions) { o.RequestId = newID() })
		known = c.known.revision(s)
	}
	t := c.tries(s)
	res, err := perform(ctx, t, func(ctx context.Context, e *endpoint, first bool) (*Res, error) {
		if !first && known > 0 && p.GetWrite().GetKnownRevision() == 0 {
			// From now on the id may have been used; say how old it is, so that a
			// service that has forgotten it says so instead of writing again.
			p = withOptions(p, func(o *metadatav1.WriteOptions) { o.KnownRevision = known })
		}
		return callOnce(ctx, e, p, name, alone)
	})
	if err != nil && t.uncertain && !p.GetWrite().GetDryRun() {
		err = &unknownOutcomeError{requestID: p.GetWrite().GetRequestId(), cause: err}
	}
	return res, err
}

// withOptions returns a command with other write options. It shares the rest with the
// caller's, which stays as it is.
func withOptions[M interface {
	proto.Message
	GetWrite() *metadatav1.WriteOptions
}](m M, change func(*metadatav1.WriteOptions)) M {
	options := proto.CloneOf(m.GetWrite())
	if options == nil {
		options = new(metadatav1.WriteOptions)
	}
	change(options)
	from := m.ProtoReflect()
	to := from.New()
	from.Range(func(field protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		to.Set(field, v)
		return true
	})
	to.SetUnknown(from.GetUnknown())
	to.Set(from.Descriptor().Fields().ByName("write"), protoreflect.ValueOfMessage(options.ProtoReflect()))
	return to.Interface().(M)
}

// tries are the attempts of one call, one after the other.
type tries struct {
	client    *Client
	stream    metadatav1.Stream // whose leader is asked first; 0: any member
	index     int               // of the endpoint to ask
	failed    int               // attempts so far
	uncertain bool              // an attempt may take or have taken effect, and none told
	pause     *backoff.ExponentialBackOff

	attempt, longest time.Duration // see patience
}

func (c *Client) tries(s metadatav1.Stream) *tries {
	return &tries{
		client: c, stream: s, index: c.first(s), pause: newBackoff(),
		attempt: c.patience.attempt, longest: c.patience.longest,
	}
}

// timeout is for how long the next attempt waits: not long at first, because the next
// member may be fine; longer after every other attempt, because all may be slow.
func (t *tries) timeout() time.Duration {
	if len(t.client.endpoints) == 1 {
		return t.longest
	}
	return min(t.attempt<<min(t.failed/2, 16), t.longest)
}

// perform asks one member after the other until one answers, the context ends or
// the answer is final.
func perform[Res any](ctx context.Context, t *tries, call attempt[Res]) (*Res, error) {
	c := t.client
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.opts.Timeout)
		defer cancel()
	}
	if err := ctx.Err(); err != nil {
		return nil, err // nothing was sent
	}
	for {
		res, err := once(ctx, t, call)
		if err == nil {
			t.succeeded(res)
			return res, nil
		}
		wait, again := t.judge(ctx, err)
		if !again || !sleep(ctx, wait) {
			return nil, err
		}
	}
}

// once makes one attempt.
func once[Res any](ctx context.Context, t *tries, call attempt[Res]) (*Res, error) {
	e, began := t.client.endpoints[t.index], time.Now() // before the context: it may end no sooner
	ctx, cancel := context.WithTimeout(ctx, t.timeout())
	defer cancel()
	res, err := call(ctx, e, t.failed == 0)
	switch {
	case told(err):
		e.health.answered()
	case ctx.Err() != nil && time.Since(began) >= t.attempt:
		t.client.noteWaited(e, began)
	}
	if errors.Is(err, proto.Error) && connect.CodeOf(err) == connect.CodeInternal {
		err = connect.NewError(connect.CodeInvalidArgument, fmt.Errorf("client: the request cannot be encoded: %w", err))
	}
	return res, err
}

func (t *tries) succeeded(res any) {
	t.uncertain = false
	t.client.known.learn(res)
	if t.failed > 0 {
		t.client.preferred.Store(uint32(t.index))
	}
}

// judge decides what follows from a failed attempt: whether to make another one,
// at the next endpoint, and how long to wait before.
func (t *tries) judge(ctx context.Context, err error) (wait time.Duration, again bool) {
	hint, again := retryable(err)
	if !again {
		// A refusal tells nothing of an attempt before it: that one may still be on its
		// way, in a member that is paused or behind a link that is cut, and take effect
		// later. Only success, which names the change, makes up for it.
		return 0, false
	}
	t.uncertain = t.uncertain || mayHaveHappened(err)
	if ctx.Err() != nil {
		return 0, false
	}
	c := t.client
	c.log.Debug("retrying", "endpoint", c.endpoints[t.index].address, "attempt", t.failed+1, "error", err)
	c.metrics.retries.Add(1)
	c.leaders.suspect(t.stream, t.index)
	t.index = c.answering((t.index + 1) % len(c.endpoints))
	t.failed++
	if hint > 0 {
		// Those who were given the same hint should not come back together.
		wait = hint + rand.N(hint/2+1)
	}
	// The first round through the endpoints is quick: the next one is likely to be
	// fine.
	if t.failed >= len(c.endpoints) {
		wait = max(wait, t.pause.NextBackOff())
	}
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < wait {
		return 0, false
	}
	return wait, true
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
		d = rand.N(time.Millisecond)
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
