// Package failure holds the one error type that crosses package borders.
//
// A failure says what went wrong (a stable Reason), in words for people (with
// the value concerned and what to do about it), and which fields of a request
// are to blame. Its Kind follows from its Reason by one table; the server maps
// kinds to status codes by another. Failures are values: they are immutable
// once returned and safe to share.
//
// The package does not wrap causes: what an operator needs of a cause goes
// into the message, and the cause itself into the log.
package failure

import (
	"errors"
	"fmt"
	"time"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// Kind classifies failures by what a caller can do about them.
type Kind uint8

// The kinds.
const (
	Internal     Kind = iota // a bug
	Invalid                  // the request breaks a rule; change it
	NotFound                 // there is no such object
	Exists                   // name or id is taken
	Conflict                 // somebody else was faster; read again and retry
	Precondition             // not in this state of the cluster
	OutOfRange               // the revision cannot be served
	Exhausted                // a limit was reached
	Unavailable              // try again, perhaps elsewhere
	DataLoss                 // damage was found
	Deadline                 // no answer in time
	Canceled                 // the caller gave up
)

var kinds = map[metadatav1.ErrorReason]Kind{
	metadatav1.ErrorReason_ERROR_REASON_INVALID_FIELD:       Invalid,
	metadatav1.ErrorReason_ERROR_REASON_REQUEST_ID_REUSED:   Invalid,
	metadatav1.ErrorReason_ERROR_REASON_MIXED_STREAMS:       Invalid,
	metadatav1.ErrorReason_ERROR_REASON_NOT_FOUND:           NotFound,
	metadatav1.ErrorReason_ERROR_REASON_ALREADY_EXISTS:      Exists,
	metadatav1.ErrorReason_ERROR_REASON_ID_USED:             Exists,
	metadatav1.ErrorReason_ERROR_REASON_VERSION_MISMATCH:    Conflict,
	metadatav1.ErrorReason_ERROR_REASON_NAMESPACE_NOT_EMPTY: Precondition,
	metadatav1.ErrorReason_ERROR_REASON_NODE_IN_USE:         Precondition,
	metadatav1.ErrorReason_ERROR_REASON_NODE_ALIVE:          Precondition,
	metadatav1.ErrorReason_ERROR_REASON_STALE_EPOCH:         Precondition,
	metadatav1.ErrorReason_ERROR_REASON_RANGE_OVERLAP:       Precondition,
	metadatav1.ErrorReason_ERROR_REASON_NODE_UNSUITABLE:     Precondition,
	metadatav1.ErrorReason_ERROR_REASON_PROTECTED:           Precondition,
	metadatav1.ErrorReason_ERROR_REASON_FOREIGN_POSITION:    Precondition,
	metadatav1.ErrorReason_ERROR_REASON_HISTORY_TRIMMED:     OutOfRange,
	metadatav1.ErrorReason_ERROR_REASON_FUTURE_REVISION:     OutOfRange,
	metadatav1.ErrorReason_ERROR_REASON_PAGE_REVISION_GONE:  Conflict,
	metadatav1.ErrorReason_ERROR_REASON_NO_LEADER:           Unavailable,
	metadatav1.ErrorReason_ERROR_REASON_OUTCOME_UNKNOWN:     Unavailable,
	metadatav1.ErrorReason_ERROR_REASON_OUTCOME_UNKNOWABLE:  Precondition,
	metadatav1.ErrorReason_ERROR_REASON_LIMIT_REACHED:       Exhausted,
	metadatav1.ErrorReason_ERROR_REASON_DISK_FULL:           Exhausted,
	metadatav1.ErrorReason_ERROR_REASON_STOPPING:            Unavailable,
	metadatav1.ErrorReason_ERROR_REASON_DAMAGED:             DataLoss,
	metadatav1.ErrorReason_ERROR_REASON_HISTORY_GAP:         Unavailable,
	metadatav1.ErrorReason_ERROR_REASON_INTERNAL:            Internal,
	metadatav1.ErrorReason_ERROR_REASON_DEADLINE:            Deadline,
	metadatav1.ErrorReason_ERROR_REASON_CANCELED:            Canceled,
	metadatav1.ErrorReason_ERROR_REASON_LEASE_CHANGING:      Unavailable,
	metadatav1.ErrorReason_ERROR_REASON_QUARANTINED:         Unavailable,
	metadatav1.ErrorReason_ERROR_REASON_CONSUMER_FENCED:     Precondition,
	metadatav1.ErrorReason_ERROR_REASON_FOREIGN_CLUSTER:     Precondition,
}

// Field says what is wrong with one field of a request.
type Field struct {
	Path        string // as in "table.columns[3].name"
	Description string
}

// Error is a failure.
type Error struct {
	Reason     metadatav1.ErrorReason
	Message    string
	Fields     []Field           // for Invalid
	Metadata   map[string]string // values that the message names, for machines
	RetryAfter time.Duration     // when a retry makes sense; 0: no hint
	RequestID  string            // with OUTCOME_UNKNOWN: what to retry with
}

// Error returns the message.
func (e *Error) Error() string { return e.Message }

// Kind returns the failure's kind.
func (e *Error) Kind() Kind { return kinds[e.Reason] }

// With returns a copy that carries one more metadata pair.
func (e *Error) With(key, value string) *Error {
	c := *e
	c.Metadata = make(map[string]string, len(e.Metadata)+1)
	for k, v := range e.Metadata {
		c.Metadata[k] = v
	}
	c.Metadata[key] = value
	return &c
}

// New returns a failure.
func New(reason metadatav1.ErrorReason, format string, args ...any) *Error {
	return &Error{Reason: reason, Message: fmt.Sprintf(format, args...)}
}

// InvalidField returns an INVALID_FIELD failure that blames one field.
func InvalidField(path, format string, args ...any) *Error {
	d := fmt.Sprintf(format, args...)
	return &Error{
		Reason:  metadatav1.ErrorReason_ERROR_REASON_INVALID_FIELD,
		Message: path + ": " + d,
		Fields:  []Field{{Path: path, Description: d}},
	}
}

// As returns the failure in err's chain; nil if there is none.
func As(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	return nil
}

// Is reports whether err is a failure with this reason.
func Is(err error, reason metadatav1.ErrorReason) bool {
	e := As(err)
	return e != nil && e.Reason == reason
}
