// Package pipeline makes many calls on one stream: the client's side of the rpc Pipeline.
//
// Calls that are made while a message is being sent go into the next one together, so
// that many callers share the cost of a message, and a lone one waits for nobody.
package pipeline

import (
	"context"
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

	// Fields of PipelineRequest.
	callsField, cancelledField = 1, 2
)

// Stream is an open Pipeline stream. One goroutine sends while another receives.
type Stream interface {
	// Send sends an encoded PipelineRequest, which is the stream's from then on.
	Send(message []byte) error
	Receive() (*metadatav1.PipelineResponse, error)
}

// Pipe is a stream that calls are made on. It is safe for concurrent use.
type Pipe struct {
	stream Stream
	wake   chan struct{} // holds a token when there is something to send
	broken chan struct{} // closed when the stream has ended
	err    error         // why; after broken

	mu        sync.Mutex
	ended     bool // under mu: nothing is added any more
	last      uint64
	full      []queue // messages not sent yet, before calls
	calls     queue
	cancelled []uint64
	waiting   map[uint64]chan<- *metadatav1.PipelineAnswer
	used      time.Time // when a call was made last
}

// queue is calls that go into one message, encoded as its field calls.
type queue struct {
	encoded []byte
	calls   int
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

// Idle returns since when no call has been under way; false if one is.
func (p *Pipe) Idle() (since time.Time, idle bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.used, len(p.waiting) == 0
}

// Call makes a call and returns its answer, which has to come by a time. It returns a
// [*BrokenError] if the stream ended, the context's error, or that of a deadline. The
// request is the caller's again when it returns.
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
		return nil, &BrokenError{Cause: p.err, Sent: true}
	}
}

// begin queues a call.
func (p *Pipe) begin(
	now time.Time, left time.Duration, method string, request []byte, answer chan<- *metadatav1.PipelineAnswer,
) (uint64, error) {
	p.mu.Lock()
	if p.ended {
		p.mu.Unlock()
		<-p.broken
		return 0, &BrokenError{Cause: p.err}
	}
	p.last++
	id := p.last
	if n := p.calls.calls; n == maxCalls || n > 0 && len(p.calls.encoded)+len(request) > maxMessageBytes {
		p.full = append(p.full, p.calls)
		p.calls = queue{}
	}
	p.calls.add(id, method, request, uint64(max(1, min(left.Milliseconds(), 1<<32-1)))) //nolint:gosec // it is positive
	p.waiting[id] = answer
	p.used = now
	p.mu.Unlock()
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
		for message := p.take(); message != nil; message = p.take() {
			if p.stream.Send(message) != nil {
				return // receiving fails too, and knows why
			}
		}
	}
}

// take returns the next message; nil if there is nothing to say.
func (p *Pipe) take() []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	var next queue
	switch {
	case len(p.full) > 0:
		next, p.full = p.full[0], p.full[1:]
	case p.calls.calls > 0:
		// What comes next is probably as large, and need not grow then.
		next, p.calls = p.calls, queue{encoded: make([]byte, 0, len(p.calls.encoded))}
	}
	message := next.encoded
	if len(p.cancelled) > 0 {
		var ids []byte
		for _, id := range p.cancelled {
			ids = protowire.AppendVarint(ids, id)
		}
		message = protowire.AppendTag(message, cancelledField, protowire.BytesType)
		message = protowire.AppendBytes(message, ids)
		p.cancelled = nil
	}
	return message
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
		p.mu.Unlock()
	}
}

func (p *Pipe) end(err error) {
	p.mu.Lock()
	p.ended = true
	clear(p.waiting)
	p.mu.Unlock()
	p.err = err
	close(p.broken)
}
