package client

import (
	"context"
	"errors"
	"net/http"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// inCluster answers reads of a table as a member of a cluster.
func inCluster(id string, revision uint64) answer {
	return replies(&metadatav1.GetTableResponse{Position: &metadatav1.Position{ClusterId: id, SchemaRevision: revision}})
}

// byServer answers as each server does.
func byServer(f *fakes, answers ...answer) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.each = answers
}

func getTableOnce(t *testing.T, c *Client) error {
	t.Helper()
	_, err := c.GetTable(soon(t), &metadatav1.GetTableRequest{})
	return err
}

// An endpoint of another cluster is left out, with a sentence, and taken again when it is of
// the right one.
func TestAnEndpointOfAnotherCluster(t *testing.T) {
	f, c := startFakes(t, 2, done)
	byServer(f, inCluster("aaaa", 1), inCluster("bbbb", 1))
	if err := getTableOnce(t, c); err != nil {
		t.Fatal(err)
	}
	c.preferred.Store(1)
	for range 3 {
		if err := getTableOnce(t, c); err != nil {
			t.Fatalf("one of two endpoints is of the cluster: %v", err)
		}
	}
	asked := 0
	for _, call := range f.all() {
		if call.server == 1 && call.method == "GetTable" {
			asked++
		}
	}
	if asked != 1 {
		t.Fatalf("the other cluster was asked %d times", asked)
	}
	// The sentence, where there is nothing else to say.
	byServer(f, inCluster("cccc", 1), inCluster("bbbb", 1))
	err := getTableOnce(t, c)
	foreign, ok := isForeign(err)
	if !ok || foreign.Written || foreign.Own != "aaaa" || !strings.HasSuffix(err.Error(), "this client's cluster is aaaa: name endpoints of one cluster only") {
		t.Fatalf("nobody is of the cluster: %v", err)
	}
	byServer(f, done, func(w http.ResponseWriter, r *http.Request) {
		replies(&metadatav1.CreateTableResponse{Result: &metadatav1.WriteResult{Position: &metadatav1.Position{ClusterId: "bbbb"}}})(w, r)
	})
	c.endpoints[1].foreign.Store(nil)
	c.preferred.Store(1)
	c.leaders.index = nil
	_, err = c.CreateTable(t.Context(), &metadatav1.CreateTableRequest{})
	foreign, ok = errors.AsType[*ForeignClusterError](err)
	if !ok || !foreign.Written || foreign.Cluster != "bbbb" || foreign.Own != "aaaa" || !strings.Contains(err.Error(), "name endpoints of one cluster only; the write took effect") {
		t.Fatalf("a write that went astray: %v", err)
	}
	byServer(f, done, inCluster("aaaa", 1))
	if err := c.admit(c.endpoints[1], "aaaa"); err != nil || c.endpoints[1].isAvoided() {
		t.Fatalf("of the right cluster again: %v", err)
	}
}

// If all endpoints have become another cluster's, the client goes with them.
func TestAClusterThatWasMadeAnew(t *testing.T) {
	f, c := startFakes(t, 2, done)
	byServer(f, inCluster("aaaa", 7), inCluster("aaaa", 7))
	for i := range uint32(2) {
		c.preferred.Store(i)
		if err := getTableOnce(t, c); err != nil {
			t.Fatal(err)
		}
	}
	byServer(f, inCluster("bbbb", 2), inCluster("bbbb", 2))
	if err := getTableOnce(t, c); err != nil {
		t.Fatal(err)
	}
	want := &metadatav1.Position{ClusterId: "bbbb", SchemaRevision: 2}
	if got := c.Position(); !proto.Equal(got, want) || c.endpoints[0].isAvoided() || c.endpoints[1].isAvoided() {
		t.Fatalf("the client has seen %v", got)
	}
}

