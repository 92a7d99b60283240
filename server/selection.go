package server

import (
	"context"
	"iter"
	"slices"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/history"
	"github.com/heliosdb/metadata/internal/failure"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// span is a range of revisions, both ends included.
type span struct{ first, last uint64 }

// selected returns the revisions that a selection can mean: those that are kept and that the
// member has. It may begin right behind the newest one, or behind its own last one, and is empty
// then: so somebody goes on who has had everything.
func (s service) selected(ctx context.Context, source history.Live, c *metadatav1.ChangeSelection) (span, error) {
	bounds, err := source.Bounds(ctx)
	if err != nil {
		return span{}, err
	}
	within := span{c.GetFirstRevision(), c.GetLastRevision()}
	stream := source.Origin().Stream
	switch {
	case within.last > 0 && within.first > within.last+1:
		return span{}, failure.InvalidField("selection.last_revision", "%d lies before first_revision %d", within.last, within.first)
	case within.first > bounds.Last+1:
		return span{}, history.Future(stream, within.first, bounds.Last)
	case within.last > bounds.Last:
		return span{}, history.Future(stream, within.last, bounds.Last)
	}
	if within.first == 0 {
		if within.first, err = s.oldestKept(ctx, stream); err != nil {
			return span{}, err
		}
	}
	if within.last == 0 {
		within.last = bounds.Last
	}
	return within, within.between(ctx, source, c)
}

// between narrows a span to the times of a selection. Where what was decided before them is not
// kept any more, it begins with the oldest change that is.
func (w *span) between(ctx context.Context, source history.Source, c *metadatav1.ChangeSelection) error {
	since, until := c.GetSince(), c.GetUntil()
	const outside = "it lies outside of the years 1 to 9999"
	switch {
	case since != nil && !since.IsValid():
		return failure.InvalidField("selection.since", outside)
	case until != nil && !until.IsValid():
		return failure.InvalidField("selection.until", outside)
	}
	if since != nil && until != nil && !since.AsTime().Before(until.AsTime()) {
		return failure.InvalidField("selection.until", "%v does not lie behind since, which is %v", until.AsTime(), since.AsTime())
	}
	if since != nil {
		at, err := history.LastBefore(ctx, source, since.AsTime())
		if err != nil {
			return err
		}
		w.first = max(w.first, at+1)
	}
	if until != nil {
		at, err := history.LastBefore(ctx, source, until.AsTime())
		if err != nil {
			return err
		}
		w.last = min(w.last, at)
	}
	return nil
}

// match returns what of a change is selected; false if nothing is.
func match(c *events.Change, filter *events.Filter, actor string) (selected selectedChange, ok bool) {
	if actor != "" && c.Actor() != actor {
		return selected, false
	}
	if filter == nil {
		return selectedChange{whole: c}, true
	}
	m, ok := filter.Change(c)
	if ok && !m.GetPartial() {
		return selectedChange{whole: c}, true
	}
	return selectedChange{part: m}, ok
}

// selectedChange is a whole change, or the part of one that a filter left.
type selectedChange struct {
	whole *events.Change
	part  *metadatav1.Change
}

// message returns the change decoded.
func (c selectedChange) message() *metadatav1.Change {
	if c.whole != nil {
		return c.whole.Message()
	}
	return c.part
}

// changesIn yields the changes of a span, oldest or newest first. An error is the last thing
// that it yields.
func changesIn(ctx context.Context, source history.Source, within span, newestFirst bool) iter.Seq2[*events.Change, error] {
	read := oldestFirst
	if newestFirst {
		read = backward
	}
	return func(yield func(*events.Change, error) bool) {
		for within.first <= within.last {
			changes, err := read(ctx, source, &within)
			if err != nil {
				yield(nil, err)
				return
			}
			for _, c := range changes {
				if !yield(c, nil) {
					return
				}
			}
		}
	}
}

// oldestFirst takes changes off the beginning of a span.
func oldestFirst(ctx context.Context, source history.Source, within *span) ([]*events.Change, error) {
	changes, err := source.Read(ctx, within.first, readBytes)
	if err != nil {
		return nil, err
	}
	if len(changes) == 0 {
		return nil, history.Future(source.Origin().Stream, within.first, within.first-1)
	}
	changes = changes[:min(uint64(len(changes)), within.last-within.first+1)]
	within.first += uint64(len(changes))
	return changes, nil
}

// backward takes changes off the end of a span, newest first. Sources read forward only: it
// begins a window before the end, and a narrower one if that holds more than readBytes.
func backward(ctx context.Context, source history.Source, within *span) ([]*events.Change, error) {
	for window := uint64(backwardWindow); ; window /= 4 {
		from := within.last - min(window, within.last-within.first+1) + 1
		var all []*events.Change
		for next := from; next <= within.last; next = from + uint64(len(all)) {
			changes, err := oldestFirst(ctx, source, &span{next, within.last})
			if err != nil {
				return nil, err
			}
			if all = append(all, changes...); rawSize(all) > readBytes {
				break
			}
		}
		if from+uint64(len(all)) > within.last { // all of the window
			within.last = from - 1
			slices.Reverse(all)
			return all, nil
		}
	}
}

func rawSize(changes []*events.Change) (size int) {
	for _, c := range changes {
		size += len(c.Raw())
	}
	return size
}
