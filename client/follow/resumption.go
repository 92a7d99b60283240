package follow

import (
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// SnapshotInterrupted is the reason of the Reset with which a Watch begins a
// snapshot anew.
const SnapshotInterrupted = "SNAPSHOT_INTERRUPTED"

// historyGap is the reason of a Reset because no member could go on.
const historyGap = "HISTORY_GAP"

// maxStreams bounds the streams whose revisions are remembered beside those known here:
// a newer service may have more. Changes of further ones are handed on as they come.
const maxStreams = 16

// Resumption is what a subscriber has seen, and how to go on from there.
type Resumption struct {
	request *metadatav1.SubscribeRequest // as the caller made it
	// position is that of the last bookmark; nil: resuming is not possible yet.
	position *metadatav1.Position
	// seen is the revision up to which each stream was yielded. A stream without
	// entry is at its beginning, or in a snapshot.
	seen map[metadatav1.Stream]uint64
	// partial says that a snapshot has begun, and no bookmark followed yet.
	partial bool
	// why is what Announce says of it.
	why string
	// announced says that nothing came since the caller was told so.
	announced bool

	judge   Judge
	members int  // how many can be asked
	lagging int  // answers in a row that the position lies in the future
	lost    bool // the service said that it cannot resume

	snapshots bool // a snapshot is as good as the changes
	gaps      int  // answers in a row that a member lacks some of the changes, or has damaged ones
}

// NewResumption returns a Resumption that makes a request of so many members; a
// nil request is an empty one.
func NewResumption(req *metadatav1.SubscribeRequest, members int, judge Judge) *Resumption {
	r := &Resumption{
		request: proto.CloneOf(req), seen: make(map[metadatav1.Stream]uint64), members: members, judge: judge,
		why: SnapshotInterrupted,
	}
	if r.request == nil {
		r.request = &metadatav1.SubscribeRequest{}
	}
	if after := r.request.GetAfter(); after != nil {
		r.position = proto.CloneOf(after)
		for _, s := range Streams {
			r.seen[s] = RevisionOf(after, s)
		}
	}
	return r
}

// PreferSnapshots says that the subscriber wants to know what is, not what was. If
// all members that can be asked lack changes that it needs (they took over a
// checkpoint), it begins a snapshot instead of waiting for one that has them.
func (r *Resumption) PreferSnapshots() { r.snapshots = true }

// Next returns the request of the next session.
func (r *Resumption) Next() *metadatav1.SubscribeRequest {
	req := proto.CloneOf(r.request)
	switch {
	case r.partial:
		// Resuming would leave out the rest of the snapshot.
		req.Start = &metadatav1.SubscribeRequest_Snapshot{Snapshot: true}
	case r.position != nil:
		after := proto.CloneOf(r.position)
		for s, revision := range r.seen {
			SetRevision(after, s, max(revision, RevisionOf(after, s)))
		}
		req.Start = &metadatav1.SubscribeRequest_After{After: after}
		// A member that cannot resume has to say so first: another one may be able
		// to, and a snapshot of a member that is behind would lead back in time.
		req.FailOnGap = req.FailOnGap || !r.lost
	}
	return req
}

// Broke notes why a session ended, and decides whether there is a next one and
// how long to wait before.
func (r *Resumption) Broke(err error) (wait time.Duration, again bool) {
	judged := r.judge(err)
	if r.position == nil || r.partial || r.lost {
		return judged.Wait, judged.Retry
	}
	switch judged.Reason {
	case metadatav1.ErrorReason_ERROR_REASON_FUTURE_REVISION:
		if r.lagging++; r.lagging < r.members {
			return 0, true
		}
	case metadatav1.ErrorReason_ERROR_REASON_HISTORY_GAP, metadatav1.ErrorReason_ERROR_REASON_DAMAGED:
		if r.gaps++; r.snapshots && r.gaps >= r.members {
			r.partial, r.announced, r.why = true, false, historyGap
			return 0, true
		}
		// What is damaged here is sound elsewhere; what is lacking comes in a while.
		return judged.Wait, judged.Retry || r.gaps < r.members
	case metadatav1.ErrorReason_ERROR_REASON_HISTORY_TRIMMED,
		metadatav1.ErrorReason_ERROR_REASON_FOREIGN_POSITION:
	default:
		return judged.Wait, judged.Retry
	}
	r.lost = true
	return 0, !r.request.GetFailOnGap()
}

// Announce returns the frame that the caller has to see before the next session;
// nil: none. It says that a snapshot begins, again if one broke off.
func (r *Resumption) Announce() *metadatav1.SubscribeResponse {
	if !r.partial || r.announced {
		return nil
	}
	clear(r.seen)
	r.position, r.announced = nil, true
	return &metadatav1.SubscribeResponse{Frame: &metadatav1.SubscribeResponse_Reset_{
		Reset_: &metadatav1.Reset{Reason: r.why},
	}}
}

// See notes a frame and returns what of it is new to the caller; nil: nothing.
func (r *Resumption) See(frame *metadatav1.SubscribeResponse) *metadatav1.SubscribeResponse {
	seen, some := r.SeeFrame(FrameOf(frame))
	if !some {
		return nil
	}
	return seen.message
}

// SeeFrame is See for a frame that may be in its encoding; false: nothing is new. A
// message in it may be changed.
func (r *Resumption) SeeFrame(frame Frame) (Frame, bool) {
	r.lagging, r.gaps, r.lost, r.announced, r.why = 0, 0, false, false, SnapshotInterrupted
	if frame.message == nil {
		return r.seeChanges(frame)
	}
	switch f := frame.message.GetFrame().(type) {
	case *metadatav1.SubscribeResponse_Reset_:
		r.partial = true
		if s := f.Reset_.GetStream(); s != 0 {
			delete(r.seen, s)
		} else {
			clear(r.seen)
			r.position = nil
		}
	case *metadatav1.SubscribeResponse_Snapshot:
		r.partial = true
		if f.Snapshot.GetLast() {
			r.note(f.Snapshot.GetStream(), f.Snapshot.GetRevision())
		}
	case *metadatav1.SubscribeResponse_Changes:
		return r.seeChanges(frame)
	case *metadatav1.SubscribeResponse_Bookmark:
		r.seeBookmark(f.Bookmark)
	}
	return frame, true
}

// note remembers up to which revision a stream was handed on.
func (r *Resumption) note(s metadatav1.Stream, revision uint64) {
	if _, known := r.seen[s]; known || slices.Contains(Streams[:], s) || len(r.seen) < maxStreams {
		r.seen[s] = revision
	}
}

// seeChanges leaves out what the caller has seen already, and what is out of order.
func (r *Resumption) seeChanges(f Frame) (Frame, bool) {
	last := r.seen[f.stream]
	f.changes = slices.DeleteFunc(f.changes, func(c Change) bool {
		if c.revision <= last {
			return true
		}
		last = c.revision
		return false
	})
	if len(f.changes) == 0 {
		return Frame{}, false
	}
	r.note(f.stream, last)
	if all := f.message.GetChanges(); len(all.GetChanges()) > len(f.changes) {
		all.Changes = all.Changes[:0]
		for _, c := range f.changes {
			all.Changes = append(all.Changes, c.message)
		}
	}
	return f, true
}

// seeBookmark notes the position, which never says less than was seen.
func (r *Resumption) seeBookmark(b *metadatav1.Bookmark) {
	if b.Position == nil {
		b.Position = &metadatav1.Position{}
	}
	for _, s := range Streams {
		revision := max(r.seen[s], RevisionOf(b.Position, s))
		SetRevision(b.Position, s, revision)
		r.seen[s] = revision
	}
	r.position = proto.CloneOf(b.Position)
	r.partial = false
}
