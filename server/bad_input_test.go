package server

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	grpccodes "google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/proto/heliosdb/metadata/v1/metadatav1connect"
)

// Bad requests that reach a handler or the rules before it. Each names the
// value, and changes nothing.
func TestBadRequests(t *testing.T) {
	w := start(t, Options{})
	client := w.rpc()
	ctx := t.Context()
	must(client.CreateTable(ctx, createTable("taken")))(t)
	must(client.RegisterNode(ctx, registerNode("s1", metadatav1.NodeType_NODE_TYPE_STORAGE)))(t)
	must(client.RegisterNode(ctx, registerNode("c1", metadatav1.NodeType_NODE_TYPE_COMPUTE)))(t)
	must(client.UpdateShardMap(ctx, putShard("a", "m", "s1")))(t)
	before := w.member.Position()

	column := func(kind metadatav1.TypeKind, set func(*metadatav1.DataType)) *metadatav1.CreateTableRequest {
		r := createTable("t")
		r.Table.Columns[0].DataType = &metadatav1.DataType{Kind: kind}
		if set != nil {
			set(r.Table.Columns[0].DataType)
		}
		return r
	}
	create := func(r *metadatav1.CreateTableRequest) func() error {
		return func() error { _, err := client.CreateTable(ctx, r); return err }
	}
	const invalid, precondition = connect.CodeInvalidArgument, connect.CodeFailedPrecondition
	for _, c := range []struct {
		what   string
		call   func() error
		code   connect.Code
		reason string
		word   string // of the message
		field  string // blamed first; empty: none
	}{
		{"a duplicate name", create(createTable("taken")), connect.CodeAlreadyExists, "ALREADY_EXISTS", `"taken"`, ""},
		{"an empty name", create(createTable("")), invalid, "INVALID_FIELD", "at least 1", "table.name"},
		{"no table", create(&metadatav1.CreateTableRequest{}), invalid, "INVALID_FIELD", "required", "table"},
		{"a long name", create(createTable(strings.Repeat("n", 129))), invalid, "INVALID_FIELD", "129 bytes", "table.name"},
		{"5,000 columns", create(wideTable(5000)), invalid, "INVALID_FIELD", "5000 items", "table.columns"},
		{"an unknown type", create(column(99, nil)), invalid, "INVALID_FIELD", "99", "table.columns[0].data_type.kind"},
		{"no type", create(column(0, nil)), invalid, "INVALID_FIELD", "0", "table.columns[0].data_type.kind"},
		{
			"DECIMAL(0,5)", create(column(metadatav1.TypeKind_TYPE_KIND_DECIMAL, func(d *metadatav1.DataType) { d.Scale = 5 })),
			invalid, "INVALID_FIELD", "0", "table.columns[0].data_type.precision",
		},
		{
			"VECTOR(0)", create(column(metadatav1.TypeKind_TYPE_KIND_VECTOR, nil)),
			invalid, "INVALID_FIELD", "0", "table.columns[0].data_type.dimensions",
		},
		{"a stale version", func() error {
			_, err := client.DropTable(ctx, &metadatav1.DropTableRequest{
				Table: &metadatav1.TableRef{Name: "taken"}, ExpectedVersion: proto.Uint64(7),
			})
			return err
		}, connect.CodeAborted, "VERSION_MISMATCH", "7", ""},
		{"overlapping ranges", func() error {
			_, err := client.UpdateShardMap(ctx, putShard("b", "c", "s1"))
			return err
		}, precondition, "RANGE_OVERLAP", "", ""},
		{"an unknown node", func() error {
			_, err := client.UpdateShardMap(ctx, putShard("x", "z", "s9"))
			return err
		}, precondition, "NODE_UNSUITABLE", "s9", ""},
		{"a compute node for a shard", func() error {
			_, err := client.UpdateShardMap(ctx, putShard("x", "z", "c1"))
			return err
		}, precondition, "NODE_UNSUITABLE", "c1", ""},
		{"a table that is not there", func() error {
			_, err := client.GetTable(ctx, &metadatav1.GetTableRequest{Table: &metadatav1.TableRef{Name: "nope"}})
			return err
		}, connect.CodeNotFound, "NOT_FOUND", `"nope"`, ""},
		{"a table without id and name", func() error {
			_, err := client.GetTable(ctx, &metadatav1.GetTableRequest{Table: &metadatav1.TableRef{}})
			return err
		}, invalid, "INVALID_FIELD", "table_id", "table"},
		{"a key in a hole", func() error {
			_, err := client.GetShard(ctx, &metadatav1.GetShardRequest{Shard: &metadatav1.GetShardRequest_Key{Key: []byte("zz")}})
			return err
		}, connect.CodeNotFound, "NOT_FOUND", `"zz"`, ""},
		{"a shard neither by id nor by key", func() error {
			_, err := client.GetShard(ctx, &metadatav1.GetShardRequest{})
			return err
		}, invalid, "INVALID_FIELD", "", "shard"},
		{"a page of 5,000", func() error {
			_, err := client.ListTables(ctx, &metadatav1.ListTablesRequest{PageSize: 5000})
			return err
		}, invalid, "INVALID_FIELD", "5000", "page_size"},
		{"an unknown consistency", func() error {
			_, err := client.ListTables(ctx, &metadatav1.ListTablesRequest{Read: &metadatav1.ReadOptions{Consistency: 42}})
			return err
		}, invalid, "INVALID_FIELD", "42", "read.consistency"},
		{"tables of no namespace", func() error {
			_, err := client.ListTables(ctx, &metadatav1.ListTablesRequest{Namespace: "nope"})
			return err
		}, connect.CodeNotFound, "NOT_FOUND", `"nope"`, ""},
		{"a range that ends before it starts", func() error {
			_, err := client.ListShards(ctx, &metadatav1.ListShardsRequest{
				KeyRange: &metadatav1.KeyRange{Start: []byte("m"), End: []byte("a")},
			})
			return err
		}, invalid, "INVALID_FIELD", `"m"`, "key_range"},
		{"another cluster's position", func() error {
			_, err := client.ListTables(ctx, &metadatav1.ListTablesRequest{Read: &metadatav1.ReadOptions{
				Consistency: metadatav1.Consistency_CONSISTENCY_AT_LEAST, AtLeast: &metadatav1.Position{ClusterId: "ff", RecoveryEpoch: 1},
			}})
			return err
		}, precondition, "FOREIGN_POSITION", "", ""},
		{"an empty batch", func() error {
			_, err := client.ApplyBatch(ctx, &metadatav1.ApplyBatchRequest{})
			return err
		}, invalid, "INVALID_FIELD", "1", "commands"},
		{"a beat without epoch", func() error {
			_, err := client.Heartbeat(ctx, &metadatav1.HeartbeatRequest{NodeId: "s1"})
			return err
		}, invalid, "INVALID_FIELD", "0", "epoch"},
		{"a beat of an old registration", func() error {
			_, err := client.Heartbeat(ctx, &metadatav1.HeartbeatRequest{NodeId: "s1", Epoch: 99})
			return err
		}, precondition, "STALE_EPOCH", "", ""},
		{"a beat of an unknown node", func() error {
			_, err := client.Heartbeat(ctx, &metadatav1.HeartbeatRequest{NodeId: "s9", Epoch: 1})
			return err
		}, connect.CodeNotFound, "NOT_FOUND", "", ""},
		{"a subscription with an unknown stream", func() error {
			return subscribeError(ctx, client, &metadatav1.SubscribeRequest{
				Filter: &metadatav1.Filter{Streams: []metadatav1.Stream{9}},
			})
		}, invalid, "INVALID_FIELD", "9", "filter.streams[0]"},
	} {
		t.Run(c.what, func(t *testing.T) {
			err := wantFailure(t, c.call(), c.code, c.reason, c.word)
			if c.field == "" {
				return
			}
			if fields := fieldsOf(err); len(fields) == 0 || fields[0] != c.field {
				t.Fatalf("the error blames %q, want %q", fields, c.field)
			}
		})
	}
	if after := w.member.Position(); !proto.Equal(before, after) {
		t.Fatalf("refused requests moved the position from %v to %v", before, after)
	}
}

