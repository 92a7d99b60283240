package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"sync"
	"time"

	"connectrpc.com/connect"
	"github.com/cenkalti/backoff/v5"

	"github.com/heliosdb/metadata/client/follow"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// errEnded is a subscription that the service ended without an error.
var errEnded = connect.NewError(connect.CodeUnavailable, errors.New("client: the member ended the subscription"))

const (
	// silenceFactor says after how many missed bookmarks a subscription counts as
	// broken and is opened again at another member.
	silenceFactor = 5
	// defaultInterval is the service's time between bookmarks.
	defaultInterval = time.Second
)

// Watch is Subscribe that resumes by itself. It yields frames until the context
// ends or the service gives an answer that another attempt cannot change; that
// error is yielded last. While the service cannot be reached it waits and tries
// the members in turn, without end: bound it by the context.
//
// Every change that matches the filter is yielded once and in order. When the
// service cannot resume (its history was trimmed, or it was restored from a
// backup) a Reset frame comes first and then a snapshot, unless fail_on_gap is
// set. If a snapshot breaks off, a Reset frame of ours announces that it begins
// again: what it brought so far has to be forgotten.
//
// One thing it cannot notice: a cluster whose members all lost everything and began anew with the same
// name and addresses has the same id and the same recovery epoch. It is noticed while it has fewer changes than
// were seen before (a Reset comes); once it has as many, its further changes follow those of the old one. Members
// that begin anew need another name (--cluster-name), or a backup, which counts as another life of the cluster.
//
// Frames belong to the caller. While the caller works on one, none is read.
func (c *Client) Watch(
	ctx context.Context, req *metadatav1.SubscribeRequest,
) iter.Seq2[*metadatav1.SubscribeResponse, error] {
	return func(yield func(*metadatav1.SubscribeResponse, error) bool) {
		w := c.newWatch(follow.NewResumption(req, len(c.endpoints), judge))
		shown := watched{client: c}
		w.run(ctx, func(frame follow.Frame, err error) bool {
			var message *metadatav1.SubscribeResponse
			if err == nil {
				message, err = frame.Message()
			}
			shown.see(message)
			return yield(message, err) && err == nil
		})
	}
}

// watch drives one Watch.
type watch struct {
	client     *Client
	resumption *follow.Resumption
	pause      *backoff.ExponentialBackOff
	index      int         // of the endpoint to ask
	failed     int         // sessions in a row without a frame
	faults     faults      // endpoints whose last session ended for what they are
	broke      func(error) // hears why each session ended

	mu     sync.Mutex
	cancel context.CancelCauseFunc // of the present session
}

func (c *Client) newWatch(r *follow.Resumption) *watch {
	return &watch{client: c, resumption: r, pause: newBackoff(), index: c.first(0), broke: func(error) {}}
}

// run yields what the Resumption hands on, until there is no more. It may be called again
// then.
func (w *watch) run(ctx context.Context, yield func(follow.Frame, error) bool) {
	c := w.client
	for {
		done, err := w.session(ctx, yield)
		if done {
			return
		}
		if Reason(err) == metadatav1.ErrorReason_ERROR_REASON_FOREIGN_POSITION {
			if foreign := c.identify(c.endpoints[w.index]); foreign != nil {
				err = foreign // another member has what follows
			}
		}
		wait, again := w.resumption.Broke(err)
		if isAboutEndpoint(err) {
			again = w.faults.note(w.index) < len(c.endpoints)
		} else {
			w.faults.clear(w.index)
		}
		if ctx.Err() != nil {
			err, again = context.Cause(ctx), false
		}
		w.broke(err)
		if !again {
			w.faults = 0
			yield(follow.Frame{}, err)
			return
		}
		w.report(err)
		w.index = c.answering((w.index + 1) % len(c.endpoints))
		sleep(ctx, max(wait, w.pause.NextBackOff()))
		if frame := w.resumption.Announce(); frame != nil && !yield(follow.FrameOf(frame), nil) {
			return
		}
	}
}

// warnAfter is how many sessions in a row may fail before somebody should look.
const warnAfter = 10

// report counts and logs a session that broke.
func (w *watch) report(err error) {
	w.client.metrics.attempts.Add(1)
	level := slog.LevelDebug
	if w.failed++; w.failed == warnAfter {
		level = slog.LevelWarn
	}
	w.client.log.Log(context.Background(), level, "a subscription broke; it is resumed",
		"endpoint", w.client.endpoints[w.index].address, "failed", w.failed, "error", err)
}

// interrupt ends the present session, so that another member is asked.
func (w *watch) interrupt(why error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.cancel != nil {
		w.cancel(connect.NewError(connect.CodeUnavailable, why))
	}
}

func (w *watch) setCancel(cancel context.CancelCauseFunc) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cancel = cancel
}

// session follows one subscription until it breaks. done means that the caller
// wants no more.
func (w *watch) session(
	ctx context.Context, yield func(follow.Frame, error) bool,
) (done bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	w.setCancel(cancel)
	defer w.setCancel(nil)
	request := w.resumption.Next()
	silence := w.silence(request)
	patience := silence
	if request.GetAfter() != nil {
		patience = max(patience, w.client.patience.resume)
	}
	alive := time.AfterFunc(patience, func() {
		cancel(connect.NewError(connect.CodeUnavailable, fmt.Errorf("client: no frame in time (%v, then %v)", patience, silence)))
	})
	defer alive.Stop()
	defer cancel(nil)
	at := w.client.endpoints[w.index]
	stream, err := at.grpc.subscribe(ctx, request)
	if err != nil {
		return false, causeOf(ctx, err)
	}
	defer stream.Close()
	for {
		frame, err := stream.ReceiveFrame()
		switch {
		case errors.Is(err, io.EOF):
			return false, errEnded
		case err != nil:
			return false, causeOf(ctx, err)
		}
		alive.Stop() // the caller may take its time
		if err := w.client.admit(at, frame.Bookmark().GetClusterId()); err != nil {
			return false, err
		}
		w.pause.Reset()
		if w.failed > 0 {
			w.client.metrics.reconnects.Add(1)
		}
		w.failed, w.faults = 0, 0
		if frame, passOn := w.resumption.SeeFrame(frame); passOn && !yield(frame, nil) {
			return true, nil
		}
		alive.Reset(silence)
	}
}

// causeOf returns why the context ended, if it did, instead of how that showed.
func causeOf(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// silence is how long a subscription may be without a frame.
func (w *watch) silence(request *metadatav1.SubscribeRequest) time.Duration {
	interval := time.Duration(request.GetBookmarkIntervalMillis()) * time.Millisecond
	if interval == 0 {
		interval = defaultInterval
	}
	return max(silenceFactor*interval, w.client.patience.silence)
}
