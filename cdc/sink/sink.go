// Package sink brings records to where they belong. A [Sink] makes single attempts; a
// [Courier] makes as many as it takes, in order: a record is behind another one of its
// stream, or does not arrive at all. What a sink will never take goes to the dead letters,
// if there are any, and ends the courier if not.
//
// A Courier and its Sink belong to one goroutine.
package sink

import (
	"context"
	"fmt"
	"time"

	"github.com/heliosdb/metadata/cdc/record"
)

// Sink makes attempts.
type Sink interface {
	// Send tries once to bring records to where they belong, in order. It returns how many
	// of them, from the first on, are there for good; with an error that may be some too.
	// Without an error it is one at least, and may be fewer than all. After an error that
	// is no [*RejectedError] and no [*BrokenError] the rest is tried again.
	Send(ctx context.Context, records []record.Record) (n int, err error)
	// Close lets go of what the sink holds.
	Close() error
}

// UsageError says that there is no such sink as was asked for: somebody has to ask for
// another one.
type UsageError struct{ Err error }

// Usage returns a UsageError that says so.
func Usage(format string, values ...any) error { return &UsageError{fmt.Errorf(format, values...)} }

// Error says what is wrong.
func (e *UsageError) Error() string { return e.Err.Error() }

// Unwrap returns what is wrong.
func (e *UsageError) Unwrap() error { return e.Err }

// RejectedError says that a sink will never take records as they are.
type RejectedError struct {
	// Records is how many were tried together behind those that were taken: one of them is
	// to blame at least.
	Records int
	// Reason says why, in the words of whoever refused.
	Reason string
}

// Error says why.
func (e *RejectedError) Error() string { return "rejected: " + e.Reason }

// BrokenError says that a sink cannot go on: somebody has to look at it first.
type BrokenError struct{ Err error }

// Error says why.
func (e *BrokenError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *BrokenError) Unwrap() error { return e.Err }

// BusyError says that a sink asked to be left alone for a while.
type BusyError struct {
	After time.Duration // 0: it did not say for how long
	Err   error
}

// Error says so.
func (e *BusyError) Error() string {
	if e.After == 0 {
		return e.Err.Error()
	}
	return fmt.Sprintf("%v; it asks to wait for %v", e.Err, e.After)
}

// Unwrap returns the cause.
func (e *BusyError) Unwrap() error { return e.Err }