func putShard(from, to, node string) *metadatav1.UpdateShardMapRequest {
	return &metadatav1.UpdateShardMapRequest{Changes: []*metadatav1.ShardMapChange{{
		Action: &metadatav1.ShardMapChange_Put{Put: &metadatav1.PutShard{Shard: &metadatav1.ShardInfo{
			KeyRange: &metadatav1.KeyRange{Start: []byte(from), End: []byte(to)}, PrimaryNode: node,
		}}},
	}}}
}

func wideTable(columns int) *metadatav1.CreateTableRequest {
	r := createTable("wide")
	for range columns - 1 {
		r.Table.Columns = append(r.Table.Columns, r.Table.Columns[0])
	}
	return r
}

func subscribeError(ctx context.Context, client metadatav1connect.MetadataServiceClient, r *metadatav1.SubscribeRequest) error {
	stream, err := client.Subscribe(ctx, r)
	if err != nil {
		return err
	}
	defer func() { _ = stream.Close() }()
	for stream.Receive() {
	}
	return stream.Err()
}

// post sends raw bytes as a Connect call, or as what contentType says.
func (w *world) post(contentType, encoding string, from io.Reader) (*http.Response, error) {
	request, err := http.NewRequestWithContext(w.t.Context(), http.MethodPost,
		w.url+metadatav1connect.MetadataServiceCreateTableProcedure, from)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", contentType)
	if encoding != "" {
		request.Header.Set("Content-Encoding", encoding)
	}
	return w.http1().Do(request)
}

