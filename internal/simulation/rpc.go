package simulation

import (
	"errors"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/commands"
	"github.com/heliosdb/metadata/internal/failure"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// How a call between two ends fails beside what the callee says.
var (
	errRefused = errors.New("connection refused: the call was not carried out")
	errLost    = errors.New("the connection broke: the call may have been carried out")
	errLate    = errors.New("no answer in time: the call may have been carried out")
)

// serving is a call that a member has in hand. A crash breaks it.
type serving struct {
	over  bool
	broke func()
}

// rpc calls a member from any end. handle runs in the member's process, at each
// arrival of the request, and answers once. done runs exactly once.
func (w *world) rpc(from end, to uint64, once bool, timeout time.Duration, handle func(m *member, answer func(any, error)), done func(any, error)) {
	over := false
	finish := func(reply any, err error) {
		if !over {
			over = true
			done(reply, err)
		}
	}
	w.after(timeout, func() { finish(nil, errLate) })
	target := end(to)
	back := func(reply any, err error) {
		w.net.send(target, from, true, func() { finish(reply, err) })
	}
	w.net.send(from, target, once, func() {
		m := w.member(to)
		if !m.up() {
			back(nil, errRefused)
			return
		}
		s := &serving{}
		s.broke = func() { back(nil, errLost) }
		m.receive(func() {
			m.calls = append(m.calls, s)
			handle(m, func(reply any, err error) {
				if !s.over {
					s.over = true
					back(reply, err)
				}
			})
		})
	})
}

// call is an rpc of a client to a member, over the client's own link. done runs
// exactly once, later: with the rpc's response, with the *failure.Error that the member
// answered, or with one of DEADLINE after the timeout. Of a write that failed with
// DEADLINE or OUTCOME_UNKNOWN nobody knows whether it took effect. The request is
// copied; the reply is the caller's.
func (w *world) call(client int, to uint64, request proto.Message, timeout time.Duration, done func(reply proto.Message, err error)) {
	from, sent := clientEnd(client), w.now
	requestID := commands.WriteOptionsOf(request).GetRequestId()
	request = proto.Clone(request)
	_, notAWrite := commands.StreamOf(request)
	once := notAWrite == nil && requestID == ""
	w.trace.detail(w.now, from.String(), "calls m%d: %s", to, short(request))
	handle := func(m *member, answer func(any, error)) {
		m.serve(proto.Clone(request), from.String(), sent+timeout, func(reply proto.Message, err error) {
			if reply != nil {
				reply = proto.Clone(reply)
			}
			answer(reply, err)
		})
	}
	w.rpc(from, to, once, timeout, handle, func(reply any, err error) {
		response, _ := reply.(proto.Message)
		if err != nil {
			response, err = nil, callFailed(err, to, requestID)
		}
		w.trace.detail(w.now, from.String(), "hears of m%d after %v: %s", to, w.now-sent, outcome(response, err))
		w.judge.answered(request, sent, response, err)
		done(response, err)
	})
}

// callFailed is the failure that a caller sees.
func callFailed(err error, to uint64, requestID string) error {
	var f *failure.Error
	switch {
	case failure.As(err) != nil:
		return err
	case errors.Is(err, errRefused):
		f = failure.New(metadatav1.ErrorReason_ERROR_REASON_NO_LEADER, "member %d cannot be reached", to)
		f.RetryAfter = retryAfter
	case errors.Is(err, errLate):
		f = failure.New(metadatav1.ErrorReason_ERROR_REASON_DEADLINE, "no answer before the deadline")
		f.RequestID = requestID
	case errors.Is(err, errLost):
		f = failure.New(metadatav1.ErrorReason_ERROR_REASON_OUTCOME_UNKNOWN, "the connection to member %d broke: whether the request took effect is not known", to)
		f.RequestID, f.RetryAfter = requestID, retryAfter
	default:
		f = failure.New(metadatav1.ErrorReason_ERROR_REASON_INTERNAL, "%v", err)
	}
	return f
}

// retryAfter is how long to wait for something to change.
const retryAfter = 50 * time.Millisecond
