package member

import (
	"context"
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
}

// beginning is where the part of a history begins that has no gap.
type beginning struct {
	mu       sync.Mutex
	dense    uint64 // from here on nothing is missing; 0: not known
	first    uint64 // the first revision for which the digest before it is known
	floor    uint64 // the cluster's oldest revision when that was found out
	from     uint64 // dense when that was found out
	previous events.Digest
}

func newSource[D projections.Domain[D]](m *Member, r *running, s *stream[D]) *source {
	return &source{
		life: r, member: m, group: s.group, feed: s.feed,
		origin: history.Origin{Stream: s.id, Cluster: m.cluster, RecoveryEpoch: m.identity.RecoveryEpoch},
		stored: &storedHistory{store: m.store, group: s.group, stream: s.id},
	}
}

// Origin implements history.Source.
func (s *source) Origin() history.Origin { return s.origin }

// floor returns where the history begins that the cluster keeps.
func (s *source) floor() service.Floor {
	return s.life.service.replica.View().Model.Floor(s.origin.Stream)
}

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
	if err := s.ready(ctx); err != nil {
		return nil, err
	}
	if oldest := s.floor().OldestRevision(); from < oldest {
		return nil, history.Trimmed(s.origin.Stream, from, oldest)
	}
	if from > s.feed.Head() {
		return nil, nil
	}
	if from < s.begins.Load() { // there may be more since then
		if bounds, err := s.Bounds(ctx); err != nil || from < bounds.First {
			return nil, s.lacking(ctx, from, err)
		}
	}
	if recent := s.feed.Recent(from, maxBytes); len(recent) > 0 {
		return recent, nil
	}
	return s.readStored(ctx, s.stored, from, maxBytes)
}

func (s *source) readStored(ctx context.Context, stored *storedHistory, from uint64, maxBytes int) ([]*events.Change, error) {
	changes, err := stored.Read(from, maxBytes)
	if err != nil || len(changes) == 0 {
		return nil, s.lacking(ctx, from, err)
	}
	return changes, nil
}

// lacking is the failure of a read for which there is no other reason than that the member lacks
// the revision. It names a member that has it.
func (s *source) lacking(ctx context.Context, revision uint64, err error) error {
	if err == nil {
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
	floor := s.floor()
	if b.first == 0 || b.from != b.dense || b.floor != floor.OldestRevision() {
		first, previous, err := s.findFirst(max(b.dense, floor.OldestRevision()), floor)
		if err != nil {
			return history.Bounds{}, err
		}
		b.first, b.previous, b.from, b.floor = first, previous, b.dense, floor.OldestRevision()
		s.begins.Store(first)
	}
	return history.Bounds{First: b.first, Last: max(last, b.first-1), Previous: b.previous}, nil
}

// installed says that the model was replaced by another member's checkpoint: there may be a
// gap before it.
func (s *source) installed() {
	s.begin.mu.Lock()
	defer s.begin.mu.Unlock()
	s.begin.dense = 0
}

// findGap brings up to date from where on nothing is missing. Where it was known, only what was
// filled in since then is looked at.
func (s *source) findGap() error {
	b := &s.begin
	if b.dense == 0 {
		b.dense = s.feed.Durable() + 1
	}
	if b.dense <= max(s.floor().OldestRevision(), 1) {
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

// findFirst returns the first revision from the given one on, with the digest of the stream
// before it. Where that is kept nowhere, the record that holds the revision is left out: the
// digest behind a record is in it.
func (s *source) findFirst(from uint64, floor service.Floor) (first uint64, previous events.Digest, err error) {
	switch {
	case from == 1:
		return 1, events.FirstDigest(s.origin.Cluster, s.origin.Stream), nil
	case from == floor.OldestRevision():
		return from, floor.PreviousDigest(), nil
	}
	descriptors, err := checkpointsOf(s.member.store, s.group)
	if err != nil {
		return 0, previous, err
	}
	for _, d := range descriptors {
		if d.Seq == from-1 {
			head, err := projections.ReadHead(d.Meta)
			return from, head.Digest, err
		}
	}
	last, digest, err := s.keptAt(from)
	return last + 1, digest, err
}

// keptAt returns the end of the record that holds a revision, and the digest there.
func (s *source) keptAt(revision uint64) (last uint64, digest events.Digest, err error) {
	reader := *s.stored
	reader.kept = func(r uint64, d events.Digest) {
		if last == 0 {
			last, digest = r, d
		}
	}
	if _, err = reader.Read(revision, 1); err == nil && last == 0 {
		err = s.stored.missing(revision)
	}
	return last, digest, err
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
	at, digest := s.keptBefore(revision, bounds)
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

// keptBefore returns the last revision at or before the given one of which a digest is kept in
// the records around it, or else the beginning. What cannot be read costs only time here.
func (s *source) keptBefore(revision uint64, bounds history.Bounds) (at uint64, digest events.Digest) {
	at, digest = bounds.First-1, bounds.Previous
	if revision <= at {
		return at, digest
	}
	stored := min(revision, s.feed.Durable())
	past, err := s.member.store.ReadHistory(s.group, stored, 1)
	if err != nil || len(past) == 0 {
		return at, digest
	}
	if past[0].Last > revision {
		past, err = s.member.store.ReadHistoryBefore(s.group, past[0].First, 1)
		if err != nil || len(past) == 0 {
			return at, digest
		}
	}
	if last := past[len(past)-1]; last.Last > at && len(last.Data) == len(digest) {
		return last.Last, events.Digest(last.Data)
	}
	return at, digest
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
