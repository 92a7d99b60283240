package history

import (
	"context"
	"time"
)

// AtTime returns the revision of the last change that was decided at or before t; 0 if the
// stream had none yet. Of changes decided at the same time it is the last one. Where that
// change is not kept any more, the error is HISTORY_TRIMMED or what the source says of
// revisions before its first one. It reads about as many changes as their number has
// binary digits.
func AtTime(ctx context.Context, source Source, t time.Time) (uint64, error) {
	bounds, err := source.Bounds(ctx)
	if err != nil {
		return 0, err
	}
	// Times never run backwards in a stream. Kept changes before low were decided at or
	// before t, those from high on after it.
	low, high := bounds.First, bounds.Last+1
	for low < high {
		middle := low + (high-low)/2
		c, err := ReadOne(ctx, source, middle)
		switch {
		case err != nil:
			return 0, err
		case c.Time().After(t):
			high = middle
		default:
			low = middle + 1
		}
	}
	if low == bounds.First && bounds.First > 1 {
		return 0, Earlier(ctx, source, bounds)
	}
	return low - 1, nil
}
