package transport

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"
)

const (
	requestFixed = 8 + 1 + 8 // call id, method, time left
	answerFixed  = 8         // call id
	failureFixed = 8 + 2 + 2 // call id, code, length of the reason
)

// Call sends a request to a peer and waits for its answer, at most until ctx
// ends. Its deadline travels along as the time left. Calls run concurrently, at
// most MaxCalls to one peer; more wait for their turn. Errors:
// *UnavailableError (nothing was sent), *LostError (outcome unknown),
// *RemoteError (the peer's answer), *TooLargeError, *UnknownPeerError. The
// payload must not change until Call returns; the answer is the caller's.
func (t *Transport) Call(ctx context.Context, to uint64, method uint8, payload []byte) ([]byte, error) {
	if len(payload) > MaxCallPayload {
		return nil, &TooLargeError{What: fmt.Sprintf("the request of method %d", method), Size: len(payload), Limit: MaxCallPayload, Name: "MaxCallPayload"}
	}
	p := t.peers[to]
	if p == nil {
		return nil, &UnknownPeerError{Peer: to}
	}
	answer, err := t.call(ctx, p, method, payload)
	_, unavailable := errors.AsType[*UnavailableError](err)
	_, lost := errors.AsType[*LostError](err)
	if unavailable || lost {
		t.count.callsFailed.Add(1)
	}
	return answer, err
}

func (t *Transport) call(ctx context.Context, p *peer, method uint8, payload []byte) ([]byte, error) {
	select {
	case p.slots <- struct{}{}:
		defer func() { <-p.slots }()
	case <-ctx.Done():
		return nil, &UnavailableError{Peer: p.id, Err: ctx.Err()}
	case <-t.ctx.Done():
		return nil, &UnavailableError{Peer: p.id, Err: ErrClosed}
	}
	c, err := p.calls.await(ctx)
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return nil, &UnavailableError{Peer: p.id, Err: err}
	}
	id, result := c.calls.add()
	defer c.calls.remove(id)
	err = c.out.putCall(ctx, headerBytes+requestFixed+len(payload), func(b []byte) []byte {
		return appendRequest(b, id, method, timeLeft(ctx), payload)
	})
	if err != nil {
		return nil, &UnavailableError{Peer: p.id, Err: err}
	}
	t.count.callsSent.Add(1)
	select {
	case r := <-result:
		if r.lost != nil {
			return nil, &LostError{Peer: p.id, Method: method, Err: r.lost}
		}
		if r.failure != nil {
			return nil, r.failure
		}
		return r.payload, nil
	case <-ctx.Done():
		c.out.putControl(appendFrame(nil, frameCancel, binary.BigEndian.AppendUint64(nil, id)))
		return nil, &LostError{Peer: p.id, Method: method, Err: ctx.Err()}
	}
}

// timeLeft is the time until ctx's deadline, at least 1µs; 0 without one.
func timeLeft(ctx context.Context) time.Duration {
	deadline, ok := ctx.Deadline()
	if !ok {
		return 0
	}
	return max(time.Until(deadline), time.Microsecond)
}

func appendRequest(b []byte, id uint64, method uint8, left time.Duration, payload []byte) []byte {
	start := len(b)
	b = beginFrame(b, frameRequest, 0)
	b = binary.BigEndian.AppendUint64(b, id)
	b = append(b, method)
	b = binary.BigEndian.AppendUint64(b, uint64(left.Microseconds()))
	return endFrame(append(b, payload...), start)
}

// callResult is how a call ended: one field is set, or none for an empty answer.
type callResult struct {
	payload []byte
	failure *RemoteError
	lost    error
}

// callTable has the calls of one connection that wait for their answer.
type callTable struct {
	mu      sync.Mutex
	last    uint64
	waiting map[uint64]chan callResult
	lost    error // why the connection ended
}

func newCallTable() *callTable { return &callTable{waiting: map[uint64]chan callResult{}} }

func (ct *callTable) add() (uint64, <-chan callResult) {
	result := make(chan callResult, 1)
	ct.mu.Lock()
	defer ct.mu.Unlock()
	ct.last++
	if ct.lost != nil {
		result <- callResult{lost: ct.lost}
	} else {
		ct.waiting[ct.last] = result
	}
	return ct.last, result
}

func (ct *callTable) remove(id uint64) {
	ct.mu.Lock()
	delete(ct.waiting, id)
	ct.mu.Unlock()
}

// finish ends a call. One that nobody waits for any more is ignored.
func (ct *callTable) finish(id uint64, r callResult) {
	ct.mu.Lock()
	result := ct.waiting[id]
	delete(ct.waiting, id)
	ct.mu.Unlock()
	if result != nil {
		result <- r // has room: each call ends once
	}
}

// fail ends all calls because the connection broke.
func (ct *callTable) fail(err error) {
	ct.mu.Lock()
	defer ct.mu.Unlock()
	ct.lost = err
	for id, result := range ct.waiting {
		result <- callResult{lost: err}
		delete(ct.waiting, id)
	}
}

// receive takes the answers that come on c.
func (ct *callTable) receive(c *conn) func(frame) error {
	return func(f frame) error {
		switch f.typ {
		case frameAnswer:
			if len(f.payload) < answerFixed {
				return &FrameError{Reason: "an answer is cut short"}
			}
			ct.finish(binary.BigEndian.Uint64(f.payload), callResult{payload: c.frames.own(f.payload[answerFixed:])})
			return nil
		case frameFailure:
			id, failure, err := parseFailure(f.payload)
			if err != nil {
				return err
			}
			failure.Payload = c.frames.own(failure.Payload)
			ct.finish(id, callResult{failure: failure})
			return nil
		}
		return misplaced(f)
	}
}

func appendFailure(b []byte, id uint64, e *RemoteError) []byte {
	start := len(b)
	reason := e.Reason[:min(len(e.Reason), MaxReasonBytes)]
	b = beginFrame(b, frameFailure, 0)
	b = binary.BigEndian.AppendUint64(b, id)
	b = binary.BigEndian.AppendUint16(b, e.Code)
	b = binary.BigEndian.AppendUint16(b, uint16(len(reason)))
	b = append(b, reason...)
	return endFrame(append(b, e.Payload...), start)
}

func parseFailure(b []byte) (uint64, *RemoteError, error) {
	if len(b) < failureFixed {
		return 0, nil, &FrameError{Reason: "a failure is cut short"}
	}
	n := int(binary.BigEndian.Uint16(b[10:]))
	rest := b[failureFixed:]
	if n > MaxReasonBytes || n > len(rest) {
		return 0, nil, &FrameError{Reason: fmt.Sprintf("a failure's reason of %d bytes is over its limit or cut short", n)}
	}
	e := &RemoteError{Code: binary.BigEndian.Uint16(b[8:]), Reason: string(rest[:n]), Payload: rest[n:]}
	return binary.BigEndian.Uint64(b), e, nil
}
