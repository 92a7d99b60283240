package pipeline

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// wire is a Stream whose other end is the test.
type wire struct {
	sent   chan *metadatav1.PipelineRequest
	answer chan *metadatav1.PipelineResponse // closed: the stream has ended
	hold   chan struct{}                     // Send waits for it; nil: it does not
	closed chan struct{}                     // holds something if nothing more is sent
	end    error
}

func newWire() *wire {
	return &wire{
		sent: make(chan *metadatav1.PipelineRequest, 100), answer: make(chan *metadatav1.PipelineResponse, 100),
		closed: make(chan struct{}, 1),
	}
}

func (w *wire) Send(encoded []byte) error {
	m := new(metadatav1.PipelineRequest)
	if err := proto.Unmarshal(encoded, m); err != nil {
		panic(err)
	}
	w.sent <- m
	if w.hold != nil {
		<-w.hold
	}
	return nil
}

func (w *wire) Receive() (*metadatav1.PipelineResponse, error) {
	m, ok := <-w.answer
	if !ok {
		return nil, w.end
	}
	return m, nil
}

func (w *wire) CloseSend() error {
	w.closed <- struct{}{}
	return nil
}

// open returns an open pipe over a wire, which ends with the test.
func open(t *testing.T, w *wire) *Pipe {
	t.Helper()
	w.answer <- &metadatav1.PipelineResponse{}
	p, err := Open(w)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// finish ends a wire.
func (w *wire) finish(why error, pipes ...*Pipe) {
	w.end = why
	close(w.answer)
	for _, p := range pipes {
		<-p.Broken()
	}
}

func response(id uint64, text string) *metadatav1.PipelineAnswer {
	return &metadatav1.PipelineAnswer{Id: id, Outcome: &metadatav1.PipelineAnswer_Response{Response: []byte(text)}}
}

type outcome struct {
	answer *metadatav1.PipelineAnswer
	err    error
}

// call makes a call in the background.
func call(ctx context.Context, p *Pipe, request string) <-chan outcome {
	done := make(chan outcome, 1)
	go func() {
		a, err := p.Call(ctx, time.Now().Add(time.Hour), "Do", []byte(request))
		done <- outcome{a, err}
	}()
	return done
}

func TestCallsThatComeWhileOneIsSentGoTogether(t *testing.T) {
	w := newWire()
	w.hold = make(chan struct{})
	p := open(t, w)
	defer w.finish(io.EOF, p)
	first := call(t.Context(), p, "first")
	if m := <-w.sent; len(m.GetCalls()) != 1 || string(m.GetCalls()[0].GetRequest()) != "first" {
		t.Fatalf("a lone call is sent as %v", m)
	}
	var rest []<-chan outcome
	for range 5 {
		rest = append(rest, call(t.Context(), p, "rest"))
	}
	queued := func() int { p.mu.Lock(); defer p.mu.Unlock(); return p.calls.calls }
	for queued() != 5 {
		time.Sleep(time.Millisecond)
	}
	close(w.hold)
	m := <-w.sent
	if len(m.GetCalls()) != 5 {
		t.Fatalf("%d calls gathered, want 5", len(m.GetCalls()))
	}
	answers := &metadatav1.PipelineResponse{Answers: []*metadatav1.PipelineAnswer{response(999, "nobody's")}}
	for _, c := range m.GetCalls() {
		answers.Answers = append(answers.Answers, response(c.GetId(), "late"))
	}
	w.answer <- answers
	w.answer <- &metadatav1.PipelineResponse{Answers: []*metadatav1.PipelineAnswer{response(1, "early")}}
	for _, one := range rest {
		if o := <-one; o.err != nil || string(o.answer.GetResponse()) != "late" {
			t.Fatalf("got %v, %v", o.answer, o.err)
		}
	}
	if o := <-first; o.err != nil || string(o.answer.GetResponse()) != "early" {
		t.Fatalf("got %v, %v", o.answer, o.err)
	}
	if _, idle := p.Idle(); !idle {
		t.Fatal("calls are under way")
	}
}

// A message keeps below its size, but a call that is larger goes all the same, alone.
func TestMessagesAreBounded(t *testing.T) {
	w := newWire()
	w.hold = make(chan struct{})
	p := open(t, w)
	defer w.finish(io.EOF, p)
	call(t.Context(), p, "first")
	<-w.sent
	large := strings.Repeat("x", maxMessageBytes/2+1)
	for range 3 {
		call(t.Context(), p, large)
	}
	for queued := 0; queued != 3; {
		p.mu.Lock()
		queued = len(p.full) + p.calls.calls
		p.mu.Unlock()
		time.Sleep(time.Millisecond)
	}
	close(w.hold)
	for range 3 {
		if m := <-w.sent; len(m.GetCalls()) != 1 {
			t.Fatalf("%d calls of %d bytes in one message", len(m.GetCalls()), len(large))
		}
	}
}

func TestWhoGivesUpTellsTheService(t *testing.T) {
	w := newWire()
	p := open(t, w)
	defer w.finish(io.EOF, p)
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	done := call(ctx, p, "slow")
	m := <-w.sent
	if ms := m.GetCalls()[0].GetTimeoutMillis(); ms == 0 || ms > 3_600_000 {
		t.Fatalf("the service is given %d ms", ms)
	}
	cancel()
	if o := <-done; !errors.Is(o.err, context.Canceled) {
		t.Fatalf("got %v", o.err)
	}
	if m := <-w.sent; len(m.GetCancelled()) != 1 || m.GetCancelled()[0] != 1 {
		t.Fatalf("the service is told %v", m)
	}
}

// A call ends at its time, and what its caller waited on is as new to the next one.
func TestCallsEndInTime(t *testing.T) {
	w := newWire()
	p := open(t, w)
	defer w.finish(io.EOF, p)
	if _, err := p.Call(t.Context(), time.Now().Add(time.Millisecond), "Do", nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v", err)
	}
	var cancelled []uint64
	for len(cancelled) == 0 {
		cancelled = (<-w.sent).GetCancelled()
	}
	next := call(t.Context(), p, "next")
	id := (<-w.sent).GetCalls()[0].GetId()
	if cancelled[0] == id {
		t.Fatal("the next call has the id of the one that was given up")
	}
	w.answer <- &metadatav1.PipelineResponse{Answers: []*metadatav1.PipelineAnswer{response(cancelled[0], "late"), response(id, "right")}}
	if o := <-next; o.err != nil || string(o.answer.GetResponse()) != "right" {
		t.Fatalf("got %v, %v", o.answer, o.err)
	}
}

// A call costs its caller no memory beside its part of the message.
func TestCallsAreMadeWithoutAllocations(t *testing.T) {
	answer, request := make(chan *metadatav1.PipelineAnswer, 1), make([]byte, 100)
	p := &Pipe{wake: make(chan struct{}, 1), waiting: make(map[uint64]chan<- *metadatav1.PipelineAnswer)}
	p.calls.encoded = make([]byte, 0, maxMessageBytes)
	if n := testing.AllocsPerRun(100, func() {
		id, _ := p.begin(time.Time{}, time.Second, "GetTable", request, answer)
		delete(p.waiting, id)
	}); n != 0 {
		t.Errorf("queueing a call allocates %v times, not at all expected", n)
	}
}

// What broke before a call was queued was certainly not carried out; what was under way
// may have been.
func TestBrokenStreams(t *testing.T) {
	w := newWire()
	p := open(t, w)
	answered, lost := call(t.Context(), p, "answered"), call(t.Context(), p, "lost")
	ids := make(map[string]uint64)
	for len(ids) < 2 {
		for _, c := range (<-w.sent).GetCalls() {
			ids[string(c.GetRequest())] = c.GetId()
		}
	}
	w.answer <- &metadatav1.PipelineResponse{Answers: []*metadatav1.PipelineAnswer{response(ids["answered"], "in time")}}
	why := errors.New("the member is gone")
	w.finish(why, p)
	if o := <-answered; o.err != nil || string(o.answer.GetResponse()) != "in time" {
		t.Fatalf("an answer before the end is %v, %v", o.answer, o.err)
	}
	o := <-lost
	if broken, ok := errors.AsType[*BrokenError](o.err); !ok || !broken.Sent || !errors.Is(o.err, why) {
		t.Fatalf("a call under way ends with %v", o.err)
	}
	o = <-call(t.Context(), p, "after")
	if broken, ok := errors.AsType[*BrokenError](o.err); !ok || broken.Sent || !errors.Is(o.err, why) {
		t.Fatalf("a call behind the end ends with %v", o.err)
	}
}

// A call that was never handed to the stream was certainly not carried out, and a
// cancellation never overtakes its call.
func TestQueuedCallsAreNotSent(t *testing.T) {
	w := newWire()
	w.hold = make(chan struct{})
	p := open(t, w)
	call(t.Context(), p, "first")
	<-w.sent
	large := strings.Repeat("x", maxMessageBytes-100)
	queued := func(n int) {
		for {
			p.mu.Lock()
			enough := int(p.last) >= n
			p.mu.Unlock()
			if enough {
				return
			}
			time.Sleep(time.Millisecond)
		}
	}
	second := call(t.Context(), p, large)
	queued(2)
	ctx, cancel := context.WithCancel(t.Context())
	given := call(ctx, p, large)
	queued(3)
	cancel()
	<-given
	w.hold <- struct{}{}
	if m := <-w.sent; len(m.GetCalls()) != 1 || len(m.GetCancelled()) != 0 {
		t.Fatalf("%d calls and %d cancellations are sent before the call that was given up", len(m.GetCalls()), len(m.GetCancelled()))
	}
	last := call(t.Context(), p, large)
	queued(4)
	w.finish(io.EOF, p)
	close(w.hold)
	for name, c := range map[string]struct {
		done <-chan outcome
		sent bool
	}{"the one that is being sent": {second, true}, "the last one": {last, false}} {
		o := <-c.done
		if broken, ok := errors.AsType[*BrokenError](o.err); !ok || broken.Sent != c.sent {
			t.Errorf("%s ends with %v", name, o.err)
		}
	}
}

// As much as may be under way is; further calls have to go another way.
func TestAFullPipeTakesNoCall(t *testing.T) {
	w := newWire()
	p := open(t, w)
	defer w.finish(io.EOF, p)
	for range maxUnderWay {
		call(t.Context(), p, "waits")
	}
	waiting := func() int { p.mu.Lock(); defer p.mu.Unlock(); return len(p.waiting) }
	for waiting() < maxUnderWay {
		time.Sleep(time.Millisecond)
	}
	o := <-call(t.Context(), p, "one more")
	if broken, ok := errors.AsType[*BrokenError](o.err); !ok || broken.Sent || !errors.Is(o.err, errFull) {
		t.Fatalf("one more call ends with %v", o.err)
	}
}

// A pipe that is closed answers what is under way, and ends the stream behind it.
func TestCloseWaitsForAnswers(t *testing.T) {
	w := newWire()
	p := open(t, w)
	under := call(t.Context(), p, "under way")
	m := <-w.sent
	p.Close()
	<-w.closed
	o := <-call(t.Context(), p, "late")
	if broken, ok := errors.AsType[*BrokenError](o.err); !ok || broken.Sent {
		t.Fatalf("a call behind the end ends with %v", o.err)
	}
	w.answer <- &metadatav1.PipelineResponse{Answers: []*metadatav1.PipelineAnswer{response(m.GetCalls()[0].GetId(), "done")}}
	if o := <-under; o.err != nil {
		t.Fatal(o.err)
	}
	w.finish(io.EOF, p)
}

func TestNothingIsOpenWithoutAGreeting(t *testing.T) {
	w := newWire()
	w.finish(errors.New("no such rpc"))
	if p, err := Open(w); p != nil || !errors.Is(err, w.end) {
		t.Fatalf("got %v, %v", p, err)
	}
}
