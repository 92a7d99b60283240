package feed

import (
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/internal/failure"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// Subscription is one subscriber's cursors. It belongs to one goroutine. Close
// it when done.
type Subscription struct {
	feed      *Feed
	filter    *events.Filter
	failOnGap bool
	interval  time.Duration        // between bookmarks
	base      *metadatav1.Position // what bookmarks say of streams that are not followed

	cursors  []*cursor
	turn     int               // the cursor that may send next
	reset    *metadatav1.Reset // to be sent first
	bookmark bool              // to be sent as soon as no snapshot is left
	last     time.Time         // when the last frame was made
	changed  []<-chan struct{} // reused for Wait
	closed   bool
}

// cursor is a subscription's place in one Log.
type cursor struct {
	log   *Log
	index int // of the log in the Feed
	// everything of the stream matches: no change has to be looked into.
	everything bool
	after      atomic.Uint64   // everything up to here was sent or filtered out; read by Feed.Watching
	told       uint64          // everything up to here the subscriber knows to be behind it
	claimed    time.Time       // unless zero: the subscriber says it has after, but the Log has not; until when to wait for it
	behind     bool            // a snapshot has to be sent before changes
	snapshot   Snapshot        // the one being sent
	revision   uint64          // of the chunks sent so far, if any was
	chunks     int             // sent of snapshot
	changed    <-chan struct{} // closed when there is more than the last look showed
}

// Wait says when to call Next again: at Until, or when one of the channels is
// closed, whichever is first. The slice is valid until then.
type Wait struct {
	Until   time.Time
	Changed []<-chan struct{}
}

// Subscribe opens a subscription. It fails with INVALID_FIELD, LIMIT_REACHED
// and, if the request wants an error instead of a reset, FOREIGN_POSITION.
func (f *Feed) Subscribe(req *metadatav1.SubscribeRequest, now time.Time) (*Subscription, error) {
	s := &Subscription{
		feed:      f,
		filter:    events.NewFilter(req.GetFilter()),
		failOnGap: req.GetFailOnGap(),
		interval:  time.Duration(req.GetBookmarkIntervalMillis()) * time.Millisecond,
		base:      f.position(),
		last:      now,
	}
	switch {
	case s.interval == 0:
		s.interval = DefaultBookmarkInterval
	case s.interval < MinBookmarkInterval || s.interval > MaxBookmarkInterval:
		return nil, failure.InvalidField("bookmark_interval_millis", "%d does not lie between %d and %d",
			req.GetBookmarkIntervalMillis(), MinBookmarkInterval.Milliseconds(), MaxBookmarkInterval.Milliseconds())
	}
	if err := f.checkFollowed(req.GetFilter()); err != nil {
		return nil, err
	}
	for i, l := range f.options.Logs {
		if s.filter.MatchStream(l.Stream()) {
			s.cursors = append(s.cursors, &cursor{log: l, index: i, everything: s.filter.MatchWhole(l.Stream())})
		}
	}
	if len(s.cursors) == 0 {
		return nil, failure.InvalidField("filter", "its streams and kinds exclude each other, so nothing can match; leave one of them out")
	}
	if err := s.start(req, now); err != nil {
		return nil, err
	}
	if err := f.admit(s); err != nil {
		return nil, err
	}
	return s, nil
}

// checkFollowed refuses a filter that names a stream which is not followed, or only kinds of
// such: nothing would ever come.
func (f *Feed) checkFollowed(filter *metadatav1.Filter) error {
	followed := func(s metadatav1.Stream) bool {
		return s == metadatav1.Stream_STREAM_UNSPECIFIED || // not a stream; nothing to be said of it
			slices.ContainsFunc(f.options.Logs, func(l *Log) bool { return l.Stream() == s })
	}
	refuse := func(field string, i int, what fmt.Stringer) error {
		return failure.InvalidField(fmt.Sprintf("filter.%s[%d]", field, i),
			"%v is not subscribed to; read it with HistoryService.StreamChanges, which follows it too", what)
	}
	for i, s := range filter.GetStreams() {
		if !followed(s) {
			return refuse("streams", i, s)
		}
	}
	isFollowed := func(k metadatav1.ObjectKind) bool { return followed(events.StreamOfObject(k)) }
	if kinds := filter.GetKinds(); len(kinds) > 0 && !slices.ContainsFunc(kinds, isFollowed) {
		return refuse("kinds", 0, kinds[0])
	}
	return nil
}

// start places the cursors as the request says.
func (s *Subscription) start(req *metadatav1.SubscribeRequest, now time.Time) error {
	switch start := req.GetStart().(type) {
	case *metadatav1.SubscribeRequest_Snapshot:
		for _, c := range s.cursors {
			c.behind = true
		}
	case *metadatav1.SubscribeRequest_After:
		if err := s.feed.checkOrigin(start.After); err != nil {
			return s.restart(err)
		}
		for _, l := range s.feed.options.Logs {
			setRevision(s.base, l.Stream(), revisionOf(start.After, l.Stream()))
		}
		for _, c := range s.cursors {
			after := revisionOf(start.After, c.log.Stream())
			c.told = after
			c.after.Store(after)
			if after > c.log.Head() {
				c.claimed = now.Add(FutureGrace)
			}
		}
	default:
		for _, c := range s.cursors {
			c.after.Store(c.log.Head())
		}
		s.bookmark = true
	}
	return nil
}

// restart begins all streams anew because of err, or returns err if the
// subscriber wants to hear of it.
func (s *Subscription) restart(err error) error {
	if s.failOnGap {
		return err
	}
	s.reset = resetFor(metadatav1.Stream_STREAM_UNSPECIFIED, 0, err)
	for _, c := range s.cursors {
		c.behind = true
	}
	return nil
}

// resetFor returns the reset that tells of err.
func resetFor(s metadatav1.Stream, oldest uint64, err error) *metadatav1.Reset {
	reason := metadatav1.ErrorReason_ERROR_REASON_INTERNAL
	if e := failure.As(err); e != nil {
		reason = e.Reason
	}
	return &metadatav1.Reset{
		Stream:         s,
		Reason:         failure.Name(reason),
		OldestRevision: oldest,
	}
}

// Close ends the subscription and lets go of what it holds. It may be called
// more than once.
func (s *Subscription) Close() {
	s.closed = true
	s.feed.dismiss(s)
	for _, c := range s.cursors {
		c.snapshot = nil
	}
}
