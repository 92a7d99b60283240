package server

import (
	"context"
	"errors"
	"io"
	"runtime"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/heliosdb/metadata/internal/canonical"
	"github.com/heliosdb/metadata/internal/failure"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// Pipeline is of the contract.
func (s service) Pipeline(ctx context.Context, stream *connect.BidiStream[metadatav1.PipelineRequest, metadatav1.PipelineResponse]) error {
	return s.pipeline(ctx, connectDuplex[metadatav1.PipelineRequest, metadatav1.PipelineResponse]{stream, callOf(ctx)})
}

// pipeline is the calls of one Pipeline stream. One goroutine reads calls, some carry
// them out, and the handler's own sends the answers: all that are ready at a moment in
// one message. Calls take their turn in a message of answers without a timer: while one
// is being sent, the next ones gather.
type pipeline struct {
	service
	peer   connect.Peer
	stream duplex[metadatav1.PipelineRequest, metadatav1.PipelineResponse]
	ctx    context.Context     // ends with the stream
	places chan struct{}       // one for each call under way
	calls  chan *pipelinedCall // to workers that wait
	ready  chan struct{}       // holds a token when there is something to look at

	mu     sync.Mutex
	cancel map[uint64]context.CancelFunc // by the id of a call under way
	idle   int                           // workers that wait
	ended  []*pipelinedCall              // whose answers are not sent yet
	over   bool                          // nothing will be sent any more
}

// pipelinedCall is a call, with room for what it ends with. It has its places, that of the
// gate and that on the stream, until its answer is sent: a client that does not read gets
// no further. It keeps nothing of the message that brought it for longer than its request.
type pipelinedCall struct {
	id       uint64
	method   string
	request  []byte // nil once it is decoded
	ctx      context.Context
	cancel   context.CancelFunc
	place    call
	answer   metadatav1.PipelineAnswer
	response metadatav1.PipelineAnswer_Response
}

// pipeline serves one stream. It ends when the client ends it and all is answered, when
// it breaks, or when the server drains: calls under way are answered first.
func (s service) pipeline(ctx context.Context, stream duplex[metadatav1.PipelineRequest, metadatav1.PipelineResponse]) error {
	ctx, cancel := context.WithCancel(ctx)
	p := &pipeline{
		service: s, stream: stream, peer: callerOf(ctx).peer,
		ctx:    context.WithValue(ctx, callerKey{}, callerOf(ctx).binary()),
		places: make(chan struct{}, maxPipelined), calls: make(chan *pipelinedCall), ready: make(chan struct{}, 1),
		cancel: make(map[uint64]context.CancelFunc),
	}
	// The client makes no call before it knows that the stream is served.
	if err := stream.Send(&metadatav1.PipelineResponse{}); err != nil {
		cancel()
		return err
	}
	received, gone := make(chan error, 1), make(chan struct{})
	go func() {
		defer close(gone)
		received <- p.receive()
	}()
	defer func() {
		cancel()
		p.giveUp()
		stream.finish(func() { <-gone })
	}()
	return s.orStopping(p.answer(received))
}

// giveUp ends the calls whose answers will not be sent; those under way do so themselves.
func (p *pipeline) giveUp() {
	p.mu.Lock()
	left := p.ended
	p.ended, p.over = nil, true
	p.mu.Unlock()
	for _, call := range left {
		call.place.end()
	}
}

// receive begins calls until the client ends the stream.
func (p *pipeline) receive() error {
	for {
		message, err := p.stream.Receive()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		for _, id := range message.GetCancelled() {
			p.cancelCall(id)
		}
		for _, call := range message.GetCalls() {
			select {
			case p.places <- struct{}{}:
			case <-p.ctx.Done():
				return p.ctx.Err()
			}
			if err := p.begin(call); err != nil {
				return err
			}
		}
	}
}

func (p *pipeline) cancelCall(id uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if cancel, ok := p.cancel[id]; ok {
		cancel()
	}
}

// begin hands a call to a worker.
func (p *pipeline) begin(call *metadatav1.PipelineCall) error {
	begun := &pipelinedCall{id: call.GetId(), method: call.GetMethod(), request: call.GetRequest()}
	if own := time.Duration(call.GetTimeoutMillis()) * time.Millisecond; own > 0 && own < p.times.unary.after {
		begun.ctx, begun.cancel = context.WithTimeout(p.ctx, own)
	} else {
		begun.ctx, begun.cancel = p.times.unary.begin(p.ctx)
	}
	p.mu.Lock()
	if _, taken := p.cancel[begun.id]; taken {
		p.mu.Unlock()
		begun.cancel()
		return failure.InvalidField("calls", "two calls under way have the id %d; choose another one for each", begun.id)
	}
	p.cancel[begun.id] = begun.cancel
	waits := p.idle > 0
	if waits {
		p.idle--
	}
	p.mu.Unlock()
	if !waits {
		go p.work(begun)
		return nil
	}
	select {
	case p.calls <- begun: // it waits, or is about to
	case <-p.ctx.Done():
	}
	return nil
}

// work carries out a call, and others after it: a goroutine whose stack has grown is
// worth keeping.
func (p *pipeline) work(call *pipelinedCall) {
	for {
		p.carryOut(call)
		call.cancel()
		p.mu.Lock()
		delete(p.cancel, call.id)
		if p.over {
			p.mu.Unlock()
			call.place.end()
			return
		}
		p.ended = append(p.ended, call)
		wait := p.idle < maxIdleWorkers
		if wait {
			p.idle++
		}
		p.mu.Unlock()
		p.look()
		if !wait {
			return
		}
		select {
		case call = <-p.calls:
		case <-p.ctx.Done():
			return
		}
	}
}

func (p *pipeline) look() {
	select {
	case p.ready <- struct{}{}:
	default:
	}
}

// answer sends answers until the stream is over and the calls are, or it breaks.
func (p *pipeline) answer(received <-chan error) error {
	drained, ending := p.life.Done(), false
	for {
		select {
		case <-p.ready:
			runtime.Gosched() // others who are about to answer do so in the same message
		case err := <-received:
			if err != nil {
				return err
			}
			ending, received = true, nil
		case <-drained:
			ending, drained = true, nil
		case <-p.ctx.Done():
			return p.ctx.Err()
		}
		ended, busy := p.take()
		if err := p.send(ended); err != nil {
			return err
		}
		if ending && !busy {
			return p.why()
		}
	}
}

// why is how a stream ends whose calls have been answered.
func (p *pipeline) why() error {
	if p.draining() {
		return errStopping
	}
	return nil
}

// take returns the calls that have ended, and whether others are under way.
func (p *pipeline) take() (ended []*pipelinedCall, busy bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	ended, p.ended = p.ended, nil
	return ended, len(p.cancel) > 0
}

// send sends the answers of calls, in as few messages as they fit into, and gives the
// calls' places back.
func (p *pipeline) send(ended []*pipelinedCall) error {
	message := &metadatav1.PipelineResponse{Answers: make([]*metadatav1.PipelineAnswer, 0, len(ended))}
	size := 0
	for i, call := range ended {
		size += sizeOf(&call.answer)
		message.Answers = append(message.Answers, &call.answer)
		if i+1 < len(ended) && size+sizeOf(&ended[i+1].answer) <= pageBytes {
			continue
		}
		err := p.stream.Send(message)
		for _, call := range ended[i+1-len(message.Answers) : i+1] {
			call.place.end()
			<-p.places
		}
		if err != nil {
			p.mu.Lock()
			p.ended = append(p.ended, ended[i+1:]...)
			p.mu.Unlock()
			return err
		}
		message, size = &metadatav1.PipelineResponse{}, 0
	}
	return nil
}

// sizeOf is about the size of an answer, as encoded.
func sizeOf(answer *metadatav1.PipelineAnswer) int {
	if failed := answer.GetError(); failed != nil {
		return proto.Size(failed)
	}
	return len(answer.GetResponse())
}

// carryOut carries out a call as if it had come by itself.
func (p *pipeline) carryOut(c *pipelinedCall) {
	c.answer.Id = c.id
	rpc, ok := p.rpcs[c.method]
	if !ok {
		c.failed(connect.NewError(connect.CodeUnimplemented,
			errors.New("MetadataService has no unary rpc of this name: "+clean(c.method))))
		return
	}
	if err := p.gate.enter(&c.place, rpc.spec, p.peer, nil); err != nil {
		c.failed(err)
		return
	}
	if err := p.edge.run(c.ctx, rpc.spec, func(ctx context.Context) error { return p.handle(ctx, rpc, c) }); err != nil {
		c.failed(err)
	}
}

// handle hands a call to its handler.
func (p *pipeline) handle(ctx context.Context, rpc unaryRPC, c *pipelinedCall) error {
	request := rpc.request()
	err := canonical.Unmarshal(c.request, request)
	c.request = nil
	if err != nil {
		return badBytes("the request cannot be decoded: %v", err)
	}
	if err := p.edge.check(request); err != nil {
		return err
	}
	answer, err := rpc.handle(ctx, request)
	if err != nil {
		return err
	}
	c.response.Response, err = canonical.Marshal(answer)
	c.answer.Outcome = &c.response
	return err
}

// failed answers a call with an error.
func (c *pipelinedCall) failed(err error) {
	out := &metadatav1.PipelineError{Code: uint32(connect.CodeInternal), Message: internalMessage}
	if own, ok := errors.AsType[*connect.Error](toConnect(err)); ok {
		out.Code, out.Message = uint32(own.Code()), strings.ToValidUTF8(own.Message(), "?")
		for _, d := range own.Details() {
			out.Details = append(out.Details, &anypb.Any{TypeUrl: detailURL + d.Type(), Value: d.Bytes()})
		}
	}
	c.answer.Outcome = &metadatav1.PipelineAnswer_Error{Error: out}
}