// endless yields zeros.
type endless struct{}

func (endless) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// gzipBomb is 64 MiB in some 64 KiB.
func gzipBomb(t *testing.T) []byte {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if _, err := io.CopyN(z, endless{}, 64<<20); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return packed.Bytes()
}

func TestBadBytes(t *testing.T) {
	w := start(t, Options{})
	noise := make([]byte, 512)
	if _, err := rand.Read(noise); err != nil {
		t.Fatal(err)
	}
	noise[0] = 0xff
	for _, c := range []struct {
		what, contentType, encoding string
		body                        io.Reader
		status                      int
		says                        string // a reason of the ErrorInfo, or the bad value
	}{
		{"noise as protobuf", "application/proto", "", bytes.NewReader(noise), http.StatusBadRequest, "INVALID_FIELD"},
		{"noise as JSON", "application/json", "", bytes.NewReader(noise), http.StatusBadRequest, "INVALID_FIELD"},
		{"an unknown enum in JSON", "application/json", "",
			strings.NewReader(`{"table":{"name":"t","columns":[{"name":"c","dataType":{"kind":"TYPE_KIND_MONEY"}}]}}`),
			http.StatusBadRequest, "TYPE_KIND_MONEY"},
		{"an unknown field in JSON", "application/json", "",
			strings.NewReader(`{"table":{"name":"t","columns":[{"name":"c","dataType":{"kind":"TYPE_KIND_INT8"}}],"primarykey":["c"]}}`),
			http.StatusBadRequest, "primarykey"},
		{"an empty JSON body", "application/json", "", strings.NewReader(""), http.StatusBadRequest, "INVALID_FIELD"},
		{"JSON that is no object", "application/json", "", strings.NewReader(`[1]`), http.StatusBadRequest, "INVALID_FIELD"},
		{"another content type", "text/plain", "", strings.NewReader("hello"), http.StatusUnsupportedMediaType, ""},
		{"another compression", "application/proto", "br", strings.NewReader("hello"), http.StatusNotImplemented, ""},
		{"noise as gzip", "application/proto", "gzip", bytes.NewReader(noise), http.StatusBadRequest, "INVALID_FIELD"},
		{"gzip that is cut short", "application/proto", "gzip", bytes.NewReader(gzipBomb(t)[:100]), http.StatusBadRequest, "INVALID_FIELD"},
		{"a gzip bomb", "application/proto", "gzip", bytes.NewReader(gzipBomb(t)), http.StatusTooManyRequests, "LIMIT_REACHED"},
		{"100 MB unannounced", "application/proto", "", io.LimitReader(endless{}, 100<<20), http.StatusTooManyRequests, "LIMIT_REACHED"},
	} {
		t.Run(c.what, func(t *testing.T) {
			response, err := w.post(c.contentType, c.encoding, c.body)
			if err != nil {
				t.Fatal(err)
			}
			text := body(t, response)
			if response.StatusCode != c.status {
				t.Fatalf("answered %d: %s", response.StatusCode, text)
			}
			if !strings.Contains(text, c.says) {
				t.Fatalf("the answer does not say %s: %s", c.says, text)
			}
		})
	}
	if revision := w.member.Position().GetSchemaRevision(); revision != 0 {
		t.Fatalf("something was written: revision %d", revision)
	}
}

// The size that a client announces is enough to refuse it.
func TestLargeRequestIsRefusedUnread(t *testing.T) {
	w := start(t, Options{})
	client := w.rpc()
	request := createTable("large")
	request.Table.Comment = strings.Repeat("x", 5<<20)
	_, err := client.CreateTable(t.Context(), request)
	refused := wantFailure(t, err, connect.CodeResourceExhausted, "LIMIT_REACHED", "4194304")
	if limit := detail[*errdetails.ErrorInfo](refused).GetMetadata()["limit"]; limit != "message_bytes" {
		t.Fatalf("the limit is called %q", limit)
	}
}

