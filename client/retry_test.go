package client

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"os"
	"reflect"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// Each method reaches the rpc of its name, is retried with the same request, and
// gives writes a request id.
func TestMethodsAreWired(t *testing.T) {
	for _, file := range []protoreflect.FileDescriptor{
		metadatav1.File_heliosdb_metadata_v1_metadata_service_proto, metadatav1.File_heliosdb_metadata_v1_cluster_service_proto,
		metadatav1.File_heliosdb_metadata_v1_consumer_service_proto, metadatav1.File_heliosdb_metadata_v1_history_service_proto,
	} {
		s := file.Services().Get(0)
		for i := range s.Methods().Len() {
			m := s.Methods().Get(i)
			if m.IsStreamingClient() || m.IsStreamingServer() {
				continue
			}
			t.Run(string(m.Name()), func(t *testing.T) { checkWired(t, m) })
		}
	}
}

func checkWired(t *testing.T, m protoreflect.MethodDescriptor) {
	f, c := startFakes(t, 2, fails(connect.CodeUnavailable, noLeader), breaks, done)
	request := requestOf(t, string(m.Parent().FullName()), string(m.Name()))
	results := reflect.ValueOf(c).MethodByName(string(m.Name())).Call([]reflect.Value{
		reflect.ValueOf(t.Context()), reflect.ValueOf(request),
	})
	if err := results[1].Interface(); err != nil {
		t.Fatal(err)
	}
	calls := f.all()
	if len(calls) != 3 || calls[0].server == calls[1].server || calls[1].server == calls[2].server {
		t.Fatalf("the attempts are %+v", calls)
	}
	for _, call := range calls {
		if call.method != string(m.Name()) {
			t.Fatalf("%s was called", call.method)
		}
		if !proto.Equal(call.request, calls[0].request) {
			t.Fatalf("the retry is %v, the first attempt was %v", call.request, calls[0].request)
		}
		command, writes := call.request.(interface {
			GetWrite() *metadatav1.WriteOptions
		})
		if writes && command.GetWrite().GetRequestId() == "" {
			t.Fatal("the write has no request id")
		}
	}
	if command, writes := request.(interface {
		GetWrite() *metadatav1.WriteOptions
	}); writes && command.GetWrite() != nil {
		t.Fatal("the caller's request was changed")
	}
}

func TestRetriesGoElsewhereAtOnce(t *testing.T) {
	f, c := startFakes(t, 3, fails(connect.CodeUnavailable, stopping), breaks, done)
	begin := time.Now()
	if _, err := c.CreateTable(t.Context(), &metadatav1.CreateTableRequest{}); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begin); took > time.Second {
		t.Fatalf("it took %v", took)
	}
	calls := f.all()
	if len(calls) != 3 || calls[0].server != 0 || calls[1].server != 1 || calls[2].server != 2 {
		t.Fatalf("the attempts are %+v", calls)
	}
	// The next call begins where the last one was answered.
	if _, err := c.ListTables(t.Context(), &metadatav1.ListTablesRequest{}); err != nil {
		t.Fatal(err)
	}
	if calls = f.all(); calls[3].server != 2 {
		t.Fatalf("the next call went to %d", calls[3].server)
	}
	if s := c.Stats(); s.Retries != 2 {
		t.Fatalf("counted %+v", s)
	}
}

func TestNobodyThereIsNotAnUnknownOutcome(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	_ = l.Close()
	f, _ := startFakes(t, 1, done)
	c := newClient(t, address, f.addrs[0])
	if _, err := c.CreateTable(t.Context(), &metadatav1.CreateTableRequest{}); err != nil {
		t.Fatalf("one of two members answers: %v", err)
	}
	c = newClient(t, address)
	for tries := 1; ; tries++ {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		_, err = c.CreateTable(ctx, &metadatav1.CreateTableRequest{})
		cancel()
		if connect.CodeOf(err) != connect.CodeUnavailable || !strings.Contains(err.Error(), "refused") {
			t.Fatalf("nobody listens: %v", err)
		}
		if !IsOutcomeUnknown(err) {
			return
		}
		if tries == 20 { // time may be over while an attempt is dialling: then nobody knows what it has sent
			t.Fatalf("nothing was sent, but the outcome is unknown: %v", err)
		}
	}
}

