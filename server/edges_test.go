package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/internal/failure"
	"github.com/heliosdb/metadata/internal/vitals"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/proto/heliosdb/metadata/v1/metadatav1connect"
)

// Every reason of the contract reaches the client under its documented code,
// with all that the failure carries.
func TestErrorTable(t *testing.T) {
	w := start(t, Options{})
	var current *failure.Error
	w.member.onWrite = func(context.Context, proto.Message) error { return fmt.Errorf("deciding: %w", current) }
	rpc, promised := w.rpc(), codesInContract(t)
	for n := range metadatav1.ErrorReason_name {
		reason := metadatav1.ErrorReason(n)
		if reason == metadatav1.ErrorReason_ERROR_REASON_UNSPECIFIED {
			continue
		}
		current = &failure.Error{
			Reason: reason, Message: "it is so", Metadata: map[string]string{"limit": "x"}, RequestID: "r-1",
			RetryAfter: 3 * time.Second, Fields: []failure.Field{{Path: "table.name", Description: "is odd"}},
		}
		_, err := rpc.CreateTable(t.Context(), createTable("t"))
		own := wantFailure(t, err, promised[reason.String()], failure.Name(reason), "it is so")
		wantFields(t, own, "table.name")
		if detail[*errdetails.ErrorInfo](own).GetMetadata()["limit"] != "x" ||
			detail[*errdetails.RetryInfo](own).GetRetryDelay().AsDuration() != 3*time.Second {
			t.Fatalf("%v lost details: %v", reason, own.Details())
		}
		unknown := detail[*metadatav1.OutcomeUnknown](own)
		if isUnknown := reason == metadatav1.ErrorReason_ERROR_REASON_OUTCOME_UNKNOWN; isUnknown != (unknown.GetRequestId() == "r-1") {
			t.Fatalf("%v carries %v", reason, unknown)
		}
	}
}

var promise = regexp.MustCompile(`(?m)^  // ([A-Z_]+): .*\n(?:  //.*\n)*  (ERROR_REASON_[A-Z_]+) = \d+;`)

// codesInContract reads the codes that the comments of error.proto promise.
func codesInContract(t *testing.T) map[string]connect.Code {
	t.Helper()
	source := must(os.ReadFile("../proto/heliosdb/metadata/v1/error.proto"))(t)
	promised := make(map[string]connect.Code)
	for _, m := range promise.FindAllStringSubmatch(string(source), -1) {
		var code connect.Code
		if err := code.UnmarshalText([]byte(strings.ToLower(m[1]))); err != nil {
			t.Fatalf("%s: %v", m[2], err)
		}
		promised[m[2]] = code
	}
	if len(promised) != len(metadatav1.ErrorReason_name)-1 {
		t.Fatalf("error.proto promises codes for %d reasons of %d", len(promised), len(metadatav1.ErrorReason_name)-1)
	}
	return promised
}

func TestForeignErrorsAndPanicsKeepTheirSecrets(t *testing.T) {
	w := start(t, Options{})
	rpc := w.rpc()
	for what, fail := range map[string]func() error{
		"an error": func() error { return errors.New("secret path /var/x") },
		"a panic":  func() error { panic("secret path /var/x") },
	} {
		w.member.onWrite = func(context.Context, proto.Message) error { return fail() }
		_, err := rpc.CreateTable(t.Context(), createTable("t"))
		if own := wantFailure(t, err, connect.CodeInternal, "INTERNAL"); strings.Contains(own.Message(), "secret") {
			t.Fatalf("%s tells %q", what, own.Message())
		}
	}
	w.member.onWrite = nil
	must(rpc.CreateTable(t.Context(), createTable("t")))(t) // and it goes on
	if _, text := w.get("/metrics"); !strings.Contains(text, "heliosmeta_rpc_panics_total 1") {
		t.Fatal("the panic was not counted")
	}
}

// A handler that waits for its context ends at the caller's deadline, or at the
// server's own.
func TestDeadlines(t *testing.T) {
	w := start(t, Options{Limits: Limits{UnaryTimeout: 50 * time.Millisecond}})
	w.member.onWrite = func(ctx context.Context, _ proto.Message) error { <-ctx.Done(); return ctx.Err() }
	_, err := w.rpc().CreateTable(t.Context(), createTable("t"))
	wantFailure(t, err, connect.CodeDeadlineExceeded, "DEADLINE", "same request id", "UnaryTimeout, 50ms")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err = w.rpc().CreateTable(ctx, createTable("t")); connect.CodeOf(err) != connect.CodeDeadlineExceeded || strings.Contains(err.Error(), "UnaryTimeout") {
		t.Errorf("at the caller's own deadline: %v", err)
	}
}

