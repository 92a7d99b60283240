package audit

import "time"

const (
	// DefaultEvery is after how many unsigned changes a head is signed.
	DefaultEvery = 10_000
	// DefaultWithin is after how long an unsigned change is signed.
	DefaultWithin = time.Hour
	// retryAfter is when a head is due again that was due and has not been kept.
	retryAfter = 10 * time.Second
)

// Policy says how often the head of a stream is signed.
type Policy struct {
	Every  uint64        // when so many changes are unsigned; 0: however many
	Within time.Duration // when changes have been unsigned for so long; 0: however long
}

// Schedule says when the next head of one stream is to be signed. It is a step machine:
// whoever drives it tells it what there is, and asks again at the time that it names or
// when something has changed.
type Schedule struct {
	policy Policy

	waiting bool      // there are unsigned changes
	signed  uint64    // the newest signed revision
	since   time.Time // since when there are changes behind it
	retry   time.Time // not due again before; zero: not due yet
	dueFrom time.Time // since when it has been due; zero: not due yet
}

// NewSchedule returns a schedule that follows the policy.
func NewSchedule(p Policy) *Schedule { return &Schedule{policy: p} }

// Due says whether the stream's head is to be signed now, and otherwise when to ask again
// if nothing changes; the zero time: only when something does. signed is the revision of
// the newest signed head that is kept, head that of the newest change that is to be signed,
// now a clock that does not run backwards.
//
// In the service stream, changes that do nothing but keep signed heads are not to be
// signed: they would have each signature cause the next one.
//
// A head that was due is due again after a while if it has not been kept until then.
func (s *Schedule) Due(signed, head uint64, now time.Time) (due bool, next time.Time) {
	switch {
	case head <= signed:
		s.waiting, s.dueFrom = false, time.Time{}
		return false, time.Time{}
	case !s.waiting || signed != s.signed:
		s.waiting, s.signed, s.since, s.retry, s.dueFrom = true, signed, now, time.Time{}, time.Time{}
	}
	next, ever := s.dueTime(head, now)
	if !ever {
		return false, time.Time{}
	}
	if s.retry.After(next) {
		next = s.retry
	}
	if next.After(now) {
		return false, next
	}
	if s.dueFrom.IsZero() {
		s.dueFrom = now
	}
	s.retry = now.Add(retryAfter)
	return true, s.retry
}

// Overdue returns for how long a head has been due, as Due was told, that is not kept; 0: none is
// due.
func (s *Schedule) Overdue(now time.Time) time.Duration {
	if s.dueFrom.IsZero() {
		return 0
	}
	return now.Sub(s.dueFrom)
}

// dueTime returns when the policy asks for a signature of what is unsigned now.
func (s *Schedule) dueTime(head uint64, now time.Time) (at time.Time, ever bool) {
	switch {
	case s.policy.Every > 0 && head-s.signed >= s.policy.Every:
		return now, true
	case s.policy.Within > 0:
		return s.since.Add(s.policy.Within), true
	}
	return time.Time{}, false
}
