package past

import (
	"context"
	"iter"
	"slices"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/history"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// backwards is how many changes are read at a time when the newest come first.
const backwards = 256

// Changes yields what a selection selects. What it wants from before the source's first
// change is left out, unless it names that revision.
func (l *local) Changes(
	ctx context.Context, selection *metadatav1.ChangeSelection, newestFirst bool,
) iter.Seq2[*metadatav1.Change, error] {
	s, err := l.stream(selection.GetStream())
	if err != nil {
		return failed[*metadatav1.Change](err)
	}
	first, last, err := span(ctx, s.source, selection)
	if err != nil {
		return failed[*metadatav1.Change](err)
	}
	chunks := history.Scan(ctx, s.source, first, last)
	if newestFirst {
		chunks = backward(ctx, s.source, first, last)
	}
	filter := events.NewFilter(selection.GetFilter())
	return func(yield func(*metadatav1.Change, error) bool) {
		for changes, err := range chunks {
			if err != nil {
				yield(nil, err)
				return
			}
			for _, c := range changes {
				if selection.GetActor() != "" && c.Actor() != selection.GetActor() {
					continue
				}
				if m, matches := filter.Change(c); matches && !yield(m, nil) {
					return
				}
			}
		}
	}
}

// span returns the revisions that a selection reaches.
func span(ctx context.Context, source history.Source, selection *metadatav1.ChangeSelection) (first, last uint64, err error) {
	bounds, err := source.Bounds(ctx)
	if err != nil {
		return 0, 0, err
	}
	first, last = bounds.First, bounds.Last
	if wanted := selection.GetFirstRevision(); wanted > 0 {
		switch {
		case wanted < first:
			return 0, 0, history.Earlier(ctx, source, bounds)
		case wanted > last:
			return 0, 0, history.Future(source.Origin().Stream, wanted, last)
		}
		first = wanted
	}
	if wanted := selection.GetLastRevision(); wanted > 0 {
		if wanted > last {
			return 0, 0, history.Future(source.Origin().Stream, wanted, last)
		}
		last = wanted
	}
	if since := selection.GetSince(); since != nil {
		before, err := history.LastBefore(ctx, source, since.AsTime())
		if err != nil {
			return 0, 0, err
		}
		first = max(first, before+1)
	}
	if until := selection.GetUntil(); until != nil {
		before, err := history.LastBefore(ctx, source, until.AsTime())
		if err != nil {
			return 0, 0, err
		}
		last = min(last, before)
	}
	return first, last, nil
}

// backward yields changes newest first, some at a time.
func backward(ctx context.Context, source history.Source, first, last uint64) iter.Seq2[[]*events.Change, error] {
	return func(yield func([]*events.Change, error) bool) {
		for end := last; end >= first; {
			begin := max(first, end-min(end, backwards-1))
			var some []*events.Change
			for changes, err := range history.Scan(ctx, source, begin, end) {
				if err != nil {
					yield(nil, err)
					return
				}
				some = append(some, changes...)
			}
			slices.Reverse(some)
			if !yield(some, nil) {
				return
			}
			end = begin - 1
		}
	}
}
