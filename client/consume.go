package client

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/client/consume"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// errClientClosed ends the consumers of a client that was closed.
var errClientClosed = errors.New("client: the client was closed")

// Delivery is a change as a consumer gets it, with an id that names it for ever.
type Delivery = consume.Delivery

// ackTimeout bounds an acknowledgement; one that fails is made again later.
const ackTimeout = 5 * time.Second

// ConsumeOptions configure a consumer.
type ConsumeOptions struct {
	// Filter selects what the consumer is sent; nil: everything. A consumer that exists has
	// its own: with Create, and in ConsumeFrom, it has to be this one.
	Filter *metadatav1.Filter
	// Start is where a consumer begins that is new. nil: behind the newest changes; revisions
	// of 0: with the first change of all, which is refused once that was trimmed.
	Start *metadatav1.Position
	// FromOldest has a consumer that is new begin with the oldest changes that are kept then.
	// Start has to be nil.
	FromOldest bool
	// Create has the service create the consumer if there is none of its name.
	Create bool
	// Description says what a consumer that is created is for.
	Description string
	// Owner says who has the consumer, for people: a host and process, say.
	Owner string

	// BatchChanges is how many changes are handed over at once, at most; 0:
	// consume.DefaultBatchChanges. It is fewer when they are large: a batch has
	// consume.DefaultBatchBytes at most, or a single change.
	BatchChanges int
	// AckChanges and AckInterval say when what was carried out is acknowledged: after so
	// many changes, or so long after the first of them. 0: consume.DefaultAckChanges,
	// consume.DefaultAckInterval. After five AckIntervals without an acknowledgement one is
	// made anyway, which tells whether another process has the consumer.
	AckChanges  int
	AckInterval time.Duration
	// Acknowledged is told each position that was acknowledged, some several times, the first
	// time that at which the consumer begins; nil: nobody is. It must not block.
	Acknowledged func(*metadatav1.Position)
}

// Handler carries out a batch of changes: those of each stream are in order. nil says that
// all of them have been carried out, so that they never come again; an error ends the
// consumer, and the batch comes again when it is begun anew. It is called by one goroutine
// at a time; its context ends with the consumer's.
type Handler = func(ctx context.Context, batch []Delivery) error

// Consume takes a named consumer over and hands its changes to a function, until the
// context ends, the client is closed or something happens that another attempt cannot change. It always returns
// an error: the context's cause, that of handle, or why the service refuses, such as
// [*FencedError] when another process has opened the consumer since, and [*TrimmedError]
// when changes that it has not had are gone. It never goes on from elsewhere by itself.
//
// Changes of a stream come in order, each at least once: after a break of any kind, of
// this process too, those that were not acknowledged come again, with the same
// [Delivery.ID]. While the service cannot be reached it waits, without end: bound it by
// the context. What was carried out is acknowledged before it returns, if the service
// takes it within seconds.
//
// When another process opens the consumer, this one learns it within about five AckIntervals,
// in the middle of a batch too: handle's context ends then. Until that, and for as long as
// the service does not answer this one, both processes may carry changes out, and this
// one older changes behind newer ones of the other.
func (c *Client) Consume(ctx context.Context, name string, opts ConsumeOptions, handle Handler) error {
	return c.consume(ctx, &namedConsumer{client: c, name: name, options: opts}, opts, handle)
}

// ConsumeFrom is Consume for a consumer that keeps its position itself. The service knows
// nothing of it: history that it has not read may be trimmed, and that no two processes
// use the same store is up to the caller. Create, Description and Owner are not used. A
// position that was saved with another filter is refused.
func (c *Client) ConsumeFrom(ctx context.Context, store PositionStore, opts ConsumeOptions, handle Handler) error {
	return c.consume(ctx, &ownConsumer{client: c, store: store, options: opts}, opts, handle)
}

// keeper knows how far a consumer is.
type keeper interface {
	// open returns where to go on, nil if that is behind the newest changes, and what the
	// consumer is to be sent. It returns when it knows, or when that cannot be known.
	open(ctx context.Context) (*metadatav1.Position, *metadatav1.Filter, error)
	// acknowledge keeps a position. Later says that another attempt may help.
	acknowledge(ctx context.Context, p *metadatav1.Position) (later bool, err error)
}

