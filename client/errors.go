package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/heliosdb/metadata/client/follow"
	"github.com/heliosdb/metadata/internal/canonical"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// Reason returns why a call failed; UNSPECIFIED if the service did not say, for
// example because it was never reached.
func Reason(err error) metadatav1.ErrorReason {
	info, ok := detail[*errdetails.ErrorInfo](err)
	if !ok {
		return metadatav1.ErrorReason_ERROR_REASON_UNSPECIFIED
	}
	return metadatav1.ErrorReason(metadatav1.ErrorReason_value["ERROR_REASON_"+info.GetReason()])
}

// ErrorValues returns the values that the error names, such as the limit reached.
func ErrorValues(err error) map[string]string {
	info, _ := detail[*errdetails.ErrorInfo](err)
	return info.GetMetadata()
}

// FieldViolations returns what is wrong with which field of the request.
func FieldViolations(err error) []*errdetails.BadRequest_FieldViolation {
	bad, _ := detail[*errdetails.BadRequest](err)
	return bad.GetFieldViolations()
}

// IsNotFound reports whether the namespace, table, node or shard does not exist, or no shard
// holds the key.
func IsNotFound(err error) bool { return connect.CodeOf(err) == connect.CodeNotFound }

// IsAlreadyExists reports whether a name or id is taken.
func IsAlreadyExists(err error) bool { return connect.CodeOf(err) == connect.CodeAlreadyExists }

// IsVersionMismatch reports whether an expected version was not met: read the
// object again and decide anew.
func IsVersionMismatch(err error) bool {
	return Reason(err) == metadatav1.ErrorReason_ERROR_REASON_VERSION_MISMATCH
}

// IsInvalid reports whether the request breaks a rule; FieldViolations says which.
func IsInvalid(err error) bool { return connect.CodeOf(err) == connect.CodeInvalidArgument }

// IsStaleEpoch reports whether a node has to register again.
func IsStaleEpoch(err error) bool {
	return Reason(err) == metadatav1.ErrorReason_ERROR_REASON_STALE_EPOCH
}

// IsUnavailable reports whether nobody could answer in time: no member was reached, or
// none led the stream. What was asked may be right; try again later.
func IsUnavailable(err error) bool {
	code := connect.CodeOf(err)
	return code == connect.CodeUnavailable || code == connect.CodeDeadlineExceeded
}

// IsRefused reports whether the client was refused, for its token or certificate, whatever
// it asks.
func IsRefused(err error) bool {
	e, ok := errors.AsType[*EndpointError](err)
	return ok && (e.says == saysRefused || e.says == saysNoClientCert)
}

// IsOutcomeUnknown reports whether a write may or may not have taken effect; Repeat is how to learn
// which. That goes for a write too whose first attempt
// nobody answered and whose next one was refused: the first may still be on its way.
// What the other functions say is then about the refusal.
func IsOutcomeUnknown(err error) bool { return Repeat(err) != nil }

// Repeat returns the write options with which to make a write again whose outcome is unknown, in
// place of those that it had, on any member: it takes effect once at most. They carry its request
// id and, if the client knew one, the revision that was known when the id was new: with that, a service
// that has forgotten the id, because much was written meanwhile, answers OUTCOME_UNKNOWABLE instead of
// writing again. Without one, repeat within minutes, or look first. nil: the outcome is known.
func Repeat(err error) *metadatav1.WriteOptions {
	if u, ok := errors.AsType[*unknownOutcomeError](err); ok {
		return proto.CloneOf(u.again)
	}
	if d, ok := detail[*metadatav1.OutcomeUnknown](err); ok {
		return &metadatav1.WriteOptions{RequestId: d.GetRequestId()}
	}
	return nil
}

// unknownOutcomeError is a write with an attempt that was never answered. The cause is
// what ended the last one.
type unknownOutcomeError struct {
	again *metadatav1.WriteOptions
	cause error
}

func (e *unknownOutcomeError) Error() string {
	known := ""
	if r := e.again.GetKnownRevision(); r > 0 {
		known = fmt.Sprintf(" and known revision %d", r)
	}
	return fmt.Sprintf("client: an attempt was not answered; whether the write took effect is unknown: make it again with request id %s%s to learn it: %v",
		e.again.GetRequestId(), known, e.cause)
}

func (e *unknownOutcomeError) Unwrap() error { return e.cause }

// fromStatus turns what grpc-go returns into what the Client's other errors are, but for
// io.EOF, which is a stream's end.
func fromStatus(err error) error {
	if err == nil || err == io.EOF { //nolint:errorlint // gRPC's io.EOF is never wrapped
		return err
	}
	s := status.Convert(err)
	return wireError(connect.Code(s.Code()), s.Message(), s.Proto().GetDetails())
}

