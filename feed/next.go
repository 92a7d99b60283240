package feed

import (
	"time"

	"github.com/heliosdb/metadata/internal/failure"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// Next returns the next frame to send; or, with the zero Frame, when to ask
// again; or why the subscription is over, after which it is only to be closed.
// now must not run backwards.
func (s *Subscription) Next(now time.Time) (Frame, Wait, error) {
	if s.closed {
		return Frame{}, Wait{}, failure.New(metadatav1.ErrorReason_ERROR_REASON_INTERNAL, "the subscription is closed")
	}
	frame, busy, err := s.step(now)
	switch {
	case err != nil:
		return Frame{}, Wait{}, err
	case frame.content != nil:
		s.last = now
		return frame, Wait{}, nil
	case busy:
		return Frame{}, Wait{Until: now}, nil
	}
	return Frame{}, s.wait(), nil
}

// step makes the next frame. Without one, busy says that there is more to look
// at right now.
func (s *Subscription) step(now time.Time) (frame Frame, busy bool, err error) {
	if s.reset != nil {
		return s.makeReset(), false, nil
	}
	for _, c := range s.cursors {
		if c.behind {
			frame, err = s.chunk(c)
			return frame, false, err
		}
	}
	if s.bookmark {
		return s.makeBookmark(), false, nil
	}
	for range s.cursors { // in turn, so that a busy stream does not silence another
		c := s.cursors[s.turn]
		s.turn = (s.turn + 1) % len(s.cursors)
		frame, more, err := s.changes(c, now)
		if err != nil || frame.content != nil {
			return frame, false, err
		}
		busy = busy || more
	}
	if _, claimed := s.claimed(); !claimed && now.Sub(s.last) >= s.interval {
		return s.makeBookmark(), false, nil
	}
	return Frame{}, busy, nil
}

// claimed returns the earliest time at which a cursor stops waiting for a
// revision that its Log has not reached; false if no cursor waits for one. As
// long as one does, there are no bookmarks: they would vouch for revisions that
// this member does not know.
func (s *Subscription) claimed() (until time.Time, ok bool) {
	for _, c := range s.cursors {
		if !c.claimed.IsZero() && (!ok || c.claimed.Before(until)) {
			until, ok = c.claimed, true
		}
	}
	return until, ok
}

func (s *Subscription) wait() Wait {
	until, ok := s.claimed()
	if !ok {
		until = s.last.Add(s.interval)
	}
	s.changed = s.changed[:0]
	for _, c := range s.cursors {
		s.changed = append(s.changed, c.changed)
	}
	return Wait{Until: until, Changed: s.changed}
}

// makeBookmark returns a bookmark at where the cursors are. For streams that
// the subscription does not follow it repeats what the subscriber said, so that
// it can be resumed with another filter without a gap.
func (s *Subscription) makeBookmark() Frame {
	s.bookmark = false
	p := s.feed.position()
	for _, l := range s.feed.options.Logs {
		setRevision(p, l.Stream(), revisionOf(s.base, l.Stream()))
	}
	for _, c := range s.cursors {
		c.told = c.after.Load()
		setRevision(p, c.log.Stream(), c.told)
	}
	return frameOf(&metadatav1.SubscribeResponse{Frame: &metadatav1.SubscribeResponse_Bookmark{
		Bookmark: &metadatav1.Bookmark{Position: p},
	}})
}

// chunk returns the next chunk of a cursor's snapshot. When all snapshots are
// sent, a bookmark follows: it is the first position to resume from.
func (s *Subscription) chunk(c *cursor) (Frame, error) {
	stream := c.log.Stream()
	if c.snapshot == nil {
		snapshot, err := s.feed.options.Snapshots.Snapshot(stream, s.filter)
		if err != nil {
			return Frame{}, err
		}
		c.snapshot, c.chunks = snapshot, 0
	}
	chunk, err := c.snapshot.Next()
	if err != nil {
		return Frame{}, err
	}
	if chunk.GetStream() != stream || (c.chunks > 0 && chunk.GetRevision() != c.revision) {
		return Frame{}, failure.New(metadatav1.ErrorReason_ERROR_REASON_INTERNAL,
			"a snapshot of %v at revision %d went on with %v at revision %d", stream, c.revision, chunk.GetStream(), chunk.GetRevision())
	}
	c.revision = chunk.GetRevision()
	c.chunks++
	if chunk.GetLast() {
		c.after.Store(c.revision)
		c.snapshot, c.behind, c.claimed = nil, false, time.Time{}
		s.bookmark = true
	}
	return frameOf(&metadatav1.SubscribeResponse{Frame: &metadatav1.SubscribeResponse_Snapshot{Snapshot: chunk}}), nil
}

// changes returns a frame of what follows the cursor and matches the filter.
// Without one, more says that the Log goes on behind what was looked at.
func (s *Subscription) changes(c *cursor, now time.Time) (frame Frame, more bool, err error) {
	v := c.log.now.Load()
	c.changed = v.changed
	after := c.after.Load()
	if !c.claimed.IsZero() {
		switch {
		case after <= v.head:
			c.claimed = time.Time{}
		case now.Before(c.claimed):
			return Frame{}, false, nil
		default:
			return s.lost(c, v, failure.New(metadatav1.ErrorReason_ERROR_REASON_FUTURE_REVISION,
				"revision %d of %v lies in the future: this member has reached %d; ask another member or start from a snapshot", after, c.log.Stream(), v.head))
		}
	}
	entries, err := c.log.read(v, after)
	if failure.Is(err, metadatav1.ErrorReason_ERROR_REASON_HISTORY_TRIMMED) {
		return s.lost(c, v, err)
	}
	if failure.Is(err, metadatav1.ErrorReason_ERROR_REASON_HISTORY_GAP) && after > c.told {
		// Another member may have what is missing, and lack what was filtered out until here.
		if _, claimed := s.claimed(); !claimed {
			return s.makeBookmark(), false, nil
		}
	}
	if err != nil || len(entries) == 0 {
		return Frame{}, false, err
	}
	frame = s.gather(c, entries)
	return frame, c.after.Load() < v.head, nil
}

// lost ends the subscription with err or begins the cursor's stream anew.
func (s *Subscription) lost(c *cursor, v *view, err error) (Frame, bool, error) {
	if s.failOnGap {
		return Frame{}, false, err
	}
	c.behind, c.claimed = true, time.Time{}
	s.reset = resetFor(c.log.Stream(), c.log.oldest(v), err)
	return s.makeReset(), false, nil
}

func (s *Subscription) makeReset() Frame {
	r := s.reset
	s.reset = nil
	return frameOf(&metadatav1.SubscribeResponse{Frame: &metadatav1.SubscribeResponse_Reset_{Reset_: r}})
}

// gather moves the cursor over the entries and puts those that match into one
// frame, as many as fit.
func (s *Subscription) gather(c *cursor, entries []*entry) Frame {
	if c.everything {
		entries = fitting(entries)
		last := entries[len(entries)-1].change.Revision()
		c.told = last
		c.after.Store(last)
		return s.feed.recent[c.index].frame(c.log.Stream(), entries)
	}
	var (
		matching []*metadatav1.Change
		whole    []*entry
		bytes    int
		at       = c.after.Load()
	)
	for _, e := range entries {
		m, ok := s.filter.Change(e.change)
		if ok {
			bytes += len(e.change.Raw())
			if len(matching) > 0 && (bytes > MaxFrameBytes || len(matching) == MaxFrameChanges) {
				break
			}
			matching, c.told = append(matching, m), e.change.Revision()
			if !m.GetPartial() {
				whole = append(whole, e)
			}
		}
		at = e.change.Revision()
	}
	c.after.Store(at)
	switch {
	case len(matching) == 0:
		return Frame{}
	case len(whole) < len(matching):
		return frameOf(changesMessage(c.log.Stream(), matching))
	case len(whole) == 1:
		return s.feed.recent[c.index].frame(c.log.Stream(), whole)
	}
	return wholeFrame(c.log.Stream(), whole) // of which others may be sent more
}

// fitting returns as many of the entries as fit into one frame.
func fitting(entries []*entry) []*entry {
	n, bytes := 1, len(entries[0].change.Raw())
	for ; n < min(len(entries), MaxFrameChanges); n++ {
		if bytes += len(entries[n].change.Raw()); bytes > MaxFrameBytes {
			break
		}
	}
	return entries[:n]
}
