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
	// scanAhead is how many such chunks may lie ready, read or decoded. One more is being read,
	// one decoded and one in use: a scan holds no more than that.
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
// chunk while the caller works on the one before; of a [Fetcher] it reads one while it decodes
// another. An error is the last thing it yields; a history that ends before last is a
// [*DamagedError]. Whether the changes fit together is for the caller to see.
func Scan(ctx context.Context, source Source, first, last uint64) iter.Seq2[[]*events.Change, error] {
	stream := source.Origin().Stream
	if f, ok := source.(Fetcher); ok {
		return ahead(ctx, func(ctx context.Context) iter.Seq2[[]*events.Change, error] {
			return decoded(ahead(ctx, fetched(f, stream, first, last)), first, last)
		})
	}
	return ahead(ctx, inTurn(chunkReader(source.Read, last), stream, first, last))
}

// ScanOriginals is [Scan] for those who want nothing but the bytes of the changes as logged.
func ScanOriginals(ctx context.Context, source Live, first, last uint64) iter.Seq2[[][]byte, error] {
	return ahead(ctx, inTurn(chunkReader(source.Originals, last), source.Origin().Stream, first, last))
}

// reader reads changes from a revision on, in one form or another.
type reader[C any] func(ctx context.Context, from uint64, maxBytes int) ([]C, error)

// sequence yields values until there are no more, an error, or its context ends. An error is the
// last thing that it yields.
type sequence[V any] func(ctx context.Context) iter.Seq2[V, error]

// step returns what there is from a revision on, and the revision behind it.
type step[V any] func(ctx context.Context, from uint64) (value V, behind uint64, err error)

// chunkReader reads a chunk of changes up to a last one.
func chunkReader[C any](read reader[C], last uint64) step[[]C] {
	return func(ctx context.Context, from uint64) ([]C, uint64, error) {
		changes, err := read(ctx, from, scanBytes)
		changes = upTo(changes, from, last)
		return changes, from + uint64(len(changes)), err
	}
}

// upTo leaves out what lies behind the last revision of changes that begin at a first one.
func upTo[C any](changes []C, first, last uint64) []C {
	return changes[:min(uint64(len(changes)), last+1-first)]
}

// fetched is what a fetcher has, up to the last revision or a little further.
func fetched(f Fetcher, stream metadatav1.Stream, first, last uint64) sequence[Fetched] {
	return inTurn(func(ctx context.Context, from uint64) (Fetched, uint64, error) {
		part, err := f.Fetch(ctx, from, scanBytes)
		return part, max(from, part.Last+1), err
	}, stream, first, last)
}

// decoded yields the changes of what was fetched. What lies before damage comes before the error.
func decoded(parts iter.Seq2[Fetched, error], first, last uint64) iter.Seq2[[]*events.Change, error] {
	return func(yield func([]*events.Change, error) bool) {
		next := first
		for part, err := range parts {
			var changes []*events.Change
			if err == nil {
				changes, err = part.Decode()
				changes = upTo(changes, next, last)
				next += uint64(len(changes))
			}
			if next > last {
				err = nil // what lies behind was not asked for
			}
			if len(changes) > 0 && !yield(changes, nil) {
				return
			}
			if err != nil {
				yield(nil, err)
				return
			}
		}
	}
}

// inTurn takes one step behind the other from first to last.
func inTurn[V any](take step[V], stream metadatav1.Stream, first, last uint64) sequence[V] {
	return func(ctx context.Context) iter.Seq2[V, error] {
		return func(yield func(V, error) bool) {
			for next := first; next <= last; {
				value, behind, err := take(ctx, next)
				switch {
				case ctx.Err() != nil:
					err = ctx.Err()
				case err == nil && behind == next:
					err = &DamagedError{Stream: stream, Revision: next, Reason: "it is missing: the history ends before it"}
				}
				if !yield(value, err) || err != nil {
					return
				}
				next = behind
			}
		}
	}
}

// ahead yields what a sequence yields, which runs on a goroutine of its own and is ahead by
// scanAhead values and the one that it works on. It has ended when the caller goes on.
func ahead[V any](ctx context.Context, of sequence[V]) iter.Seq2[V, error] {
	type result struct {
		value V
		err   error
	}
	return func(yield func(V, error) bool) {
		ctx, stop := context.WithCancel(ctx)
		results := make(chan result, scanAhead)
		go func() {
			defer close(results)
			for value, err := range of(ctx) {
				results <- result{value, err}
			}
		}()
		defer func() {
			stop()
			for range results {
				continue
			}
		}()
		for r := range results {
			if !yield(r.value, r.err) {
				return
			}
		}
	}
}