// decodeAnswer reads the answer to a call on a Pipeline stream.
func decodeAnswer(answer *metadatav1.PipelineAnswer, to proto.Message) error {
	if failed := answer.GetError(); failed != nil {
		return wireError(connect.Code(failed.GetCode()), failed.GetMessage(), failed.GetDetails())
	}
	if err := canonical.Unmarshal(answer.GetResponse(), to); err != nil {
		return connect.NewError(connect.CodeInternal, fmt.Errorf("client: the answer cannot be decoded: %w", err))
	}
	return nil
}

// wireError is an error as the service said it; without details it may be of whoever is
// in between, or of nobody who was reached.
func wireError(code connect.Code, text string, details []*anypb.Any) error {
	if len(details) == 0 && code != connect.CodeUnimplemented {
		return connect.NewError(code, errors.New(text))
	}
	err := connect.NewWireError(code, errors.New(text))
	for _, any := range details {
		if d, bad := connect.NewErrorDetail(any); bad == nil {
			err.AddDetail(d)
		}
	}
	return err
}

// asConnect gives an error of ours a code: the end of the call's time, or a broken
// stream.
func asConnect(err error) error {
	if _, ok := errors.AsType[*connect.Error](err); ok {
		return err
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return connect.NewError(connect.CodeDeadlineExceeded, err)
	case errors.Is(err, context.Canceled):
		return connect.NewError(connect.CodeCanceled, err)
	}
	return connect.NewError(connect.CodeUnavailable, err)
}

// detail returns the first error detail of a type.
func detail[D any](err error) (D, bool) {
	var none D
	e, ok := errors.AsType[*connect.Error](err)
	if !ok {
		return none, false
	}
	for _, d := range e.Details() {
		if v, err := d.Value(); err == nil {
			if typed, ok := v.(D); ok {
				return typed, true
			}
		}
	}
	return none, false
}

// retryable reports whether another attempt can help, and how long the service
// asks to wait before it. What is wrong with an endpoint is not: others are asked at once.
func retryable(err error) (wait time.Duration, ok bool) {
	if _, told := errors.AsType[*connect.Error](err); !told {
		return 0, false
	}
	if isAboutEndpoint(err) {
		return 0, false
	}
	info, _ := detail[*errdetails.RetryInfo](err)
	wait = max(0, info.GetRetryDelay().AsDuration())
	switch connect.CodeOf(err) {
	case connect.CodeDeadlineExceeded:
		return wait, ErrorValues(err)["limit"] != limitOfThePast
	case connect.CodeUnavailable:
		return wait, true
	case connect.CodeResourceExhausted:
		return wait, info != nil
	case connect.CodeCanceled, connect.CodeUnknown, connect.CodeInternal:
		// Connections that break in the middle of an answer; the service's own
		// errors carry a reason.
		return wait, Reason(err) == metadatav1.ErrorReason_ERROR_REASON_UNSPECIFIED && !connect.IsWireError(err)
	}
	return 0, false
}

// limitOfThePast is the limit that a member names which has worked on a read of the past for as long as it may:
// others would for as long.
const limitOfThePast = "HistoryTimeout"

// isLacking reports whether a member lacks what another one may have: changes that it has not
// been given yet, or a record that is damaged.
func isLacking(err error) bool {
	switch Reason(err) {
	case metadatav1.ErrorReason_ERROR_REASON_HISTORY_GAP, metadatav1.ErrorReason_ERROR_REASON_DAMAGED:
		return true
	}
	return false
}

// judge is the [follow.Judge] of what has come over the wire.
func judge(err error) follow.Judgement {
	wait, again := retryable(err)
	return follow.Judgement{Reason: Reason(err), Retry: again, Wait: wait}
}

// asUnavailable says of a connection that broke while it was written to that the endpoint is
// unavailable: connect-go takes it for a client that went away.
func asUnavailable(err error) error {
	said, ok := errors.AsType[*connect.Error](err)
	if ok && said.Code() == connect.CodeCanceled && (errors.Is(said, syscall.EPIPE) || errors.Is(said, syscall.ECONNRESET)) {
		return connect.NewError(connect.CodeUnavailable, said.Unwrap())
	}
	return err
}

// mayHaveHappened reports whether a write that failed with a retryable error may
// have taken effect nevertheless.
func mayHaveHappened(err error) bool {
	if foreign, ok := isForeign(err); ok {
		return foreign.Written
	}
	if isUnsent(err) {
		return false
	}
	switch Reason(err) {
	case metadatav1.ErrorReason_ERROR_REASON_OUTCOME_UNKNOWN,
		metadatav1.ErrorReason_ERROR_REASON_DEADLINE,
		metadatav1.ErrorReason_ERROR_REASON_CANCELED:
		return true
	case metadatav1.ErrorReason_ERROR_REASON_UNSPECIFIED:
		if isAboutEndpoint(err) || strings.Contains(err.Error(), saysHTTP2) || strings.Contains(err.Error(), saysNoHTTP2) {
			return false // it was refused as a whole, or nobody could read it
		}
		op, ok := errors.AsType[*net.OpError](err)
		return !ok || op.Op != "dial" // nothing was sent if nobody was reached
	}
	return false
}
