package server

import (
	"context"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	grpccodes "google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/internal/failure"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/proto/heliosdb/metadata/v1/metadatav1connect"
)

// Every rpc of the contract is served to gRPC clients, as what it is.
func TestNativeServesTheWholeContract(t *testing.T) {
	w := start(t, Options{})
	served := w.server.grpc.GetServiceInfo()
	for _, file := range contractFiles {
		for i := range file.Services().Len() {
			service := file.Services().Get(i)
			methods := served[string(service.FullName())].Methods
			for j := range service.Methods().Len() {
				m := service.Methods().Get(j)
				if !slices.ContainsFunc(methods, func(info grpc.MethodInfo) bool {
					return info.Name == string(m.Name()) && info.IsClientStream == m.IsStreamingClient() && info.IsServerStream == m.IsStreamingServer()
				}) {
					t.Errorf("%s is not served as the contract has it", m.FullName())
				}
			}
			if len(methods) != service.Methods().Len() {
				t.Errorf("%s has %d rpcs, and %d are served", service.FullName(), service.Methods().Len(), len(methods))
			}
		}
	}
}

// A stock gRPC client is served by grpc-go, which tells handlers of its peer, and a
// Connect client is not.
func TestGRPCClientsAreServedNatively(t *testing.T) {
	w := start(t, Options{})
	native := make(chan bool, 1)
	w.member.onWrite = func(ctx context.Context, _ proto.Message) error {
		_, ok := peer.FromContext(ctx)
		native <- ok
		return nil
	}
	ctx := metadata.AppendToOutgoingContext(t.Context(), ActorHeader, "someone")
	if err := w.grpc().Invoke(ctx, metadatav1connect.MetadataServiceCreateTableProcedure, createTable("a"), new(metadatav1.CreateTableResponse)); err != nil {
		t.Fatal(err)
	}
	if !<-native {
		t.Fatal("grpc-go's client was served by Connect")
	}
	if got := *w.member.actor.Load(); got != "someone" {
		t.Fatalf("the actor is %q", got)
	}
	must(w.rpc().CreateTable(t.Context(), createTable("b")))(t)
	if <-native {
		t.Fatal("a Connect client was served by grpc-go")
	}
	must(w.rpc(connect.WithGRPCWeb()).CreateTable(t.Context(), createTable("c")))(t)
	if <-native {
		t.Fatal("a gRPC-Web client was served by grpc-go")
	}
}

// Bytes that are no message of the rpc are the client's mistake, and say so.
func TestNativeRefusesBadBytes(t *testing.T) {
	w := start(t, Options{})
	err := w.grpc().Invoke(t.Context(), metadatav1connect.MetadataServiceCreateTableProcedure, []byte("\xff\xff\xff"),
		new(metadatav1.CreateTableResponse), grpc.ForceCodec(rawCodec{}))
	got := status.Convert(err)
	if got.Code() != grpccodes.InvalidArgument || len(got.Details()) == 0 {
		t.Fatalf("got %v with %v", err, got.Details())
	}
	if info, ok := got.Details()[0].(*errdetails.ErrorInfo); !ok || info.GetReason() != "INVALID_FIELD" || info.GetDomain() != ErrorDomain {
		t.Fatalf("the details are %v", got.Details())
	}
}

// So are bytes that are no gzip, though they are said to be.
func TestNativeRefusesBadGzip(t *testing.T) {
	for name, packed := range map[string]string{"noise": "this is no gzip", "a header": "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff", "nothing": ""} {
		raw, err := nativeGzip{}.Do(strings.NewReader(packed))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		request := new(metadatav1.CreateTableRequest)
		if err := (nativeCodec{}).Unmarshal(mem.BufferSlice{mem.SliceBuffer(raw)}, request); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if f := failure.As(takeNote(request)); f == nil || f.Reason != metadatav1.ErrorReason_ERROR_REASON_INVALID_FIELD {
			t.Fatalf("%s is answered by %v", name, f)
		}
	}
}

// rawCodec sends bytes as they are, under protobuf's name.
type rawCodec struct{}

func (rawCodec) Name() string                        { return "proto" }
func (rawCodec) Marshal(message any) ([]byte, error) { return message.([]byte), nil }
func (rawCodec) Unmarshal([]byte, any) error         { return nil }

// A panic in a handler is an answer, and the member goes on.
func TestNativePanicsAreAnswered(t *testing.T) {
	w := start(t, Options{})
	w.member.onWrite = func(context.Context, proto.Message) error { panic("boom") }
	conn := w.grpc()
	for range 2 {
		err := conn.Invoke(t.Context(), metadatav1connect.MetadataServiceCreateTableProcedure, createTable("a"), new(metadatav1.CreateTableResponse))
		if status.Code(err) != grpccodes.Internal {
			t.Fatalf("got %v", err)
		}
	}
}

// A call whose message never comes ends in time, and gives its place back.
func TestNativeCallsEndInTime(t *testing.T) {
	w := start(t, Options{Limits: Limits{Requests: 1, UnaryTimeout: 100 * time.Millisecond}})
	conn := w.grpc()
	for range 2 {
		stream := must(conn.NewStream(t.Context(), &grpc.StreamDesc{ClientStreams: true}, metadatav1connect.MetadataServiceCreateTableProcedure))(t)
		if err := stream.RecvMsg(new(metadatav1.CreateTableResponse)); status.Code(err) != grpccodes.DeadlineExceeded {
			t.Fatalf("got %v", err)
		}
		eventually(t, "the place is free", func() bool { return w.server.gate.requests.taken.Load() == 0 })
	}
}

// A stop cuts what hangs when its time is over, and says so.
func TestNativeStopGivesUpOnTime(t *testing.T) {
	w := start(t, Options{})
	entered := make(chan struct{})
	w.member.onWrite = func(ctx context.Context, _ proto.Message) error { close(entered); <-ctx.Done(); return ctx.Err() }
	conn := w.grpc()
	done := make(chan error, 1)
	go func() {
		done <- conn.Invoke(context.WithoutCancel(t.Context()), metadatav1connect.MetadataServiceCreateTableProcedure, createTable("t"), new(metadatav1.CreateTableResponse))
	}()
	<-entered
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := w.server.Stop(ctx); err == nil {
		t.Fatal("a call hangs, but Stop says that all is well")
	}
	if err := <-done; err == nil {
		t.Fatal("the call that was cut off succeeded")
	}
	if conn, err := net.Dial("tcp", w.addr); err == nil {
		_ = conn.Close()
		t.Fatal("the port is still open")
	}
}
