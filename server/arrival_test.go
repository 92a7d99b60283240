package server

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/grpc"
	grpccodes "google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/proto/heliosdb/metadata/v1/metadatav1connect"
)

// drops is a body that comes drop by drop behind its start, and without an end.
func drops(t *testing.T, start string) io.Reader {
	from, to := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for next := start + " "; ; next = " " {
			if _, err := to.Write([]byte(next)); err != nil {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	}()
	t.Cleanup(func() { _ = from.Close(); <-done })
	return from
}

func (w *world) wantAllPlacesFree() {
	w.t.Helper()
	eventually(w.t, "all places are given back", func() bool {
		g := w.server.gate
		return g.requests.taken.Load()+g.subscriptions.taken.Load()+g.historyReads.taken.Load()+
			g.historyStreams.taken.Load()+g.verifications.taken.Load() == 0
	})
}

// A request that comes drop by drop ends with the time of unary calls, also where the work on it
// may take longer, and gives its place back.
func TestRequestsArriveInTime(t *testing.T) {
	const limit = 200 * time.Millisecond
	w := start(t, Options{Limits: Limits{UnaryTimeout: limit, HistoryTimeout: time.Minute}})
	const plain, framed, web = "application/json", "application/connect+json", "application/grpc-web+proto"
	for name, client := range map[string]*http.Client{"HTTP/1.1": w.http1(), "HTTP/2": w.http2()} {
		for _, c := range []struct{ procedure, media string }{
			{healthCheck, plain},
			{metadatav1connect.MetadataServiceCreateTableProcedure, plain},
			{metadatav1connect.MetadataServiceSubscribeProcedure, framed},
			{metadatav1connect.HistoryServiceListTablesAsOfProcedure, plain},
			{metadatav1connect.HistoryServiceListTablesAsOfProcedure, web},
			{metadatav1connect.HistoryServiceStreamChangesProcedure, web},
			{metadatav1connect.HistoryServiceVerifyHistoryProcedure, framed},
		} {
			begin := "" // the prefix of a message of 64 KiB, where there are prefixes
			if c.media != plain {
				begin = "\x00\x00\x01\x00\x00"
			}
			t.Run(name+c.procedure+" "+c.media, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				defer cancel()
				request := must(http.NewRequestWithContext(ctx, http.MethodPost, w.url+c.procedure, drops(t, begin)))(t)
				request.Header.Set("Content-Type", c.media)
				began := time.Now()
				response, err := client.Do(request)
				if err != nil {
					t.Fatal(err)
				}
				answer := body(t, response) + fmt.Sprint(response.Header)
				if !strings.Contains(answer, "did not arrive within UnaryTimeout, 200ms") {
					t.Errorf("it is answered %q", answer)
				}
				if took := time.Since(began); took < limit/2 {
					t.Errorf("it ended after %v already", took)
				}
			})
		}
	}
	w.wantAllPlacesFree()
}

// So it is with gRPC clients, who may also send nothing.
func TestNativeRequestsArriveInTime(t *testing.T) {
	w := start(t, Options{Limits: Limits{UnaryTimeout: 100 * time.Millisecond, HistoryTimeout: time.Minute}})
	conn := w.grpc()
	for _, procedure := range []string{
		healthCheck,
		metadatav1connect.MetadataServiceSubscribeProcedure,
		metadatav1connect.HistoryServiceListTablesAsOfProcedure,
		metadatav1connect.HistoryServiceStreamChangesProcedure,
		metadatav1connect.HistoryServiceVerifyHistoryProcedure,
	} {
		ctx, cancel := context.WithCancel(t.Context())
		defer time.AfterFunc(5*time.Second, cancel).Stop() // no deadline, which would end it alike
		stream := must(conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true}, procedure))(t)
		err := stream.RecvMsg(new(metadatav1.SubscribeResponse))
		if status.Code(err) != grpccodes.DeadlineExceeded {
			t.Errorf("%s is answered %v", procedure, err)
		}
		cancel()
	}
	w.wantAllPlacesFree()
}

// A stream whose request has arrived goes on beyond the time for that.
func TestStreamsOutliveTheArrivalOfTheirRequest(t *testing.T) {
	const limit = 300 * time.Millisecond
	w := start(t, Options{Limits: Limits{UnaryTimeout: limit}})
	for name, client := range map[string]metadatav1connect.MetadataServiceClient{
		"HTTP/1.1": metadatav1connect.NewMetadataServiceClient(w.http1(), w.url), "HTTP/2": w.rpc(),
		"gRPC": w.rpc(connect.WithGRPC()), "gRPC-Web": w.rpc(connect.WithGRPCWeb()),
	} {
		stream := must(client.Subscribe(t.Context(), &metadatav1.SubscribeRequest{}))(t)
		for began := time.Now(); time.Since(began) < 3*limit; {
			if !stream.Receive() {
				t.Fatalf("%s: it ended after %v: %v", name, time.Since(began), stream.Err())
			}
			must(w.rpc().CreateTable(t.Context(), createTable(fmt.Sprintf("t%d", w.member.Position().GetSchemaRevision()))))(t)
			time.Sleep(limit / 5)
		}
		_ = stream.Close()
	}
}
