package feed_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/heliosdb/metadata/feed"
	"github.com/heliosdb/metadata/internal/failure"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// bubbleClock is the clock of a synctest bubble.
type bubbleClock struct{}

func (bubbleClock) Now() time.Time { return time.Now() }

func (bubbleClock) Timer(d time.Duration) (<-chan time.Time, func() bool) {
	t := time.NewTimer(d)
	return t.C, t.Stop
}

// serve runs Serve in the bubble and returns its frames and its end.
func serve(ctx context.Context, m *member, req *metadatav1.SubscribeRequest) (frames chan string, end chan error) {
	frames, end = make(chan string), make(chan error, 1)
	m.now = time.Now()
	s := m.subscribe(req)
	go func() {
		end <- feed.Serve(ctx, s, func(f feed.Frame) error {
			select {
			case frames <- show([]*metadatav1.SubscribeResponse{f.Message()}):
				return nil
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}, bubbleClock{})
	}()
	return frames, end
}

func TestServe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMember(t, 10)
		stopping := errors.New("stopping")
		ctx, cancel := context.WithCancelCause(t.Context())
		frames, end := serve(ctx, m, nil)
		begin := time.Now()
		next := func(want string, at time.Duration) {
			t.Helper()
			if got := <-frames; got != want || time.Since(begin) != at {
				t.Fatalf("got %q after %v, want %q after %v", got, time.Since(begin), want, at)
			}
		}
		next("mark:0/0", 0)
		next("mark:0/0", time.Second)
		synctest.Wait() // Serve sleeps
		m.commit(moved(1, "a", "b"))
		next("t1", time.Second)
		synctest.Wait()
		m.commit(table("public", "t"))
		next("s1", time.Second)
		next("mark:1/1", 2*time.Second)
		synctest.Wait()
		cancel(stopping)
		if err := <-end; !errors.Is(err, stopping) {
			t.Errorf("ended with %v", err)
		}
		if n := m.feed.Subscriptions(); n != 0 {
			t.Errorf("%d subscriptions are left open", n)
		}
	})
}

// A reader that is stuck gets, once it reads again, everything in few frames.
func TestServeAfterAStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMember(t, 5)
		ctx, cancel := context.WithCancel(t.Context())
		frames, end := serve(ctx, m, after(0, 0))
		m.commit(table("public", "t"))
		synctest.Wait() // stuck in send
		for range 8 {
			m.commit(table("public", "t"))
		}
		for _, want := range []string{"s1", "s2,3,4,5,6,7,8,9"} {
			if got := <-frames; got != want {
				t.Fatalf("got %q, want %q", got, want)
			}
		}
		cancel()
		if err := <-end; !errors.Is(err, context.Canceled) {
			t.Errorf("ended with %v", err)
		}
	})
}

func TestServeEndsWithTheSubscriber(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMember(t, 10)
		gone := errors.New("connection reset")
		err := feed.Serve(t.Context(), m.subscribe(nil), func(feed.Frame) error { return gone }, bubbleClock{})
		if !errors.Is(err, gone) {
			t.Errorf("ended with %v", err)
		}
		m.history[schema].oldest = 3
		m.logs[schema].Jump(4)
		req := after(1, 0)
		req.FailOnGap = true
		err = feed.Serve(t.Context(), m.subscribe(req), func(feed.Frame) error { return nil }, bubbleClock{})
		if !failure.Is(err, metadatav1.ErrorReason_ERROR_REASON_HISTORY_TRIMMED) {
			t.Errorf("ended with %v", err)
		}
		if n := m.feed.Subscriptions(); n != 0 {
			t.Errorf("%d subscriptions are left open", n)
		}
	})
}