// An rpc that one member does not know is asked of the others; if none knows it, the error
// says what to do.
func TestAnOldServerWithoutAnRPC(t *testing.T) {
	unknown := func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) }
	f, c := startFakes(t, 2, done)
	byServer(f, unknown, done)
	if _, err := c.ReadChanges(t.Context(), &metadatav1.ReadChangesRequest{}); err != nil {
		t.Fatalf("one of two members knows it: %v", err)
	}
	byServer(f, unknown, unknown)
	before := len(f.all())
	begin := time.Now()
	_, err := c.ReadChanges(t.Context(), &metadatav1.ReadChangesRequest{})
	if connect.CodeOf(err) != connect.CodeUnimplemented || !strings.Contains(err.Error(), f.addrs[0]) && !strings.Contains(err.Error(), f.addrs[1]) ||
		!strings.Contains(err.Error(), "older version") {
		t.Fatalf("nobody knows it: %v", err)
	}
	if n := len(f.all()) - before; n != 2 || time.Since(begin) > 2*time.Second {
		t.Fatalf("%d members were asked in %v", n, time.Since(begin))
	}
	_, err = c.CreateNamespace(t.Context(), &metadatav1.CreateNamespaceRequest{})
	if IsOutcomeUnknown(err) || connect.CodeOf(err) != connect.CodeUnimplemented {
		t.Fatalf("a write that nobody knows: %v", err)
	}
	// A subscription, too: these servers speak no gRPC.
	s := startMember(t, &oldMember{member: &member{}})
	for _, err = range s.Watch(soon(t), &metadatav1.SubscribeRequest{}) {
	}
	if !isAboutEndpoint(err) || !strings.Contains(err.Error(), "older version") {
		t.Fatalf("a subscription: %v", err)
	}
}

// Who is refused for what he shows is told so, once all have refused him.
func TestARefusedToken(t *testing.T) {
	refuses := func(code connect.Code) answer {
		return func(w http.ResponseWriter, r *http.Request) {
			_ = connect.NewErrorWriter().Write(w, r, connect.NewError(code, errors.New("the token has expired")))
		}
	}
	for _, code := range []connect.Code{connect.CodeUnauthenticated, connect.CodePermissionDenied} {
		f, c := startFakes(t, 2, refuses(code))
		err := getTableOnce(t, c)
		if !IsRefused(err) || connect.CodeOf(err) != code || !strings.Contains(err.Error(), "refuses this client") || !strings.Contains(err.Error(), "has expired") {
			t.Errorf("%v: %v", code, err)
		}
		if n := len(f.all()); n != 2 {
			t.Errorf("%v: %d members were asked", code, n)
		}
	}
}

// HISTORY_GAP is said when all members have said it, at once.
func TestAGapThatAllHave(t *testing.T) {
	for _, n := range []int{1, 3} {
		f, c := startFakes(t, n, fails(connect.CodeUnavailable, metadatav1.ErrorReason_ERROR_REASON_HISTORY_GAP))
		begin := time.Now()
		_, err := c.ReadChanges(t.Context(), &metadatav1.ReadChangesRequest{})
		if Reason(err) != metadatav1.ErrorReason_ERROR_REASON_HISTORY_GAP || len(f.all()) != n || time.Since(begin) > 2*time.Second {
			t.Errorf("%d members: after %d attempts and %v: %v", n, len(f.all()), time.Since(begin), err)
		}
	}
}

