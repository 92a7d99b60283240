package workload

import (
	"context"
	"crypto/tls"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/client/follow"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/proto/heliosdb/metadata/v1/metadatav1connect"
)

// actorHeader is how callers without a certificate say who they are.
const actorHeader = "helios-actor"

// grpcCaller calls as code that protoc-gen-go-grpc generates does: one grpc-go
// connection with its default settings.
type grpcCaller struct {
	conn    *grpc.ClientConn
	timeout time.Duration
	actor   string
}

// newGRPCCaller returns a caller of one member. It connects with the first call.
func newGRPCCaller(endpoint string, config *tls.Config, actor string, timeout time.Duration) (*grpcCaller, error) {
	security := insecure.NewCredentials()
	if config != nil {
		security = credentials.NewTLS(config.Clone())
	}
	conn, err := grpc.NewClient("passthrough:///"+hostOf(endpoint), grpc.WithTransportCredentials(security))
	if err != nil {
		return nil, err
	}
	return &grpcCaller{conn: conn, timeout: timeout, actor: actor}, nil
}

// hostOf is an endpoint without what only URLs have.
func hostOf(endpoint string) string {
	if _, host, found := strings.Cut(endpoint, "://"); found {
		endpoint = host
	}
	return strings.TrimSuffix(endpoint, "/")
}

func (c *grpcCaller) Close() { _ = c.conn.Close() }

func (c *grpcCaller) named(ctx context.Context) context.Context {
	return metadata.AppendToOutgoingContext(ctx, actorHeader, c.actor)
}

// invoke makes a unary call.
func invoke[Res any, P interface {
	*Res
	proto.Message
}](ctx context.Context, c *grpcCaller, procedure string, req proto.Message) (*Res, error) {
	ctx, cancel := context.WithTimeout(c.named(ctx), c.timeout)
	defer cancel()
	res := P(new(Res))
	if err := c.conn.Invoke(ctx, procedure, req, res); err != nil {
		return nil, err
	}
	return res, nil
}

func (c *grpcCaller) CreateTable(ctx context.Context, req *metadatav1.CreateTableRequest) (*metadatav1.CreateTableResponse, error) {
	return invoke[metadatav1.CreateTableResponse](ctx, c, metadatav1connect.MetadataServiceCreateTableProcedure, req)
}

func (c *grpcCaller) AlterTable(ctx context.Context, req *metadatav1.AlterTableRequest) (*metadatav1.AlterTableResponse, error) {
	return invoke[metadatav1.AlterTableResponse](ctx, c, metadatav1connect.MetadataServiceAlterTableProcedure, req)
}

func (c *grpcCaller) ApplyBatch(ctx context.Context, req *metadatav1.ApplyBatchRequest) (*metadatav1.ApplyBatchResponse, error) {
	return invoke[metadatav1.ApplyBatchResponse](ctx, c, metadatav1connect.MetadataServiceApplyBatchProcedure, req)
}

func (c *grpcCaller) GetTable(ctx context.Context, req *metadatav1.GetTableRequest) (*metadatav1.GetTableResponse, error) {
	return invoke[metadatav1.GetTableResponse](ctx, c, metadatav1connect.MetadataServiceGetTableProcedure, req)
}

func (c *grpcCaller) GetTableAsOf(ctx context.Context, req *metadatav1.GetTableAsOfRequest) (*metadatav1.GetTableAsOfResponse, error) {
	return invoke[metadatav1.GetTableAsOfResponse](ctx, c, metadatav1connect.HistoryServiceGetTableAsOfProcedure, req)
}

func (c *grpcCaller) ObjectLog(ctx context.Context, req *metadatav1.ObjectLogRequest) (*metadatav1.ObjectLogResponse, error) {
	return invoke[metadatav1.ObjectLogResponse](ctx, c, metadatav1connect.HistoryServiceObjectLogProcedure, req)
}

func (c *grpcCaller) Beats(ctx context.Context) (Beats, error) {
	both := &grpc.StreamDesc{StreamName: "StreamHeartbeats", ServerStreams: true, ClientStreams: true}
	stream, err := c.conn.NewStream(c.named(ctx), both, metadatav1connect.MetadataServiceStreamHeartbeatsProcedure)
	if err != nil {
		return nil, err
	}
	return grpcBeats{stream}, nil
}

func (c *grpcCaller) Frames(ctx context.Context, req *metadatav1.SubscribeRequest) (Frames, error) {
	down := &grpc.StreamDesc{StreamName: "Subscribe", ServerStreams: true}
	stream, err := c.conn.NewStream(c.named(ctx), down, metadatav1connect.MetadataServiceSubscribeProcedure)
	if err != nil {
		return nil, err
	}
	if err := stream.SendMsg(req); err != nil {
		return nil, err
	}
	return grpcFrames{stream}, stream.CloseSend()
}

type grpcBeats struct{ stream grpc.ClientStream }

func (b grpcBeats) Close() { _ = b.stream.CloseSend() }

func (b grpcBeats) Send(m *metadatav1.StreamHeartbeatsRequest) error { return b.stream.SendMsg(m) }

func (b grpcBeats) Receive() (*metadatav1.StreamHeartbeatsResponse, error) {
	m := new(metadatav1.StreamHeartbeatsResponse)
	return m, b.stream.RecvMsg(m)
}

type grpcFrames struct{ stream grpc.ClientStream }

func (f grpcFrames) Receive() (follow.Frame, error) {
	m := new(metadatav1.SubscribeResponse)
	err := f.stream.RecvMsg(m)
	return follow.FrameOf(m), err
}
