package follow

import (
	"time"

	"github.com/heliosdb/metadata/internal/failure"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// Judgement is what an error of the service amounts to.
type Judgement struct {
	Reason metadatav1.ErrorReason // why; UNSPECIFIED if the service did not say
	Retry  bool                   // another attempt can help
	Wait   time.Duration          // how long the service asks to wait before it
}

// Judge looks at an error. Errors look different on the wire and in one process;
// the machines ask a Judge and so need not know.
type Judge func(error) Judgement

// JudgeFailure judges the failures of a member in the same process as the client
// judges them when they have come over the wire. An error that is no failure is a
// broken connection.
func JudgeFailure(err error) Judgement {
	f := failure.As(err)
	if f == nil {
		return Judgement{Retry: true}
	}
	j := Judgement{Reason: f.Reason, Wait: f.RetryAfter}
	switch f.Kind() {
	case failure.Unavailable, failure.Deadline:
		j.Retry = true
	case failure.Exhausted:
		j.Retry = f.RetryAfter > 0
	default:
	}
	return j
}
