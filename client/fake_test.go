package client

import (
	"io"
	"net/http"
	"net/http/httptest"
	"path"
	"slices"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/durationpb"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// fakes are servers that answer unary calls as told: the n-th call of all gets
// the n-th answer, and the last one from then on.
type fakes struct {
	t       *testing.T
	answers []answer
	each    []answer // by server, instead; nil: answers
	addrs   []string
	before  func(server int, r *http.Request) // of each answer; nil: nothing

	mu    sync.Mutex
	calls []seen
}

// seen is one attempt as it arrived.
type seen struct {
	server  int
	method  string
	request proto.Message
	at      time.Time
}

// answer answers one attempt, whose request was read.
type answer func(w http.ResponseWriter, r *http.Request)

// startFakes returns servers and a client of all of them.
func startFakes(t *testing.T, n int, answers ...answer) (*fakes, *Client) {
	t.Helper()
	f := &fakes{t: t, answers: answers}
	for i := range n {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { f.serve(i, w, r) }))
		t.Cleanup(s.Close)
		f.addrs = append(f.addrs, s.Listener.Addr().String())
	}
	return f, newClient(t, f.addrs...)
}

func newClient(t *testing.T, endpoints ...string) *Client {
	t.Helper()
	c, err := New(Options{Endpoints: endpoints, Actor: "tester", Timeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	c.leaders.asked = time.Now() // no look-ups between the calls
	c.preferred.Store(0)
	t.Cleanup(c.Close)
	return c
}

func (f *fakes) serve(server int, w http.ResponseWriter, r *http.Request) {
	if r.Method == "PRI" { // they carry no gRPC, as some proxies do not
		w.WriteHeader(http.StatusHTTPVersionNotSupported)
		return
	}
	method := path.Base(r.URL.Path)
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	request := requestOf(f.t, path.Base(path.Dir(r.URL.Path)), method)
	if err := proto.Unmarshal(body, request); err != nil {
		f.t.Errorf("%s: %v", method, err)
	}
	if got := r.Header.Get(actorHeader); got != "tester" {
		f.t.Errorf("%s: the actor is %q", method, got)
	}
	f.mu.Lock()
	n, each := min(len(f.calls), len(f.answers)-1), f.each
	f.calls = append(f.calls, seen{server, method, request, time.Now()})
	f.mu.Unlock()
	if f.before != nil {
		f.before(server, r)
	}
	if each != nil {
		each[server](w, r)
		return
	}
	f.answers[n](w, r)
}

// requestOf returns an empty request of a method.
func requestOf(t *testing.T, service, method string) proto.Message {
	d, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(service))
	if err != nil {
		t.Error(err)
		return nil
	}
	input := d.(protoreflect.ServiceDescriptor).Methods().ByName(protoreflect.Name(method)).Input()
	m, err := protoregistry.GlobalTypes.FindMessageByName(input.FullName())
	if err != nil {
		t.Error(err)
		return nil
	}
	return m.New().Interface()
}

func (f *fakes) all() []seen {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]seen(nil), f.calls...)
}

// writes are the calls but for what the client asks by itself.
func (f *fakes) writes() []seen {
	return slices.DeleteFunc(f.all(), func(s seen) bool { return s.method == "Status" })
}

// done answers with an empty message.
func done(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/proto")
}

// replies answers with a message.
func replies(m proto.Message) answer {
	return func(w http.ResponseWriter, r *http.Request) {
		done(w, r)
		if raw, err := proto.Marshal(m); err == nil {
			_, _ = w.Write(raw)
		}
	}
}

// fails answers with an error of the service.
func fails(code connect.Code, reason metadatav1.ErrorReason, details ...proto.Message) answer {
	return func(w http.ResponseWriter, r *http.Request) {
		err := connect.NewError(code, io.ErrNoProgress)
		name := reason.String()[len("ERROR_REASON_"):]
		for _, m := range append(details, &errdetails.ErrorInfo{Reason: name, Domain: "metadata.heliosdb"}) {
			if d, bad := connect.NewErrorDetail(m); bad == nil {
				err.AddDetail(d)
			}
		}
		_ = connect.NewErrorWriter().Write(w, r, err)
	}
}

// breaks closes the connection instead of answering.
func breaks(w http.ResponseWriter, _ *http.Request) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err == nil {
		_ = conn.Close()
	}
}

// hangs answers when the caller has given up.
func hangs(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

func retryIn(d time.Duration) proto.Message {
	return &errdetails.RetryInfo{RetryDelay: durationpb.New(d)}
}

const (
	noLeader  = metadatav1.ErrorReason_ERROR_REASON_NO_LEADER
	stopping  = metadatav1.ErrorReason_ERROR_REASON_STOPPING
	limit     = metadatav1.ErrorReason_ERROR_REASON_LIMIT_REACHED
	lostWrite = metadatav1.ErrorReason_ERROR_REASON_OUTCOME_UNKNOWN
)

// failed is an error of the service as it looks when it has come over the wire.
func failed(code connect.Code, reason string) error {
	err := connect.NewError(code, io.ErrNoProgress)
	if d, bad := connect.NewErrorDetail(&errdetails.ErrorInfo{Reason: reason}); bad == nil {
		err.AddDetail(d)
	}
	return err
}

func snapshotRequest() *metadatav1.SubscribeRequest {
	return &metadatav1.SubscribeRequest{Start: &metadatav1.SubscribeRequest_Snapshot{Snapshot: true}}
}
