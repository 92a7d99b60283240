package server

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/heliosdb/metadata/internal/failure"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/proto/heliosdb/metadata/v1/metadatav1connect"
)

// timeLimit is how long something may take, and what a call is told of which it takes longer.
type timeLimit struct {
	after time.Duration
	told  *failure.Error
}

// timeLimits are those of a server.
type timeLimits struct {
	unary   timeLimit // of a call, its request's arrival included
	history timeLimit // likewise: reads of the past fold, and take longer than anything else
	arrival timeLimit // of a request that is one message, whatever its call may take
}

func newTimeLimits(l Limits) timeLimits {
	deadline := func(name string, after time.Duration, format string) timeLimit {
		f := failure.New(metadatav1.ErrorReason_ERROR_REASON_DEADLINE, format, name, after)
		return timeLimit{after, f.With("limit", name).With("max", after.String())}
	}
	return timeLimits{
		unary: deadline("UnaryTimeout", l.UnaryTimeout,
			"no answer within %s, %v; a write may still take effect: retry with the same request id"),
		history: deadline("HistoryTimeout", l.HistoryTimeout,
			"this member works on one read of the past no longer than %s, %v; `heliosmeta history replay` folds on your side, without a limit"),
		arrival: deadline("UnaryTimeout", l.UnaryTimeout,
			"the request did not arrive within %s, %v, and nothing was done; send it again, at once and to its end"),
	}
}

const historyPrefix = "/" + metadatav1connect.HistoryServiceName + "/"

// of returns the limit of a unary call.
func (t *timeLimits) of(path string) *timeLimit {
	if strings.HasPrefix(path, historyPrefix) {
		return &t.history
	}
	return &t.unary
}

// begin returns the context of a call that begins now.
func (l *timeLimit) begin(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, l.after, l.told)
}

// late is what a call is told whose request has not arrived when it is read no longer.
func (s *Server) late() error {
	if s.draining() {
		return encode(errStopping)
	}
	return encode(s.times.arrival.told)
}

// overTime returns what a call is told that has taken longer than it may: the caller's own time limit
// says nothing but that.
func overTime(ctx context.Context, err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		if limit := failure.As(context.Cause(ctx)); limit != nil {
			return limit
		}
	}
	return err
}
