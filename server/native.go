package server

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	grpccodes "google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/reflection"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	reflectionv1alpha "google.golang.org/grpc/reflection/grpc_reflection_v1alpha"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/tap"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/heliosdb/metadata/server/preface"
)

// native serves gRPC clients by grpc-go, on connections that are known to be
// theirs. It answers as the Connect handlers do, at a third of their cost: the same
// gate, checks, handlers, metrics and errors.
type native struct {
	service
	unaryPaths map[string]bool
}

func newNative(s *Server) *grpc.Server {
	n := &native{service: service{s}, unaryPaths: pathsOf(isUnary)}
	server := grpc.NewServer(
		grpc.Creds(handed{}),
		grpc.ForceServerCodecV2(nativeCodec{}),
		grpc.InTapHandle(n.limitTime),
		grpc.MaxRecvMsgSize(nativeReadBytes),
		grpc.RPCDecompressor(nativeGzip{}), //nolint:staticcheck // of this server, where the advised way is of the process
		grpc.MaxSendMsgSize(SendMaxBytes),
		grpc.StaticStreamWindowSize(nativeStreamWindow),
		grpc.StaticConnWindowSize(nativeConnWindow),
		grpc.MaxHeaderListSize(maxHeaderBytes),
		grpc.MaxConcurrentStreams(maxStreamsPerConn),
		grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionIdle: idleTimeout, Time: pingAfter, Timeout: pingTimeout}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: time.Second, PermitWithoutStream: true}),
		grpc.WaitForHandlers(true),
		grpc.NumStreamWorkers(nativeWorkers),
	)
	for _, desc := range n.services() {
		server.RegisterService(desc, n)
	}
	healthv1.RegisterHealthServer(server, nativeHealth{checker: checker{s}})
	shown := reflection.ServerOptions{Services: servicesOf(server.GetServiceInfo())}
	reflectionv1.RegisterServerReflectionServer(server, reflection.NewServerV1(shown))
	reflectionv1alpha.RegisterServerReflectionServer(server, reflection.NewServer(shown))
	return server
}

// limitTime bounds a unary call from its first byte on, the reading of its message
// included, and makes streams cancelable: reading and writing end with this context
// only.
func (n *native) limitTime(ctx context.Context, info *tap.Info) (context.Context, error) {
	limited := new(limitedContext)
	if n.unaryPaths[info.FullMethodName] {
		limited.Context, limited.cancel = n.times.of(info.FullMethodName).begin(ctx)
	} else {
		limited.Context, limited.cancel = context.WithCancel(ctx)
	}
	return limited, nil
}

// limitedContext is that of a call. Its parent's end, which always comes, cancels it.
type limitedContext struct {
	context.Context
	cancel context.CancelFunc
	late   atomic.Bool // it is canceled because its request has not arrived in time
}

type limitedKey struct{}

// Value is of context.Context.
func (c *limitedContext) Value(key any) any {
	if key == (limitedKey{}) {
		return c
	}
	return c.Context.Value(key)
}

// Err is of context.Context. Where a request does not arrive, grpc-go asks this very context, not one
// that was derived from it, and tells the client no more than its code.
func (c *limitedContext) Err() error {
	err := c.Context.Err()
	if err != nil && c.late.Load() {
		return context.DeadlineExceeded
	}
	return err
}

// endWithServer cancels a stream whose client does not read what it is told when the
// server drains. The function that it returns has to be called when the stream ends.
func (n *native) endWithServer(ctx context.Context) func() bool {
	limited, ok := ctx.Value(limitedKey{}).(*limitedContext)
	if !ok {
		return func() bool { return false }
	}
	return context.AfterFunc(n.life, func() { time.AfterFunc(drainWrites, limited.cancel) })
}

