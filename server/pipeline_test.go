package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"buf.build/go/protovalidate"
	"connectrpc.com/connect"
	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/internal/failure"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/proto/heliosdb/metadata/v1/metadatav1connect"
)

// pipe is a client's end of a Pipeline stream.
type pipe struct {
	t       *testing.T
	send    func(*metadatav1.PipelineRequest) error
	receive func() (*metadatav1.PipelineResponse, error)
	end     func() error
}

// carriers open a stream by each of the two servers.
var carriers = map[string]func(*world, *testing.T) *pipe{
	"grpc": func(w *world, t *testing.T) *pipe {
		stream := must(w.grpc().NewStream(t.Context(), &grpc.StreamDesc{ClientStreams: true, ServerStreams: true},
			metadatav1connect.MetadataServicePipelineProcedure))(t)
		return &pipe{t: t, end: stream.CloseSend, send: func(m *metadatav1.PipelineRequest) error { return stream.SendMsg(m) },
			receive: func() (*metadatav1.PipelineResponse, error) {
				m := new(metadatav1.PipelineResponse)
				return m, asClient(stream.RecvMsg(m))
			}}
	},
	"connect": func(w *world, t *testing.T) *pipe {
		ctx, cancel := context.WithCancel(t.Context())
		stream := must(w.rpc().Pipeline(ctx))(t)
		t.Cleanup(func() { cancel(); _ = stream.CloseResponse() })
		return &pipe{t: t, end: stream.CloseRequest, send: stream.Send, receive: stream.Receive}
	},
}

// pipes runs a test with a stream of each carrier, greeted.
func (w *world) pipes(run func(*testing.T, *pipe)) {
	for name, open := range carriers {
		w.t.Run(name, func(t *testing.T) { run(t, open(w, t).greeted()) })
	}
}

// asClient is an error of grpc-go as the other clients have it.
func asClient(err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return err
	}
	s := status.Convert(err)
	out := connect.NewError(connect.Code(s.Code()), errors.New(s.Message()))
	for _, any := range s.Proto().GetDetails() {
		if d, bad := connect.NewErrorDetail(any); bad == nil {
			out.AddDetail(d)
		}
	}
	return out
}

// greeted waits for the message that says that the stream is served. Connect's client
// sends headers with the first message, so that one that asks for nothing comes before.
func (p *pipe) greeted() *pipe {
	p.t.Helper()
	p.say(&metadatav1.PipelineRequest{})
	if m := must(p.receive())(p.t); len(m.GetAnswers()) != 0 {
		p.t.Fatalf("the stream begins with %v", m)
	}
	return p
}

func (p *pipe) say(m *metadatav1.PipelineRequest) {
	p.t.Helper()
	if err := p.send(m); err != nil {
		p.t.Fatal(err)
	}
}

func called(t *testing.T, id uint64, method string, request proto.Message) *metadatav1.PipelineCall {
	t.Helper()
	return &metadatav1.PipelineCall{Id: id, Method: method, Request: must(proto.Marshal(request))(t)}
}

func calls(all ...*metadatav1.PipelineCall) *metadatav1.PipelineRequest {
	return &metadatav1.PipelineRequest{Calls: all}
}

// answers receives n answers, by id.
func (p *pipe) answers(n int) map[uint64]*metadatav1.PipelineAnswer {
	p.t.Helper()
	all := make(map[uint64]*metadatav1.PipelineAnswer)
	for len(all) < n {
		for _, a := range must(p.receive())(p.t).GetAnswers() {
			all[a.GetId()] = a
		}
	}
	return all
}

// failureOf is an answer's error as a call by itself would have it.
func failureOf(t *testing.T, a *metadatav1.PipelineAnswer) error {
	t.Helper()
	e := a.GetError()
	if e == nil {
		t.Fatalf("the answer is no error: %v", a)
	}
	out := connect.NewError(connect.Code(e.GetCode()), errors.New(e.GetMessage()))
	for _, any := range e.GetDetails() {
		out.AddDetail(must(connect.NewErrorDetail(any))(t))
	}
	return out
}