func TestTheServiceSaysWhenToRetry(t *testing.T) {
	const hint = 60 * time.Millisecond
	f, c := startFakes(t, 2, fails(connect.CodeResourceExhausted, limit, retryIn(hint)), done)
	if _, err := c.GetTable(t.Context(), &metadatav1.GetTableRequest{}); err != nil {
		t.Fatal(err)
	}
	calls := f.all()
	if gap := calls[1].at.Sub(calls[0].at); gap < hint {
		t.Fatalf("asked again after %v, the service said %v", gap, hint)
	}
	// A hint beyond the deadline ends the call now.
	_, c = startFakes(t, 2, fails(connect.CodeUnavailable, noLeader, retryIn(time.Hour)))
	begin := time.Now()
	_, err := c.GetTable(t.Context(), &metadatav1.GetTableRequest{})
	if Reason(err) != noLeader || time.Since(begin) > time.Second {
		t.Fatalf("after %v: %v", time.Since(begin), err)
	}
}

func TestFinalAnswersAreNotRetried(t *testing.T) {
	for name, a := range map[string]answer{
		"invalid":        fails(connect.CodeInvalidArgument, metadatav1.ErrorReason_ERROR_REASON_INVALID_FIELD),
		"exists":         fails(connect.CodeAlreadyExists, metadatav1.ErrorReason_ERROR_REASON_ALREADY_EXISTS),
		"full for good":  fails(connect.CodeResourceExhausted, metadatav1.ErrorReason_ERROR_REASON_DISK_FULL),
		"a bug":          fails(connect.CodeInternal, metadatav1.ErrorReason_ERROR_REASON_INTERNAL),
		"cannot be told": fails(connect.CodeFailedPrecondition, metadatav1.ErrorReason_ERROR_REASON_OUTCOME_UNKNOWABLE),
	} {
		f, c := startFakes(t, 2, a)
		_, err := c.CreateTable(t.Context(), &metadatav1.CreateTableRequest{})
		if calls := f.writes(); err == nil || len(calls) != 1 {
			t.Errorf("%s: %d attempts, %v", name, len(calls), err)
		}
		if IsOutcomeUnknown(err) {
			t.Errorf("%s: the outcome counts as unknown", name)
		}
	}
	f, c := startFakes(t, 2, done)
	_, err := c.DropNamespace(t.Context(), &metadatav1.DropNamespaceRequest{Name: "\xff"})
	if !IsInvalid(err) || c.Stats().Retries != 0 {
		t.Errorf("a request that cannot be encoded: %v", err)
	}
	attempts := len(f.all())
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = c.DropNamespace(gone, &metadatav1.DropNamespaceRequest{Name: "n"})
	if IsOutcomeUnknown(err) || !errors.Is(err, context.Canceled) || len(f.all()) != attempts {
		t.Errorf("a call whose context has ended: %v", err)
	}
}

