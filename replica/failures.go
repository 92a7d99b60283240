package replica

import (
	"strconv"
	"time"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"

	"github.com/heliosdb/metadata/internal/failure"
)

// retryAfter is the hint that goes with NO_LEADER: about one election.
const retryAfter = 50 * time.Millisecond

// noLeader says that a command was not carried out, and who might.
func (r *Replica[D]) noLeader(why string) error {
	f := failure.New(metadatav1.ErrorReason_ERROR_REASON_NO_LEADER,
		"the %s stream: %s: nothing was changed, try again", r.name, why)
	f.RetryAfter = retryAfter
	if id := r.soft.Leader; id != 0 && id != r.cfg.Log.Member {
		f = f.With("leader", strconv.FormatUint(id, 10))
	}
	return f.With("stream", r.name)
}

func (r *Replica[D]) notLeading() error {
	switch id := r.soft.Leader; {
	case id == 0:
		return r.noLeader("no leader is known")
	case id != r.cfg.Log.Member:
		return r.noLeader("member " + strconv.FormatUint(id, 10) + " leads, not this one")
	default:
		return r.noLeader("this member has just begun to lead")
	}
}

// outcomeUnknown says that the change is in the log of somebody and may or may not
// take effect.
func (r *Replica[D]) outcomeUnknown(requestID string) error {
	f := failure.New(metadatav1.ErrorReason_ERROR_REASON_OUTCOME_UNKNOWN,
		"leadership of the %s stream was lost with request %q in flight: whether it took effect is not known, retry with the same request id",
		r.name, requestID)
	f.RequestID, f.RetryAfter = requestID, retryAfter
	return f.With("stream", r.name)
}

func (r *Replica[D]) limitReached(limit string, value int, what string) error {
	f := failure.New(metadatav1.ErrorReason_ERROR_REASON_LIMIT_REACHED,
		"the %s stream has %s, its limit %s is %d: try again later", r.name, what, limit, value)
	f.RetryAfter = retryAfter
	return f.With("limit", limit).With("value", strconv.Itoa(value))
}

func (r *Replica[D]) stopping() error {
	f := failure.New(metadatav1.ErrorReason_ERROR_REASON_STOPPING,
		"member %d is stopping: nothing was changed, ask another member", r.cfg.Log.Member)
	f.RetryAfter = retryAfter
	return f
}

func (r *Replica[D]) diskFull() error {
	return failure.New(metadatav1.ErrorReason_ERROR_REASON_DISK_FULL,
		"the disk of member %d is almost full: free some space, then try again", r.cfg.Log.Member)
}

func (r *Replica[D]) tooLate(format string, args ...any) error {
	f := failure.New(metadatav1.ErrorReason_ERROR_REASON_DEADLINE, format, args...)
	f.RetryAfter = retryAfter
	return f
}

func (r *Replica[D]) internal(format string, args ...any) error {
	return failure.New(metadatav1.ErrorReason_ERROR_REASON_INTERNAL, format, args...)
}
