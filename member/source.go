package member

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/feed"
	"github.com/heliosdb/metadata/history"
	"github.com/heliosdb/metadata/internal/failure"
	"github.com/heliosdb/metadata/projections"
	"github.com/heliosdb/metadata/projections/service"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/raftlog"
	"github.com/heliosdb/metadata/replica"
)

// source is what a member has of a stream's past: a history.Live. Recent changes come from the
// feed's memory, which has each one until it is stored; what lies further back, from the
// storage. It ends with the streams.
type source struct {
	life   *running
	member *Member
	origin history.Origin
	group  raftlog.GroupID
	feed   *feed.Log
	stored *storedHistory
	begin  beginning
}

// beginning is the digest before the first revision, as it was looked up last.
type beginning struct {
	mu       sync.Mutex // for moments only
	first    uint64     // 0: it was not
	previous events.Digest
}

func newSource[D projections.Domain[D]](m *Member, r *running, s *stream[D]) *source {
	return &source{
		life: r, member: m, group: s.group, feed: s.feed,
		origin: history.Origin{Stream: s.id, Cluster: m.cluster, RecoveryEpoch: m.identity.RecoveryEpoch},
		stored: m.storedOf(r, s.id),
	}
}

// Origin implements history.Source.
func (s *source) Origin() history.Origin { return s.origin }

// ready reports why nothing can be read any more; nil if it can.
func (s *source) ready(ctx context.Context) error {
	if s.life.ctx.Err() != nil {
		return s.member.notRunning()
	}
	return ctx.Err()
}

// Read implements history.Source. Of a revision that this member lacks the failure names a
// member that has it.
func (s *source) Read(ctx context.Context, from uint64, maxBytes int) ([]*events.Change, error) {
	head := s.feed.Head() // before: what comes after memory was read is not in the storage either
	recent, err := s.recent(ctx, from, maxBytes)
	if err != nil || len(recent) > 0 || from > head {
		return recent, err
	}
	changes, err := s.stored.Read(from, maxBytes)
	return changes, s.orLacking(ctx, from, len(changes), err)
}

// Originals implements history.Live.
func (s *source) Originals(ctx context.Context, from uint64, maxBytes int) (originals [][]byte, err error) {
	head := s.feed.Head()
	recent, err := s.recent(ctx, from, maxBytes)
	for _, c := range recent {
		originals = append(originals, c.Raw())
	}
	if err != nil || len(recent) > 0 || from > head {
		return originals, err
	}
	originals, err = s.stored.Originals(from, maxBytes)
	return originals, s.orLacking(ctx, from, len(originals), err)
}

// recent reads from memory; nothing if the revision is not there. It refuses revisions that are
// not within the bounds.
func (s *source) recent(ctx context.Context, from uint64, maxBytes int) ([]*events.Change, error) {
	if err := s.ready(ctx); err != nil {
		return nil, err
	}
	if oldest := s.life.floor(s.origin.Stream).OldestRevision(); from < oldest {
		return nil, history.Trimmed(s.origin.Stream, from, oldest)
	}
	if recent := s.feed.Recent(from, maxBytes); len(recent) > 0 {
		return recent, nil
	}
	first, _, err := s.first()
	if err == nil && from < first {
		err = s.orLacking(ctx, from, 0, nil)
	}
	return nil, err
}

// orLacking returns why a read has found nothing: if there is no error, the member lacks the
// revision. The failure names a member that has it.
func (s *source) orLacking(ctx context.Context, revision uint64, found int, err error) error {
	if err == nil && found == 0 {
		err = s.stored.missing(revision)
	}
	if failure.Is(err, metadatav1.ErrorReason_ERROR_REASON_HISTORY_GAP) {
		return s.member.nameHolder(ctx, failure.As(err))
	}
	return err
}

