package client

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	grpcproto "google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/client/internal/pipeline"
	"github.com/heliosdb/metadata/internal/canonical"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/proto/heliosdb/metadata/v1/metadatav1connect"
)

const (
	// maxPipelined is the size of the largest request that shares a stream with others:
	// a larger one would keep them waiting.
	maxPipelined = 64 << 10
	// greeting is how long a member may take to serve a Pipeline stream.
	greeting = 3 * time.Second
	// pipeRetry is between two attempts to open one.
	pipeRetry = time.Second
	// pipeIdle is how long a Pipeline stream is kept without a call.
	pipeIdle = time.Minute
)

// connection is the gRPC connection to a member. It carries streams and, while a Pipeline
// stream is open on it, unary calls.
type connection struct {
	client   *Client
	endpoint *endpoint
	conn     *grpc.ClientConn
	pipe     atomic.Pointer[pipeline.Pipe] // nil: none is open
	unnamed  atomic.Bool                   // it was opened before the client knew its cluster

	mu      sync.Mutex
	opening bool
	tried   time.Time // when an attempt to open one ended last
}

// newConnection prepares a connection; the first stream connects.
func (c *Client) newConnection(e *endpoint, base *url.URL) (*connection, error) {
	security := insecure.NewCredentials()
	if base.Scheme == "https" {
		config := c.opts.TLS.Clone()
		if config == nil {
			config = new(tls.Config)
		}
		security = credentials.NewTLS(config)
	}
	conn, err := grpc.NewClient("passthrough:///"+base.Host,
		grpc.WithTransportCredentials(security),
		grpc.WithNoProxy(),
		grpc.WithDisableServiceConfig(),
		grpc.WithStaticStreamWindowSize(streamWindow),
		grpc.WithStaticConnWindowSize(connWindow),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxReceiveBytes)),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 5 * time.Second}),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: minBackoff, Multiplier: 2, Jitter: 0.2, MaxDelay: maxBackoff},
			MinConnectTimeout: dialTimeout,
		}),
	)
	if err != nil {
		return nil, err
	}
	return &connection{client: c, endpoint: e, conn: conn}, nil
}

// pipelined returns the Pipeline stream that unary calls can be made on; nil if there is
// none right now. Then it begins to open one, and the caller does without: nobody waits
// for it, and what a member without it, or a proxy that carries no gRPC, says to the
// attempt is of no interest.
func (n *connection) pipelined() *pipeline.Pipe {
	if len(n.client.opts.Interceptors) > 0 {
		return nil // they want to see each call
	}
	if p := n.pipe.Load(); p != nil {
		if n.unnamed.Load() && !n.endpoint.identified.Load() && n.client.meant() != "" {
			return nil // the call is to say which cluster it is for, as the stream does not
		}
		return p
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.opening && time.Since(n.tried) > pipeRetry {
		n.opening = n.client.inBackground(n.keepPipe)
	}
	return n.pipe.Load()
}

// keepPipe opens a Pipeline stream and keeps it until it breaks or nobody uses it.
func (n *connection) keepPipe() {
	ctx, cancel := context.WithCancel(n.client.life)
	defer cancel()
	defer func() {
		n.mu.Lock()
		n.opening, n.tried = false, time.Now()
		n.mu.Unlock()
	}()
	n.unnamed.Store(n.client.meant() == "")
	late := time.AfterFunc(greeting, cancel)
	said, err := n.outgoing(ctx, nil)
	if err != nil {
		return // calls hear why
	}
	stream, err := n.conn.NewStream(said, duplex, metadatav1connect.MetadataServicePipelineProcedure, grpc.ForceCodecV2(inPipe{}))
	if err != nil {
		return
	}
	pipe, err := pipeline.Open(pipeStream{stream})
	if !late.Stop() || err != nil {
		return
	}
	n.pipe.Store(pipe)
	defer n.pipe.Store(nil)
	look := time.NewTicker(pipeIdle / 4)
	defer look.Stop()
	for {
		select {
		case <-pipe.Broken():
			return
		case <-look.C:
		}
		if since, idle := pipe.Idle(); idle && time.Since(since) > pipeIdle {
			n.pipe.Store(nil)
			pipe.Close() // who has just begun a call is answered before the end
			<-pipe.Broken()
			return
		}
	}
}

// pipeStream is grpc-go's stream as package pipeline wants it.
type pipeStream struct{ grpc.ClientStream }

func (s pipeStream) Send(encoded []byte) error { return s.SendMsg(encoded) }

func (s pipeStream) Receive() (*metadatav1.PipelineResponse, error) {
	m := new(metadatav1.PipelineResponse)
	return m, s.RecvMsg(m)
}

// inPipe is protobuf's codec for requests that are encoded already, and for answers that
// package canonical knows how to read.
type inPipe struct{}

func (inPipe) Name() string { return grpcproto.Name }

func (inPipe) Marshal(message any) (mem.BufferSlice, error) {
	raw, ok := message.([]byte)
	if !ok {
		return nil, fmt.Errorf("%T is not encoded", message)
	}
	return mem.BufferSlice{mem.SliceBuffer(raw)}, nil
}

func (inPipe) Unmarshal(data mem.BufferSlice, to any) error {
	m, ok := to.(proto.Message)
	if !ok {
		return fmt.Errorf("%T is no message", to)
	}
	buf := data.MaterializeToBuffer(mem.DefaultBufferPool())
	defer buf.Free()
	return canonical.Unmarshal(buf.ReadOnlyData(), m)
}

// undecoded is protobuf's codec for requests, and hands out answers in their encoding.
type undecoded struct{}

func (undecoded) Name() string { return grpcproto.Name }

func (undecoded) Marshal(message any) (mem.BufferSlice, error) {
	return encoding.GetCodecV2(grpcproto.Name).Marshal(message)
}

func (undecoded) Unmarshal(data mem.BufferSlice, to any) error {
	raw, ok := to.(*[]byte)
	if !ok {
		return fmt.Errorf("%T takes no bytes", to)
	}
	*raw = data.Materialize()
	return nil
}
