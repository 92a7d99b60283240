package server

import (
	"context"
	"io"
	"strings"

	"connectrpc.com/connect"
	"connectrpc.com/grpchealth"
	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/gzip" // for answers
	grpcproto "google.golang.org/grpc/encoding/proto"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/feed"
	"github.com/heliosdb/metadata/internal/canonical"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/proto/heliosdb/metadata/v1/metadatav1connect"
)

// services are grpc-go's descriptions of the contract's. Every rpc is a stream to
// it, also a unary one: only so does the gate come before the message is read.
func (n *native) services() []*grpc.ServiceDesc {
	return []*grpc.ServiceDesc{
		n.describe(metadatav1connect.MetadataServiceName, n.unaryRPCs(), n.subscribe(), n.streamHeartbeats(), n.pipelines()),
		n.describe(metadatav1connect.ClusterServiceName, n.clusterRPCs()),
		n.describe(metadatav1connect.HistoryServiceName, n.historyRPCs(),
			serverStream(n, metadatav1connect.HistoryServiceStreamChangesProcedure, n.streamChanges),
			serverStream(n, metadatav1connect.HistoryServiceStreamBaseProcedure, n.streamBase),
			serverStream(n, metadatav1connect.HistoryServiceVerifyHistoryProcedure, n.verifyHistory)),
		n.describe(metadatav1connect.ConsumerServiceName, n.consumerRPCs()),
	}
}

func (n *native) describe(name string, unary []unaryRPC, streams ...grpc.StreamDesc) *grpc.ServiceDesc {
	desc := &grpc.ServiceDesc{ServiceName: name, HandlerType: (*any)(nil), Streams: streams}
	for _, rpc := range unary {
		desc.Streams = append(desc.Streams, n.unary(rpc))
	}
	return desc
}

// serverStream describes an rpc that answers with a stream.
func serverStream[Q, A any, PQ interface {
	*Q
	proto.Message
}](n *native, procedure string, handle func(context.Context, PQ, func(*A) error) error) grpc.StreamDesc {
	spec := connect.Spec{StreamType: connect.StreamTypeServer, Procedure: procedure}
	desc := stream(procedure, func(s grpc.ServerStream) error {
		return n.call(s.Context(), spec, func(ctx context.Context) error {
			request := PQ(new(Q))
			if err := n.receiveInTime(s, request); err != nil {
				return err
			}
			return handle(ctx, request, newNativeDuplex[Q, A, PQ](n, s, spec).Send)
		})
	})
	desc.ServerStreams = true
	return desc
}

func (n *native) unary(rpc unaryRPC) grpc.StreamDesc {
	receive := n.receive // which the limit of the call ends
	if n.times.of(rpc.spec.Procedure).after > n.times.arrival.after {
		receive = n.receiveInTime
	}
	return stream(rpc.spec.Procedure, func(s grpc.ServerStream) error {
		return n.call(s.Context(), rpc.spec, func(ctx context.Context) error {
			request := rpc.request()
			if err := receive(s, request); err != nil {
				return err
			}
			answer, err := rpc.handle(ctx, request)
			if err != nil {
				return err
			}
			return s.SendMsg(answer)
		})
	})
}

// subscribe is of the contract.
func (n *native) subscribe() grpc.StreamDesc {
	spec := connect.Spec{StreamType: connect.StreamTypeServer, Procedure: metadatav1connect.MetadataServiceSubscribeProcedure}
	desc := stream(spec.Procedure, func(s grpc.ServerStream) error {
		return n.call(s.Context(), spec, func(ctx context.Context) error {
			request := new(metadatav1.SubscribeRequest)
			if err := n.receiveInTime(s, request); err != nil {
				return err
			}
			sent := n.metrics.sent.WithLabelValues(spec.Procedure)
			return n.frames(ctx, request, func(frame feed.Frame) error {
				raw, err := frame.Encoded()
				if err != nil {
					return err
				}
				if err := s.SendMsg(encoded(raw)); err != nil {
					return err
				}
				sent.Inc()
				return nil
			})
		})
	})
	desc.ServerStreams = true
	return desc
}

// streamHeartbeats is of the contract.
func (n *native) streamHeartbeats() grpc.StreamDesc {
	spec := connect.Spec{StreamType: connect.StreamTypeBidi, Procedure: metadatav1connect.MetadataServiceStreamHeartbeatsProcedure}
	desc := stream(spec.Procedure, func(s grpc.ServerStream) error {
		return n.call(s.Context(), spec, func(ctx context.Context) error {
			return n.heartbeats(ctx, newNativeDuplex[metadatav1.StreamHeartbeatsRequest, metadatav1.StreamHeartbeatsResponse](n, s, spec))
		})
	})
	desc.ServerStreams, desc.ClientStreams = true, true
	return desc
}

