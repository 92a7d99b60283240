// Package pipeline makes many calls on one stream: the client's side of the rpc Pipeline.
//
// Calls that are made while a message is being sent go into the next one together, so
// that many callers share the cost of a message, and a lone one waits for nobody.
package pipeline

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

const (
	// maxCalls bounds the calls of one message; the contract allows as many.
	maxCalls = 1024
	// maxMessageBytes bounds the requests of one message, but for a single larger one.
	maxMessageBytes = 256 << 10
	// maxUnderWay bounds the calls that wait for an answer, which is as many as the service
	// has under way on a stream, and maxQueuedBytes what is not sent yet.
	maxUnderWay    = 1024
	maxQueuedBytes = 4 << 20

	// Fields of PipelineRequest.
	callsField, cancelledField = 1, 2
)

// Stream is an open Pipeline stream. One goroutine sends while another receives.
type Stream interface {
	// Send sends an encoded PipelineRequest, which is the stream's from then on.
	Send(message []byte) error
	// CloseSend says that nothing more is sent. Whoever sends calls it.
	CloseSend() error
	Receive() (*metadatav1.PipelineResponse, error)
}

// Pipe is a stream that calls are made on. It is safe for concurrent use.
type Pipe struct {
	stream Stream
	wake   chan struct{} // holds a token when there is something to send
	broken chan struct{} // closed when the stream has ended
	err    error         // why; after broken

	mu        sync.Mutex
	ended     bool // nothing is added any more, because the stream has ended
	closing   bool // or is about to
	last      uint64
	taken     uint64  // the last call that was handed to the stream
	full      []queue // messages not sent yet, before calls
	calls     queue
	queued    int      // bytes in both
	cancelled []uint64 // calls that were sent, or are queued
	waiting   map[uint64]chan<- *metadatav1.PipelineAnswer
	used      time.Time // when a call began or ended last
}

// Why a pipe takes no call though its stream has not ended.
var (
	errClosing = errors.New("it is about to be closed")
	errFull    = errors.New("too much is under way on it")
)

// queue is calls that go into one message, encoded as its field calls.
type queue struct {
	encoded []byte
	calls   int
	last    uint64 // id
}

// waiter is what a caller waits on. It is used again when nobody can answer any more.
type waiter struct {
	answer chan *metadatav1.PipelineAnswer // has room for one
	timer  *time.Timer
}

var waiters = sync.Pool{New: func() any {
	w := &waiter{answer: make(chan *metadatav1.PipelineAnswer, 1), timer: time.NewTimer(time.Hour)}
	w.timer.Stop()
	return w
}}

// BrokenError is a call whose stream ended before its answer came.
type BrokenError struct {
	Cause error // why the stream ended
	Sent  bool  // the call may have been carried out
}

// Error says why.
func (e *BrokenError) Error() string {
	if e.Sent {
		return fmt.Sprintf("the stream of calls ended before the answer: %v", e.Cause)
	}
	return fmt.Sprintf("the stream of calls has ended: %v", e.Cause)
}

// Unwrap returns the cause.
func (e *BrokenError) Unwrap() error { return e.Cause }

// Open returns a pipe when the service has said that it serves the stream. The pipe's
// goroutines end with the stream.
func Open(stream Stream) (*Pipe, error) {
	if _, err := stream.Receive(); err != nil {
		return nil, err
	}
	p := &Pipe{
		stream: stream, wake: make(chan struct{}, 1), broken: make(chan struct{}),
		waiting: make(map[uint64]chan<- *metadatav1.PipelineAnswer), used: time.Now(),
	}
	go p.receive()
	go p.send()
	return p, nil
}

// Broken returns a channel that is closed when the stream has ended.
func (p *Pipe) Broken() <-chan struct{} { return p.broken }

// Idle returns when a call began or ended last; false if one is under way.
func (p *Pipe) Idle() (since time.Time, idle bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.used, len(p.waiting) == 0
}

// Close takes no more calls and ends the stream when those under way are answered.
func (p *Pipe) Close() {
	p.mu.Lock()
	p.closing = true
	p.mu.Unlock()
	p.look()
}

// Call makes a call and returns its answer, which has to come by a time. It returns a
// [*BrokenError] if the stream ended or takes no call now, the context's error, or that of a
// deadline. The request is the caller's again when it returns.
func (p *Pipe) Call(ctx context.Context, until time.Time, method string, request []byte) (*metadatav1.PipelineAnswer, error) {
	w := waiters.Get().(*waiter)
	defer waiters.Put(w)
	now := time.Now()
	left := until.Sub(now)
	id, err := p.begin(now, left, method, request, w.answer)
	if err != nil {
		return nil, err
	}
	// A timer that is used again: a context with a deadline would be made for each call.
	w.timer.Reset(left)
	defer w.timer.Stop()
	select {
	case a := <-w.answer:
		return a, nil
	case <-ctx.Done():
		p.leave(id, w.answer)
		return nil, ctx.Err()
	case <-w.timer.C:
		p.leave(id, w.answer)
		return nil, context.DeadlineExceeded
	case <-p.broken:
	}
	select {
	case a := <-w.answer: // it came before the end
		return a, nil
	default:
		p.mu.Lock()
		sent := id <= p.taken
		p.mu.Unlock()
		return nil, &BrokenError{Cause: p.err, Sent: sent}
	}
}