// A read of the past may take longer than other calls, and ends at a limit of its own.
func TestDeadlinesOfThePast(t *testing.T) {
	w := start(t, Options{Limits: Limits{UnaryTimeout: 200 * time.Millisecond, HistoryTimeout: 800 * time.Millisecond}})
	must(w.rpc().CreateTable(t.Context(), createTable("t")))(t)
	clients := make(map[string]metadatav1connect.HistoryServiceClient)
	for name, client := range historians(w) {
		clients[name] = client
	}
	clients["get"] = metadatav1connect.NewHistoryServiceClient(w.http1(), w.url, connect.WithHTTPGet())
	clients["http/1"] = metadatav1connect.NewHistoryServiceClient(w.http1(), w.url)
	for name, client := range clients {
		var took time.Duration
		w.member.onAsOf = func(ctx context.Context) error {
			began := time.Now()
			select {
			case <-ctx.Done():
			case <-time.After(400 * time.Millisecond): // a fold that is longer than UnaryTimeout
			}
			took = time.Since(began)
			return ctx.Err()
		}
		if _, err := client.ListTablesAsOf(t.Context(), &metadatav1.ListTablesAsOfRequest{At: atRevision(1)}); err != nil {
			t.Errorf("%s: after %v: %v", name, took, err)
		}
		w.member.onAsOf = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
		_, err := client.ListTablesAsOf(t.Context(), &metadatav1.ListTablesAsOfRequest{At: atRevision(1)})
		failed := wantFailure(t, err, connect.CodeDeadlineExceeded, "DEADLINE", "HistoryTimeout, 800ms", "history replay")
		if info := detail[*errdetails.ErrorInfo](failed); info.GetMetadata()["limit"] != "HistoryTimeout" {
			t.Errorf("%s: the error names %v", name, info.GetMetadata())
		}
	}
}

func TestRequestIDsAreFilledIn(t *testing.T) {
	w := start(t, Options{NewRequestID: func() string { return "made-up" }})
	var got string
	w.member.onWrite = func(_ context.Context, command proto.Message) error {
		got = command.(*metadatav1.CreateTableRequest).GetWrite().GetRequestId()
		return nil
	}
	must(w.rpc().CreateTable(t.Context(), createTable("a")))(t)
	if got != "made-up" {
		t.Fatalf("a write without a request id gets %q", got)
	}
	request := createTable("b")
	request.Write = &metadatav1.WriteOptions{RequestId: "mine"}
	must(w.rpc().CreateTable(t.Context(), request))(t)
	again := must(w.rpc().CreateTable(t.Context(), request))(t)
	if got != "mine" || !again.GetResult().GetDeduplicated() {
		t.Fatalf("a retry with id %q was not recognised: %v", got, again.GetResult())
	}
}

func TestRegistrationsNameTheLease(t *testing.T) {
	w := start(t, Options{})
	answer := must(w.rpc().RegisterNode(t.Context(), registerNode("n", metadatav1.NodeType_NODE_TYPE_COMPUTE)))(t)
	if answer.GetLeaseDuration().AsDuration() != 5*time.Second || answer.GetHeartbeatInterval().AsDuration() != time.Second {
		t.Fatalf("lease %v, interval %v", answer.GetLeaseDuration(), answer.GetHeartbeatInterval())
	}
}

func TestStatus(t *testing.T) {
	w := start(t, Options{})
	client := metadatav1connect.NewClusterServiceClient(w.http2(), w.url)
	if got := must(client.Status(t.Context(), &metadatav1.StatusRequest{}))(t); got.GetMemberId() != 7 {
		t.Fatalf("the status is %v", got)
	}
}

func TestActors(t *testing.T) {
	w := start(t, Options{})
	for _, c := range []struct{ header, want string }{
		{"", "127.0.0.1"},
		{"alice", "alice"},
		{"  al\tice\u0001 ", "al?ice?"},
		{strings.Repeat("é", 300), strings.Repeat("é", 128)},
	} {
		ctx, info := connect.NewClientContext(t.Context())
		if c.header != "" {
			// HTTP lets neither control characters nor other letters through everywhere: clean
			// is asked itself.
			if got := clean(c.header); got != c.want {
				t.Fatalf("%q is cleaned to %q, want %q", c.header, got, c.want)
			}
			info.RequestHeader().Set(ActorHeader, c.want)
		}
		must(w.rpc().CreateTable(ctx, createTable(fmt.Sprintf("t%d", len(c.header)))))(t)
		if got := *w.member.actor.Load(); got != c.want {
			t.Fatalf("the header %q makes the actor %q", c.header, got)
		}
	}
}

