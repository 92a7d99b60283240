package client

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/heliosdb/metadata/client/follow"
	"github.com/heliosdb/metadata/client/internal/frames"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/proto/heliosdb/metadata/v1/metadatav1connect"
)

// publisher serves Subscribe as told; with nothing to serve, a stream that stays silent.
type publisher struct {
	metadatav1connect.UnimplementedMetadataServiceHandler
	serve func(context.Context, *metadatav1.SubscribeRequest, func(frames.Frame) bool) error
}

func (p *publisher) Subscribe(
	ctx context.Context, req *metadatav1.SubscribeRequest, stream *connect.ServerStream[metadatav1.SubscribeResponse],
) error {
	if p.serve == nil {
		<-ctx.Done()
		return ctx.Err()
	}
	return p.serve(ctx, req, func(f frames.Frame) bool { return stream.Send(f) == nil })
}

// startPublishers returns a client of servers that serve Subscribe.
func startPublishers(
	t *testing.T, serve ...func(context.Context, *metadatav1.SubscribeRequest, func(frames.Frame) bool) error,
) *Client {
	t.Helper()
	var addrs []string
	for _, one := range serve {
		mux := http.NewServeMux()
		mux.Handle(metadatav1connect.NewMetadataServiceHandler(&publisher{serve: one}))
		s := httptest.NewUnstartedServer(mux)
		s.Config.Protocols = new(http.Protocols)
		s.Config.Protocols.SetUnencryptedHTTP2(true)
		s.Start()
		t.Cleanup(s.Close)
		addrs = append(addrs, s.Listener.Addr().String())
	}
	return newClient(t, addrs...)
}

// erratic is a service that breaks its subscriptions after a few frames, goes
// slightly back when it resumes one, and restarts with ever more history.
type erratic struct {
	mu     sync.Mutex
	random *rand.Rand
	head   uint64 // of the schema
}

func (e *erratic) serve(_ context.Context, req *metadatav1.SubscribeRequest, send func(frames.Frame) bool) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.head += e.random.Uint64N(20)
	out := []frames.Frame{}
	next := req.GetAfter().GetSchemaRevision() + 1
	if req.GetSnapshot() {
		out = append(out, frames.Tables(e.head), frames.Nodes(0), frames.Bookmark(frames.At(1, e.head, 0)))
		next = e.head + 1
		e.head += 10
	}
	next -= min(next-1, e.random.Uint64N(3))
	for next <= e.head {
		last := min(e.head, next+e.random.Uint64N(5))
		out = append(out, frames.Created(next, last))
		if next = last + 1; e.random.Uint64N(3) == 0 {
			out = append(out, frames.Bookmark(frames.At(1, last, 0)))
		}
	}
	for _, f := range out[:e.random.IntN(len(out)+1)] {
		if !send(f) {
			break
		}
	}
	if e.random.Uint64N(2) == 0 {
		return nil
	}
	return connect.NewError(connect.CodeUnavailable, errors.New("broken"))
}

func TestWatchDeliversOnceAndInOrderWhateverBreaks(t *testing.T) {
	for seed := range uint64(8) {
		e := &erratic{random: rand.New(rand.NewPCG(seed, 0))}
		c := startPublishers(t, e.serve, e.serve)
		m := follow.NewMirror() // refuses gaps and repetitions
		goal := uint64(300)
		for f, err := range c.Watch(t.Context(), snapshotRequest()) {
			if err == nil {
				_, err = m.Step(f)
			}
			if err != nil {
				t.Fatalf("seed %d at %v: %v", seed, m.Position(), err)
			}
			if at := m.Position().GetSchemaRevision(); at >= goal {
				if n := m.Schema().TableCount(); uint64(n) != at {
					t.Fatalf("seed %d: %d tables at revision %d", seed, n, at)
				}
				break
			}
		}
		if c.Stats().Reconnects == 0 {
			t.Fatalf("seed %d: nothing broke", seed)
		}
	}
}

func silent(ctx context.Context, _ *metadatav1.SubscribeRequest, send func(frames.Frame) bool) error {
	send(frames.Bookmark(frames.At(1, 5, 0)))
	<-ctx.Done()
	return ctx.Err()
}

func TestWatchLeavesASilentMember(t *testing.T) {
	asked := make(chan *metadatav1.SubscribeRequest, 1)
	c := startPublishers(t, func(ctx context.Context, req *metadatav1.SubscribeRequest, send func(frames.Frame) bool) error {
		send(frames.Bookmark(frames.At(1, 5, 0)))
		send(frames.Created(6, 6))
		<-ctx.Done() // and nothing more
		return ctx.Err()
	}, func(ctx context.Context, req *metadatav1.SubscribeRequest, send func(frames.Frame) bool) error {
		asked <- req
		send(frames.Created(7, 7))
		<-ctx.Done()
		return ctx.Err()
	})
	c.patience.silence, c.patience.resume = 50*time.Millisecond, 50*time.Millisecond
	last := uint64(0)
	for f, err := range c.Watch(t.Context(), &metadatav1.SubscribeRequest{BookmarkIntervalMillis: 10}) {
		if err != nil {
			t.Fatal(err)
		}
		for _, change := range f.GetChanges().GetChanges() {
			last = change.GetRevision()
		}
		if last == 7 {
			break
		}
		if c.Stats().Reconnects != 0 {
			t.Fatal("the member was left while the caller was busy")
		}
		time.Sleep(100 * time.Millisecond) // a slow caller is not a silent member
	}
	if got := (<-asked).GetAfter().GetSchemaRevision(); got != 6 {
		t.Fatalf("resumed behind %d", got)
	}
}

func TestWatchEndsWhenToldTo(t *testing.T) {
	c := startPublishers(t, silent)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var last error
	begin := time.Now()
	for f, err := range c.Watch(ctx, &metadatav1.SubscribeRequest{}) {
		if f != nil {
			time.AfterFunc(20*time.Millisecond, cancel)
		}
		last = err
	}
	if took := time.Since(begin); !errors.Is(last, context.Canceled) || took > time.Second {
		t.Fatalf("it ended after %v with %v", took, last)
	}
	// The caller may also just stop.
	for range c.Watch(t.Context(), nil) { //nolint:errcheck // the point is to stop at once
		break
	}
	refuses := startPublishers(t, func(context.Context, *metadatav1.SubscribeRequest, func(frames.Frame) bool) error {
		return failed(connect.CodeInvalidArgument, "INVALID_FIELD")
	})
	for f, err := range refuses.Watch(t.Context(), nil) {
		if f != nil || !IsInvalid(err) {
			t.Fatalf("got %v, %v", f, err)
		}
	}
}
