package client

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/proto/heliosdb/metadata/v1/metadatav1connect"
)

// member serves GetTable and CreateTable by themselves and, unless it is old, on Pipeline
// streams, and counts which way calls came.
type member struct {
	metadatav1connect.UnimplementedMetadataServiceHandler
	alone, piped, streams atomic.Int64
	ids                   chan string            // request ids of writes, as they come
	token                 atomic.Pointer[string] // of the last subscription
	// lose ends a stream instead of answering a call on it; hold keeps calls that come by
	// themselves from being answered.
	lose, hold atomic.Bool
}

func (m *member) GetTable(context.Context, *metadatav1.GetTableRequest) (*metadatav1.GetTableResponse, error) {
	m.alone.Add(1)
	return &metadatav1.GetTableResponse{}, nil
}

func (m *member) CreateTable(ctx context.Context, r *metadatav1.CreateTableRequest) (*metadatav1.CreateTableResponse, error) {
	m.alone.Add(1)
	m.ids <- r.GetWrite().GetRequestId()
	if m.hold.Load() {
		<-ctx.Done()
	}
	return &metadatav1.CreateTableResponse{}, nil
}

func (m *member) Subscribe(
	_ context.Context, _ *metadatav1.SubscribeRequest, s *connect.ServerStream[metadatav1.SubscribeResponse],
) error {
	token := s.Conn().RequestHeader().Get("Token")
	m.token.Store(&token)
	return connect.NewError(connect.CodeInvalidArgument, errors.New("nothing to hear"))
}

func (m *member) Pipeline(_ context.Context, s *connect.BidiStream[metadatav1.PipelineRequest, metadatav1.PipelineResponse]) error {
	m.streams.Add(1)
	if err := s.Send(&metadatav1.PipelineResponse{}); err != nil {
		return err
	}
	for {
		request, err := s.Receive()
		if err != nil {
			return err
		}
		for _, c := range request.GetCalls() {
			m.piped.Add(1)
			if c.GetMethod() == "CreateTable" {
				r := new(metadatav1.CreateTableRequest)
				if err := proto.Unmarshal(c.GetRequest(), r); err != nil {
					return err
				}
				m.ids <- r.GetWrite().GetRequestId()
			}
			if m.lose.Load() {
				return connect.NewError(connect.CodeUnavailable, errors.New("gone"))
			}
			answer := &metadatav1.PipelineAnswer{Id: c.GetId(), Outcome: &metadatav1.PipelineAnswer_Response{}}
			if err := s.Send(&metadatav1.PipelineResponse{Answers: []*metadatav1.PipelineAnswer{answer}}); err != nil {
				return err
			}
		}
	}
}

// startMember serves and returns a client.
func startMember(t *testing.T, serves metadatav1connect.MetadataServiceHandler) *Client {
	t.Helper()
	mux := http.NewServeMux()
	mux.Handle(metadatav1connect.NewMetadataServiceHandler(serves))
	server := httptest.NewUnstartedServer(mux)
	server.Config.Protocols = new(http.Protocols)
	server.Config.Protocols.SetHTTP1(true)
	server.Config.Protocols.SetUnencryptedHTTP2(true)
	server.Start()
	t.Cleanup(server.Close)
	return newClient(t, server.Listener.Addr().String())
}

func (m *member) get(t *testing.T, c *Client) {
	t.Helper()
	if _, err := c.GetTable(t.Context(), &metadatav1.GetTableRequest{}); err != nil {
		t.Fatal(err)
	}
}

// until makes calls until one of them came over a stream.
func (m *member) until(t *testing.T, c *Client) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); m.piped.Load() == 0; time.Sleep(time.Millisecond) {
		if m.get(t, c); time.Now().After(deadline) {
			t.Fatal("no call comes over a stream")
		}
	}
}

// Nobody waits for a stream; once there is one, calls share it, but for the large ones.
func TestCallsShareAStream(t *testing.T) {
	m := &member{ids: make(chan string, 1)}
	c := startMember(t, m)
	m.get(t, c)
	if m.alone.Load() != 1 {
		t.Fatal("the first call waited for a stream")
	}
	m.until(t, c)
	alone := m.alone.Load()
	for range 100 {
		m.get(t, c)
	}
	if m.alone.Load() != alone || m.streams.Load() != 1 {
		t.Fatalf("%d calls came by themselves, on %d streams", m.alone.Load()-alone, m.streams.Load())
	}
	large := &metadatav1.CreateTableRequest{Table: &metadatav1.TableSchema{Comment: strings.Repeat("x", maxPipelined)}}
	if _, err := c.CreateTable(t.Context(), large); err != nil || m.alone.Load() != alone+1 {
		t.Fatalf("a large call: %v, by itself: %v", err, m.alone.Load() == alone+1)
	}
}

// A write whose stream breaks is made again with the same request id; if that does not
// help, the outcome is unknown.
func TestAStreamThatBreaksUnderAWrite(t *testing.T) {
	m := &member{ids: make(chan string, 100)}
	c := startMember(t, m)
	m.until(t, c)
	m.lose.Store(true)
	if _, err := c.CreateTable(t.Context(), &metadatav1.CreateTableRequest{}); err != nil {
		t.Fatal(err)
	}
	first, second := <-m.ids, <-m.ids
	if first == "" || first != second {
		t.Fatalf("the write was made as %q and as %q", first, second)
	}
	m.lose.Store(false)
	m.piped.Store(0)
	m.until(t, c) // another stream is opened
	m.lose.Store(true)
	m.hold.Store(true)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-m.ids; <-m.ids; cancel() }()
	_, err := c.CreateTable(ctx, &metadatav1.CreateTableRequest{})
	if Repeat(err).GetRequestId() == "" {
		t.Fatalf("a write that may have happened ends with %v", err)
	}
}

// oldMember knows no Pipeline.
type oldMember struct{ *member }

func (m oldMember) Pipeline(context.Context, *connect.BidiStream[metadatav1.PipelineRequest, metadatav1.PipelineResponse]) error {
	m.streams.Add(1)
	return connect.NewError(connect.CodeUnimplemented, errors.New("no such rpc"))
}

func (m oldMember) Subscribe(context.Context, *metadatav1.SubscribeRequest, *connect.ServerStream[metadatav1.SubscribeResponse]) error {
	return connect.NewError(connect.CodeUnimplemented, errors.New("no such rpc"))
}

// A member that serves no such streams is called as ever, and is not asked for one at
// each call.
func TestMembersWithoutStreams(t *testing.T) {
	m := &member{}
	c := startMember(t, oldMember{member: m})
	for range 200 {
		m.get(t, c)
	}
	if m.alone.Load() != 200 {
		t.Fatalf("%d of 200 calls arrived", m.alone.Load())
	}
	if n := m.streams.Load(); n > 2 {
		t.Fatalf("it was asked for %d streams", n)
	}
}
