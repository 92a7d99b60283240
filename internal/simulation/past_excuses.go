package simulation

import (
	"context"
	"slices"
	"time"

	"github.com/heliosdb/metadata/internal/failure"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/raftlog"
)

// excuses are the reasons for which a read of the past may be refused.
type excuses struct {
	future  bool // it is about a revision that the member has not come to
	lacking bool // it is about something that was trimmed, or that the member was not given
	// hurt: a record that it needs is damaged. That another one is, is no excuse.
	hurt bool
}

// refused reports whether an error is one that may be given, and counts it.
func (r *pastRead[D]) refused(err error, e excuses) bool {
	f := failure.As(err)
	if f == nil {
		return false
	}
	r.w.counts.add("reads of the past: "+failure.Name(f.Reason), 1)
	switch f.Reason {
	case metadatav1.ErrorReason_ERROR_REASON_FUTURE_REVISION:
		return e.future
	case metadatav1.ErrorReason_ERROR_REASON_DAMAGED:
		return e.hurt
	case metadatav1.ErrorReason_ERROR_REASON_HISTORY_GAP:
		return e.lacking
	case metadatav1.ErrorReason_ERROR_REASON_HISTORY_TRIMMED:
		return e.lacking && r.w.judge.floor(r.s.id) > 0
	}
	return false
}

// hurtWithin reports whether one of the revisions between two, both included, is damaged on the
// member's disk, whether or not somebody has found that.
func (s *stream[D]) hurtWithin(first, last uint64) bool {
	return slices.ContainsFunc(s.m.store.DamagedHistory(s.group), func(d raftlog.Span) bool {
		return d.First <= last && first <= d.Last
	})
}

// beginningIsHurt reports whether the record is damaged with which the member's history begins, and
// which alone may say what the digest before it is.
func (s *stream[D]) beginningIsHurt() bool {
	_, gap, err := s.m.store.HistoryGap(s.group, s.feed.Durable()+1)
	first := max(gap+1, s.m.run.floor(s.id))
	return err == nil && s.hurtWithin(first, first)
}

// foldIsHurt reports whether a fold to a revision meets damage: what it begins with is the newest
// model that can be read.
func (s *stream[D]) foldIsHurt(revision uint64) bool {
	base, err := s.past.bases.Nearest(context.Background(), 0, revision)
	return err == nil && s.hurtWithin(base.Head.Revision+1, revision)
}

// searchIsHurt reports whether the search for the revision at a time meets damage: it halves what the
// member has until one change is left.
func (r *pastRead[D]) searchIsHurt(at time.Time) bool {
	low, high := r.bounds.First, r.bounds.Last+1
	for low < high {
		middle := low + (high-low)/2
		if r.s.hurtWithin(middle, middle) {
			return true
		}
		if r.states[middle].Head.Time.After(at) {
			high = middle
		} else {
			low = middle + 1
		}
	}
	// Before all of it: what the one right before it says, and the first one for the error.
	return low == r.bounds.First && r.s.hurtWithin(low-1, low)
}

// versionIsHurt reports whether the search for an object's newest version at or before a revision
// meets damage: it goes back to the last change of the object that the member has. An object that is
// gone by then is looked for by what it was before.
func (r *pastRead[D]) versionIsHurt(ref *metadatav1.ObjectRef, revision uint64) bool {
	revision = min(revision, r.bounds.Last) // it cannot see what came later elsewhere
	by := r.changedBy(ref, r.bounds.First, revision)
	if by > 0 && r.w.judge.pasts.object(ref, by) == nil {
		by = r.changedBy(ref, r.bounds.First, by-1)
	}
	return r.s.hurtWithin(max(by, r.bounds.First), revision)
}
