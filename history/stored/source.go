package stored

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

// Member is the member that a Source is on, in one life of its streams. Its methods are called from any
// goroutine.
type Member interface {
	// Floor returns where the history of a stream begins, as the service stream has it here.
	Floor(stream metadatav1.Stream) service.Floor
	// Done is closed when the streams have ended, and Ended says then why nothing can be read any more.
	Done() <-chan struct{}
	Ended() error
	// NameHolder adds to a HISTORY_GAP failure which other member has the revision in its metadata, if
	// one can be found, and NameBaseHolder which has the checkpoint of a revision.
	NameHolder(ctx context.Context, gap *failure.Error) error
	NameBaseHolder(ctx context.Context, gap *failure.Error, stream metadatav1.Stream, revision uint64) error
}

// Source is what a member has of a stream's past: a history.Live. Recent changes come from the
// feed's memory, which has each one until it is stored; what lies further back, from the
// storage. It ends with the streams.
type Source struct {
	member Member
	origin history.Origin
	store  raftlog.Storage
	group  raftlog.GroupID
	feed   *feed.Log
	stored *History
	begin  beginning
}

var _ interface {
	history.Live
	history.Dated
} = (*Source)(nil)

// beginning is the digest before the first revision, as it was looked up last.
type beginning struct {
	mu       sync.Mutex // for moments only
	first    uint64     // 0: it was not
	previous events.Digest
}

// NewSource returns what a member has of the stream of a feed.
func NewSource(member Member, origin history.Origin, store raftlog.Storage, log *feed.Log) *Source {
	s := &Source{member: member, origin: origin, store: store, group: raftlog.GroupID(origin.Stream), feed: log}
	s.stored = NewHistory(store, origin.Stream, s.oldest)
	return s
}

// oldest returns the oldest revision that is kept; 0: nothing was trimmed.
func (s *Source) oldest() uint64 { return s.member.Floor(s.origin.Stream).OldestRevision() }

// Origin implements history.Source.
func (s *Source) Origin() history.Origin { return s.origin }

// Ready reports why nothing can be read any more; nil if it can.
func (s *Source) Ready(ctx context.Context) error {
	select {
	case <-s.member.Done():
		return s.member.Ended()
	default:
		return ctx.Err()
	}
}

// Read implements history.Source. Of a revision that this member lacks the failure names a
// member that has it.
func (s *Source) Read(ctx context.Context, from uint64, maxBytes int) ([]*events.Change, error) {
	head := s.feed.Head() // before: what comes after memory was read is not in the storage either
	recent, err := s.recent(ctx, from, maxBytes)
	if err != nil || len(recent) > 0 || from > head {
		return recent, err
	}
	changes, err := s.stored.Read(from, maxBytes)
	return changes, s.orLacking(ctx, from, len(changes), err)
}

// Originals implements history.Live.
func (s *Source) Originals(ctx context.Context, from uint64, maxBytes int) (originals [][]byte, err error) {
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
func (s *Source) recent(ctx context.Context, from uint64, maxBytes int) ([]*events.Change, error) {
	if err := s.Ready(ctx); err != nil {
		return nil, err
	}
	if oldest := s.oldest(); from < oldest {
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
func (s *Source) orLacking(ctx context.Context, revision uint64, found int, err error) error {
	if err == nil && found == 0 {
		err = s.stored.missing(revision)
	}
	if failure.Is(err, metadatav1.ErrorReason_ERROR_REASON_HISTORY_GAP) {
		return s.member.NameHolder(ctx, failure.As(err))
	}
	return err
}

// Await implements history.Live.
func (s *Source) Await(ctx context.Context, revision uint64) error {
	for {
		changed := s.feed.Changed()
		if s.feed.Head() >= revision {
			return s.Ready(ctx)
		}
		select {
		case <-changed:
		case <-s.member.Done():
			return s.member.Ended()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Bounds implements history.Source. What a member that joined by a checkpoint has from before a
// gap is not within them.
func (s *Source) Bounds(ctx context.Context) (history.Bounds, error) {
	if err := s.Ready(ctx); err != nil {
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
func (s *Source) first() (uint64, service.Floor, error) {
	floor := s.member.Floor(s.origin.Stream)
	_, gap, err := s.store.HistoryGap(s.group, s.feed.Durable()+1)
	return max(gap+1, floor.OldestRevision()), floor, err
}

// digestBefore returns the digest of the stream before the first revision: where nothing was
// trimmed, that is behind a checkpoint, or where a record of history begins.
func (s *Source) digestBefore(first uint64, floor service.Floor) (digest events.Digest, err error) {
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
func (s *Source) findDigest(revision uint64) (digest events.Digest, err error) {
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
func (s *Source) checkpointed(revision uint64) (head projections.Head, found bool, err error) {
	descriptors, err := Checkpoints(s.store, s.group)
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
// behind it is archived. If the floor has moved on since the bounds were read, that change may be gone,
// here as everywhere: the error is HISTORY_TRIMMED then.
func (s *Source) TimeBefore(ctx context.Context, bounds history.Bounds) (time.Time, error) {
	head, found, err := s.checkpointed(bounds.First - 1)
	if err != nil || found {
		return head.Time, err
	}
	c, err := history.ReadOne(ctx, NewFolding(s), bounds.First-1)
	if err == nil {
		return c.Time(), nil
	}
	if oldest := s.oldest(); bounds.First < oldest && failure.Is(err, metadatav1.ErrorReason_ERROR_REASON_HISTORY_GAP) {
		err = history.Trimmed(s.origin.Stream, bounds.First-1, oldest)
	}
	return time.Time{}, err
}

// Digest implements history.Live. It begins with the nearest digest before the revision that is
// kept, and follows the changes from there.
func (s *Source) Digest(ctx context.Context, revision uint64) (events.Digest, error) {
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
func (s *Source) keptBefore(revision uint64) (at uint64, digest events.Digest, err error) {
	for _, holding := range []uint64{min(revision, s.feed.Durable()), revision + 1} {
		past, readErr := s.store.ReadHistory(s.group, max(holding, 1), 1)
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