func (c *Client) consume(ctx context.Context, k keeper, opts ConsumeOptions, handle Handler) error {
	if opts.FromOldest && opts.Start != nil {
		return errors.New("client: ConsumeOptions has both Start and FromOldest; leave one of them out")
	}
	machineOptions := consume.Options{BatchChanges: opts.BatchChanges, AckChanges: opts.AckChanges, AckInterval: opts.AckInterval}
	if _, err := consume.New(nil, machineOptions); err != nil {
		return fmt.Errorf("client: %w", err) // before anybody is fenced off
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(c.life, func() { cancel(errClientClosed) })()
	from, filter, err := k.open(ctx)
	if err != nil {
		return err
	}
	machine, err := consume.New(from, machineOptions)
	if err != nil {
		return fmt.Errorf("client: %w", err)
	}
	r := &consumption{
		client: c, keeper: k, machine: machine, filter: filter, handle: handle, tell: opts.Acknowledged,
		frames: make(chan frameOrEnd), handled: make(chan error), acked: make(chan acked),
	}
	if r.tell == nil {
		r.tell = func(*metadatav1.Position) {}
	}
	if from != nil {
		r.tell(proto.CloneOf(from))
	}
	c.metrics.consumers.Add(1)
	defer c.metrics.consumers.Add(-1)
	return r.run(ctx)
}

// consumption drives a Machine. All is of run's goroutine but what the channels bring.
type consumption struct {
	client  *Client
	keeper  keeper
	machine *consume.Machine
	filter  *metadatav1.Filter
	handle  Handler
	tell    func(*metadatav1.Position)

	frames  chan frameOrEnd
	handled chan error
	acked   chan acked

	reading          sync.WaitGroup
	handling, acking bool      // a goroutine will send to handled, or to acked
	batch            int       // changes that are being carried out
	future           time.Time // since when the members have not come to the position; zero: they have
}

// frameOrEnd is a frame, or why there are no more of a subscription.
type frameOrEnd struct {
	frame *metadatav1.SubscribeResponse
	err   error
}

// acked is the outcome of an acknowledgement.
type acked struct {
	position *metadatav1.Position
	later    bool
	err      error
}

// run works until the end, whose reason it returns.
func (r *consumption) run(ctx context.Context) error {
	within, cancel := context.WithCancel(ctx)
	defer cancel()
	r.startReading(within, 0)
	err := r.loop(within)
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	cancel()
	r.reading.Wait()
	r.finish(ctx, err)
	return err
}

func (r *consumption) loop(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		r.begin(ctx)
		var frames <-chan frameOrEnd
		if r.machine.HasRoom() {
			frames = r.frames
		}
		if at, due := r.machine.DueAt(); due {
			timer.Reset(time.Until(at))
		}
		var err error
		select {
		case f := <-frames:
			err = r.see(ctx, f)
		case err = <-r.handled:
			r.noteHandled(err)
		case a := <-r.acked:
			err = r.noteAcked(a)
		case <-timer.C:
		case <-ctx.Done():
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
	}
}

// begin begins what can be begun.
func (r *consumption) begin(ctx context.Context) {
	if batch := r.machine.Begin(); batch != nil {
		r.handling, r.batch = true, len(batch)
		go func() { r.handled <- r.handle(ctx, batch) }()
	}
	if p := r.machine.Acknowledge(time.Now()); p != nil {
		r.acking = true
		go func() { r.acked <- r.acknowledge(ctx, p) }()
	}
}

func (r *consumption) acknowledge(life context.Context, p *metadatav1.Position) acked {
	ctx, cancel := context.WithTimeout(life, ackTimeout)
	defer cancel()
	later, err := r.keeper.acknowledge(ctx, p)
	if err != nil && life.Err() == nil {
		r.client.metrics.unacked.Add(1)
	}
	return acked{p, later, err}
}

func (r *consumption) noteHandled(err error) {
	r.handling = false
	if err == nil {
		r.client.metrics.handled.Add(uint64(r.batch))
		r.machine.Handled(time.Now())
	}
}

// noteAcked returns an error if no later acknowledgement can help.
func (r *consumption) noteAcked(a acked) error {
	r.acking = false
	r.machine.Acknowledged(a.err == nil, time.Now())
	switch {
	case a.err == nil:
		r.tell(a.position)
	case a.later:
		r.client.log.Warn("a position was not acknowledged; it is tried again", "error", a.err)
		return nil
	}
	return a.err
}

// see takes a frame, or begins to read anew.
func (r *consumption) see(ctx context.Context, f frameOrEnd) error {
	if f.err == nil {
		r.future = time.Time{}
		if err := r.machine.See(f.frame, time.Now()); err != nil {
			return fmt.Errorf("client: %w", err)
		}
		return nil
	}
	if Reason(f.err) != metadatav1.ErrorReason_ERROR_REASON_FUTURE_REVISION {
		return asTrimmed(f.err, r.machine.Received())
	}
	now := time.Now()
	if r.future.IsZero() {
		r.future = now
	}
	if now.Sub(r.future) > r.client.patience.future {
		return f.err
	}
	r.startReading(ctx, maxBackoff)
	return nil
}

// startReading reads what follows the machine's position, after a pause.
func (r *consumption) startReading(ctx context.Context, pause time.Duration) {
	request := &metadatav1.SubscribeRequest{
		Start: &metadatav1.SubscribeRequest_Latest{Latest: true}, Filter: r.filter, FailOnGap: true,
	}
	if after := r.machine.Received(); after != nil {
		request.Start = &metadatav1.SubscribeRequest_After{After: after}
	}
	r.reading.Go(func() {
		if sleep(ctx, pause) {
			r.read(ctx, request)
		}
	})
}

// read reads until it is told to stop or there is no more.
func (r *consumption) read(ctx context.Context, request *metadatav1.SubscribeRequest) {
	for frame, err := range r.client.Watch(ctx, request) {
		select {
		case r.frames <- frameOrEnd{frame, err}:
		case <-ctx.Done():
			return
		}
	}
}

// finish waits for what is under way, and acknowledges what was carried out.
func (r *consumption) finish(ctx context.Context, why error) {
	if r.handling {
		r.noteHandled(<-r.handled)
	}
	if r.acking {
		a := <-r.acked
		r.machine.Acknowledged(a.err == nil, time.Now())
		if a.err == nil {
			r.tell(a.position)
		}
	}
	if _, fenced := errors.AsType[*FencedError](why); fenced {
		return // it is another's
	}
	if p := r.machine.Last(); p != nil {
		last := r.acknowledge(context.WithoutCancel(ctx), p)
		if last.err != nil {
			r.client.log.Warn("the last position was not acknowledged; changes will come again", "error", last.err)
			return
		}
		r.tell(p)
	}
}
