package pasts

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/history"
)

// Source is a history in memory. It is safe for concurrent use; Before is set before that.
type Source struct {
	// Before, if there is one, is called by Read with the revision: it may wait, or return
	// the error of the call.
	Before func(ctx context.Context, from uint64) error
	// Reads counts the calls of Read.
	Reads atomic.Int64

	origin history.Origin

	mu       sync.Mutex
	changes  []*events.Change
	first    uint64
	previous events.Digest
	floor    uint64
}

// NewSource returns a source of changes of one stream, at least one, from the stream's
// first on.
func NewSource(changes []*events.Change) *Source {
	stream := changes[0].Stream()
	return &Source{
		origin:  history.Origin{Stream: stream, Cluster: Cluster, RecoveryEpoch: Epoch},
		changes: changes, first: 1, previous: events.FirstDigest(Cluster, stream),
	}
}

// Append adds changes at the end.
func (s *Source) Append(changes ...*events.Change) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changes = append(s.changes[:len(s.changes):len(s.changes)], changes...)
}

// Trim drops the changes before a revision.
func (s *Source) Trim(first uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for ; s.first < first; s.first++ {
		s.previous = s.previous.Next(s.changes[s.first-1].Raw())
	}
}

// Floor has the source say that what lies before a revision was trimmed, whatever it still has.
func (s *Source) Floor(oldest uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.floor = oldest
}

// Fill brings back the changes from a revision on that were trimmed.
func (s *Source) Fill(first uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.first, s.previous = 1, events.FirstDigest(Cluster, s.origin.Stream)
	for ; s.first < first; s.first++ {
		s.previous = s.previous.Next(s.changes[s.first-1].Raw())
	}
}

// Origin returns whose history it is.
func (s *Source) Origin() history.Origin { return s.origin }

// Bounds returns what it holds.
func (s *Source) Bounds(context.Context) (history.Bounds, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return history.Bounds{First: s.first, Last: uint64(len(s.changes)), Previous: s.previous, Floor: s.floor}, nil
}

// Read returns changes as [history.Source] says.
func (s *Source) Read(ctx context.Context, from uint64, maxBytes int) ([]*events.Change, error) {
	s.Reads.Add(1)
	if s.Before != nil {
		if err := s.Before(ctx, from); err != nil {
			return nil, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if from < s.first {
		return nil, history.Trimmed(s.origin.Stream, from, s.first)
	}
	if from > uint64(len(s.changes)) {
		return nil, nil
	}
	rest := s.changes[from-1:]
	n, size := 1, len(rest[0].Raw())
	for ; n < len(rest) && size+len(rest[n].Raw()) <= maxBytes; n++ {
		size += len(rest[n].Raw())
	}
	return rest[:n:n], nil
}
