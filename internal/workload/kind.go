package workload

import (
	"context"
	"errors"
	"strings"

	"connectrpc.com/connect"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/heliosdb/metadata/client"
	"github.com/heliosdb/metadata/internal/failure"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// Kind names the kind of an error: the service's reason in small letters if there is one,
// else the code of the call.
func Kind(err error) string {
	if refused, ok := errors.AsType[*refusedError](err); ok {
		return strings.ToLower(refused.reason)
	}
	if reason := client.Reason(err); reason != metadatav1.ErrorReason_ERROR_REASON_UNSPECIFIED {
		return strings.ToLower(failure.Name(reason))
	}
	if _, ok := errors.AsType[*client.HoleError](err); ok {
		return "no_shard"
	}
	if _, ok := errors.AsType[*connect.Error](err); ok {
		return connect.CodeOf(err).String()
	}
	if s, ok := status.FromError(err); ok && s.Code() != codes.Unknown {
		return connect.Code(s.Code()).String() // the numbers are gRPC's
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return connect.CodeDeadlineExceeded.String()
	case errors.Is(err, context.Canceled):
		return connect.CodeCanceled.String()
	}
	return "other"
}

// refusedError is a no of the service that is not the error of a call.
type refusedError struct{ reason, message string }

func (e *refusedError) Error() string { return e.message }
