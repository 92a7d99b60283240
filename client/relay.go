package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"connectrpc.com/connect"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// errUnwanted ends a stream whose reader wants no more.
var errUnwanted = errors.New("no more is wanted")

// relay is a stream of answers with which one member goes on where another has broken off.
type relay struct {
	client  *Client
	endless bool // it waits for a member without end

	index    int       // of the endpoint to ask
	begun    bool      // something has come
	progress time.Time // when it did last
	faults   faults    // endpoints that lack what is to follow, or answered last for what they are
	life     life      // of the cluster whose stream it is
	behind   time.Time // since when members have not come to what is to follow; zero: they have
}

func (c *Client) relay(endless bool) *relay {
	return &relay{client: c, endless: endless, index: c.first(0), progress: time.Now()}
}

// run has one member after the other carry out a session, until one has come to the end of the
// stream, which is nil; errUnwanted is too. Otherwise it returns why no other member is asked.
func (r *relay) run(ctx context.Context, session func(at *endpoint) error) error {
	for pause := newBackoff(); ; {
		before := r.progress
		err := session(r.client.endpoints[r.index])
		if err == nil || errors.Is(err, errUnwanted) {
			return nil
		}
		if r.progress != before {
			pause.Reset()
		}
		wait, again := r.judge(ctx, err)
		if !again || !sleep(ctx, max(wait, pause.NextBackOff())) {
			return causeOf(ctx, err)
		}
		r.client.metrics.reconnects.Add(1)
		r.index = r.client.answering((r.index + 1) % len(r.client.endpoints))
	}
}

// came notes that a member has sent something.
func (r *relay) came() {
	r.begun, r.progress, r.faults, r.behind = true, time.Now(), 0, time.Time{}
}

// admit refuses a member's part of the stream if it is of another cluster, or of another life of
// this one: what comes then does not follow what came before.
func (r *relay) admit(at *endpoint, cluster string, epoch uint64) error {
	if cluster == "" {
		return nil // it is not the first message of a session
	}
	if err := r.client.admit(at, cluster); err != nil {
		return err
	}
	now := life{cluster, epoch}
	if !r.begun {
		r.life = now
	}
	if now != r.life {
		return connect.NewError(connect.CodeFailedPrecondition, fmt.Errorf("client: the stream is of cluster %s, recovery epoch %d; %s has that of cluster %s, recovery epoch %d",
			r.life.cluster, r.life.epoch, at.address, cluster, epoch))
	}
	return nil
}

// judge decides whether another member is to go on, and after which pause.
func (r *relay) judge(ctx context.Context, err error) (wait time.Duration, again bool) {
	wait, again = retryable(err)
	late := !r.endless && time.Since(r.progress) > r.client.opts.Timeout
	switch reason := Reason(err); {
	case isAboutEndpoint(err) || isLacking(err):
		again = r.faults.note(r.index) < len(r.client.endpoints) // else nobody knows better
	case reason == metadatav1.ErrorReason_ERROR_REASON_FUTURE_REVISION && r.begun:
		// Another member has sent what lies before: this one is only behind.
		if r.behind.IsZero() {
			r.behind = time.Now()
		}
		again = time.Since(r.behind) < r.client.patience.future
	default:
		r.faults.clear(r.index)
	}
	return wait, again && !late && ctx.Err() == nil
}
