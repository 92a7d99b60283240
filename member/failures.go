package member

import (
	"context"
	"errors"
	"time"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/internal/failure"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// retryAfter is how long to wait for something to change when nothing says that
// it did.
const retryAfter = 50 * time.Millisecond

// quarantineRetry is when to ask a member in quarantine again, if there is no other.
const quarantineRetry = time.Second

func outcomeUnknown(requestID string) error {
	f := failure.New(metadatav1.ErrorReason_ERROR_REASON_OUTCOME_UNKNOWN,
		"the leader was lost while it carried out request %q: whether it took effect is not known, retry with the same request id", requestID)
	f.RequestID, f.RetryAfter = requestID, retryAfter
	return f
}

// gaveUp is the failure of a call whose context ended.
func gaveUp(ctx context.Context, requestID string) error {
	reason, what := metadatav1.ErrorReason_ERROR_REASON_DEADLINE, "no answer before the deadline"
	if errors.Is(ctx.Err(), context.Canceled) {
		reason, what = metadatav1.ErrorReason_ERROR_REASON_CANCELED, "the caller gave up"
	}
	if requestID == "" {
		return failure.New(reason, "%s", what)
	}
	f := failure.New(reason, "%s: request %q may still take effect, retry with the same request id", what, requestID)
	f.RequestID = requestID
	return f
}

func tooMany(s metadatav1.Stream) error {
	f := failure.New(metadatav1.ErrorReason_ERROR_REASON_LIMIT_REACHED,
		"%d calls already wait for the %s stream on this member, the limit member.maxInbox; try again later", maxInbox, events.StreamName(s))
	f.RetryAfter = retryAfter
	return f.With("limit", "member.maxInbox")
}

// notRunning says why the streams do not run.
func (m *Member) notRunning() error {
	if m.ctx.Err() != nil {
		f := failure.New(metadatav1.ErrorReason_ERROR_REASON_STOPPING, "member %d is stopping; ask another member", m.identity.Member)
		f.RetryAfter = retryAfter
		return f
	}
	if quarantined := m.quarantine.Load(); quarantined != nil {
		f := failure.New(metadatav1.ErrorReason_ERROR_REASON_QUARANTINED, "%s; ask another member", quarantined.describe(m.identity.Member))
		f.RetryAfter = quarantineRetry
		return f
	}
	f := failure.New(metadatav1.ErrorReason_ERROR_REASON_NO_LEADER, "member %d has not started yet: %s", m.identity.Member, *m.waitReason.Load())
	f.RetryAfter = genesisRetry
	return f
}

func foreign(what string, have, want any) error {
	return failure.New(metadatav1.ErrorReason_ERROR_REASON_FOREIGN_POSITION,
		"the position belongs to %s %v, this is %v; start anew", what, want, have)
}