func TestLargeRequestByGRPC(t *testing.T) {
	w := start(t, Options{})
	conn := w.grpc()
	call := func(bytes int, o ...grpc.CallOption) *status.Status {
		request := createTable("large")
		request.Table.Comment = strings.Repeat("x", bytes)
		o = append(o, grpc.MaxCallSendMsgSize(200<<20))
		return status.Convert(conn.Invoke(t.Context(), metadatav1connect.MetadataServiceCreateTableProcedure, request,
			new(metadatav1.CreateTableResponse), o...))
	}
	for name, refused := range map[string]*status.Status{
		"5 MiB": call(5 << 20), "5 MiB, packed": call(5<<20, grpc.UseCompressor("gzip")), "50 MiB, packed": call(50<<20, grpc.UseCompressor("gzip")),
	} {
		if refused.Code() != grpccodes.ResourceExhausted || len(refused.Details()) == 0 {
			t.Fatalf("%s are answered by %v with details %v", name, refused, refused.Details())
		}
		if info, ok := refused.Details()[0].(*errdetails.ErrorInfo); !ok || info.GetMetadata()["limit"] != "message_bytes" {
			t.Fatalf("%s: the limit is named by %v", name, refused.Details())
		}
	}
	// grpc-go does not read that much, and answers by itself.
	if refused := call(100 << 20); refused.Code() != grpccodes.ResourceExhausted {
		t.Fatalf("100 MiB are answered by %v", refused)
	}
	if answer := call(3<<19, grpc.UseCompressor("gzip")); answer.Code() != grpccodes.InvalidArgument { // the comment's own limit
		t.Fatalf("1.5 MiB, packed, are answered by %v", answer)
	}
}

// A bomb costs no more than the limit, not its whole size.
func TestGzipBombIsNotReadToItsEnd(t *testing.T) {
	bomb := newBoundedGzip()
	if err := bomb.Reset(bytes.NewReader(gzipBomb(t))); err != nil {
		t.Fatal(err)
	}
	n, err := io.Copy(io.Discard, bomb)
	if err == nil || n > ReadMaxBytes {
		t.Fatalf("read %d bytes, then %v", n, err)
	}
	exact := &bytes.Buffer{}
	z := gzip.NewWriter(exact)
	if _, err := io.CopyN(z, endless{}, ReadMaxBytes); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	if err := bomb.Reset(exact); err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, bomb); n != ReadMaxBytes || err != nil {
		t.Fatalf("a message of the limit: read %d bytes, then %v", n, err)
	}
}

// Connections that do not speak HTTP, or not to the end, are closed.
func TestOddConnectionsAreClosed(t *testing.T) {
	w := start(t, Options{}, func(w *world) {
		if w.server.http.ReadHeaderTimeout != readHeaderTimeout {
			t.Fatalf("ReadHeaderTimeout is %v", w.server.http.ReadHeaderTimeout)
		}
		w.server.http.ReadHeaderTimeout = 200 * time.Millisecond
	})
	for what, bytes := range map[string]string{
		"silence":           "",
		"half a header":     "POST / HTTP/1.1\r\nHost: x\r\nX-Slow: ",
		"half a preface":    "PRI * HTTP/2.0\r\n",
		"only a preface":    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"noise":             "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 this is no HTTP\r\n\r\n",
		"too large headers": "GET / HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("a", 2*maxHeaderBytes) + "\r\n\r\n",
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			conn, err := net.Dial("tcp", w.addr)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			// The server may close before it has read everything.
			_, _ = io.WriteString(conn, bytes)
			if err := conn.SetReadDeadline(time.Now().Add(3 * time.Second)); err != nil {
				t.Fatal(err)
			}
			_, err = io.Copy(io.Discard, conn)
			if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
				t.Fatal("the connection is still open")
			}
		})
	}
}

// A stream outlives the limit for headers.
func TestStreamsOutliveTheHeaderTimeout(t *testing.T) {
	w := start(t, Options{}, func(w *world) { w.server.http.ReadHeaderTimeout = 100 * time.Millisecond })
	stream := must(w.rpc().Subscribe(t.Context(), &metadatav1.SubscribeRequest{BookmarkIntervalMillis: 50}))(t)
	defer func() { _ = stream.Close() }()
	for begin := time.Now(); time.Since(begin) < 500*time.Millisecond; {
		if !stream.Receive() {
			t.Fatalf("the stream ended after %v: %v", time.Since(begin), stream.Err())
		}
	}
}