// A read that is slow at one member is made at another one; a write never is.
func TestReadsAreHedgedIfSoWished(t *testing.T) {
	f, plain := startFakes(t, 2, done)
	byServer(f, hangs, done)
	c, err := New(Options{Endpoints: f.addrs, InOrder: true, Actor: "tester", Timeout: 5 * time.Second, HedgeAfter: 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	c.leaders.asked = time.Now()
	for _, one := range []*Client{plain, c} {
		one.patience.attempt, one.patience.longest = 400*time.Millisecond, 400*time.Millisecond
	}
	begin := time.Now()
	if err := getTableOnce(t, c); err != nil {
		t.Fatal(err)
	}
	if s := c.Stats(); s.Hedges != 1 || s.Retries != 0 || time.Since(begin) >= 400*time.Millisecond {
		t.Fatalf("after %v: %+v", time.Since(begin), s)
	}
	if _, err := c.CreateTable(t.Context(), &metadatav1.CreateTableRequest{}); err != nil {
		t.Fatal(err)
	}
	if s := c.Stats(); s.Hedges != 1 || s.Retries != 1 {
		t.Fatalf("a write was hedged: %+v", s)
	}
	if err := getTableOnce(t, plain); err != nil || plain.Stats().Hedges != 0 {
		t.Fatalf("hedged without wishing: %+v, %v", plain.Stats(), err)
	}
	// What is final is not waited for twice.
	byServer(f, fails(connect.CodeNotFound, metadatav1.ErrorReason_ERROR_REASON_NOT_FOUND), hangs)
	c.preferred.Store(0)
	c.endpoints[0].health.answered()
	if err := getTableOnce(t, c); !IsNotFound(err) {
		t.Fatalf("not found: %v", err)
	}
}

// Reads show what the client has seen, where it wants that without naming it.
func TestReadsShowWhatTheClientHasSeen(t *testing.T) {
	written := replies(&metadatav1.CreateTableResponse{Result: &metadatav1.WriteResult{
		Position: &metadatav1.Position{ClusterId: "aaaa", RecoveryEpoch: 1, SchemaRevision: 9},
	}})
	f, _ := startFakes(t, 1, done, written, done, done, done, fails(connect.CodeFailedPrecondition, metadatav1.ErrorReason_ERROR_REASON_FOREIGN_POSITION), done)
	c, err := New(Options{Endpoints: f.addrs, Actor: "tester", Consistency: atLeast})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	get := func(o *metadatav1.ReadOptions) {
		t.Helper()
		if _, err := c.GetTable(t.Context(), &metadatav1.GetTableRequest{Read: o}); err != nil {
			t.Fatal(err)
		}
	}
	own := &metadatav1.Position{ClusterId: "bbbb", SchemaRevision: 3}
	get(nil)
	if _, err := c.CreateTable(t.Context(), &metadatav1.CreateTableRequest{}); err != nil {
		t.Fatal(err)
	}
	get(nil)
	get(&metadatav1.ReadOptions{Consistency: metadatav1.Consistency_CONSISTENCY_LOCAL})
	get(&metadatav1.ReadOptions{Consistency: atLeast, AtLeast: own})
	get(nil) // refused once: the cluster was restored
	get(nil)
	var asked []*metadatav1.ReadOptions
	for _, call := range f.all() {
		if r, ok := call.request.(*metadatav1.GetTableRequest); ok {
			asked = append(asked, r.GetRead())
		}
	}
	seen := &metadatav1.Position{ClusterId: "aaaa", RecoveryEpoch: 1, SchemaRevision: 9}
	want := []*metadatav1.ReadOptions{
		{Consistency: linearizable},
		{Consistency: atLeast, AtLeast: seen},
		{Consistency: metadatav1.Consistency_CONSISTENCY_LOCAL},
		{Consistency: atLeast, AtLeast: own},
		{Consistency: atLeast, AtLeast: seen},
		{Consistency: linearizable},
		{Consistency: linearizable},
	}
	if len(asked) != len(want) {
		t.Fatalf("%d reads were made, want %d", len(asked), len(want))
	}
	for i := range want {
		if !proto.Equal(asked[i], want[i]) {
			t.Errorf("read %d asks for %v, want %v", i, asked[i], want[i])
		}
	}
	if c.Observe(seen); !proto.Equal(c.Position(), seen) {
		t.Errorf("told of %v, it has seen %v", seen, c.Position())
	}
}

// Interceptors are around each attempt and each stream, and headers that they set are sent.
func TestInterceptorsSeeCallsAndStreams(t *testing.T) {
	i := &watching{}
	m := &member{ids: make(chan string, 1)}
	plain := startMember(t, m)
	c, err := New(Options{Endpoints: []string{plain.endpoints[0].address}, Interceptors: []connect.Interceptor{i}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	for range 3 {
		m.get(t, c)
	}
	if m.streams.Load() != 0 {
		t.Fatal("calls share a stream that interceptors do not see")
	}
	for frame, err := range c.Watch(soon(t), &metadatav1.SubscribeRequest{}) {
		if !IsInvalid(err) {
			t.Fatalf("the subscription brings %v, %v", frame, err)
		}
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	want := []string{"GetTable", "GetTable", "GetTable", "Subscribe", "sent", "received"}
	if !reflect.DeepEqual(i.saw, want) {
		t.Fatalf("the interceptor saw %q, want %q", i.saw, want)
	}
	if got := m.token.Load(); got == nil || *got != "secret" {
		t.Fatalf("the stream was opened with token %v", got)
	}
}

// watching notes what it sees, and adds a token.
type watching struct {
	mu     sync.Mutex
	saw    []string
	closed atomic.Int64 // streams
}

func (w *watching) note(what string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.saw = append(w.saw, what[strings.LastIndexByte(what, '/')+1:])
}

func (w *watching) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		w.note(req.Spec().Procedure)
		return next(ctx, req)
	}
}

func (w *watching) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return func(ctx context.Context, spec connect.Spec) connect.StreamingClientConn {
		w.note(spec.Procedure)
		conn := next(ctx, spec)
		conn.RequestHeader().Set("Token", "secret")
		return &watchedConn{conn, w}
	}
}

func (w *watching) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return next
}

type watchedConn struct {
	connect.StreamingClientConn
	w *watching
}

func (c *watchedConn) CloseResponse() error {
	c.w.closed.Add(1)
	return c.StreamingClientConn.CloseResponse()
}

// A stream of beats that cannot be opened leaves nothing behind, and one that was opened can be
// closed.
func TestAStreamOfBeatsIsClosed(t *testing.T) {
	w := &watching{}
	open := func(address string) (*HeartbeatStream, error) {
		c, err := New(Options{Endpoints: []string{address}, Interceptors: []connect.Interceptor{w}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		w.closed.Store(0)
		return c.StreamHeartbeats(soon(t))
	}
	if _, err := open("127.0.0.1:1"); err == nil || w.closed.Load() == 0 {
		t.Fatalf("nobody is there: %v, closed %d times", err, w.closed.Load())
	}
	s, err := open(startHandler(t, &publisher{}))
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	if _, err := s.Receive(); err == nil || w.closed.Load() == 0 {
		t.Fatalf("a stream that was closed receives %v", err)
	}
}

func (c *watchedConn) Send(m any) error { c.w.note("sent"); return c.StreamingClientConn.Send(m) }
func (c *watchedConn) Receive(m any) error {
	c.w.note("received")
	return c.StreamingClientConn.Receive(m)
}

// No answer to a call is packed. Streams are not, whatever a gRPC client could take.
func TestMembersAreNotAskedToPack(t *testing.T) {
	var asked atomic.Int64
	f, c := startFakes(t, 1, done)
	f.before = func(_ int, r *http.Request) {
		if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
			asked.Add(1)
		}
	}
	if _, err := c.ReadChanges(t.Context(), &metadatav1.ReadChangesRequest{}); err != nil {
		t.Fatal(err)
	}
	if asked.Load() > 0 {
		t.Fatal("it is asked to")
	}
}

// A call without a deadline ends nevertheless.
func TestCallsHaveADeadline(t *testing.T) {
	f, _ := startFakes(t, 1, hangs)
	c, err := New(Options{Endpoints: f.addrs, Actor: "tester", Timeout: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	begin := time.Now()
	_, err = c.GetTable(t.Context(), &metadatav1.GetTableRequest{})
	if !IsUnavailable(err) || time.Since(begin) > 5*time.Second {
		t.Fatalf("after %v: %v", time.Since(begin), err)
	}
}

// A node that is refused is told so, instead of trying for ever.
func TestANodeThatIsRefusedIsTold(t *testing.T) {
	_, c := startFakes(t, 2, func(w http.ResponseWriter, r *http.Request) {
		_ = connect.NewErrorWriter().Write(w, r, connect.NewError(connect.CodePermissionDenied, errors.New("not a node")))
	})
	_, err := c.JoinAsNode(soon(t), JoinOptions{Node: &metadatav1.NodeInfo{NodeId: "n"}})
	if !IsRefused(err) || !strings.Contains(err.Error(), "not a node") {
		t.Fatalf("it is told %v", err)
	}
}
