package past

import (
	"context"
	"sync"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/history"
	"github.com/heliosdb/metadata/history/export"
)

// oneChange is how many bytes those ask for who want one change.
const oneChange = 1

// watched is a source that tells how many changes were read of it, for those who read many
// of them: to fold models or to index what changed when. It does not change meanwhile.
type watched struct {
	history.Source
	tell export.Progress // nil: nobody is told

	mu   sync.Mutex
	read uint64
}

func (w *watched) Read(ctx context.Context, from uint64, maxBytes int) ([]*events.Change, error) {
	changes, err := w.Source.Read(ctx, from, maxBytes)
	if err != nil || w.tell == nil || maxBytes <= oneChange {
		return changes, err
	}
	bounds, err := w.Bounds(ctx)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.read += uint64(len(changes))
	all := bounds.Last + 1 - bounds.First
	w.tell(w.Origin().Stream, min(w.read, all), all)
	return changes, nil
}
