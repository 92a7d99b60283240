package client

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"
	"github.com/cenkalti/backoff/v5"
	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/client/internal/pipeline"
	"github.com/heliosdb/metadata/internal/canonical"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

const (
	minBackoff = 5 * time.Millisecond
	maxBackoff = 500 * time.Millisecond
	// minAttempt is what no attempt is cut short below for the sake of others.
	minAttempt = 25 * time.Millisecond
	// minSilent is how long an attempt waits at least before its endpoint counts as silent.
	minSilent = 100 * time.Millisecond
)

// message is a pointer to a message.
type message[M any] interface {
	*M
	proto.Message
}

// attempt makes one try of a call.
type attempt[Res any] = func(a try) (*Res, error)

// try is one try of a call at one member. It ends with the caller's context or at its
// time, without a context of its own, which would be made and given a timer for each call.
type try struct {
	ctx, life    context.Context // of the caller and the client
	began, until time.Time
	at           *endpoint
	first        bool
}

// limited is the context of a try, for those who need it. It ends with the client.
func (a try) limited() (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithDeadline(a.ctx, a.until)
	stop := context.AfterFunc(a.life, cancel)
	return ctx, func() { stop(); cancel() }
}

// alone makes a call that shares no stream.
func alone[Q, A any](a try, req Q, call func(service, context.Context, Q) (A, error)) (A, error) {
	ctx, cancel := a.limited()
	defer cancel()
	return call(a.at.unaryService(), ctx, req)
}

// unshared is the name of methods that no stream carries: those of other services than
// MetadataService.
const unshared = ""