// Calls are carried out as by themselves: they name the caller, see each other's effects
// and fail alike, one without the others.
func TestPipelineAnswersEachCall(t *testing.T) {
	w := start(t, Options{})
	w.pipes(func(t *testing.T, p *pipe) {
		name := "t" + subtest(t)
		p.say(calls(called(t, 1, "CreateTable", createTable(name))))
		created := new(metadatav1.CreateTableResponse)
		if err := proto.Unmarshal(p.answers(1)[1].GetResponse(), created); err != nil || created.GetTable().GetName() != name {
			t.Fatalf("created %v, %v", created, err)
		}
		bad := createTable("x")
		bad.Table = nil
		p.say(calls(
			called(t, 7, "GetTable", &metadatav1.GetTableRequest{Table: &metadatav1.TableRef{Name: name}}),
			called(t, 8, "CreateTable", createTable(name)),
			called(t, 9, "CreateTable", bad),
			&metadatav1.PipelineCall{Id: 10, Method: "GetTable", Request: []byte("\xff\xff")},
			called(t, 11, "Subscribe", &metadatav1.SubscribeRequest{}),
		))
		got := p.answers(5)
		read := new(metadatav1.GetTableResponse)
		if err := proto.Unmarshal(got[7].GetResponse(), read); err != nil || read.GetTable().GetTableId() != created.GetTable().GetTableId() {
			t.Fatalf("read %v, %v", read, err)
		}
		wantFailure(t, failureOf(t, got[8]), connect.CodeAlreadyExists, "ALREADY_EXISTS", name)
		wantFields(t, wantFailure(t, failureOf(t, got[9]), connect.CodeInvalidArgument, "INVALID_FIELD"), "table")
		wantFailure(t, failureOf(t, got[10]), connect.CodeInvalidArgument, "INVALID_FIELD", "decoded")
		if err := failureOf(t, got[11]); connect.CodeOf(err) != connect.CodeUnimplemented || !strings.Contains(err.Error(), "Subscribe") {
			t.Fatalf("a stream is called: %v", err)
		}
		if err := p.end(); err != nil {
			t.Fatal(err)
		}
		if _, err := p.receive(); !errors.Is(err, io.EOF) {
			t.Fatalf("the stream ends with %v", err)
		}
	})
}

// subtest makes a subtest's name fit for a table.
func subtest(t *testing.T) string { return t.Name()[strings.LastIndexByte(t.Name(), '/')+1:] }

// A call that waits keeps no other one waiting; when nobody waits for it any more, or its
// time is over, it ends.
func TestPipelinedCallsEndByThemselves(t *testing.T) {
	w := start(t, Options{}, func(w *world) {
		w.member.onWrite = func(ctx context.Context, _ proto.Message) error { <-ctx.Done(); return ctx.Err() }
	})
	w.pipes(func(t *testing.T, p *pipe) {
		late := called(t, 2, "CreateTable", createTable("late"))
		late.TimeoutMillis = 50
		p.say(calls(called(t, 1, "CreateTable", createTable("stuck")), late))
		p.say(calls(called(t, 3, "GetTable", &metadatav1.GetTableRequest{Table: &metadatav1.TableRef{Name: "none"}})))
		got := p.answers(2)
		wantFailure(t, failureOf(t, got[2]), connect.CodeDeadlineExceeded, "DEADLINE")
		wantFailure(t, failureOf(t, got[3]), connect.CodeNotFound, "NOT_FOUND")
		p.say(&metadatav1.PipelineRequest{Cancelled: []uint64{1, 99}})
		wantFailure(t, failureOf(t, p.answers(1)[1]), connect.CodeCanceled, "CANCELED")
	})
}

// The gate counts the calls, not only the stream; a refused one does not end it.
func TestPipelinedCallsPassTheGate(t *testing.T) {
	leave := make(chan struct{})
	w := start(t, Options{Limits: Limits{Requests: 1}}, func(w *world) {
		w.member.onWrite = func(context.Context, proto.Message) error { <-leave; return nil }
	})
	defer close(leave)
	stream := must(w.rpc().Pipeline(t.Context()))(t)
	defer func() { _ = stream.CloseRequest(); _ = stream.CloseResponse() }()
	p := (&pipe{t: t, send: stream.Send, receive: stream.Receive}).greeted()
	p.say(calls(called(t, 1, "CreateTable", createTable("a"))))
	eventually(t, "the first call is under way", func() bool { return w.server.gate.requests.taken.Load() == 1 })
	p.say(calls(called(t, 2, "CreateTable", createTable("b"))))
	wantFailure(t, failureOf(t, p.answers(1)[2]), connect.CodeResourceExhausted, "LIMIT_REACHED", "concurrent_requests")
	leave <- struct{}{}
	if a := p.answers(1)[1]; a.GetResponse() == nil {
		t.Fatalf("the first call is answered %v", a)
	}
	eventually(t, "its place is free", func() bool { return w.server.gate.requests.taken.Load() == 0 })
}

