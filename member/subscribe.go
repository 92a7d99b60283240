package member

import (
	"context"
	"time"

	"github.com/heliosdb/metadata/feed"
	"github.com/heliosdb/metadata/internal/failure"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// Subscribe sends a subscription's frames until ctx ends, send fails or the
// subscription is over, and returns why. send may block as long as it likes: only
// this goroutine waits for it.
func (m *Member) Subscribe(
	ctx context.Context, request *metadatav1.SubscribeRequest, send func(feed.Frame) error,
) error {
	r, err := m.awaitRunning(ctx)
	if err != nil {
		return err
	}
	sub, err := r.feed.Subscribe(request, time.Now())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(r.ctx, func() { cancel(m.notRunning()) })()
	err = feed.Serve(ctx, sub, send, wallClock{})
	if failure.Is(err, metadatav1.ErrorReason_ERROR_REASON_HISTORY_GAP) {
		return m.nameHolder(ctx, failure.As(err))
	}
	return err
}

// wallClock is the machine's clock.
type wallClock struct{}

// Now implements feed.Clock.
func (wallClock) Now() time.Time { return time.Now() }

// Timer implements feed.Clock.
func (wallClock) Timer(d time.Duration) (<-chan time.Time, func() bool) {
	t := time.NewTimer(d)
	return t.C, t.Stop
}
