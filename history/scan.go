package history

import (
	"context"
	"iter"

	"github.com/heliosdb/metadata/events"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
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
	return scan(ctx, source.Read, source.Origin().Stream, first, last)
}

// ScanOriginals is [Scan] for those who want nothing but the bytes of the changes as logged.
func ScanOriginals(ctx context.Context, source Live, first, last uint64) iter.Seq2[[][]byte, error] {
	return scan(ctx, source.Originals, source.Origin().Stream, first, last)
}

// reader reads changes from a revision on, in one form or another.
type reader[C any] func(ctx context.Context, from uint64, maxBytes int) ([]C, error)

func scan[C any](ctx context.Context, read reader[C], stream metadatav1.Stream, first, last uint64) iter.Seq2[[]C, error] {
	return func(yield func([]C, error) bool) {
		ctx, stop := context.WithCancel(ctx)
		chunks := make(chan scanned[C], scanAhead)
		go readAhead(ctx, read, stream, first, last, chunks)
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
type scanned[C any] struct {
	changes []C
	err     error
}

// readAhead reads until last or the first error, and closes chunks.
func readAhead[C any](ctx context.Context, read reader[C], stream metadatav1.Stream, next, last uint64, chunks chan<- scanned[C]) {
	defer close(chunks)
	for next <= last {
		changes, err := read(ctx, next, scanBytes)
		switch {
		case ctx.Err() != nil:
			err = ctx.Err()
		case err == nil && len(changes) == 0:
			err = &DamagedError{Stream: stream, Revision: next, Reason: "it is missing: the history ends before it"}
		}
		if err != nil {
			chunks <- scanned[C]{err: err}
			return
		}
		if left := last - next + 1; uint64(len(changes)) > left {
			changes = changes[:left]
		}
		next += uint64(len(changes))
		chunks <- scanned[C]{changes: changes}
	}
}
