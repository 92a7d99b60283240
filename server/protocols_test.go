package server

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"google.golang.org/grpc"
	grpccodes "google.golang.org/grpc/codes"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	reflectionv1alpha "google.golang.org/grpc/reflection/grpc_reflection_v1alpha"
	"google.golang.org/grpc/status"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/proto/heliosdb/metadata/v1/metadatav1connect"
)

// Each protocol does one write, one read and one subscription.

func TestConnectClients(t *testing.T) {
	w := start(t, Options{})
	for name, client := range map[string]metadatav1connect.MetadataServiceClient{
		"connect":        w.rpc(),
		"connect http/1": metadatav1connect.NewMetadataServiceClient(w.http1(), w.url),
		"connect json":   w.rpc(connect.WithProtoJSON()),
		"connect get":    w.rpc(connect.WithHTTPGet()),
		"grpc":           w.rpc(connect.WithGRPC()),
		"grpc-web":       w.rpc(connect.WithGRPCWeb()),
		"grpc-web http/1": metadatav1connect.NewMetadataServiceClient(w.http1(), w.url,
			connect.WithGRPCWeb()),
		"gzip": w.rpc(connect.WithSendGzip()),
	} {
		t.Run(name, func(t *testing.T) {
			writeReadSubscribe(t, client, "t_"+strings.NewReplacer(" ", "_", "/", "_", "-", "_").Replace(name))
		})
	}
}

func writeReadSubscribe(t *testing.T, client metadatav1connect.MetadataServiceClient, name string) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	written := must(client.CreateTable(ctx, createTable(name)))(t)
	revision := written.GetResult().GetPosition().GetSchemaRevision()
	if written.GetTable().GetName() != name || revision == 0 {
		t.Fatalf("the write answered %v", written)
	}
	read := must(client.GetTable(ctx, &metadatav1.GetTableRequest{Table: &metadatav1.TableRef{Name: name}}))(t)
	if read.GetTable().GetTableId() != written.GetTable().GetTableId() || len(read.GetTable().GetColumns()) != 1 ||
		read.GetPosition().GetSchemaRevision() != revision {
		t.Fatalf("the read answered %v", read)
	}
	position := written.GetResult().GetPosition()
	position.SchemaRevision--
	stream := must(client.Subscribe(ctx, &metadatav1.SubscribeRequest{
		Start: &metadatav1.SubscribeRequest_After{After: position},
	}))(t)
	defer func() { cancel(); _ = stream.Close() }()
	for stream.Receive() {
		if changes := stream.Msg().GetChanges().GetChanges(); len(changes) > 0 {
			change := changes[0]
			if got := change.GetEvents()[0].GetTableCreated().GetTable().GetName(); change.GetRevision() != revision || got != name {
				t.Fatalf("revision %d brought table %q", change.GetRevision(), got)
			}
			return
		}
	}
	t.Fatalf("the subscription ended: %v", stream.Err())
}

func TestStockGRPC(t *testing.T) {
	w := start(t, Options{})
	conn := w.grpc()
	var written metadatav1.CreateTableResponse
	if err := conn.Invoke(t.Context(), metadatav1connect.MetadataServiceCreateTableProcedure, createTable("orders"), &written); err != nil {
		t.Fatal(err)
	}
	var read metadatav1.GetTableResponse
	request := &metadatav1.GetTableRequest{Table: &metadatav1.TableRef{TableId: written.GetTable().GetTableId()}}
	if err := conn.Invoke(t.Context(), metadatav1connect.MetadataServiceGetTableProcedure, request, &read); err != nil {
		t.Fatal(err)
	}
	if read.GetTable().GetName() != "orders" {
		t.Fatalf("read %v", &read)
	}
	err := conn.Invoke(t.Context(), metadatav1connect.MetadataServiceCreateTableProcedure, createTable("orders"), &written)
	if s := status.Convert(err); s.Code() != grpccodes.AlreadyExists || len(s.Details()) == 0 {
		t.Fatalf("a second table of this name: %v with details %v", s, s.Details())
	}

	stream, err := conn.NewStream(t.Context(), &grpc.StreamDesc{ServerStreams: true}, metadatav1connect.MetadataServiceSubscribeProcedure)
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.SendMsg(&metadatav1.SubscribeRequest{Start: &metadatav1.SubscribeRequest_Snapshot{Snapshot: true}}); err != nil {
		t.Fatal(err)
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	for {
		var frame metadatav1.SubscribeResponse
		if err := stream.RecvMsg(&frame); err != nil {
			t.Fatal(err)
		}
		if tables := frame.GetSnapshot().GetTables(); len(tables) == 1 && tables[0].GetName() == "orders" {
			return
		}
	}
}

// A client with nothing but HTTP and JSON.
func TestPlainJSON(t *testing.T) {
	w := start(t, Options{})
	client := w.http1()
	post := func(procedure, text string) string {
		response, err := client.Post(w.url+procedure, "application/json", strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		answer := body(t, response)
		if response.StatusCode != http.StatusOK {
			t.Fatalf("%s answered %d: %s", procedure, response.StatusCode, answer)
		}
		return answer
	}
	post(metadatav1connect.MetadataServiceCreateTableProcedure,
		`{"table":{"name":"orders","columns":[{"name":"id","dataType":{"kind":"TYPE_KIND_INT64"}}]}}`)
	if got := post(metadatav1connect.MetadataServiceGetTableProcedure, `{"table":{"name":"orders"}}`); !strings.Contains(got, `"orders"`) {
		t.Fatalf("read %s", got)
	}
	query := url.Values{"connect": {"v1"}, "encoding": {"json"}, "message": {`{"table":{"name":"orders"}}`}}
	if status, got := w.get(metadatav1connect.MetadataServiceGetTableProcedure + "?" + query.Encode()); status != http.StatusOK ||
		!strings.Contains(got, `"TYPE_KIND_INT64"`) {
		t.Fatalf("a GET answered %d: %s", status, got)
	}
	request := envelope(`{"snapshot":true}`)
	response, err := client.Post(w.url+metadatav1connect.MetadataServiceSubscribeProcedure, "application/connect+json", bytes.NewReader(request))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	for {
		var frame struct {
			Snapshot struct {
				Tables []struct{ Name string }
			}
		}
		if err := json.Unmarshal(readEnvelope(t, response.Body), &frame); err != nil {
			t.Fatal(err)
		}
		if tables := frame.Snapshot.Tables; len(tables) == 1 && tables[0].Name == "orders" {
			return
		}
	}
}

func envelope(message string) []byte {
	raw := binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message)))
	return append(raw, message...)
}