func TestPipelinesAreLimited(t *testing.T) {
	w := start(t, Options{Limits: Limits{Pipelines: 1}})
	w.pipes(func(t *testing.T, p *pipe) {
		second := must(w.rpc().Pipeline(t.Context()))(t)
		_ = second.Send(&metadatav1.PipelineRequest{})
		_, err := second.Receive()
		wantFailure(t, err, connect.CodeResourceExhausted, "LIMIT_REACHED", "pipelines")
		_ = second.CloseRequest()
		_ = second.CloseResponse()
		_ = p.end()
		for err = nil; err == nil; {
			_, err = p.receive()
		}
		eventually(t, "the place is free", func() bool { return w.server.gate.pipelines.taken.Load() == 0 })
	})
}

// A message that breaks a rule ends the stream: its calls cannot be told apart.
func TestPipelineRefusesBadMessages(t *testing.T) {
	leave := make(chan struct{})
	w := start(t, Options{}, func(w *world) {
		w.member.onWrite = func(ctx context.Context, _ proto.Message) error {
			select {
			case <-leave:
			case <-ctx.Done():
			}
			return nil
		}
	})
	defer close(leave)
	for name, message := range map[string]*metadatav1.PipelineRequest{
		"the same id twice": calls(called(t, 5, "CreateTable", createTable("a")), called(t, 5, "CreateTable", createTable("b"))),
		"no method":         calls(&metadatav1.PipelineCall{Id: 1}),
		"too many calls":    {Calls: slices.Repeat([]*metadatav1.PipelineCall{{Id: 1, Method: "GetTable"}}, 1025)},
	} {
		t.Run(name, func(t *testing.T) {
			w.t = t
			w.pipes(func(t *testing.T, p *pipe) {
				p.say(message)
				var err error
				for err == nil {
					_, err = p.receive()
				}
				wantFailure(t, err, connect.CodeInvalidArgument, "INVALID_FIELD")
			})
		})
	}
}

// What passes for simple without protovalidate is sound, and what clients send passes.
func TestSoundCallsAreSound(t *testing.T) {
	validator := must(protovalidate.New())(t)
	named := func(name string) *metadatav1.PipelineCall { return &metadatav1.PipelineCall{Id: 1, Method: name} }
	many := slices.Repeat([]*metadatav1.PipelineCall{named("GetTable")}, maxCalls)
	ids := make([]uint64, maxCalls)
	for name, c := range map[string]struct {
		message *metadatav1.PipelineRequest
		simple  bool
	}{
		"nothing":              {&metadatav1.PipelineRequest{}, true},
		"as much as there may": {&metadatav1.PipelineRequest{Calls: many, Cancelled: ids}, true},
		"one call more":        {&metadatav1.PipelineRequest{Calls: append(slices.Clip(many), named("GetTable"))}, false},
		"one id more":          {&metadatav1.PipelineRequest{Cancelled: append(slices.Clip(ids), 1)}, false},
		"no method":            {calls(named("")), false},
		"the longest method":   {calls(named(strings.Repeat("x", maxMethodBytes))), true},
		"a longer method":      {calls(named(strings.Repeat("x", maxMethodBytes+1))), false},
		"the second is wrong":  {calls(named("GetTable"), named("")), false},
	} {
		if got := simple(c.message); got != c.simple {
			t.Errorf("%s: simple is %v", name, got)
		}
		if err := validator.Validate(c.message); (err == nil) != c.simple {
			t.Errorf("%s: protovalidate says %v", name, err)
		}
	}
}

// A handler that panics fails its call and no other.
func TestPipelineOutlivesAPanic(t *testing.T) {
	w := start(t, Options{}, func(w *world) {
		w.member.onWrite = func(context.Context, proto.Message) error { panic("a bug") }
	})
	w.pipes(func(t *testing.T, p *pipe) {
		p.say(calls(called(t, 1, "CreateTable", createTable("a")),
			called(t, 2, "GetTable", &metadatav1.GetTableRequest{Table: &metadatav1.TableRef{Name: "none"}})))
		got := p.answers(2)
		wantFailure(t, failureOf(t, got[1]), connect.CodeInternal, "INTERNAL")
		wantFailure(t, failureOf(t, got[2]), connect.CodeNotFound, "NOT_FOUND")
	})
}

