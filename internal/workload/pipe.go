package workload

import (
	"context"
	"fmt"
	"sync"
)

// Pipe makes calls over one stream whose answers come in the order of the requests: many
// are under way at a time. It is safe for concurrent use.
type Pipe[Req, Res any] struct {
	send    func(Req) error
	receive func() (Res, error)
	sending sync.Mutex      // the order of sending is that of waiting
	begun   bool            // something receives; under sending
	waiting chan chan<- Res // those who have sent, in order
	broken  chan struct{}   // closed when the stream has ended
	err     error           // why; after broken
}

// NewPipe returns a pipe of at most depth calls at a time. It receives from the first call
// until receiving fails, which closing the stream brings about; Wait for it.
func NewPipe[Req, Res any](depth int, send func(Req) error, receive func() (Res, error)) *Pipe[Req, Res] {
	return &Pipe[Req, Res]{send: send, receive: receive, waiting: make(chan chan<- Res, depth), broken: make(chan struct{})}
}

// answer hands out what is received.
func (p *Pipe[Req, Res]) answer() {
	defer close(p.broken)
	for {
		res, err := p.receive()
		if err != nil {
			p.err = err
			return
		}
		select {
		case next := <-p.waiting:
			next <- res
		default:
			p.err = fmt.Errorf("an answer to nothing: %v", res)
			return
		}
	}
}

// Do makes a call.
func (p *Pipe[Req, Res]) Do(ctx context.Context, req Req) (Res, error) {
	var none Res
	answer := make(chan Res, 1) // whoever gave up gets it all the same
	if err := p.begin(req, answer); err != nil {
		return none, err
	}
	select {
	case res := <-answer:
		return res, nil
	case <-p.broken:
		return none, p.err
	case <-ctx.Done():
		return none, ctx.Err()
	}
}

func (p *Pipe[Req, Res]) begin(req Req, answer chan<- Res) error {
	p.sending.Lock()
	defer p.sending.Unlock()
	select {
	case <-p.broken: // also where there is room
		return p.err
	default:
	}
	select {
	case p.waiting <- answer:
	case <-p.broken:
		return p.err
	}
	err := p.send(req)
	// Receiving from a stream that nothing was sent on may not end with it.
	if !p.begun {
		p.begun = true
		go p.answer()
	}
	return err
}

// Wait returns when nothing is received any more, and why; at once if there was no call.
func (p *Pipe[Req, Res]) Wait() error {
	p.sending.Lock()
	begun := p.begun
	p.sending.Unlock()
	if !begun {
		return nil
	}
	<-p.broken
	return p.err
}
