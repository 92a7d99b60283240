package main

import (
	"context"
	"errors"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/heliosdb/metadata/cmd/heliosmeta/internal/past"
	"github.com/heliosdb/metadata/history/objects"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// followed is how many changes are printed before those that are waited for.
const followed = 10

// followLog prints the newest changes, oldest first, and then what comes.
func (s *session) followLog(ctx context.Context, p past.Past, f *logFlags, q query) error {
	if q.until != nil {
		return usage("--until and --follow exclude each other")
	}
	selections, err := q.followable()
	if err != nil {
		return err
	}
	seen := make(map[metadatav1.Stream]uint64) // what comes is behind these revisions
	for _, selection := range selections {
		source, err := p.Source(ctx, selection.GetStream())
		if err != nil {
			return err
		}
		bounds, err := source.Bounds(ctx)
		if err != nil {
			return err
		}
		seen[selection.GetStream()] = bounds.Last
	}
	var before []entry
	for e, err := range past.Merge(newer, q.sequences(ctx, p)) {
		if err != nil {
			return err
		}
		if e.info().GetRevision() > seen[e.stream] {
			continue
		}
		if before = append(before, e); len(before) == followed {
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
	return w.wait(ctx, p, selections)
}

// followable are the selections that follow what the query lists.
func (q query) followable() ([]*metadatav1.ChangeSelection, error) {
	selections := slices.Clone(q.selections)
	for _, ref := range q.objects {
		filter := filterOf(ref)
		if filter == nil {
			return nil, usage("a table by id, or a consumer, cannot be followed; name the table, or follow --stream service")
		}
		selections = append(selections, &metadatav1.ChangeSelection{Stream: objects.StreamOf(ref), Actor: q.actor, Filter: filter})
	}
	return selections, nil
}

// waiter prints changes as they come.
type waiter struct {
	session *session
	seen    map[metadatav1.Stream]uint64 // they are behind these revisions

	mu   sync.Mutex
	left int // so many more; 0 to begin with: without end
}

// wait prints what comes until there was enough or the context ends.
func (w *waiter) wait(ctx context.Context, p past.Past, selections []*metadatav1.ChangeSelection) error {
	group, following := errgroup.WithContext(ctx)
	for _, selection := range selections {
		group.Go(func() error {
			stream := selection.GetStream()
			behind := &metadatav1.ChangeSelection{
				Stream: stream, FirstRevision: max(1, w.seen[stream]), Filter: selection.GetFilter(), Actor: selection.GetActor(),
			}
			for c, err := range p.Follow(following, behind) {
				if err != nil {
					return err
				}
				if err := w.take(entry{stream: stream, change: c}); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := group.Wait(); ctx.Err() == nil && !errors.Is(err, errEnough) {
		return err
	}
	return nil // Ctrl-C is how one stops waiting
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
