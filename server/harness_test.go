package server

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"go.uber.org/goleak"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/proto/heliosdb/metadata/v1/metadatav1connect"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a server with a fake member on a loopback port.
type world struct {
	t      *testing.T
	member *fake
	server *Server
	addr   string
	url    string
	served chan error
}

// start serves until the test ends. prepare may change member, options and the
// http.Server before it does.
func start(t *testing.T, o Options, prepare ...func(*world)) *world {
	t.Helper()
	o.Log = slog.New(slog.DiscardHandler)
	w := &world{t: t, member: newFake(), served: make(chan error, 1)}
	server, err := New(w.member, o)
	if err != nil {
		t.Fatal(err)
	}
	w.server = server
	for _, p := range prepare {
		p(w)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.addr = listener.Addr().String()
	w.url = "http://" + w.addr
	if o.TLS != nil {
		w.url = "https://" + w.addr
	}
	go func() { w.served <- server.Serve(listener) }()
	t.Cleanup(w.stop)
	return w
}

func (w *world) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := w.server.Stop(ctx); err != nil {
		w.t.Errorf("stopping: %v", err)
	}
	if err := <-w.served; err != nil {
		w.t.Errorf("serving: %v", err)
	}
}

// http1 and http2 are clients that leave no connection behind.
func (w *world) http1() *http.Client {
	return w.client(func(p *http.Protocols) { p.SetHTTP1(true) }, nil)
}

func (w *world) http2() *http.Client {
	return w.client(func(p *http.Protocols) { p.SetUnencryptedHTTP2(true) }, nil)
}

func (w *world) client(set func(*http.Protocols), config *tls.Config) *http.Client {
	protocols := new(http.Protocols)
	set(protocols)
	transport := &http.Transport{Protocols: protocols, TLSClientConfig: config}
	w.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func (w *world) rpc(o ...connect.ClientOption) metadatav1connect.MetadataServiceClient {
	return metadatav1connect.NewMetadataServiceClient(w.http2(), w.url, o...)
}

func (w *world) grpc() *grpc.ClientConn {
	w.t.Helper()
	conn, err := grpc.NewClient(w.addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// get returns status and body of a plain GET.
func (w *world) get(path string) (int, string) {
	w.t.Helper()
	response, err := w.http1().Get(w.url + path)
	if err != nil {
		w.t.Fatal(err)
	}
	return response.StatusCode, body(w.t, response)
}

func body(t *testing.T, response *http.Response) string {
	t.Helper()
	defer response.Body.Close()
	raw, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func table(name string) *metadatav1.TableSchema {
	return &metadatav1.TableSchema{Name: name, Columns: []*metadatav1.ColumnSchema{{
		Name: "id", DataType: &metadatav1.DataType{Kind: metadatav1.TypeKind_TYPE_KIND_INT64},
	}}}
}

func createTable(name string) *metadatav1.CreateTableRequest {
	return &metadatav1.CreateTableRequest{Table: table(name)}
}

func registerNode(id string, kind metadatav1.NodeType) *metadatav1.RegisterNodeRequest {
	return &metadatav1.RegisterNodeRequest{Node: &metadatav1.NodeInfo{
		NodeId: id, Addr: "127.0.0.1:6000", NodeType: kind, Incarnation: "run-1",
	}}
}

func must[T any](value T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

// wantFailure checks an error as a client sees it: code, reason and a word of
// its message; it returns the connect error.
func wantFailure(t *testing.T, err error, code connect.Code, reason string, words ...string) *connect.Error {
	t.Helper()
	var own *connect.Error
	if !errors.As(err, &own) {
		t.Fatalf("got %v, want %v %s", err, code, reason)
	}
	info := detail[*errdetails.ErrorInfo](own)
	if own.Code() != code || info.GetReason() != reason || info.GetDomain() != ErrorDomain {
		t.Fatalf("got %v with %v, want %v %s", own, info, code, reason)
	}
	for _, word := range words {
		if !strings.Contains(own.Message(), word) {
			t.Fatalf("the message %q does not name %q", own.Message(), word)
		}
	}
	return own
}

// detail returns the error's detail of one type, or nil.
func detail[M any](err *connect.Error) (found M) {
	for _, d := range err.Details() {
		if value, decodeErr := d.Value(); decodeErr == nil {
			if m, ok := value.(M); ok {
				return m
			}
		}
	}
	return found
}

func fieldsOf(err *connect.Error) (fields []string) {
	for _, v := range detail[*errdetails.BadRequest](err).GetFieldViolations() {
		fields = append(fields, v.GetField())
	}
	return fields
}

func wantFields(t *testing.T, err *connect.Error, fields ...string) {
	t.Helper()
	if got := fieldsOf(err); !slices.Equal(got, fields) {
		t.Fatalf("the error blames %q, want %q", got, fields)
	}
}

// manual is a clock that stands still until it is moved.
type manual struct {
	mu  sync.Mutex
	now time.Time
}

func newManual() *manual { return &manual{now: time.Unix(1_700_000_000, 0)} }

func (m *manual) Now() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.now
}

func (m *manual) pass(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.now = m.now.Add(d)
}

// eventually waits for something that another goroutine brings about.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); !is(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it does not come about that %s", what)
		}
	}
}
