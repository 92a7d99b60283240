package stored

import (
	"context"
	"fmt"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/internal/failure"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// Folding is a source for models: it reads also what was trimmed and is not deleted yet, because
// it leads to the model right before the floor.
type Folding struct {
	*Source
	stored History
}

// NewFolding returns a source for models.
func NewFolding(s *Source) *Folding {
	f := &Folding{Source: s, stored: *s.stored}
	f.stored.floor = func() uint64 { return 0 }
	return f
}

// Read implements history.Source.
func (f *Folding) Read(ctx context.Context, from uint64, maxBytes int) ([]*events.Change, error) {
	oldest := f.oldest()
	if from >= oldest {
		return f.Source.Read(ctx, from, maxBytes)
	}
	if err := f.Ready(ctx); err != nil {
		return nil, err
	}
	if recent := f.feed.Recent(from, maxBytes); len(recent) > 0 { // it may not be stored yet
		return recent, nil
	}
	changes, err := f.stored.Read(from, maxBytes)
	if err == nil && len(changes) == 0 || failure.Is(err, metadatav1.ErrorReason_ERROR_REASON_HISTORY_GAP) {
		lacking := failure.New(metadatav1.ErrorReason_ERROR_REASON_HISTORY_GAP,
			"this member was given a checkpoint, or its own is damaged, and it lacks the model before revision %d, the oldest one kept of the %s stream; ask another member",
			oldest, events.StreamName(f.origin.Stream)).
			With("stream", f.origin.Stream.String()).With("revision", fmt.Sprint(oldest))
		return nil, f.member.NameBaseHolder(ctx, lacking, f.origin.Stream, oldest-1)
	}
	return changes, err
}