// callOnce calls a member: over the stream that it shares with others if there is one,
// else by itself. name is the method's.
func callOnce[Req, Res any, Q message[Req], A message[Res]](
	a try, req Q, name string, call func(service, context.Context, Q) (A, error),
) (A, error) {
	if name == unshared {
		return alone(a, req, call)
	}
	pipe := a.at.grpc.pipelined()
	if pipe == nil {
		return alone(a, req, call)
	}
	var answer *metadatav1.PipelineAnswer
	var err error
	sent := false
	canonical.With(req, func(encoded []byte, failed error) {
		if sent = failed == nil && len(encoded) <= maxPipelined; sent {
			answer, err = pipe.Call(a.ctx, a.until, name, encoded)
		}
	})
	if broken, ok := errors.AsType[*pipeline.BrokenError](err); !sent || ok && !broken.Sent {
		return alone(a, req, call)
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
	ctx context.Context, c *Client, req Q, name string, call func(service, context.Context, Q) (A, error),
) (*Res, error) {
	own, filled := withOwn(c, req)
	for {
		res, err := perform(ctx, c.readTries(), own, func(a try) (*Res, error) { return callOnce(a, own, name, call) })
		if !filled || !c.lostSight(err) {
			return res, err
		}
		own, filled = withConsistency(req, linearizable, nil), false
	}
}

// readPage is read for methods that no stream carries, and for answers so large that they
// would keep others on the same stream waiting.
func readPage[Req, Res any, Q message[Req], A message[Res]](
	ctx context.Context, c *Client, req Q, call func(service, context.Context, Q) (A, error),
) (*Res, error) {
	return readAlone(ctx, c, c.readTries, req, call)
}

// readPast is readPage for calls that a member may work long on.
func readPast[Req, Res any, Q message[Req], A message[Res]](
	ctx context.Context, c *Client, req Q, call func(service, context.Context, Q) (A, error),
) (*Res, error) {
	return readAlone(ctx, c, func() *tries { return c.readTries().long() }, req, call)
}

func readAlone[Req, Res any, Q message[Req], A message[Res]](
	ctx context.Context, c *Client, tries func() *tries, req Q, call func(service, context.Context, Q) (A, error),
) (*Res, error) {
	own, filled := withOwn(c, req)
	for {
		res, err := perform(ctx, tries(), own, func(a try) (*Res, error) {
			res, err := alone(a, own, call)
			return (*Res)(res), err
		})
		if !filled || !c.lostSight(err) {
			return res, err
		}
		own, filled = withConsistency(req, linearizable, nil), false
	}
}

// tries are the attempts of one call, one after the other.
type tries struct {
	client    *Client
	stream    metadatav1.Stream           // whose leader is asked first; 0: any member
	effect    bool                        // it is a write
	index     int                         // of the endpoint to ask
	failed    int                         // attempts so far
	faults    faults                      // endpoints that failed for what they are, or lack
	fault     error                       // of the last of them
	before    error                       // of the attempt before
	uncertain bool                        // an attempt may take or have taken effect, and none told
	deadline  time.Time                   // of the call
	pause     *backoff.ExponentialBackOff // nil before the first

	attempt, longest time.Duration // see patience
	alive            *atomic.Int64 // when a member last answered anything, in Unix nanoseconds; nil: the call is not long
	hedge            time.Duration // when another member is asked besides; 0: never
}

func (c *Client) tries(s metadatav1.Stream) *tries {
	return &tries{
		client: c, stream: s, index: c.first(s),
		attempt: c.patience.attempt, longest: c.patience.longest,
	}
}

// readTries are the attempts of a read.
func (c *Client) readTries() *tries {
	t := c.tries(0)
	t.hedge = c.opts.HedgeAfter
	return t
}

// timeout is for how long the next attempt waits: not long at first, because the next
// member may be fine; longer after every other attempt, because all may be slow.
// While somebody was not asked yet it leaves half of what the call has left for them.
func (t *tries) timeout(left time.Duration) time.Duration {
	others := len(t.client.endpoints) - 1
	switch {
	case t.isLong():
		return max(0, left)
	case others == 0:
		return t.longest
	}
	wait := min(t.attempt<<min(t.failed/2, 16), t.longest)
	if t.failed < others && left > 2*minAttempt {
		wait = min(wait, left/2)
	}
	return wait
}

// perform makes a call, and notes how long it took.
func perform[Res any](ctx context.Context, t *tries, req proto.Message, call attempt[Res]) (*Res, error) {
	if err := ctx.Err(); err != nil {
		return nil, asConnect(err) // nothing was sent
	}
	began := time.Now()
	res, err := persevere(ctx, t, began, call)
	t.client.metrics.latency.of(req).note(began, err)
	return res, err
}

// persevere asks one member after the other until one answers, the context ends or
// the answer is final.
func persevere[Res any](ctx context.Context, t *tries, began time.Time, call attempt[Res]) (*Res, error) {
	var limited bool
	if t.deadline, limited = ctx.Deadline(); !limited {
		t.deadline = began.Add(t.patience())
	}
	for {
		if t.client.life.Err() != nil {
			return nil, errClientClosed
		}
		res, err := hedged(ctx, t, began, call)
		if err == nil {
			t.succeeded(res)
			return res, nil
		}
		wait, again := t.judge(ctx, err)
		if !again || !sleep(ctx, wait) {
			return nil, t.final(err, began)
		}
		if now := time.Now(); now.Before(t.deadline) {
			began = now
		} else {
			return nil, t.final(err, began)
		}
		t.before = err
	}
}

// try returns the attempt at an endpoint that begins at a time.
func (t *tries) try(ctx context.Context, index int, began time.Time) try {
	a := try{
		ctx: ctx, life: t.client.life, began: began, until: began.Add(t.timeout(t.deadline.Sub(began))),
		at: t.client.endpoints[index], first: t.failed == 0,
	}
	if t.deadline.Before(a.until) {
		a.until = t.deadline
	}
	return a
}

// once makes one attempt.
func once[Res any](t *tries, a try, call attempt[Res]) (*Res, error) {
	res, err := attend(t, a, call)
	err = asUnavailable(err)
	switch {
	case wasAnswered(err):
		a.at.health.answered()
		if t.isLong() {
			t.alive.Store(time.Now().UnixNano())
		}
	case isUnsent(err): // it says nothing of the endpoint
	case time.Since(a.began) >= min(t.attempt, minSilent) && (a.ctx.Err() != nil || !time.Now().Before(a.until)):
		t.client.noteWaited(a.at, a.began)
	}
	if t.client.life.Err() != nil && err != nil {
		err = errClientClosed
	}
	if foreign := t.client.doubt(a.at, err); foreign != nil {
		err = foreign
	}
	if errors.Is(err, proto.Error) && connect.CodeOf(err) == connect.CodeInternal {
		err = connect.NewError(connect.CodeInvalidArgument, fmt.Errorf("client: the request cannot be encoded: %w", err))
	}
	if err == nil {
		if err = t.client.admit(a.at, positionOf(res).GetClusterId()); err == nil {
			return res, nil
		}
		if foreign, ok := isForeign(err); ok {
			foreign.Written = t.effect
		}
	}
	return nil, t.client.refused(a.at, t.client.explained(a.at, err))
}

func (t *tries) succeeded(res any) {
	t.uncertain = false
	t.client.learn(res, t.effect)
	if t.failed > 0 {
		t.client.preferred.Store(uint32(t.index))
	}
}

// judge decides what follows from a failed attempt: whether to make another one,
// at the next endpoint, and how long to wait before.
func (t *tries) judge(ctx context.Context, err error) (wait time.Duration, again bool) {
	hint, again := retryable(err)
	if !again && !isAboutEndpoint(err) && !isLacking(err) || t.isSettled(err) {
		// A refusal tells nothing of an attempt before it: that one may still be on its
		// way, in a member that is paused or behind a link that is cut, and take effect
		// later. Only success, which names the change, makes up for it.
		return 0, false
	}
	t.uncertain = t.uncertain || mayHaveHappened(err)
	c := t.client
	c.leaders.suspect(t.stream, t.index)
	if ctx.Err() != nil || !time.Now().Before(t.deadline) || t.abandoned() {
		return 0, false
	}
	c.log.Debug("retrying", "endpoint", c.endpoints[t.index].address, "attempt", t.failed+1, "error", err)
	c.metrics.retries.Add(1)
	t.index = c.answering((t.index + 1) % len(c.endpoints))
	t.failed++
	if hint > 0 {
		// Those who were given the same hint should not come back together.
		wait = hint + rand.N(hint/2+1)
	}
	// The first round through the endpoints is quick: the next one is likely to be
	// fine.
	if t.failed >= len(c.endpoints) {
		if t.pause == nil {
			t.pause = newBackoff()
		}
		wait = max(wait, t.pause.NextBackOff())
	}
	if time.Until(t.deadline) < wait {
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