func TestCORS(t *testing.T) {
	preflight := func(w *world, origin string) http.Header {
		request := must(http.NewRequestWithContext(t.Context(), http.MethodOptions,
			w.url+metadatav1connect.MetadataServiceGetTableProcedure, nil))(t)
		request.Header.Set("Origin", origin)
		request.Header.Set("Access-Control-Request-Method", "POST")
		request.Header.Set("Access-Control-Request-Headers", "connect-protocol-version,content-type")
		response, err := w.http1().Do(request)
		if err != nil {
			t.Fatal(err)
		}
		body(t, response)
		return response.Header
	}
	const origin = "https://console.example"
	if got := preflight(start(t, Options{}), origin).Get("Access-Control-Allow-Origin"); got != "" {
		t.Fatalf("CORS is on for %q without being configured", got)
	}
	w := start(t, Options{CORSOrigins: []string{origin}})
	if got := preflight(w, origin); got.Get("Access-Control-Allow-Origin") != origin ||
		!strings.Contains(strings.ToLower(got.Get("Access-Control-Allow-Headers")), "connect-protocol-version") {
		t.Fatalf("the configured origin is answered %v", got)
	}
	if got := preflight(w, "https://evil.example").Get("Access-Control-Allow-Origin"); got != "" {
		t.Fatalf("another origin is allowed as %q", got)
	}
	pages := func() []string { return []string{"http://m2.example:9000"} }
	for _, configured := range [][]string{nil, {origin}} {
		w := start(t, Options{CORSOrigins: configured, PageOrigins: pages})
		for asked, allowed := range map[string]bool{
			"http://m2.example:9000": true, "https://m2.example:9000": false, "http://m2.example": false,
			origin: configured != nil, "null": false, "https://evil.example": false,
		} {
			got := preflight(w, asked)
			if (got.Get("Access-Control-Allow-Origin") == asked) != allowed {
				t.Errorf("with %q configured, %q is answered %v", configured, asked, got)
			}
			if got.Get("Access-Control-Allow-Credentials") != "" {
				t.Errorf("%q may send credentials", asked)
			}
		}
	}
}

func TestReadinessIsDebounced(t *testing.T) {
	clock := newManual()
	w := start(t, Options{Now: clock.Now, ReadyDebounce: 10 * time.Second}, func(w *world) { w.member.setReady(false) })
	want := func(status int, words ...string) {
		t.Helper()
		got, text := w.get("/readyz")
		if got != status {
			t.Fatalf("/readyz answers %d: %s", got, text)
		}
		for _, word := range words {
			if !strings.Contains(text, word) {
				t.Fatalf("/readyz does not say %q: %s", word, text)
			}
		}
	}
	// The sample that New takes may have seen the fake while it was still ready.
	w.server.ready.mu.Lock()
	w.server.ready.was = false
	w.server.ready.mu.Unlock()
	want(http.StatusServiceUnavailable, "not ready", "no leader", "schema: leader, leader 7")
	w.member.setReady(true)
	want(http.StatusOK, "ready\n")
	w.member.setReady(false)
	want(http.StatusOK, "no leader")
	clock.pass(9 * time.Second)
	want(http.StatusOK, "no leader")
	clock.pass(2 * time.Second)
	want(http.StatusServiceUnavailable)
	w.member.setReady(true)
	want(http.StatusOK)
	w.member.setReady(false)
	want(http.StatusOK) // a new gap
	if status, _ := w.get("/livez"); status != http.StatusOK {
		t.Fatalf("/livez answers %d", status)
	}
}

