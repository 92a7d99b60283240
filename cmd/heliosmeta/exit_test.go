package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"testing"

	"connectrpc.com/connect"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/history"
	"github.com/heliosdb/metadata/internal/failure"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// answer is an error as the service sends it.
func answer(t *testing.T, code connect.Code, message string, details ...proto.Message) error {
	t.Helper()
	e := connect.NewError(code, errors.New(message))
	for _, d := range details {
		detail, err := connect.NewErrorDetail(d)
		if err != nil {
			t.Fatal(err)
		}
		e.AddDetail(detail)
	}
	return e
}

func TestErrors(t *testing.T) {
	info := &errdetails.ErrorInfo{Reason: "X", Domain: "metadata.heliosdb"}
	two := &errdetails.BadRequest{FieldViolations: []*errdetails.BadRequest_FieldViolation{
		{Field: "a", Description: "is 1"}, {Field: "b", Description: "is\n2"},
	}}
	refused := answer(t, connect.CodeAborted, "commands[1].x: no", info)
	batch := []*metadatav1.Command{{}, {Command: &metadatav1.Command_CreateTable{CreateTable: &metadatav1.CreateTableRequest{
		Table: &metadatav1.TableSchema{Namespace: "n", Name: "t"},
	}}}}
	missing := failure.New(metadatav1.ErrorReason_ERROR_REASON_NOT_FOUND, "no table")
	const perhaps = "perhaps no majority of the members runs: see heliosmeta status"
	for _, c := range []struct {
		name string
		err  error
		code int
		text string
	}{
		{"usage", usage("give %d", 1), exitUsage, "error: give 1"},
		{"plain", errors.New("no such file"), exitError, "error: no such file"},
		{"not found", answer(t, connect.CodeNotFound, "no table", info), exitNotFound, "error: no table"},
		{"taken", answer(t, connect.CodeAlreadyExists, "taken", info), exitConflict, "error: taken"},
		{"changed", answer(t, connect.CodeAborted, "changed", info), exitConflict, "error: changed"},
		{"not in this state", answer(t, connect.CodeFailedPrecondition, "not empty", info), exitConflict, "error: not empty"},
		{"invalid", answer(t, connect.CodeInvalidArgument, "a: is 1", info, two), exitError, "error: a: is 1\n  a: is 1\n  b: is 2"},
		{"denied", answer(t, connect.CodePermissionDenied, "not you", info), exitDenied, "error: not you"},
		{"unknown caller", answer(t, connect.CodeUnauthenticated, "who?", info), exitDenied, "error: who?"},
		{"not found in a file", missing, exitNotFound, "error: no table"},
		{"trimmed in a file", history.Trimmed(metadatav1.Stream_STREAM_SCHEMA, 3, 9), exitError,
			"error: revision 3 of the schema stream was trimmed; the oldest revision left is 9"},
		{"no leader", answer(t, connect.CodeUnavailable, "no leader", info), exitUnavailable, "error: no leader"},
		{"not reached", answer(t, connect.CodeUnavailable, "connection refused"), exitUnavailable,
			"error: no answer from h:1, h:2: connection refused; is the service running there? (heliosmeta serve)"},
		{"broken off", connect.NewError(connect.CodeUnknown, &url.Error{Op: "Post", URL: "u", Err: errors.New("reset")}), exitUnavailable,
			`error: no answer from h:1, h:2: Post "u": reset; is the service running there? (heliosmeta serve)`},
		{"too slow", answer(t, connect.CodeDeadlineExceeded, "context deadline exceeded"), exitUnavailable,
			"error: no answer from h:1, h:2 in time; see what is wrong with heliosmeta status, or give it longer with --timeout"},
		{"unknown outcome", answer(t, connect.CodeUnavailable, "leader lost", info, &metadatav1.OutcomeUnknown{RequestId: "r7"}), exitUnavailable,
			"error: leader lost; whether it took effect is unknown: repeat the command with --request-id r7 to find out; " + perhaps},
		{"unknown and refused", answer(t, connect.CodeAlreadyExists, "taken", info, &metadatav1.OutcomeUnknown{RequestId: "r7"}), exitConflict,
			"error: taken; whether it took effect is unknown: repeat the command with --request-id r7 to find out"},
		{"unknown and too slow", answer(t, connect.CodeDeadlineExceeded, "too slow", info, &metadatav1.OutcomeUnknown{RequestId: "r7"}), exitUnavailable,
			"error: too slow; whether it took effect is unknown: repeat the command with --request-id r7 to find out; " + perhaps},
		{"unknown and no leader", answer(t, connect.CodeUnavailable, "no leader is known: nothing was changed",
			&errdetails.ErrorInfo{Reason: "NO_LEADER"}, &metadatav1.OutcomeUnknown{RequestId: "r7"}), exitUnavailable,
			"error: an attempt was not answered, a further one was: no leader is known: nothing was changed; " +
				"whether it took effect is unknown: repeat the command with --request-id r7 to find out; " + perhaps},
		{"no leader known", answer(t, connect.CodeUnavailable, "no leader is known", &errdetails.ErrorInfo{Reason: "NO_LEADER"}), exitUnavailable,
			"error: no leader is known; " + perhaps},
		{"a batch", &batchError{"schema", blamed(batch, refused), refused}, exitConflict,
			"error: the schema batch was refused as a whole, for table n.t: commands[1].x: no"},
		{"wrapped", fmt.Errorf("while listing: %w", refused), exitConflict, "error: commands[1].x: no"},
		{"no escape to the terminal", errors.New("\x1b[31mred"), exitError, "error:  [31mred"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := exitCode(c.err); got != c.code {
				t.Errorf("exit code %d, want %d", got, c.code)
			}
			if got := explain(c.err, []string{"h:1", "h:2"}); got != c.text {
				t.Errorf("got  %q\nwant %q", got, c.text)
			}
		})
	}
}

// A client says more than why it tries again: that an endpoint is silent, and that it answers
// again. Neither is a reason, and a reason is never empty.
func TestWhyACallIsTriedAgain(t *testing.T) {
	timeout := connect.NewError(connect.CodeDeadlineExceeded, context.DeadlineExceeded)
	for _, c := range []struct{ err, want any }{
		{timeout, "h:1 does not answer yet, trying again: no answer in time\n"},
		{answer(t, connect.CodeUnavailable, ""), "h:1 does not answer yet, trying again: unavailable\n"},
		{errors.New("reset"), "h:1 does not answer yet, trying again: reset\n"},
		{nil, ""},
	} {
		var said bytes.Buffer
		log := slog.New(&patience{session: newSession(nil, nil, &said, nil)})
		log.Warn("an endpoint is silent", "endpoint", "h:1")
		if c.err != nil {
			log.Debug("retrying", "endpoint", "h:1", "error", c.err)
			log.Debug("retrying", "endpoint", "h:2", "error", c.err)
		}
		if said.String() != c.want {
			t.Errorf("%v: got %q, want %q", c.err, said.String(), c.want)
		}
	}
}
