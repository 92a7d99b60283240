package history

import (
	"context"
	"iter"

	"github.com/heliosdb/metadata/events"
)

const (
	// scanBytes is how many bytes of changes are read at a time when all are read in turn.
	scanBytes = 1 << 20
	// scanAhead is how many such chunks may lie ready. One more is being read and one is
	// in use: a scan holds no more than that.
	scanAhead = 1
	// progressEvery is how many changes lie between two calls of a Progress.
	progressEvery = 1024
)

// Progress is told now and then how far something is: up to which revision, of which. The
// calls come one after the other, on the goroutine of whoever began it.
type Progress func(done, last uint64)

// At tells that a revision has been reached, unless the last call was a moment ago. A nil
// Progress is told nothing.
func (p Progress) At(done, last uint64) {
	if p != nil && (done%progressEvery == 0 || done == last) {
		p(done, last)
	}
}

// Scan yields the changes from first to last in chunks, and reads and decodes the next
// chunk while the caller works on the one before. An error is the last thing it yields; a
// history that ends before last is a [*DamagedError]. Whether the changes fit together is
// for the caller to see.
func Scan(ctx context.Context, source Source, first, last uint64) iter.Seq2[[]*events.Change, error] {
	return func(yield func([]*events.Change, error) bool) {
		ctx, stop := context.WithCancel(ctx)
		chunks := make(chan scanned, scanAhead)
		go scan(ctx, source, first, last, chunks)
		// The reader has ended when this returns.
		defer func() {
			stop()
			for range chunks {
				continue
			}
		}()
		for chunk := range chunks {
			if !yield(chunk.changes, chunk.err) {
				return
			}
		}
	}
}

// scanned is a chunk of changes, or why there is none.
type scanned struct {
	changes []*events.Change
	err     error
}

// scan reads until last or the first error, and closes chunks.
func scan(ctx context.Context, source Source, next, last uint64, chunks chan<- scanned) {
	defer close(chunks)
	for next <= last {
		changes, err := source.Read(ctx, next, scanBytes)
		switch {
		case ctx.Err() != nil:
			err = ctx.Err()
		case err == nil && len(changes) == 0:
			err = &DamagedError{Stream: source.Origin().Stream, Revision: next, Reason: "it is missing: the history ends before it"}
		}
		if err != nil {
			chunks <- scanned{err: err}
			return
		}
		if left := last - next + 1; uint64(len(changes)) > left {
			changes = changes[:left]
		}
		next += uint64(len(changes))
		chunks <- scanned{changes: changes}
	}
}