func TestUnknownOutcomesAreSaid(t *testing.T) {
	for name, answers := range map[string][]answer{
		"no answer":                      {hangs},
		"the connection breaks":          {breaks},
		"broke once, no leader ever":     {breaks, fails(connect.CodeUnavailable, noLeader)},
		"lost once, no leader ever":      {fails(connect.CodeUnavailable, lostWrite), fails(connect.CodeUnavailable, noLeader)},
		"the member had no time to tell": {fails(connect.CodeDeadlineExceeded, metadatav1.ErrorReason_ERROR_REASON_DEADLINE)},
	} {
		f, c := startFakes(t, 1, answers...)
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		_, err := c.CreateTable(ctx, &metadatav1.CreateTableRequest{})
		id, unknown := Repeat(err).GetRequestId(), IsOutcomeUnknown(err)
		sent := f.all()[0].request.(*metadatav1.CreateTableRequest).GetWrite().GetRequestId()
		if !unknown || id != sent || !strings.Contains(err.Error(), id) {
			t.Errorf("%s: %v (request id %q)", name, err, sent)
		}
		if _, err := c.CreateTable(ctx, &metadatav1.CreateTableRequest{Write: &metadatav1.WriteOptions{DryRun: true}}); err == nil {
			t.Errorf("%s: a dry run succeeded", name)
		} else if IsOutcomeUnknown(err) {
			t.Errorf("%s: the outcome of a dry run is unknown", name)
		}
	}
	// A refusal answers the attempt that it was given to, not the one before, which may
	// still be on its way.
	_, c := startFakes(t, 1, breaks, fails(connect.CodeAlreadyExists, metadatav1.ErrorReason_ERROR_REASON_ALREADY_EXISTS))
	_, err := c.CreateTable(t.Context(), &metadatav1.CreateTableRequest{})
	if !IsOutcomeUnknown(err) || !IsAlreadyExists(err) {
		t.Errorf("refused at last: %v", err)
	}
	_, c = startFakes(t, 1, breaks, done)
	if _, err := c.CreateTable(t.Context(), &metadatav1.CreateTableRequest{}); err != nil {
		t.Errorf("answered at last: %v", err)
	}
}

func TestASilentMemberIsLeft(t *testing.T) {
	f, c := startFakes(t, 2, hangs, done)
	c.patience.attempt = 500 * time.Millisecond
	res, err := c.CreateTable(t.Context(), &metadatav1.CreateTableRequest{})
	if err != nil || res == nil {
		t.Fatal(err)
	}
	calls := f.writes()
	if len(calls) != 2 || calls[0].server == calls[1].server || !proto.Equal(calls[0].request, calls[1].request) {
		t.Fatalf("the attempts are %+v", calls)
	}
}

// One call finds out that an endpoint is silent; the next ones do not ask it, until it
// answers again.
func TestASilentEndpointIsAvoidedUntilItAnswers(t *testing.T) {
	var paused atomic.Bool
	paused.Store(true)
	resume := make(chan struct{})
	f, c := startFakes(t, 2, done)
	f.before = func(server int, r *http.Request) {
		if server == 0 && paused.Load() {
			select {
			case <-resume:
			case <-r.Context().Done():
			}
		}
	}
	// The first call finds out, however often it has to ask a machine without time. From then
	// on the one that answers may be slow.
	c.patience.attempt = 100 * time.Millisecond
	c.leaders.index = map[metadatav1.Stream]int{schemaStream: 0}
	if _, err := c.CreateTable(t.Context(), &metadatav1.CreateTableRequest{}); err != nil {
		t.Fatal(err)
	}
	if calls := f.writes(); calls[0].server != 0 || calls[len(calls)-1].server != 1 || !c.endpoints[0].health.isSilent() {
		t.Fatalf("one call does not find out who is silent: %+v", calls)
	}
	c.endpoints[1].health.answered() // it did at last
	found := len(f.writes())
	c.patience.attempt, c.patience.longest = time.Minute, time.Minute
	for range 5 {
		c.leaders.mu.Lock()
		c.leaders.index[schemaStream] = 0 // members may still believe so
		c.leaders.mu.Unlock()
		c.preferred.Store(0)
		if _, err := c.CreateTable(t.Context(), &metadatav1.CreateTableRequest{}); err != nil {
			t.Fatal(err)
		}
	}
	c.leaders.mu.Lock()
	c.leaders.index[schemaStream] = 0
	c.leaders.mu.Unlock()
	c.preferred.Store(0)
	var asked []int
	for _, call := range f.writes()[found:] {
		asked = append(asked, call.server)
	}
	if want := []int{1, 1, 1, 1, 1}; !reflect.DeepEqual(asked, want) {
		t.Fatalf("the attempts went to %v, want %v", asked, want)
	}
	paused.Store(false)
	close(resume)
	for deadline := time.Now().Add(20 * time.Second); c.endpoints[0].health.isSilent(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("an endpoint that answers stays silent")
		}
	}
	if _, err := c.CreateTable(t.Context(), &metadatav1.CreateTableRequest{}); err != nil {
		t.Fatal(err)
	}
	if calls := f.writes(); calls[len(calls)-1].server != 0 {
		t.Fatal("the endpoint answers again and is not asked")
	}
}

