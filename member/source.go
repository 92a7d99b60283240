package member

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

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
	begins atomic.Uint64 // begin.first, for those who do not wait; 0: not known
	jumped atomic.Bool   // another member's checkpoint was installed since begin was looked at
}

// beginning is where the part of a history begins that has no gap.
type beginning struct {
	mu       sync.Mutex
	dense    uint64        // from here on nothing is missing; 0: not known
	first    uint64        // dense, or the oldest revision that the cluster keeps if that is later; 0: not known
	previous events.Digest // of the stream before first
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
	recent, err := s.recent(ctx, from, maxBytes)
	if err != nil || len(recent) > 0 || from > s.feed.Head() {
		return recent, err
	}
	changes, err := s.stored.Read(from, maxBytes)
	return changes, s.orLacking(ctx, from, len(changes), err)
}

// Originals implements history.Live.
func (s *source) Originals(ctx context.Context, from uint64, maxBytes int) (originals [][]byte, err error) {
	recent, err := s.recent(ctx, from, maxBytes)
	for _, c := range recent {
		originals = append(originals, c.Raw())
	}
	if err != nil || len(recent) > 0 || from > s.feed.Head() {
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
	if from < s.begins.Load() { // there may be more since then
		if bounds, err := s.Bounds(ctx); err != nil || from < bounds.First {
			return nil, s.orLacking(ctx, from, 0, err)
		}
	}
	return s.feed.Recent(from, maxBytes), nil
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
	b := &s.begin
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := s.findGap(); err != nil {
		return history.Bounds{}, err
	}
	floor := s.life.floor(s.origin.Stream)
	if b.first != max(b.dense, floor.OldestRevision()) {
		first := max(b.dense, floor.OldestRevision())
		previous, err := s.digestBefore(first, floor)
		if err != nil {
			return history.Bounds{}, err
		}
		b.first, b.previous = first, previous
		s.begins.Store(first)
	}
	return history.Bounds{First: b.first, Last: max(last, b.first-1), Previous: b.previous}, nil
}

// installed says that the model was replaced by another member's checkpoint: there may be a
// gap before it. It does not block.
func (s *source) installed() { s.jumped.Store(true) }

// findGap brings up to date from where on nothing is missing. Where it was known, only what was
// filled in since then is looked at.
func (s *source) findGap() error {
	b := &s.begin
	if s.jumped.Swap(false) || b.dense == 0 {
		b.dense = s.feed.Durable() + 1
	}
	if b.dense <= max(s.life.floor(s.origin.Stream).OldestRevision(), 1) {
		return nil
	}
	_, last, err := s.member.store.HistoryGap(s.group, b.dense)
	if err != nil {
		b.dense = 0
		return err
	}
	b.dense = last + 1
	return nil
}

// digestBefore returns the digest of the stream before the first revision: where nothing was
// trimmed, that is where a record of history begins, or behind a checkpoint.
func (s *source) digestBefore(first uint64, floor service.Floor) (events.Digest, error) {
	switch {
	case first == 1:
		return events.FirstDigest(s.origin.Cluster, s.origin.Stream), nil
	case first == floor.OldestRevision():
		return floor.PreviousDigest(), nil
	}
	at, digest, err := s.keptBefore(first - 1)
	if err != nil || at == first-1 {
		return digest, err
	}
	descriptors, err := s.member.store.Checkpoints(s.group)
	if err != nil {
		return digest, err
	}
	for _, d := range descriptors {
		if d.Seq == first-1 {
			head, err := projections.ReadHead(d.Meta)
			return head.Digest, err
		}
	}
	return digest, s.stored.missing(first)
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
		past, err := s.member.store.ReadHistory(s.group, max(holding, 1), 1)
		if _, gap := errors.AsType[*raftlog.GapError](err); gap || err == nil && len(past) == 0 {
			continue
		}
		if err != nil {
			return 0, digest, err
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
	return 0, digest, nil
}

// checkpointsOf returns the checkpoints of a group, archived and current ones, oldest first.
func checkpointsOf(store raftlog.Storage, g raftlog.GroupID) ([]raftlog.Descriptor, error) {
	archived, err := store.Archived(g)
	if err != nil {
		return nil, err
	}
	current, err := store.Checkpoints(g)
	return append(archived, current...), err
}
