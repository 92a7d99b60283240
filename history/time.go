package history

import (
	"context"
	"fmt"
	"time"

	"github.com/heliosdb/metadata/internal/failure"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// Dated is a [Source] that knows when the change right before its first one was decided, without
// reading its base.
type Dated interface {
	// TimeBefore returns that of the change before the bounds' First, which is above 1; the zero time
	// where there is no model behind it. Where others have that model, the error says so.
	TimeBefore(ctx context.Context, bounds Bounds) (time.Time, error)
}

// AtTime returns the revision of the last change that was decided at or before t; 0 if the
// stream had none yet. Of changes decided at the same time it is the last one. It may be the one
// right before the source's first, where the source has the model behind it (it is [Dated], or a
// [BaseKeeper]). If it is an older one, the error is HISTORY_TRIMMED, naming the oldest revision and
// its time, or what the source says of revisions before its first one. It reads about as many
// changes as their number has binary digits.
func AtTime(ctx context.Context, source Source, t time.Time) (uint64, error) {
	at, bounds, err := lastKept(ctx, source, t)
	if err != nil || at >= bounds.First || at == 0 {
		return at, err
	}
	before, err := timeBefore(ctx, source, bounds)
	switch {
	case err != nil:
		return 0, err
	case !before.IsZero() && !before.After(t):
		return at, nil
	}
	return 0, tooEarly(ctx, source, bounds, t)
}

// LastBefore returns the revision of the last change that a source keeps of those that were decided
// before t; one before its first one if all that it keeps came later. Where others keep more, the
// error says so.
func LastBefore(ctx context.Context, source Source, t time.Time) (uint64, error) {
	at, bounds, err := lastKept(ctx, source, t.Add(-time.Nanosecond))
	if err != nil || at >= bounds.First || at == 0 {
		return at, err
	}
	if err := Earlier(ctx, source, bounds); !failure.Is(err, metadatav1.ErrorReason_ERROR_REASON_HISTORY_TRIMMED) {
		return 0, err
	}
	return at, nil
}

// lastKept returns the revision of the last change within the bounds that was decided at or before
// t; the one before the first if all were decided later.
func lastKept(ctx context.Context, source Source, t time.Time) (uint64, Bounds, error) {
	bounds, err := source.Bounds(ctx)
	if err != nil {
		return 0, bounds, err
	}
	// Times never run backwards in a stream. Kept changes before low were decided at or
	// before t, those from high on after it.
	low, high := bounds.First, bounds.Last+1
	for low < high {
		middle := low + (high-low)/2
		c, err := ReadOne(ctx, source, middle)
		switch {
		case err != nil:
			return 0, bounds, err
		case c.Time().After(t):
			high = middle
		default:
			low = middle + 1
		}
	}
	return low - 1, bounds, nil
}

// timeBefore returns when the change right before the bounds' first one was decided; the zero time
// if the source has no model behind it.
func timeBefore(ctx context.Context, source Source, bounds Bounds) (time.Time, error) {
	if dated, ok := source.(Dated); ok {
		return dated.TimeBefore(ctx, bounds)
	}
	head, err := baseHead(ctx, source, bounds)
	if failure.Is(err, metadatav1.ErrorReason_ERROR_REASON_HISTORY_TRIMMED) {
		return time.Time{}, nil
	}
	return head.Time, err
}

// tooEarly returns why a source cannot tell what was at a time.
func tooEarly(ctx context.Context, source Source, bounds Bounds, t time.Time) error {
	err := Earlier(ctx, source, bounds)
	if !failure.Is(err, metadatav1.ErrorReason_ERROR_REASON_HISTORY_TRIMMED) || bounds.First > bounds.Last {
		return err
	}
	oldest, readErr := ReadOne(ctx, source, bounds.First)
	if readErr != nil {
		return readErr
	}
	at := oldest.Time().UTC().Format(time.RFC3339Nano)
	named := failure.As(err).With("oldest_revision", fmt.Sprint(bounds.First)).With("oldest_time", at)
	named.Message += fmt.Sprintf("; that was decided at %s, and what was at %s is not kept", at, t.UTC().Format(time.RFC3339Nano))
	return named
}
