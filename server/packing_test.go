package server

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/stats"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/proto/heliosdb/metadata/v1/metadatav1connect"
)

// packing counts messages that came packed.
type packing struct{ headers, packed atomic.Int64 }

func (p *packing) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context   { return ctx }
func (p *packing) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (p *packing) HandleConn(context.Context, stats.ConnStats)                       {}

func (p *packing) HandleRPC(_ context.Context, s stats.RPCStats) {
	if header, ok := s.(*stats.InHeader); ok {
		p.headers.Add(1)
		if header.Compression != "" && header.Compression != encoding.Identity {
			p.packed.Add(1)
		}
	}
}

// A gRPC client that could unpack streams is nevertheless sent them as they are: packing
// them costs the member more than all else about them.
func TestStreamsOfGRPCClientsAreNotPacked(t *testing.T) {
	if encoding.GetCompressor("gzip") == nil {
		t.Fatal("this client could not unpack anything")
	}
	w, p := lived(t), &packing{}
	conn, err := grpc.NewClient(w.addr, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithStatsHandler(p))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	stream, err := conn.NewStream(t.Context(), &grpc.StreamDesc{ServerStreams: true}, metadatav1connect.HistoryServiceStreamChangesProcedure)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(stream.SendMsg(&metadatav1.StreamChangesRequest{Selection: ofSchema()}), stream.CloseSend()); err != nil {
		t.Fatal(err)
	}
	changes := 0
	for {
		m := new(metadatav1.StreamChangesResponse)
		if err := stream.RecvMsg(m); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		changes += len(m.GetChanges())
	}
	if changes != 4 || p.headers.Load() != 1 || p.packed.Load() != 0 {
		t.Fatalf("%d changes came, %d of %d streams packed", changes, p.packed.Load(), p.headers.Load())
	}
}