func TestPatienceGrowsWhereAllAreSlow(t *testing.T) {
	c := newClient(t, "h:1", "h:2", "h:3")
	tr := c.tries(0)
	var got []time.Duration
	for tr.failed = range 7 {
		got = append(got, tr.timeout(time.Minute))
	}
	const s = time.Second
	if want := []time.Duration{s, s, 2 * s, 2 * s, 4 * s, 4 * s, 4 * s}; !reflect.DeepEqual(got, want) {
		t.Fatalf("attempts wait %v, want %v", got, want)
	}
	if alone := newClient(t, "h:1").tries(0).timeout(time.Minute); alone != 4*s {
		t.Fatalf("with nobody else to ask, an attempt waits %v", alone)
	}
}

func TestRetriesSayHowOldTheirRequestIDIs(t *testing.T) {
	answered := replies(&metadatav1.CreateTableResponse{
		Result: &metadatav1.WriteResult{Position: &metadatav1.Position{SchemaRevision: 7}},
	})
	f, c := startFakes(t, 1, answered, fails(connect.CodeUnavailable, stopping), done)
	for range 2 {
		if _, err := c.CreateTable(t.Context(), &metadatav1.CreateTableRequest{}); err != nil {
			t.Fatal(err)
		}
	}
	var known []uint64
	for _, call := range f.all() {
		known = append(known, call.request.(*metadatav1.CreateTableRequest).GetWrite().GetKnownRevision())
	}
	if want := []uint64{0, 0, 7}; !reflect.DeepEqual(known, want) {
		t.Fatalf("the attempts knew revisions %d, want %d", known, want)
	}
	c.known.last[schemaStream] = sighting{7, time.Now().Add(-2 * knownFor)}
	if r := c.known.revision(schemaStream); r != 0 {
		t.Fatalf("revision %d still counts as known", r)
	}
}

func TestEndpointsAsPeopleWriteThem(t *testing.T) {
	for text, want := range map[string]string{
		"127.0.0.1:9000":          "http://127.0.0.1:9000",
		"http://localhost:9000":   "http://localhost:9000",
		"https://meta.local:443/": "https://meta.local:443",
		"[::1]:9000":              "http://[::1]:9000",
		"localhost":               "",
		"ftp://localhost:1":       "",
		"http://h:1/path":         "",
		"h:1?x=y":                 "",
	} {
		u, err := baseURL(text, false)
		switch {
		case want == "" && (err == nil || !strings.Contains(err.Error(), text)):
			t.Errorf("%q: %v, %v", text, u, err)
		case want != "" && (err != nil || u.String() != want):
			t.Errorf("%q: %v, %v", text, u, err)
		}
	}
	for _, bad := range []Options{{}, {Endpoints: make([]string, MaxEndpoints+1)}, {Endpoints: []string{"h:1"}, Timeout: -1}} {
		if _, err := New(bad); err == nil {
			t.Errorf("%+v is accepted", bad)
		}
	}
}

// A connection that breaks makes an endpoint unavailable, and is nobody's having gone away.
func TestABrokenConnectionIsNotACancelledCall(t *testing.T) {
	broken := func(why error) error {
		return connect.NewError(connect.CodeCanceled, &url.Error{Op: "Post", URL: "http://m1:9000", Err: &net.OpError{Op: "write", Net: "tcp", Err: os.NewSyscallError("write", why)}})
	}
	for _, why := range []error{syscall.EPIPE, syscall.ECONNRESET} {
		if err := asUnavailable(broken(why)); !IsUnavailable(err) || !errors.Is(err, why) {
			t.Errorf("it is %v", err)
		}
	}
	for _, err := range []error{nil, connect.NewError(connect.CodeCanceled, context.Canceled), broken(context.Canceled), connect.NewError(connect.CodeInternal, syscall.EPIPE)} {
		if got := asUnavailable(err); !errors.Is(got, err) || connect.CodeOf(got) != connect.CodeOf(err) {
			t.Errorf("%v has become %v", err, got)
		}
	}
}