// Await implements history.Live.
func (s *source) Await(ctx context.Context, revision uint64) error {
	for {
		changed := s.feed.Changed()
		if s.feed.Head() >= revision {
			return s.ready(ctx)
		}
		select {
		case <-changed:
		case <-s.life.ctx.Done():
			return s.member.notRunning()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Bounds implements history.Source. What a member that joined by a checkpoint has from before a
// gap is not within them.
func (s *source) Bounds(ctx context.Context) (history.Bounds, error) {
	if err := s.ready(ctx); err != nil {
		return history.Bounds{}, err
	}
	last := s.feed.Head() // before: what comes meanwhile does not matter
	first, floor, err := s.first()
	if err != nil {
		return history.Bounds{}, err
	}
	previous, err := s.digestBefore(first, floor)
	return history.Bounds{First: first, Last: max(last, first-1), Previous: previous, Floor: floor.OldestRevision()}, err
}

// first returns from which revision on nothing is missing and nothing was trimmed. What is damaged is
// not missing: whoever reads it is told, and what lies before it can be read.
func (s *source) first() (uint64, service.Floor, error) {
	floor := s.life.floor(s.origin.Stream)
	_, gap, err := s.member.store.HistoryGap(s.group, s.feed.Durable()+1)
	return max(gap+1, floor.OldestRevision()), floor, err
}

// digestBefore returns the digest of the stream before the first revision: where nothing was
// trimmed, that is behind a checkpoint, or where a record of history begins.
func (s *source) digestBefore(first uint64, floor service.Floor) (digest events.Digest, err error) {
	switch {
	case first == 1:
		return events.FirstDigest(s.origin.Cluster, s.origin.Stream), nil
	case first == floor.OldestRevision():
		return floor.PreviousDigest(), nil
	}
	b := &s.begin
	b.mu.Lock()
	known, digest := b.first, b.previous
	b.mu.Unlock()
	if known == first {
		return digest, nil
	}
	if digest, err = s.findDigest(first - 1); err != nil {
		return digest, err
	}
	b.mu.Lock()
	b.first, b.previous = first, digest
	b.mu.Unlock()
	return digest, nil
}

// findDigest looks for the digest behind a revision in checkpoints and the records around it.
func (s *source) findDigest(revision uint64) (digest events.Digest, err error) {
	if head, found, err := s.checkpointed(revision); err != nil || found {
		return head.Digest, err
	}
	at, digest, err := s.keptBefore(revision)
	if err == nil && at != revision {
		err = s.stored.missing(revision + 1)
	}
	return digest, err
}

// checkpointed returns the head of a checkpoint of a revision, if there is one.
func (s *source) checkpointed(revision uint64) (head projections.Head, found bool, err error) {
	descriptors, err := checkpointsOf(s.member.store, s.group)
	if err != nil {
		return head, false, err
	}
	for _, d := range descriptors {
		if d.Seq == revision {
			head, err = projections.ReadHead(d.Meta)
			return head, true, err
		}
	}
	return head, false, nil
}

// TimeBefore implements history.Dated. The change before the floor is not deleted before the model
// behind it is archived.
func (s *source) TimeBefore(ctx context.Context, bounds history.Bounds) (time.Time, error) {
	head, found, err := s.checkpointed(bounds.First - 1)
	if err != nil || found {
		return head.Time, err
	}
	c, err := history.ReadOne(ctx, newFolding(s), bounds.First-1)
	if err != nil {
		return time.Time{}, err
	}
	return c.Time(), nil
}

// Digest implements history.Live. It begins with the nearest digest before the revision that is
// kept, and follows the changes from there.
func (s *source) Digest(ctx context.Context, revision uint64) (events.Digest, error) {
	bounds, err := s.Bounds(ctx)
	switch {
	case err != nil:
		return events.Digest{}, err
	case revision > bounds.Last:
		return events.Digest{}, history.Future(s.origin.Stream, revision, bounds.Last)
	case revision+1 < bounds.First:
		return events.Digest{}, history.Earlier(ctx, s, bounds)
	}
	at, digest, err := s.keptBefore(revision)
	if err != nil {
		return digest, err
	}
	if at < bounds.First { // of nothing within the bounds
		at, digest = bounds.First-1, bounds.Previous
	}
	for at < revision {
		changes, err := s.Read(ctx, at+1, digestBytes)
		switch {
		case err != nil:
			return digest, err
		case len(changes) == 0:
			return digest, history.Future(s.origin.Stream, at+1, at)
		}
		for _, c := range changes[:min(uint64(len(changes)), revision-at)] {
			at, digest = at+1, digest.Next(c.Raw())
		}
	}
	return digest, nil
}

// digestBytes is how many bytes of changes are read at a time on the way to a digest.
const digestBytes = 1 << 20

// keptBefore returns a revision at or before the given one of which a record of history around
// it has the digest; 0 if none has. A record has the digest behind it, and its entry that before
// it.
func (s *source) keptBefore(revision uint64) (at uint64, digest events.Digest, err error) {
	for _, holding := range []uint64{min(revision, s.feed.Durable()), revision + 1} {
		past, readErr := s.member.store.ReadHistory(s.group, max(holding, 1), 1)
		if readErr != nil || len(past) == 0 {
			if _, gap := errors.AsType[*raftlog.GapError](readErr); !gap {
				err = errors.Join(err, s.stored.explain(holding, readErr)) // the other one may have it
			}
			continue
		}
		record, err := replica.DecodePast(&past[0])
		switch {
		case err != nil:
			return 0, digest, s.stored.damaged(past[0].First, past[0].Last, err)
		case past[0].Last <= revision:
			return past[0].Last, record.Digest, nil
		}
		return past[0].First - 1, record.Previous, nil
	}
	return 0, digest, err
}

// checkpointsOf returns the checkpoints of a group, archived and current ones, oldest first.
func checkpointsOf(store raftlog.Storage, g raftlog.GroupID) ([]raftlog.Descriptor, error) {
	current, err := store.Checkpoints(g) // first: one that is archived between the two is in both
	if err != nil {
		return nil, err
	}
	archived, err := store.Archived(g)
	return append(archived, current...), err
}