// begin queues a call.
func (p *Pipe) begin(
	now time.Time, left time.Duration, method string, request []byte, answer chan<- *metadatav1.PipelineAnswer,
) (uint64, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.ended:
		return 0, &BrokenError{Cause: p.err}
	case p.closing:
		return 0, &BrokenError{Cause: errClosing}
	case len(p.waiting) >= maxUnderWay || p.queued >= maxQueuedBytes:
		return 0, &BrokenError{Cause: errFull}
	}
	p.last++
	id := p.last
	if n := p.calls.calls; n == maxCalls || n > 0 && len(p.calls.encoded)+len(request) > maxMessageBytes {
		p.full = append(p.full, p.calls)
		p.calls = queue{}
	}
	before := len(p.calls.encoded)
	p.calls.add(id, method, request, uint64(max(1, min(left.Milliseconds(), 1<<32-1)))) //nolint:gosec // it is positive
	p.queued += len(p.calls.encoded) - before
	p.waiting[id] = answer
	p.used = now
	p.look()
	return id, nil
}

// add appends a call: an element of PipelineRequest.calls, by hand so that the request
// is copied once and nothing else needs memory.
func (q *queue) add(id uint64, method string, request []byte, timeoutMillis uint64) {
	const idField, methodField, requestField, timeoutField = 1, 2, 3, 4 // each with a tag of one byte
	size := 4 + protowire.SizeVarint(id) + protowire.SizeBytes(len(method)) +
		protowire.SizeBytes(len(request)) + protowire.SizeVarint(timeoutMillis)
	b := protowire.AppendTag(q.encoded, callsField, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(size)) //nolint:gosec // of something in memory
	b = protowire.AppendTag(b, idField, protowire.VarintType)
	b = protowire.AppendVarint(b, id)
	b = protowire.AppendTag(b, methodField, protowire.BytesType)
	b = protowire.AppendString(b, method)
	b = protowire.AppendTag(b, requestField, protowire.BytesType)
	b = protowire.AppendBytes(b, request)
	b = protowire.AppendTag(b, timeoutField, protowire.VarintType)
	q.encoded = protowire.AppendVarint(b, timeoutMillis)
	q.calls++
	q.last = id
}

// leave gives a call up. Nobody answers it after that.
func (p *Pipe) leave(id uint64, answer <-chan *metadatav1.PipelineAnswer) {
	p.mu.Lock()
	delete(p.waiting, id)
	if len(p.cancelled) < maxCalls && !p.ended {
		p.cancelled = append(p.cancelled, id)
	}
	p.mu.Unlock()
	select {
	case <-answer: // it came just now
	default:
	}
	p.look()
}

func (p *Pipe) look() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// send sends what is queued until the stream ends.
func (p *Pipe) send() {
	for {
		select {
		case <-p.wake:
			runtime.Gosched() // others who are about to call do so in the same message
		case <-p.broken:
			return
		}
		message, over := p.take()
		for ; message != nil; message, over = p.take() {
			if p.stream.Send(message) != nil {
				return // receiving fails too, and knows why
			}
		}
		if over {
			_ = p.stream.CloseSend() // never fails
			return
		}
	}
}

// take returns the next message; nil if there is nothing to say, and then whether there
// never will be. Cancellations go behind the calls that they may be about.
func (p *Pipe) take() (message []byte, over bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended { // what is left was certainly not sent
		return nil, false
	}
	var next queue
	switch {
	case len(p.full) > 0:
		next, p.full = p.full[0], p.full[1:]
	case p.calls.calls > 0:
		// What comes next is probably as large, and need not grow then.
		next, p.calls = p.calls, queue{encoded: make([]byte, 0, len(p.calls.encoded))}
	}
	if next.calls > 0 {
		p.taken = next.last
		p.queued -= len(next.encoded)
		message = next.encoded
	}
	if len(p.cancelled) > 0 && len(p.full) == 0 && p.calls.calls == 0 {
		var ids []byte
		for _, id := range p.cancelled {
			ids = protowire.AppendVarint(ids, id)
		}
		message = protowire.AppendTag(message, cancelledField, protowire.BytesType)
		message = protowire.AppendBytes(message, ids)
		p.cancelled = nil
	}
	return message, p.closing
}

// receive hands out answers until the stream ends.
func (p *Pipe) receive() {
	for {
		message, err := p.stream.Receive()
		if err != nil {
			p.end(err)
			return
		}
		p.mu.Lock()
		for _, a := range message.GetAnswers() {
			if answer, ok := p.waiting[a.GetId()]; ok {
				answer <- a // it has room
				delete(p.waiting, a.GetId())
			}
		}
		p.used = time.Now()
		p.mu.Unlock()
	}
}

func (p *Pipe) end(err error) {
	p.mu.Lock()
	p.ended, p.err = true, err
	clear(p.waiting)
	p.mu.Unlock()
	close(p.broken)
}
