package transport

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"
)

// callServer serves the calls of one accepted connection.
type callServer struct {
	t    *Transport
	c    *conn
	peer *peer
	ctx  context.Context // ends with the connection

	mu      sync.Mutex
	running map[uint64]context.CancelFunc
}

// serve reads requests and serves each in a goroutine of its own until the
// connection breaks. The handlers still running are cancelled, not waited for:
// Close waits for them.
func (t *Transport) serve(c *conn, p *peer) error {
	ctx, cancel := context.WithCancel(t.ctx)
	defer cancel()
	s := &callServer{t: t, c: c, peer: p, ctx: ctx, running: map[uint64]context.CancelFunc{}}
	return c.run(t.ctx, s.receive)
}

func (s *callServer) receive(f frame) error {
	switch f.typ {
	case frameRequest:
		return s.request(f.payload)
	case frameCancel:
		if len(f.payload) != 8 {
			return &FrameError{Reason: "a cancel must have 8 bytes"}
		}
		s.cancel(binary.BigEndian.Uint64(f.payload))
		return nil
	}
	return misplaced(f)
}

func (s *callServer) request(b []byte) error {
	if len(b) < requestFixed {
		return &FrameError{Reason: "a request is cut short"}
	}
	id, method, left := binary.BigEndian.Uint64(b), b[8], binary.BigEndian.Uint64(b[9:])
	ctx, started, err := s.begin(id, left)
	if err != nil {
		return err
	}
	if !started {
		s.t.count.callsRefusedAsBusy.Add(1)
		s.c.out.putControl(appendFailure(nil, id, &RemoteError{
			Code:   CodeBusy,
			Reason: fmt.Sprintf("member %d already serves %d calls of member %d (MaxServing): try again later", s.t.cfg.Member, MaxServing, s.peer.id),
		}))
		return nil
	}
	payload := s.c.frames.own(b[requestFixed:])
	s.t.tasks.Go(func() {
		defer s.end(id)
		answer, err := s.t.cfg.Handler.Call(ctx, s.peer.id, method, payload)
		s.t.count.callsServed.Add(1)
		s.reply(id, answer, err)
	})
	return nil
}

// begin registers a call. started is false when too many are running.
func (s *callServer) begin(id, microsLeft uint64) (ctx context.Context, started bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.running[id]; ok {
		return nil, false, &FrameError{Reason: fmt.Sprintf("call id %d is in use", id)}
	}
	if len(s.running) >= MaxServing {
		return nil, false, nil
	}
	ctx, cancel := context.WithCancel(s.ctx)
	if microsLeft > 0 && microsLeft < math.MaxInt64/uint64(time.Microsecond) {
		cancel()
		ctx, cancel = context.WithTimeout(s.ctx, time.Duration(microsLeft)*time.Microsecond)
	}
	s.running[id] = cancel
	return ctx, true, nil
}

// cancel tells a handler to give up. Its call counts as running until it does.
func (s *callServer) cancel(id uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if cancel := s.running[id]; cancel != nil {
		cancel()
	}
}

// end forgets a call whose handler has returned.
func (s *callServer) end(id uint64) {
	s.cancel(id)
	s.mu.Lock()
	delete(s.running, id)
	s.mu.Unlock()
}

// reply sends a call's answer, waiting for room as long as the connection lives.
func (s *callServer) reply(id uint64, answer []byte, err error) {
	if err == nil && len(answer) > MaxCallPayload {
		err = &RemoteError{Code: CodeTooLarge, Reason: fmt.Sprintf("the answer is %d bytes, the limit MaxCallPayload is %d", len(answer), MaxCallPayload)}
	}
	if err == nil {
		_ = s.c.out.putCall(s.ctx, headerBytes+answerFixed+len(answer), func(b []byte) []byte {
			start := len(b)
			b = binary.BigEndian.AppendUint64(beginFrame(b, frameAnswer, 0), id)
			return endFrame(append(b, answer...), start)
		})
		return
	}
	failure := asRemote(err)
	_ = s.c.out.putCall(s.ctx, headerBytes+failureFixed+MaxReasonBytes+len(failure.Payload), func(b []byte) []byte {
		return appendFailure(b, id, failure)
	})
}

// asRemote turns what a handler returned into what the caller sees.
func asRemote(err error) *RemoteError {
	var remote *RemoteError
	switch {
	case errors.As(err, &remote):
		if len(remote.Payload) <= MaxCallPayload {
			return remote
		}
		return &RemoteError{Code: CodeTooLarge, Reason: "the error's detail is over MaxCallPayload: " + remote.Reason}
	case errors.Is(err, context.DeadlineExceeded):
		return &RemoteError{Code: CodeDeadline, Reason: err.Error()}
	case errors.Is(err, context.Canceled):
		return &RemoteError{Code: CodeCancelled, Reason: err.Error()}
	}
	return &RemoteError{Code: CodeInternal, Reason: err.Error()}
}
