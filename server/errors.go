package server

import (
	"context"
	"errors"
	"maps"

	"buf.build/go/protovalidate"
	"connectrpc.com/connect"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/heliosdb/metadata/internal/failure"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// ErrorDomain is the domain of every google.rpc.ErrorInfo that is sent.
const ErrorDomain = "metadata.heliosdb"

// codes is the one table from kinds of failures to status codes.
var codes = map[failure.Kind]connect.Code{
	failure.Internal:     connect.CodeInternal,
	failure.Invalid:      connect.CodeInvalidArgument,
	failure.NotFound:     connect.CodeNotFound,
	failure.Exists:       connect.CodeAlreadyExists,
	failure.Conflict:     connect.CodeAborted,
	failure.Precondition: connect.CodeFailedPrecondition,
	failure.OutOfRange:   connect.CodeOutOfRange,
	failure.Exhausted:    connect.CodeResourceExhausted,
	failure.Unavailable:  connect.CodeUnavailable,
	failure.DataLoss:     connect.CodeDataLoss,
	failure.Deadline:     connect.CodeDeadlineExceeded,
	failure.Canceled:     connect.CodeCanceled,
}

// detailURL is before the type of a detail in a google.protobuf.Any.
const detailURL = "type.googleapis.com/"

const internalMessage = "internal error: this is a bug; the server's log says more"

// errStopping is why calls are refused and streams end while the server drains.
var errStopping = failure.New(metadatav1.ErrorReason_ERROR_REASON_STOPPING,
	"this member is stopping; ask another member")

// asFailure classifies any error. Text of errors that are no failures stays
// here: it may name what callers have no business to know.
func asFailure(err error) *failure.Error {
	if f := failure.As(err); f != nil {
		return f
	}
	if invalid, ok := errors.AsType[*protovalidate.ValidationError](err); ok {
		return invalidFields(invalid)
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return failure.New(metadatav1.ErrorReason_ERROR_REASON_DEADLINE,
			"no answer in time; a write may still take effect: retry with the same request id")
	case errors.Is(err, context.Canceled):
		return failure.New(metadatav1.ErrorReason_ERROR_REASON_CANCELED, "the call was canceled")
	}
	return failure.New(metadatav1.ErrorReason_ERROR_REASON_INTERNAL, internalMessage)
}

// invalidFields turns broken rules of the protos into a failure that names the
// fields.
func invalidFields(err *protovalidate.ValidationError) *failure.Error {
	f := &failure.Error{Reason: metadatav1.ErrorReason_ERROR_REASON_INVALID_FIELD}
	for i, v := range err.Violations {
		field := failure.Field{
			Path:        protovalidate.FieldPathString(v.Proto.GetField()),
			Description: describe(v),
		}
		if i == 0 {
			f.Message = field.Path + ": " + field.Description
		}
		if i == maxViolations {
			break
		}
		f.Fields = append(f.Fields, field)
	}
	return f
}

// toConnect gives an error its code and details. Errors that Connect made
// itself keep their code; those without details get an ErrorInfo.
func toConnect(err error) error {
	if err == nil || connect.IsNotModifiedError(err) {
		return err
	}
	if own, ok := errors.AsType[*connect.Error](err); ok {
		return explain(own)
	}
	return encode(asFailure(err))
}

// reasons are those of errors that Connect makes itself, for the codes that it
// uses: a message too large or cut off, a call that was given up.
var reasons = map[connect.Code]metadatav1.ErrorReason{
	connect.CodeInvalidArgument:   metadatav1.ErrorReason_ERROR_REASON_INVALID_FIELD,
	connect.CodeResourceExhausted: metadatav1.ErrorReason_ERROR_REASON_LIMIT_REACHED,
	connect.CodeDeadlineExceeded:  metadatav1.ErrorReason_ERROR_REASON_DEADLINE,
	connect.CodeCanceled:          metadatav1.ErrorReason_ERROR_REASON_CANCELED,
}

// explain adds the reason that Connect's own errors lack.
func explain(own *connect.Error) *connect.Error {
	reason, known := reasons[own.Code()]
	if known && len(own.Details()) == 0 {
		addDetail(own, &errdetails.ErrorInfo{Reason: failure.Name(reason), Domain: ErrorDomain})
	}
	return own
}

// encode is a failure as it is sent.
func encode(f *failure.Error) *connect.Error {
	out := connect.NewError(codes[f.Kind()], errors.New(f.Message))
	addDetail(out, &errdetails.ErrorInfo{
		Reason:   failure.Name(f.Reason),
		Domain:   ErrorDomain,
		Metadata: maps.Clone(f.Metadata),
	})
	if len(f.Fields) > 0 {
		bad := &errdetails.BadRequest{}
		for _, field := range f.Fields {
			bad.FieldViolations = append(bad.FieldViolations, &errdetails.BadRequest_FieldViolation{
				Field: field.Path, Description: field.Description,
			})
		}
		addDetail(out, bad)
	}
	if f.RetryAfter > 0 {
		addDetail(out, &errdetails.RetryInfo{RetryDelay: durationpb.New(f.RetryAfter)})
	}
	if f.Reason == metadatav1.ErrorReason_ERROR_REASON_OUTCOME_UNKNOWN {
		addDetail(out, &metadatav1.OutcomeUnknown{RequestId: f.RequestID})
	}
	return out
}

// addDetail adds a detail. Only a message with invalid UTF-8 cannot be one; the
// code and the text are worth sending without it.
func addDetail(to *connect.Error, message proto.Message) {
	if detail, err := connect.NewErrorDetail(message); err == nil {
		to.AddDetail(detail)
	}
}