// pipelines is Pipeline of the contract.
func (n *native) pipelines() grpc.StreamDesc {
	spec := connect.Spec{StreamType: connect.StreamTypeBidi, Procedure: metadatav1connect.MetadataServicePipelineProcedure}
	desc := stream(spec.Procedure, func(s grpc.ServerStream) error {
		return n.call(s.Context(), spec, func(ctx context.Context) error {
			return n.pipeline(ctx, newNativeDuplex[metadatav1.PipelineRequest, metadatav1.PipelineResponse](n, s, spec))
		})
	})
	desc.ServerStreams, desc.ClientStreams = true, true
	return desc
}

// nativeDuplex is the duplex of a grpc-go stream.
type nativeDuplex[Q, A any, PQ interface {
	*Q
	proto.Message
}] struct {
	n      *native
	stream grpc.ServerStream
	sent   func()
}

func newNativeDuplex[Q, A any, PQ interface {
	*Q
	proto.Message
}](n *native, s grpc.ServerStream, spec connect.Spec) *nativeDuplex[Q, A, PQ] {
	return &nativeDuplex[Q, A, PQ]{n: n, stream: s, sent: n.metrics.sent.WithLabelValues(spec.Procedure).Inc}
}

func (d *nativeDuplex[Q, A, PQ]) Receive() (*Q, error) {
	message := PQ(new(Q))
	return message, d.n.receive(d.stream, message)
}

func (d *nativeDuplex[Q, A, PQ]) Send(message *A) error {
	if err := d.stream.SendMsg(message); err != nil {
		return err
	}
	d.sent()
	return nil
}

// finish has nothing to do: grpc-go ends the reading of a stream after its handler.
func (d *nativeDuplex[Q, A, PQ]) finish(func()) {}

func stream(procedure string, handle func(grpc.ServerStream) error) grpc.StreamDesc {
	return grpc.StreamDesc{
		StreamName: procedure[strings.LastIndexByte(procedure, '/')+1:],
		Handler:    func(_ any, s grpc.ServerStream) error { return handle(s) },
	}
}

// encoded is a message that was encoded before, for all who are sent it.
type encoded []byte

// nativeCodec is protobuf's binary encoding, and passes on what is encoded already.
type nativeCodec struct{}

var protobuf = encoding.GetCodecV2(grpcproto.Name)

func (nativeCodec) Name() string { return grpcproto.Name }

func (nativeCodec) Marshal(message any) (mem.BufferSlice, error) {
	switch m := message.(type) {
	case encoded:
		return mem.BufferSlice{mem.SliceBuffer(m)}, nil
	case *metadatav1.CreateTableResponse, *metadatav1.AlterTableResponse, *metadatav1.GetTableResponse,
		*metadatav1.ApplyBatchResponse, *metadatav1.PipelineResponse:
		raw, err := canonical.Marshal(m.(proto.Message))
		return mem.BufferSlice{mem.SliceBuffer(raw)}, err
	}
	return protobuf.Marshal(message)
}

// Unmarshal leaves a note where it fails, as binaryCodec does, and for its reason.
func (nativeCodec) Unmarshal(data mem.BufferSlice, message any) error {
	m, err := protoMessage(message)
	if err != nil {
		return err
	}
	if data.Len() > ReadMaxBytes {
		m.ProtoReflect().SetUnknown(note(tooLargeNote, ""))
		return nil
	}
	buf := data.MaterializeToBuffer(mem.DefaultBufferPool())
	defer buf.Free()
	if err := canonical.Unmarshal(buf.ReadOnlyData(), m); err != nil {
		leaveNote(m, err)
	}
	return nil
}

// nativeGzip decompresses requests, at most ReadMaxBytes of each. It does not fail
// either: what cannot be decompressed becomes a message with a note.
type nativeGzip struct{}

// Type is of grpc.Decompressor.
func (nativeGzip) Type() string { return "gzip" }

// Do is of grpc.Decompressor.
func (nativeGzip) Do(packed io.Reader) ([]byte, error) {
	bounded := new(boundedGzip)
	_ = bounded.Reset(packed) // reading fails then
	out, err := io.ReadAll(bounded)
	switch {
	case err == nil:
		return out, nil
	case connect.CodeOf(err) == connect.CodeResourceExhausted:
		return note(tooLargeNote, ""), nil
	}
	return note(noteField, err.Error()), nil
}

// servicesOf is what reflection tells of.
type servicesOf map[string]grpc.ServiceInfo

// GetServiceInfo is of reflection.ServiceInfoProvider.
func (s servicesOf) GetServiceInfo() map[string]grpc.ServiceInfo { return s }

// nativeHealth answers the gRPC health protocol, as the Connect handler does: Check only,
// Watch is refused.
type nativeHealth struct {
	healthv1.UnimplementedHealthServer
	checker
}

// Check is of healthv1.HealthServer.
func (h nativeHealth) Check(ctx context.Context, request *healthv1.HealthCheckRequest) (*healthv1.HealthCheckResponse, error) {
	answer, err := h.checker.Check(ctx, &grpchealth.CheckRequest{Service: request.GetService()})
	if err != nil {
		return nil, asStatus(err)
	}
	return &healthv1.HealthCheckResponse{Status: healthv1.HealthCheckResponse_ServingStatus(answer.Status)}, nil
}
