package server

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"runtime/debug"
	"time"

	"buf.build/go/protovalidate"
	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/internal/failure"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// edge is the one interceptor of all rpcs: it measures, checks each message,
// catches panics and encodes errors, in this order from the outside. It is one
// so that the order cannot be got wrong.
type edge struct {
	validator protovalidate.Validator
	metrics   *Metrics
	log       *slog.Logger
	now       func() time.Time
}

// WrapUnary is of connect.Interceptor.
func (e *edge) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, request connect.AnyRequest) (response connect.AnyResponse, err error) {
		finish := e.begin(request.Spec())
		defer func() { finish(err) }()
		defer func() {
			if r := recover(); r != nil {
				response, err = nil, e.caught(request.Spec(), r)
			}
		}()
		if err := e.check(request.Any()); err != nil {
			return nil, e.fail(ctx, request.Spec(), err)
		}
		response, err = next(ctx, request)
		if err != nil {
			return nil, e.fail(ctx, request.Spec(), err)
		}
		return response, nil
	}
}

// WrapStreamingClient is of connect.Interceptor; the server makes no calls.
func (e *edge) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

// WrapStreamingHandler is of connect.Interceptor.
func (e *edge) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) (err error) {
		finish := e.begin(conn.Spec())
		defer func() { finish(err) }()
		defer func() {
			if r := recover(); r != nil {
				err = e.caught(conn.Spec(), r)
			}
		}()
		sent := e.metrics.sent.WithLabelValues(conn.Spec().Procedure)
		err = next(ctx, &checkedConn{StreamingHandlerConn: conn, edge: e, sent: sent.Inc})
		return e.fail(ctx, conn.Spec(), err)
	}
}

// checkedConn checks every message that a stream receives.
type checkedConn struct {
	connect.StreamingHandlerConn
	edge *edge
	sent func()
}

func (c *checkedConn) Receive(message any) error {
	if err := c.StreamingHandlerConn.Receive(message); err != nil {
		return err
	}
	return c.edge.check(message)
}

func (c *checkedConn) Send(message any) error {
	if err := c.StreamingHandlerConn.Send(message); err != nil {
		return err
	}
	c.sent()
	return nil
}

// check refuses what could not be decoded or breaks a rule of the contract.
func (e *edge) check(message any) error {
	m, err := protoMessage(message)
	if err != nil {
		return err
	}
	if err := takeNote(m); err != nil {
		return err
	}
	return e.validate(m)
}

func (e *edge) validate(m proto.Message) error {
	if simple(m) {
		return nil
	}
	if err := e.validator.Validate(m); err != nil {
		if _, broken := errors.AsType[*protovalidate.ValidationError](err); broken {
			return err
		}
		return errors.Join(errors.New("the rules of "+string(m.ProtoReflect().Descriptor().FullName())), err)
	}
	return nil
}

// fail encodes an error. What callers are not told is logged.
func (e *edge) fail(ctx context.Context, spec connect.Spec, err error) error {
	if err == nil {
		return nil
	}
	out := toConnect(overTime(ctx, err))
	if connect.CodeOf(out) == connect.CodeInternal && ctx.Err() == nil {
		e.log.Error("a call failed inside", "rpc", spec.Procedure, "error", err)
	}
	return out
}

// caught turns a panic into an answer; the member goes on.
func (e *edge) caught(spec connect.Spec, r any) error {
	if r == http.ErrAbortHandler { //nolint:errorlint // net/http compares it like this too
		panic(r)
	}
	e.metrics.panics.Inc()
	e.log.Error("a handler panicked", "rpc", spec.Procedure, "panic", r, "stack", string(debug.Stack()))
	return encode(failure.New(metadatav1.ErrorReason_ERROR_REASON_INTERNAL, internalMessage))
}

// run carries out a call that no interceptor is around: it measures it, catches its
// panic and encodes its error.
func (e *edge) run(ctx context.Context, spec connect.Spec, call func(context.Context) error) (err error) {
	finish := e.begin(spec)
	defer func() { finish(err) }()
	defer func() {
		if r := recover(); r != nil {
			err = e.caught(spec, r)
		}
	}()
	return e.fail(ctx, spec, call(ctx))
}

// begin measures one call; the function that it returns ends the measurement.
func (e *edge) begin(spec connect.Spec) func(error) {
	start := e.now()
	series := e.metrics.of(spec)
	series.running.Inc()
	return func(err error) {
		series.running.Dec()
		if err == nil {
			series.ok.Inc()
		} else {
			e.metrics.handled.WithLabelValues(spec.Procedure, codeName(err)).Inc()
		}
		if series.duration != nil {
			series.duration.Observe(e.now().Sub(start).Seconds())
		}
	}
}

func codeName(err error) string {
	switch {
	case err == nil:
		return "ok"
	case connect.IsNotModifiedError(err):
		return "not_modified"
	}
	return connect.CodeOf(err).String()
}