func readEnvelope(t *testing.T, from io.Reader) []byte {
	t.Helper()
	head := make([]byte, 5)
	if _, err := io.ReadFull(from, head); err != nil {
		t.Fatal(err)
	}
	message := make([]byte, binary.BigEndian.Uint32(head[1:]))
	if _, err := io.ReadFull(from, message); err != nil {
		t.Fatal(err)
	}
	return message
}

var wantServices = []string{
	"grpc.health.v1.Health", metadatav1connect.ClusterServiceName, metadatav1connect.ConsumerServiceName,
	metadatav1connect.HistoryServiceName, metadatav1connect.MetadataServiceName,
}

func TestReflection(t *testing.T) {
	w := start(t, Options{})
	conn := w.grpc()
	stream := must(reflectionv1.NewServerReflectionClient(conn).ServerReflectionInfo(t.Context()))(t)
	list := &reflectionv1.ServerReflectionRequest_ListServices{}
	if err := stream.Send(&reflectionv1.ServerReflectionRequest{MessageRequest: list}); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range must(stream.Recv())(t).GetListServicesResponse().GetService() {
		got = append(got, s.GetName())
	}
	if slices.Sort(got); !slices.Equal(got, wantServices) {
		t.Fatalf("reflection lists %q, want %q", got, wantServices)
	}
	symbol := &reflectionv1.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: metadatav1connect.MetadataServiceName}
	if err := stream.Send(&reflectionv1.ServerReflectionRequest{MessageRequest: symbol}); err != nil {
		t.Fatal(err)
	}
	if files := must(stream.Recv())(t).GetFileDescriptorResponse().GetFileDescriptorProto(); len(files) == 0 {
		t.Fatal("reflection knows no file of the service")
	}

	old := must(reflectionv1alpha.NewServerReflectionClient(conn).ServerReflectionInfo(t.Context()))(t)
	if err := old.Send(&reflectionv1alpha.ServerReflectionRequest{
		MessageRequest: &reflectionv1alpha.ServerReflectionRequest_ListServices{},
	}); err != nil {
		t.Fatal(err)
	}
	if n := len(must(old.Recv())(t).GetListServicesResponse().GetService()); n != len(wantServices) {
		t.Fatalf("v1alpha lists %d services", n)
	}
}

func TestHealth(t *testing.T) {
	w := start(t, Options{})
	health := healthv1.NewHealthClient(w.grpc())
	check := func(service string) healthv1.HealthCheckResponse_ServingStatus {
		t.Helper()
		return must(health.Check(t.Context(), &healthv1.HealthCheckRequest{Service: service}))(t).GetStatus()
	}
	for _, service := range []string{"", metadatav1connect.MetadataServiceName} {
		w.member.setReady(true)
		if got := check(service); got != healthv1.HealthCheckResponse_SERVING {
			t.Fatalf("%q of a ready member is %v", service, got)
		}
		w.member.setReady(false)
		if got := check(service); got != healthv1.HealthCheckResponse_NOT_SERVING {
			t.Fatalf("%q of a member without leader is %v", service, got)
		}
	}
	if got := check(metadatav1connect.ClusterServiceName); got != healthv1.HealthCheckResponse_SERVING {
		t.Fatalf("the cluster service, which needs no leader, is %v", got)
	}
	_, err := health.Check(t.Context(), &healthv1.HealthCheckRequest{Service: "no.such.Service"})
	if status.Code(err) != grpccodes.NotFound {
		t.Fatalf("an unknown service: %v", err)
	}
	w.server.Drain()
	if got := check(metadatav1connect.ClusterServiceName); got != healthv1.HealthCheckResponse_NOT_SERVING {
		t.Fatalf("a stopping member is %v", got)
	}
}