// admit is the gate for a call of grpc-go. The function that it returns gives the
// call's place back.
func (n *native) admit(ctx context.Context, spec connect.Spec) (context.Context, func(), error) {
	c := new(call)
	from := connect.Peer{Protocol: connect.ProtocolGRPC}
	if p, ok := peer.FromContext(ctx); ok {
		if known, ok := p.AuthInfo.(arrived); ok {
			from.Addr, c.tls = known.addr, known.tls
		}
	}
	var header http.Header
	if actors := metadata.ValueFromIncomingContext(ctx, actorKey); len(actors) > 0 {
		header = http.Header{ActorHeader: actors}
	}
	if clusters := metadata.ValueFromIncomingContext(ctx, clusterKey); len(clusters) > 0 {
		if header == nil {
			header = make(http.Header)
		}
		header[ClusterHeader] = clusters
	}
	ctx, err := n.gate.admit(context.WithValue(ctx, callKey{}, c), spec, from, header)
	return ctx, c.end, err
}

// call carries out a call: run gets its context. What a panic or an error makes of
// it is the edge's business.
func (n *native) call(ctx context.Context, spec connect.Spec, run func(context.Context) error) error {
	ctx, leave, err := n.admit(ctx, spec)
	defer leave()
	if err != nil {
		return asStatus(err)
	}
	if endsWithServer(spec) {
		defer n.endWithServer(ctx)()
	}
	return asStatus(n.edge.run(ctx, spec, run))
}

// receive reads a message and checks it. Where it is too large, grpc-go has answered
// by itself already.
func (n *native) receive(stream grpc.ServerStream, message proto.Message) error {
	if err := stream.RecvMsg(message); err != nil {
		return err
	}
	return n.edge.check(message)
}

// receiveInTime is receive for the one message of a call that may take longer, and ends the call
// with the time that its request has to arrive.
func (n *native) receiveInTime(stream grpc.ServerStream, message proto.Message) error {
	limited, ok := stream.Context().Value(limitedKey{}).(*limitedContext)
	if !ok {
		return n.receive(stream, message)
	}
	end := time.AfterFunc(n.times.arrival.after, func() {
		limited.late.Store(true)
		limited.cancel()
	})
	err := n.receive(stream, message)
	if !end.Stop() {
		return n.late()
	}
	return err
}

// asStatus turns what the Connect handlers answer into grpc-go's form.
func asStatus(err error) error {
	if err == nil {
		return nil
	}
	own, ok := errors.AsType[*connect.Error](toConnect(err))
	if !ok {
		return status.Error(grpccodes.Unknown, err.Error())
	}
	out := &spb.Status{Code: int32(own.Code()), Message: own.Message()} //nolint:gosec // both are gRPC's codes
	for _, d := range own.Details() {
		out.Details = append(out.Details, &anypb.Any{TypeUrl: detailURL + d.Type(), Value: d.Bytes()})
	}
	return status.ErrorProto(out)
}

// actorKey and clusterKey are ActorHeader and ClusterHeader as grpc-go names them.
var actorKey, clusterKey = strings.ToLower(ActorHeader), strings.ToLower(ClusterHeader)

// arrived is what is known of a connection, found out once for all of its calls.
type arrived struct {
	credentials.CommonAuthInfo
	addr string
	tls  *tls.ConnectionState // nil: plain text
}

// AuthType is of credentials.AuthInfo.
func (a arrived) AuthType() string {
	if a.tls == nil {
		return "none"
	}
	return "tls"
}

// handed are the credentials of connections whose handshake is over.
type handed struct{}

// ServerHandshake is of credentials.TransportCredentials.
func (handed) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	known := arrived{addr: conn.RemoteAddr().String()}
	known.SecurityLevel = credentials.NoSecurity
	if c, ok := conn.(*preface.Conn); ok && c.TLS() != nil {
		known.tls, known.SecurityLevel = c.TLS(), credentials.PrivacyAndIntegrity
	}
	return conn, known, nil
}

// ClientHandshake is of credentials.TransportCredentials; the server makes no calls.
func (handed) ClientHandshake(context.Context, string, net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("these credentials are a server's")
}

// Info is of credentials.TransportCredentials.
func (handed) Info() credentials.ProtocolInfo { return credentials.ProtocolInfo{} }

// Clone is of credentials.TransportCredentials.
func (h handed) Clone() credentials.TransportCredentials { return h }

// OverrideServerName is of credentials.TransportCredentials.
func (handed) OverrideServerName(string) error { return nil }