// When the server drains, calls under way are answered, however long they take, later ones
// refused, and then the stream ends so that the client goes elsewhere. It takes seconds
// because other streams are cut off after drainWrites.
func TestPipelineDrains(t *testing.T) {
	for name, open := range carriers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			entered, leave := make(chan struct{}, 1), make(chan struct{})
			w := start(t, Options{}, func(w *world) {
				w.member.onWrite = func(ctx context.Context, _ proto.Message) error {
					entered <- struct{}{}
					select {
					case <-leave:
						return nil
					case <-ctx.Done():
						return ctx.Err()
					}
				}
			})
			p := open(w, t).greeted()
			p.say(calls(called(t, 1, "CreateTable", createTable("a"))))
			<-entered
			w.server.Drain()
			p.say(calls(called(t, 2, "CreateTable", createTable("b"))))
			wantFailure(t, failureOf(t, p.answers(1)[2]), connect.CodeUnavailable, "STOPPING")
			time.Sleep(drainWrites + 200*time.Millisecond)
			close(leave)
			if a := p.answers(1)[1]; a.GetResponse() == nil {
				t.Fatalf("the call under way is answered %v", a)
			}
			_, err := p.receive()
			wantFailure(t, err, connect.CodeUnavailable, "STOPPING")
		})
	}
}

// A client that does not read its answers gets no further than those that may be under
// way, and what is on the wire.
func TestAnswersThatAreNotReadAreBounded(t *testing.T) {
	w := start(t, Options{})
	wide := createTable("wide")
	for i := range 10 {
		wide.Table.Columns = append(wide.Table.Columns, &metadatav1.ColumnSchema{
			Name: fmt.Sprintf("c%d", i), Comment: strings.Repeat("y", 4000), DataType: wide.Table.Columns[0].DataType,
		})
	}
	must(w.rpc().CreateTable(t.Context(), wide))(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stream := must(w.grpc().NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true},
		metadatav1connect.MetadataServicePipelineProcedure))(t)
	get := called(t, 0, "GetTable", &metadatav1.GetTableRequest{Table: &metadatav1.TableRef{Name: "wide"}})
	go func() {
		for id := uint64(1); id <= 4*maxPipelined; id++ {
			if stream.SendMsg(calls(&metadatav1.PipelineCall{Id: id, Method: get.GetMethod(), Request: get.GetRequest()})) != nil {
				return
			}
		}
	}()
	eventually(t, "no more calls are begun", func() bool { return w.server.gate.requests.taken.Load() == maxPipelined })
	time.Sleep(50 * time.Millisecond)
	if n := w.server.gate.requests.taken.Load(); n != maxPipelined {
		t.Errorf("%d calls have places, at most %d may", n, maxPipelined)
	}
	cancel()
	eventually(t, "all places are free", func() bool { return w.server.gate.requests.taken.Load() == 0 })
}

// A client that asks and does not listen gets no further than the limit of calls under
// way, and holds up nobody.
func TestPipelineThatIsNotReadIsBounded(t *testing.T) {
	var begun = make(chan struct{}, 10*maxPipelined)
	w := start(t, Options{}, func(w *world) {
		w.member.onWrite = func(ctx context.Context, _ proto.Message) error {
			begun <- struct{}{}
			<-ctx.Done()
			return failure.New(metadatav1.ErrorReason_ERROR_REASON_CANCELED, "enough")
		}
	})
	ctx, cancel := context.WithCancel(t.Context())
	stream := must(w.grpc().NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true},
		metadatav1connect.MetadataServicePipelineProcedure))(t)
	for i := range uint64(2 * maxPipelined) {
		if err := stream.SendMsg(calls(called(t, i, "CreateTable", createTable(fmt.Sprintf("t%d", i))))); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "as many calls as may are under way", func() bool { return len(begun) == maxPipelined })
	time.Sleep(20 * time.Millisecond)
	if n := len(begun); n != maxPipelined {
		t.Fatalf("%d calls are under way, at most %d may be", n, maxPipelined)
	}
	if err := w.grpc().Invoke(t.Context(), metadatav1connect.MetadataServiceListTablesProcedure,
		&metadatav1.ListTablesRequest{}, new(metadatav1.ListTablesResponse)); err != nil {
		t.Fatal(err)
	}
	cancel()
	eventually(t, "all calls are over", func() bool { return w.server.gate.requests.taken.Load() == 0 })
}
