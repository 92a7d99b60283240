package client

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"connectrpc.com/connect"
	"github.com/cenkalti/backoff/v5"
	"google.golang.org/protobuf/proto"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// errEnded is a subscription that the service ended without an error.
var errEnded = connect.NewError(connect.CodeUnavailable, errors.New("client: the member ended the subscription"))

// silenceFactor says after how many missed bookmarks a subscription counts as
// broken and is opened again at another member.
const silenceFactor = 5

// Watch is Subscribe that resumes by itself. It yields frames until the context
// ends or the service gives an answer that another attempt cannot change; that
// error is yielded last. While the service cannot be reached it waits and tries
// the members in turn, without end: bound it by the context.
//
// Every change that matches the filter is yielded once and in order. When the
// service cannot resume (its history was trimmed, or it was restored from a
// backup) a Reset frame comes first and then a snapshot, unless fail_on_gap is
// set. If a snapshot breaks off, a Reset frame of ours announces that it begins
// again.
func (c *Client) Watch(
	ctx context.Context, req *metadatav1.SubscribeRequest,
) iter.Seq2[*metadatav1.SubscribeResponse, error] {
	return func(yield func(*metadatav1.SubscribeResponse, error) bool) {
		w := &watch{client: c, request: proto.CloneOf(req), pause: newBackoff()}
		w.position = proto.CloneOf(w.request.GetAfter())
		for {
			done, err := w.session(ctx, yield)
			if done {
				return
			}
			wait, again := retryable(err)
			if ctx.Err() != nil {
				err, again = ctx.Err(), false
			}
			if !again {
				yield(nil, err)
				return
			}
			c.log.Debug("subscription broke; resuming", "error", err)
			c.metrics.reconnects.Add(1)
			w.turn++
			sleep(ctx, max(wait, w.pause.NextBackOff()))
			if !w.prepare(yield) {
				return
			}
		}
	}
}

// watch is the state of one Watch between its sessions.
type watch struct {
	client  *Client
	request *metadatav1.SubscribeRequest
	pause   *backoff.ExponentialBackOff
	turn    int
	// What the caller has seen. Only a bookmark or a change moves it.
	position *metadatav1.Position
	snapshot bool // a snapshot has begun and is not complete
}

// session follows one subscription until it breaks. done means that the caller
// wants no more.
func (w *watch) session(
	ctx context.Context, yield func(*metadatav1.SubscribeResponse, error) bool,
) (done bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	alive := time.AfterFunc(w.silence(), func() {
		cancel(fmt.Errorf("client: no frame for %v", w.silence()))
	})
	defer alive.Stop()
	e := w.client.endpoints[w.client.pick(0, w.turn)]
	stream, err := e.stream.Subscribe(ctx, w.request)
	if err != nil {
		return false, err
	}
	defer func() { _ = stream.Close() }()
	for stream.Receive() {
		alive.Reset(w.silence())
		w.pause.Reset()
		frame := stream.Msg()
		w.see(frame)
		if !yield(frame, nil) {
			return true, nil
		}
	}
	if err := stream.Err(); err != nil {
		return false, err
	}
	return false, errEnded
}

// silence is how long a subscription may be without a frame.
func (w *watch) silence() time.Duration {
	interval := time.Duration(w.request.GetBookmarkIntervalMillis()) * time.Millisecond
	if interval == 0 {
		interval = time.Second
	}
	return max(silenceFactor*interval, attemptTimeout)
}

// see notes what a frame means for resuming.
func (w *watch) see(frame *metadatav1.SubscribeResponse) {
	switch f := frame.GetFrame().(type) {
	case *metadatav1.SubscribeResponse_Bookmark:
		w.position = proto.CloneOf(f.Bookmark.GetPosition())
		w.snapshot = false
	case *metadatav1.SubscribeResponse_Changes:
		changes := f.Changes.GetChanges()
		if w.position == nil || len(changes) == 0 {
			return
		}
		last := changes[len(changes)-1].GetRevision()
		switch f.Changes.GetStream() {
		case schema:
			w.position.SchemaRevision = last
		case topology:
			w.position.TopologyRevision = last
		}
	case *metadatav1.SubscribeResponse_Snapshot, *metadatav1.SubscribeResponse_Reset_:
		w.snapshot = true
	}
}

// prepare changes the request so that the next session goes on where this one
// broke off. It returns false when the caller wants no more.
func (w *watch) prepare(yield func(*metadatav1.SubscribeResponse, error) bool) bool {
	if w.snapshot {
		// Resuming would leave out the rest of the snapshot.
		w.request.Start = &metadatav1.SubscribeRequest_Snapshot{Snapshot: true}
		w.position, w.snapshot = nil, false
		return yield(&metadatav1.SubscribeResponse{Frame: &metadatav1.SubscribeResponse_Reset_{
			Reset_: &metadatav1.Reset{Reason: "SNAPSHOT_INTERRUPTED"},
		}}, nil)
	}
	if w.position != nil {
		w.request.Start = &metadatav1.SubscribeRequest_After{After: proto.CloneOf(w.position)}
	}
	return true
}