func TestMetrics(t *testing.T) {
	metrics := NewMetrics()
	w := start(t, Options{Metrics: metrics})
	metrics.Proposal(metadatav1.Stream_STREAM_SCHEMA, 2*time.Millisecond, vitals.Committed)
	metrics.Checkpoint(metadatav1.Stream_STREAM_SCHEMA, 30*time.Millisecond, 1<<20)
	metrics.StoreWrite(time.Millisecond, 2)
	must(w.rpc().CreateTable(t.Context(), createTable("t")))(t)
	_, err := w.rpc().CreateTable(t.Context(), createTable("t"))
	wantFailure(t, err, connect.CodeAlreadyExists, "ALREADY_EXISTS")
	stream := must(w.rpc().Subscribe(t.Context(), &metadatav1.SubscribeRequest{}))(t)
	if !stream.Receive() {
		t.Fatal(stream.Err())
	}
	var text string
	eventually(t, "the frame is counted", func() bool { // the client may have it before
		_, text = w.get("/metrics")
		return strings.Contains(text, `heliosmeta_rpc_stream_messages_sent_total{rpc="/heliosdb.metadata.v1.MetadataService/Subscribe"} 1`)
	})
	_ = stream.Close()
	for _, want := range []string{
		`heliosmeta_rpc_handled_total{code="ok",rpc="/heliosdb.metadata.v1.MetadataService/CreateTable"} 1`,
		`heliosmeta_rpc_handled_total{code="already_exists",rpc="/heliosdb.metadata.v1.MetadataService/CreateTable"} 1`,
		`heliosmeta_rpc_duration_seconds_count{rpc="/heliosdb.metadata.v1.MetadataService/CreateTable"} 2`,
		`heliosmeta_rpc_in_progress{rpc="/heliosdb.metadata.v1.MetadataService/Subscribe"} 1`,
		`heliosmeta_raft_is_leader{stream="schema"} 1`,
		`heliosmeta_raft_is_leader{stream="topology"} 0`,
		`heliosmeta_raft_log_entries{stream="schema"} 5`,
		`heliosmeta_raft_log_bytes{stream="schema"} 512`,
		`heliosmeta_proposal_duration_seconds_count{stream="schema"} 1`,
		`heliosmeta_proposals_total{outcome="committed",stream="schema"} 1`,
		`heliosmeta_checkpoint_duration_seconds_count{stream="schema"} 1`,
		`heliosmeta_checkpoint_bytes{stream="schema"} 77`,
		`heliosmeta_checkpoint_last_duration_seconds{stream="schema"} 0.25`,
		`heliosmeta_subscribers 1`,
		`heliosmeta_subscriber_lag_changes{stream="schema"} 0`,
		`heliosmeta_ready 1`,
		`heliosmeta_store_write_size_count 1`,
		`go_goroutines`, `process_resident_memory_bytes`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("/metrics lacks %s", want)
		}
	}
	var already prometheus.AlreadyRegisteredError
	if _, err := New(newFake(), Options{Metrics: metrics}); !errors.As(err, &already) {
		t.Fatalf("a second server on the same metrics: %v", err)
	}
}

func TestHome(t *testing.T) {
	if status, _ := start(t, Options{}).get("/"); status != http.StatusNotFound {
		t.Fatalf("without a console, / answers %d", status)
	}
	console := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { plain(w, http.StatusOK, "console") })
	if status, text := start(t, Options{Home: console}).get("/index.html"); status != http.StatusOK || text != "console" {
		t.Fatalf("with a console, / answers %d %q", status, text)
	}
}

func TestFramesForJSONAreSplit(t *testing.T) {
	var changes []*metadatav1.Change
	for i := range 10 {
		changes = append(changes, &metadatav1.Change{Revision: uint64(i + 1), Actor: strings.Repeat("a", 100)})
	}
	frame := &metadatav1.SubscribeResponse{Frame: &metadatav1.SubscribeResponse_Changes{
		Changes: &metadatav1.Changes{Stream: metadatav1.Stream_STREAM_SCHEMA, Changes: changes},
	}}
	var next uint64 = 1
	parts := splitFrame(frame, 300)
	for _, part := range parts {
		if part.GetChanges().GetStream() != metadatav1.Stream_STREAM_SCHEMA || proto.Size(part) > 320 {
			t.Fatalf("a part has %d bytes of %v", proto.Size(part), part.GetChanges().GetStream())
		}
		for _, c := range part.GetChanges().GetChanges() {
			if c.GetRevision() != next {
				t.Fatalf("revision %d instead of %d", c.GetRevision(), next)
			}
			next++
		}
	}
	if next != 11 || len(parts) != 5 {
		t.Fatalf("%d parts up to revision %d", len(parts), next-1)
	}

	chunk := &metadatav1.SnapshotChunk{Stream: metadatav1.Stream_STREAM_SCHEMA, Revision: 9, Last: true, Digest: []byte("d")}
	chunk.Namespaces = []*metadatav1.Namespace{{Name: strings.Repeat("n", 100)}}
	for i := range 5 {
		chunk.Tables = append(chunk.Tables, table(fmt.Sprint(i, strings.Repeat("t", 100))))
	}
	whole := &metadatav1.SubscribeResponse{Frame: &metadatav1.SubscribeResponse_Snapshot{Snapshot: chunk}}
	joined := &metadatav1.SnapshotChunk{}
	parts = splitFrame(whole, 300)
	for i, part := range parts {
		s := part.GetSnapshot()
		if s.GetRevision() != 9 || string(s.GetDigest()) != "d" || s.GetLast() != (i == len(parts)-1) {
			t.Fatalf("part %d of %d is %v", i, len(parts), s)
		}
		joined.Namespaces = append(joined.Namespaces, s.GetNamespaces()...)
		joined.Tables = append(joined.Tables, s.GetTables()...)
	}
	if len(parts) < 3 || len(joined.GetNamespaces()) != 1 || len(joined.GetTables()) != 5 || !chunk.GetLast() {
		t.Fatalf("%d parts hold %v", len(parts), joined)
	}
	if same := splitFrame(whole, 1<<20); len(same) != 1 || same[0] != whole {
		t.Fatal("a frame that fits is split")
	}
}
