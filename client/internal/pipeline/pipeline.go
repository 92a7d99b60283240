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

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

const (
	// maxCalls bounds the calls of one message; the contract allows as many.
	maxCalls = 1024
	// maxMessageBytes bounds the requests of one message, but for a single larger one.
	maxMessageBytes = 256 << 10
)

// Stream is an open Pipeline stream. One goroutine sends while another receives.
type Stream interface {
	Send(*metadatav1.PipelineRequest) error
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
	calls     []*metadatav1.PipelineCall // not sent yet
	cancelled []uint64
	waiting   map[uint64]chan<- *metadatav1.PipelineAnswer
	used      time.Time // when a call was made last
}

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

// Call makes a call and returns its answer. It returns a [*BrokenError] if the stream
// ended, or the context's error.
func (p *Pipe) Call(ctx context.Context, method string, request []byte) (*metadatav1.PipelineAnswer, error) {
	answer := make(chan *metadatav1.PipelineAnswer, 1)
	id, err := p.begin(ctx, method, request, answer)
	if err != nil {
		return nil, err
	}
	select {
	case a := <-answer:
		return a, nil
	case <-ctx.Done():
		p.leave(id)
		return nil, ctx.Err()
	case <-p.broken:
	}
	select {
	case a := <-answer: // it came before the end
		return a, nil
	default:
		return nil, &BrokenError{Cause: p.err, Sent: true}
	}
}

// begin queues a call.
func (p *Pipe) begin(ctx context.Context, method string, request []byte, answer chan<- *metadatav1.PipelineAnswer) (uint64, error) {
	call := &metadatav1.PipelineCall{Method: method, Request: request}
	now := time.Now()
	if deadline, ok := ctx.Deadline(); ok {
		call.TimeoutMillis = uint32(max(1, min(deadline.Sub(now).Milliseconds(), 1<<32-1)))
	}
	p.mu.Lock()
	if p.ended {
		p.mu.Unlock()
		<-p.broken
		return 0, &BrokenError{Cause: p.err}
	}
	p.last++
	call.Id = p.last
	p.calls = append(p.calls, call)
	p.waiting[call.Id] = answer
	p.used = now
	p.mu.Unlock()
	p.look()
	return call.GetId(), nil
}

// leave gives a call up.
func (p *Pipe) leave(id uint64) {
	p.mu.Lock()
	delete(p.waiting, id)
	if len(p.cancelled) < maxCalls && !p.ended {
		p.cancelled = append(p.cancelled, id)
	}
	p.mu.Unlock()
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
func (p *Pipe) take() *metadatav1.PipelineRequest {
	p.mu.Lock()
	defer p.mu.Unlock()
	n, size := 0, 0
	for ; n < min(len(p.calls), maxCalls); n++ {
		if size += len(p.calls[n].GetRequest()); size > maxMessageBytes && n > 0 {
			break
		}
	}
	if n == 0 && len(p.cancelled) == 0 {
		return nil
	}
	message := &metadatav1.PipelineRequest{Calls: p.calls[:n:n], Cancelled: p.cancelled}
	p.calls, p.cancelled = p.calls[n:], nil
	if len(p.calls) == 0 {
		p.calls = nil
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
