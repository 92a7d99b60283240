package client

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"

	"connectrpc.com/connect"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

// duplex and oneRequest describe streams to grpc-go: of both directions, and answers to one
// request.
var (
	duplex     = &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}
	oneRequest = &grpc.StreamDesc{ServerStreams: true}
)

// stream is an open stream as the client uses it. Errors are as those of calls; io.EOF is
// its end. One goroutine may send while another receives.
type stream interface {
	Send(message any) error
	Receive(message any) error
	CloseRequest() error
	CloseResponse() error
}

// open opens a stream to the member, with the interceptors around it. CloseResponse ends it.
func (n *connection) open(ctx context.Context, procedure string, desc *grpc.StreamDesc, options ...grpc.CallOption) stream {
	spec := connect.Spec{StreamType: connect.StreamTypeServer, Procedure: procedure, IsClient: true}
	if desc.ClientStreams {
		spec.StreamType = connect.StreamTypeBidi
	}
	next := connect.StreamingClientFunc(func(ctx context.Context, spec connect.Spec) connect.StreamingClientConn {
		ctx, cancel := context.WithCancel(ctx) // of the stream alone: interceptors outlive it
		return &grpcStream{
			n: n, ctx: ctx, cancel: cancel, spec: spec, desc: desc, options: options,
			header: make(http.Header), opened: make(chan struct{}),
		}
	})
	for _, i := range slices.Backward(n.client.opts.Interceptors) {
		next = i.WrapStreamingClient(next)
	}
	return next(ctx, spec)
}

// outgoing adds to a context what a call says beside its messages. It fails for want of a token.
func (n *connection) outgoing(ctx context.Context, header http.Header) (context.Context, error) {
	var pairs []string
	for name, values := range header {
		for _, v := range values {
			pairs = append(pairs, strings.ToLower(name), v)
		}
	}
	if actor := n.client.opts.Actor; actor != "" {
		pairs = append(pairs, actorHeader, actor)
	}
	if cluster := n.client.meant(); cluster != "" {
		pairs = append(pairs, clusterHeader, cluster)
	}
	token, err := n.client.bearer(ctx)
	if err != nil {
		return nil, err
	}
	if token != "" {
		pairs = append(pairs, tokenHeader, token)
	}
	return metadata.AppendToOutgoingContext(ctx, pairs...), nil
}

// grpcStream is grpc-go's stream as connect's interceptors want it. It is opened by the
// first message, or by who wants to receive, so that interceptors may add to the header
// before.
type grpcStream struct {
	n       *connection
	ctx     context.Context
	cancel  context.CancelFunc
	spec    connect.Spec
	desc    *grpc.StreamDesc
	options []grpc.CallOption
	header  http.Header

	once   sync.Once
	opened chan struct{} // closed when stream or err is there
	stream grpc.ClientStream
	err    error
}

func (s *grpcStream) open() (grpc.ClientStream, error) {
	s.once.Do(func() {
		defer close(s.opened)
		var ctx context.Context
		if ctx, s.err = s.n.outgoing(s.ctx, s.header); s.err == nil {
			s.stream, s.err = s.n.conn.NewStream(ctx, s.desc, s.spec.Procedure, s.options...)
		}
	})
	<-s.opened
	return s.stream, s.failed(s.err)
}

// failed is an error of grpc-go as the client's others are.
func (s *grpcStream) failed(err error) error {
	if err == nil || errors.Is(err, io.EOF) || isUnsent(err) {
		return err
	}
	return s.n.client.refused(s.n.endpoint, s.n.client.explained(s.n.endpoint, fromStatus(err)))
}

// Spec is of connect.StreamingClientConn, as are those below.
func (s *grpcStream) Spec() connect.Spec { return s.spec }

// Peer says who is called.
func (s *grpcStream) Peer() connect.Peer {
	return connect.Peer{Addr: s.n.endpoint.address, Protocol: connect.ProtocolGRPC}
}

// Send returns io.EOF if the stream has ended: Receive says why. Sending nil opens it only.
func (s *grpcStream) Send(message any) error {
	stream, err := s.open()
	if err != nil || message == nil {
		return err
	}
	return s.failed(stream.SendMsg(message))
}

// Receive returns io.EOF after the last message.
func (s *grpcStream) Receive(message any) error {
	stream, err := s.open()
	if err != nil {
		return err
	}
	return s.failed(stream.RecvMsg(message))
}

// CloseRequest says that nothing more will be sent.
func (s *grpcStream) CloseRequest() error {
	stream, err := s.open()
	if err != nil {
		return err
	}
	return stream.CloseSend()
}

// CloseResponse ends the stream.
func (s *grpcStream) CloseResponse() error {
	s.cancel()
	return nil
}

// RequestHeader is sent with the first message.
func (s *grpcStream) RequestHeader() http.Header { return s.header }

// ResponseHeader is what has come of it so far.
func (s *grpcStream) ResponseHeader() http.Header { return s.received(grpc.ClientStream.Header) }

// ResponseTrailer is what came at the end.
func (s *grpcStream) ResponseTrailer() http.Header {
	return s.received(func(c grpc.ClientStream) (metadata.MD, error) { return c.Trailer(), nil })
}

func (s *grpcStream) received(from func(grpc.ClientStream) (metadata.MD, error)) http.Header {
	header := make(http.Header)
	select {
	case <-s.opened:
	default:
		return header
	}
	if s.err != nil {
		return header
	}
	md, err := from(s.stream)
	if err != nil {
		return header
	}
	for name, values := range md {
		for _, v := range values {
			header.Add(name, v)
		}
	}
	return header
}
