package main

import (
	"context"
	"errors"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/heliosdb/metadata/cmd/heliosmeta/internal/past"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// shownBefore is how many changes are printed before those that are waited for.
const shownBefore = 10

// followLog prints the newest changes, oldest first, and then what comes.
func (s *session) followLog(ctx context.Context, p past.Past, f *logFlags, q query) error {
	if q.until != nil {
		return usage("--until and --follow exclude each other")
	}
	all, err := q.followed(ctx, p)
	if err != nil {
		return err
	}
	seen := make(map[metadatav1.Stream]uint64) // what comes is behind these revisions
	for _, f := range all {
		stream := f.selection.GetStream()
		source, err := p.Source(ctx, stream)
		if err != nil {
			return err
		}
		bounds, err := source.Bounds(ctx)
		if err != nil {
			return err
		}
		seen[stream] = bounds.Last
	}
	var before []entry
	for e, err := range past.Merge(newer, q.sequences(ctx, p)) {
		if err != nil {
			return err
		}
		if e.info().GetRevision() > seen[e.stream] {
			continue
		}
		if before = append(before, e); len(before) == shownBefore {
			break
		}
	}
	for _, e := range slices.Backward(before) {
		if err := s.printEntry(e); err != nil {
			return err
		}
	}
	s.say("waiting for more; Ctrl-C ends it")
	w := &waiter{session: s, left: f.limit, seen: seen}
	return w.wait(ctx, p, all)
}

// waiter prints changes as they come.
type waiter struct {
	session *session
	seen    map[metadatav1.Stream]uint64 // they are behind these revisions

	mu   sync.Mutex
	left int // so many more; 0 to begin with: without end
}

// wait prints what comes until there was enough or the context ends.
func (w *waiter) wait(ctx context.Context, p past.Past, all []followed) error {
	group, following := errgroup.WithContext(ctx)
	for _, f := range all {
		group.Go(func() error { return w.follow(following, p, f) })
	}
	if err := group.Wait(); ctx.Err() == nil && !errors.Is(err, errEnough) {
		return err
	}
	return nil // Ctrl-C is how one stops waiting
}

// follow prints what comes of one of what is followed.
func (w *waiter) follow(ctx context.Context, p past.Past, f followed) error {
	stream := f.selection.GetStream()
	behind := &metadatav1.ChangeSelection{
		Stream: stream, FirstRevision: max(1, w.seen[stream]), Filter: f.selection.GetFilter(), Actor: f.selection.GetActor(),
	}
	for c, err := range p.Follow(ctx, behind) {
		if err != nil {
			return err
		}
		for e, err := range f.entries(ctx, p, c) {
			if err == nil {
				err = w.take(e)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// take prints a change, unless it was printed before.
func (w *waiter) take(e entry) error {
	if e.info().GetRevision() <= w.seen[e.stream] {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.left < 0 {
		return errEnough
	}
	if err := w.session.printEntry(e); err != nil {
		return err
	}
	switch w.left {
	case 0:
		return nil
	case 1:
		w.left = -1
		return errEnough
	}
	w.left--
	return nil
}
