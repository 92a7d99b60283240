package main

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"connectrpc.com/connect"

	"github.com/heliosdb/metadata/client"
	"github.com/heliosdb/metadata/cmd/heliosmeta/internal/output"
	"github.com/heliosdb/metadata/internal/failure"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// Exit codes. They are part of the interface: scripts depend on them.
const (
	exitOK          = 0
	exitError       = 1
	exitUsage       = 2
	exitNotFound    = 3
	exitConflict    = 4 // taken, changed by somebody else, or not in this state
	exitUnavailable = 5 // not reached, or not able to answer now
	exitDenied      = 6
)

// usageError is a command line that cannot be understood.
type usageError struct{ message string }

func (e *usageError) Error() string { return e.message }

func usage(format string, args ...any) error {
	return &usageError{fmt.Sprintf(format, args...)}
}

// toldError is an outcome that was told already and only needs its code.
type toldError struct{ code int }

func (e *toldError) Error() string { return "" }

// exitCodes maps what the service says.
var exitCodes = map[connect.Code]int{
	connect.CodeNotFound:           exitNotFound,
	connect.CodeAlreadyExists:      exitConflict,
	connect.CodeAborted:            exitConflict,
	connect.CodeFailedPrecondition: exitConflict,
	connect.CodeUnavailable:        exitUnavailable,
	connect.CodeDeadlineExceeded:   exitUnavailable,
	connect.CodePermissionDenied:   exitDenied,
	connect.CodeUnauthenticated:    exitDenied,
}

// failureCodes maps what is found out without the service, in a directory or a file.
var failureCodes = map[failure.Kind]int{
	failure.NotFound:     exitNotFound,
	failure.Exists:       exitConflict,
	failure.Conflict:     exitConflict,
	failure.Precondition: exitConflict,
	failure.Unavailable:  exitUnavailable,
	failure.Deadline:     exitUnavailable,
}

// exitCode returns the code of an error.
func exitCode(err error) int {
	if err == nil {
		return exitOK
	}
	if told, ok := errors.AsType[*toldError](err); ok {
		return told.code
	}
	if _, ok := errors.AsType[*usageError](err); ok {
		return exitUsage
	}
	if e, ok := errors.AsType[*connect.Error](err); ok {
		if code, known := exitCodes[e.Code()]; known {
			return code
		}
		if brokeOff(e) {
			return exitUnavailable
		}
	}
	if f, ok := errors.AsType[*failure.Error](err); ok {
		if code, known := failureCodes[f.Kind()]; known {
			return code
		}
	}
	return exitError
}

// brokeOff reports whether a call ended on its way, not at the service. Connect has
// no code of its own for a connection that is reset while the request is sent.
func brokeOff(e *connect.Error) bool {
	_, sending := errors.AsType[*url.Error](e)
	return sending && !connect.IsWireError(e)
}

// explain is an error as people read it: a sentence, and a line for each field
// that is to blame if there are several.
func explain(err error, endpoints []string) string {
	var b strings.Builder
	b.WriteString("error: " + output.Plain(sentence(err, endpoints)))
	if violations := client.FieldViolations(err); len(violations) > 1 {
		for _, v := range violations {
			b.WriteString("\n  " + output.Plain(v.GetField()+": "+v.GetDescription()))
		}
	}
	return b.String()
}

func sentence(err error, endpoints []string) string {
	e, ok := errors.AsType[*connect.Error](err)
	if !ok {
		return err.Error()
	}
	if client.IsOutcomeUnknown(err) {
		if batch, ok := errors.AsType[*batchError](err); ok {
			return batch.Error() + "; whether it took effect is unknown: apply again, only what is missing will be done" + noMajority(e, true)
		}
		why := reason(e)
		switch client.Reason(e) {
		case metadatav1.ErrorReason_ERROR_REASON_UNSPECIFIED, metadatav1.ErrorReason_ERROR_REASON_OUTCOME_UNKNOWN,
			metadatav1.ErrorReason_ERROR_REASON_DEADLINE, metadatav1.ErrorReason_ERROR_REASON_CANCELED:
		default: // it says what became of the last attempt, which is not the one that may have taken effect
			why = "an attempt was not answered, a further one was: " + why
		}
		return fmt.Sprintf("%s; whether it took effect is unknown: repeat the command with --request-id %s to find out%s", why, client.Repeat(err).GetRequestId(), noMajority(e, true))
	}
	if len(e.Details()) > 0 {
		if batch, ok := errors.AsType[*batchError](err); ok {
			return batch.Error()
		}
		return reason(e) + noMajority(e, false)
	}
	// The service gives details with each error; this one comes from the way to it.
	where := strings.Join(endpoints, ", ")
	switch {
	case client.IsRefused(err):
		if at, ok := errors.AsType[*client.EndpointError](err); ok {
			where = at.Endpoint
		}
		return fmt.Sprintf("%s refuses this client: %s; show it a token or certificate that it accepts (--token-file, or --tls-cert and --tls-key)", where, reason(e))
	case e.Code() == connect.CodeDeadlineExceeded:
		return fmt.Sprintf("no answer from %s in time; see what is wrong with heliosmeta status, or give it longer with --timeout", where)
	case e.Code() == connect.CodeUnavailable, brokeOff(e):
		return fmt.Sprintf("no answer from %s: %s; is the service running there? (heliosmeta serve)", where, e.Message())
	}
	// What net/http answers to plain text on a TLS port.
	if e.Message() == "400 Bad Request" {
		return fmt.Sprintf("%s answers plain text with %s; does it want TLS? (--tls-ca FILE, or https:// before the address)", where, e.Message())
	}
	return e.Message()
}

// noMajority is what to do about an error that a cluster without a majority gives.
func noMajority(e *connect.Error, unknown bool) string {
	if e.Code() == connect.CodeDeadlineExceeded || client.Reason(e) == metadatav1.ErrorReason_ERROR_REASON_NO_LEADER ||
		unknown && (e.Code() == connect.CodeUnavailable || brokeOff(e)) {
		return "; perhaps no majority of the members runs: see heliosmeta status"
	}
	return ""
}
