package follow

import (
	"errors"
	"fmt"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/projections"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// side is one stream of a mirror.
type side[D projections.Domain[D]] struct {
	stream metadatav1.Stream
	shown  version[D]
	// coming replaces shown when it is complete and not older.
	coming   *version[D]
	restorer projections.Restorer[D] // of a snapshot that is not complete
	epoch    uint64                  // highest of a node in it
	revision uint64                  // of it
	// waiting says that a snapshot has to come first.
	waiting bool
	suspect bool // shown is not to be trusted
}

// version is a model at a revision.
type version[D any] struct {
	model    D
	revision uint64
	ready    bool
}

func (s *side[D]) restoring() bool { return s.restorer != nil }

func (s *side[D]) loading() bool { return s.waiting || s.restorer != nil || s.coming != nil }

// at returns the revision that is shown and that of what came last.
func (s *side[D]) at() (shown, newest uint64, ready bool) {
	switch {
	case s.waiting || s.restorer != nil:
		return s.shown.revision, 0, false
	case s.coming != nil:
		return s.shown.revision, s.coming.revision, true
	}
	return s.shown.revision, s.shown.revision, s.shown.ready
}

// replace shows what has come.
func (s *side[D]) replace() {
	if s.coming != nil {
		s.shown, s.coming, s.suspect = *s.coming, nil, false
	}
}

func (s *side[D]) distrust() { s.suspect = s.shown.ready }

func (s *side[D]) suspected() bool { return s.suspect }

// keep shows what is shown, though something else has come.
func (s *side[D]) keep() { s.coming = nil }

func (s *side[D]) reset() { s.waiting, s.restorer, s.coming = true, nil, nil }

// restore takes a chunk of a snapshot.
func (s *side[D]) restore(chunk *metadatav1.SnapshotChunk) error {
	if level := chunk.GetFeatureLevel(); level > events.FeatureLevel {
		return &events.UnsupportedError{What: fmt.Sprintf("feature level %d of %v", level, s.stream)}
	}
	if s.restorer == nil {
		s.reset()
		s.restorer, s.revision, s.epoch = s.shown.model.Restorer(), chunk.GetRevision(), 0
		s.waiting = false
	}
	if chunk.GetRevision() != s.revision {
		return fmt.Errorf("client: a snapshot of %v at revision %d goes on at revision %d", s.stream, s.revision, chunk.GetRevision())
	}
	for record, err := range records(chunk, &s.epoch) {
		if err == nil {
			err = s.restorer.Restore(record)
		}
		if err != nil {
			return fmt.Errorf("client: a snapshot of %v: %w", s.stream, err)
		}
	}
	if !chunk.GetLast() {
		return nil
	}
	model, err := s.restorer.Done()
	if err != nil {
		return fmt.Errorf("client: a snapshot of %v: %w", s.stream, err)
	}
	s.restorer, s.coming = nil, &version[D]{model, s.revision, true}
	return nil
}

// fold applies changes to what came last, and returns them.
func (s *side[D]) fold(changes []Change) ([]*events.Change, error) {
	to := &s.shown
	if s.coming != nil {
		to = s.coming
	}
	if s.waiting || s.restorer != nil || !to.ready {
		return nil, fmt.Errorf("client: changes of %v came before its snapshot was complete", s.stream)
	}
	next := to.revision
	whole := make([]*events.Change, 0, len(changes))
	for _, change := range changes {
		if change.Partial() {
			return nil, fmt.Errorf("client: change %d is not a whole change of %v", change.Revision(), s.stream)
		}
		c, err := change.Sealed()
		if err != nil {
			return nil, fmt.Errorf("client: %w", err)
		}
		next++
		switch {
		case c.Revision() != next:
			return nil, fmt.Errorf("client: change %d of %v came where change %d belongs", c.Revision(), s.stream, next)
		case c.Stream() != s.stream:
			return nil, fmt.Errorf("client: change %d is not a change of %v", c.Revision(), s.stream)
		}
		whole = append(whole, c)
	}
	model, err := foldAll(to.model, whole)
	if err != nil {
		return nil, err
	}
	to.model, to.revision = model, next
	return whole, nil
}

// foldAll turns the fold's panic, which ends a member, into an error.
func foldAll[D projections.Domain[D]](model D, changes []*events.Change) (next D, err error) {
	defer func() {
		switch failed := recover().(type) {
		case nil:
		case error:
			var fold *projections.FoldError
			if !errors.As(failed, &fold) {
				panic(failed)
			}
			err = fmt.Errorf("client: %w", fold)
		default:
			panic(failed)
		}
	}()
	return model.Fold(changes...), nil
}
