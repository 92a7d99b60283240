package server

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/proto/heliosdb/metadata/v1/metadatav1connect"
)

// Draining ends streams so that clients resume elsewhere, refuses new calls, and
// lets calls in progress finish.
func TestDrain(t *testing.T) {
	w := start(t, Options{})
	entered, leave := make(chan struct{}), make(chan struct{})
	w.member.onWrite = func(context.Context, proto.Message) error { close(entered); <-leave; return nil }
	rpc := w.rpc()
	written := make(chan error, 1)
	go func() {
		_, err := rpc.CreateTable(context.WithoutCancel(t.Context()), createTable("slow"))
		written <- err
	}()
	<-entered

	streams := make(map[string]*connect.ServerStreamForClient[metadatav1.SubscribeResponse])
	for name, client := range map[string]metadatav1connect.MetadataServiceClient{
		"connect": w.rpc(), "grpc": w.rpc(connect.WithGRPC()), "grpc-web": w.rpc(connect.WithGRPCWeb()),
		"http/1": metadatav1connect.NewMetadataServiceClient(w.http1(), w.url),
	} {
		streams[name] = must(client.Subscribe(t.Context(), &metadatav1.SubscribeRequest{}))(t)
		if !streams[name].Receive() {
			t.Fatal(streams[name].Err())
		}
	}
	beats := must(w.rpc().StreamHeartbeats(t.Context()))(t)
	if err := beats.Send(beat("n", 1)); err != nil {
		t.Fatal(err)
	}
	if got := must(beats.Receive())(t); got.GetRefused().GetReason() != "NOT_FOUND" {
		t.Fatalf("the beat is answered %v", got)
	}

	w.server.Drain()
	for name, stream := range streams {
		for stream.Receive() {
		}
		t.Run(name, func(t *testing.T) {
			wantFailure(t, stream.Err(), connect.CodeUnavailable, "STOPPING", "another member")
		})
		_ = stream.Close()
	}
	_, err := beats.Receive()
	wantFailure(t, err, connect.CodeUnavailable, "STOPPING")
	_ = beats.CloseRequest()
	_ = beats.CloseResponse()
	_, err = rpc.ListTables(t.Context(), &metadatav1.ListTablesRequest{})
	wantFailure(t, err, connect.CodeUnavailable, "STOPPING")
	if status, text := w.get("/readyz"); status != http.StatusServiceUnavailable || !strings.Contains(text, "stopping") {
		t.Fatalf("/readyz answers %d: %s", status, text)
	}
	close(leave)
	if err := <-written; err != nil {
		t.Fatalf("the call in progress: %v", err)
	}
}

// A subscriber that never reads holds nobody up, the end included.
func TestStopWithSubscribersThatNeverRead(t *testing.T) {
	w := start(t, Options{})
	conn := w.grpc()
	for range 3 {
		stream := must(conn.NewStream(t.Context(), &grpc.StreamDesc{ServerStreams: true},
			metadatav1connect.MetadataServiceSubscribeProcedure))(t)
		if err := stream.SendMsg(&metadatav1.SubscribeRequest{}); err != nil {
			t.Fatal(err)
		}
		if err := stream.CloseSend(); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "three subscriptions are open", func() bool { return w.member.feed.Subscriptions() == 3 })
	rpc := w.rpc()
	for i := range 20 { // far beyond what flow control lets through unread
		r := createTable("t" + strings.Repeat("x", i))
		for range 50 {
			r.Table.Columns = append(r.Table.Columns, &metadatav1.ColumnSchema{
				Name:    strings.Repeat("c", len(r.Table.Columns)+1),
				Comment: strings.Repeat("y", 4000), DataType: r.Table.Columns[0].DataType,
			})
		}
		must(rpc.CreateTable(t.Context(), r))(t)
	}
	begin := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), 4*drainWrites)
	defer cancel()
	if err := w.server.Stop(ctx); err != nil {
		t.Fatalf("after %v: %v", time.Since(begin), err)
	}
	if n := w.member.feed.Subscriptions(); n != 0 {
		t.Fatalf("%d subscriptions outlived the server", n)
	}
}

func TestStopGivesUpOnTime(t *testing.T) {
	w := start(t, Options{})
	entered := make(chan struct{})
	w.member.onWrite = func(ctx context.Context, _ proto.Message) error { close(entered); <-ctx.Done(); return ctx.Err() }
	done := make(chan error, 1)
	rpc := w.rpc()
	go func() { _, err := rpc.CreateTable(context.WithoutCancel(t.Context()), createTable("t")); done <- err }()
	<-entered
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := w.server.Stop(ctx); err == nil {
		t.Fatal("a call hangs, but Stop says that all is well")
	}
	if err := <-done; err == nil {
		t.Fatal("the call that was cut off succeeded")
	}
}

// Reads of the past are answered by a server that stops, as other unary calls are, by grpc-go and by
// Connect. It takes longer than streams are given for their end.
func TestStopWaitsForReadsOfThePast(t *testing.T) {
	w := start(t, Options{})
	must(w.rpc().CreateTable(t.Context(), createTable("t")))(t)
	entered, leave := make(chan struct{}, 2), make(chan struct{})
	w.member.onAsOf = func(ctx context.Context) error {
		entered <- struct{}{}
		select {
		case <-leave:
		case <-ctx.Done():
		}
		return ctx.Err()
	}
	request, done := &metadatav1.ListTablesAsOfRequest{At: atRevision(1)}, make(chan error, 2)
	conn, client := w.grpc(), metadatav1connect.NewHistoryServiceClient(w.http1(), w.url)
	go func() {
		done <- conn.Invoke(t.Context(), metadatav1connect.HistoryServiceListTablesAsOfProcedure, request, new(metadatav1.ListTablesAsOfResponse))
	}()
	go func() { _, err := client.ListTablesAsOf(t.Context(), request); done <- err }()
	<-entered
	<-entered
	stopped := make(chan error, 1)
	go func() { stopped <- w.server.Stop(t.Context()) }()
	time.Sleep(drainWrites + 2*sampleEvery)
	close(leave)
	for range 2 {
		if err := <-done; err != nil {
			t.Errorf("a read of the past was not answered: %v", err)
		}
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

func TestPlacesAreLimitedAndGivenBack(t *testing.T) {
	w := start(t, Options{Limits: Limits{Requests: 1, Streams: 1, Subscriptions: 1}})
	rpc := w.rpc()
	full := func(err error, limit string) {
		t.Helper()
		own := wantFailure(t, err, connect.CodeResourceExhausted, "LIMIT_REACHED", limit)
		if got := detail[*errdetails.ErrorInfo](own).GetMetadata()["limit"]; got != limit {
			t.Fatalf("the limit is called %q, want %q", got, limit)
		}
		if detail[*errdetails.RetryInfo](own).GetRetryDelay().AsDuration() <= 0 {
			t.Fatal("the error does not say when to retry")
		}
	}
	entered, leave := make(chan struct{}), make(chan struct{})
	w.member.onWrite = func(context.Context, proto.Message) error { close(entered); <-leave; return nil }
	done := make(chan error, 1)
	go func() { _, err := rpc.CreateTable(context.WithoutCancel(t.Context()), createTable("t")); done <- err }()
	<-entered
	_, err := rpc.ListTables(t.Context(), &metadatav1.ListTablesRequest{})
	full(err, "concurrent_requests")
	close(leave)
	if err := <-done; err != nil {
		t.Fatal(err)
	}

	stream := must(rpc.Subscribe(t.Context(), &metadatav1.SubscribeRequest{}))(t)
	if !stream.Receive() {
		t.Fatal(stream.Err())
	}
	full(subscribeError(t.Context(), rpc, &metadatav1.SubscribeRequest{}), "subscriptions")
	_ = stream.Close()

	beats := must(rpc.StreamHeartbeats(t.Context()))(t)
	if err := beats.Send(beat("n", 1)); err != nil {
		t.Fatal(err)
	}
	must(beats.Receive())(t)
	more := must(rpc.StreamHeartbeats(t.Context()))(t)
	_ = more.Send(beat("n", 1)) // may be refused before it is sent
	_, err = more.Receive()
	full(err, "heartbeat_streams")
	for _, s := range []interface{ CloseRequest() error }{more, beats} {
		_ = s.CloseRequest()
	}
	_ = more.CloseResponse()
	_ = beats.CloseResponse()

	// Messages that cannot be decoded give their places back too.
	for range 3 {
		response, err := w.post("application/json", "", strings.NewReader("no json"))
		if err != nil {
			t.Fatal(err)
		}
		body(t, response)
	}
	eventually(t, "all places are given back", func() bool {
		g := w.server.gate
		return g.requests.taken.Load()+g.streams.taken.Load()+g.subscriptions.taken.Load() == 0
	})
	must(rpc.ListTables(t.Context(), &metadatav1.ListTablesRequest{}))(t)
}

func TestRateOfOnePeer(t *testing.T) {
	clock := newManual()
	w := start(t, Options{Now: clock.Now, Limits: Limits{PeerRate: 2, PeerBurst: 3}})
	rpc := w.rpc()
	list := func() error { _, err := rpc.ListTables(t.Context(), &metadatav1.ListTablesRequest{}); return err }
	for i := range 3 {
		if err := list(); err != nil {
			t.Fatalf("call %d of the burst: %v", i, err)
		}
	}
	own := wantFailure(t, list(), connect.CodeResourceExhausted, "LIMIT_REACHED", "127.0.0.1")
	if wait := detail[*errdetails.RetryInfo](own).GetRetryDelay().AsDuration(); wait != 500*time.Millisecond {
		t.Fatalf("the hint is to wait %v", wait)
	}
	clock.pass(500 * time.Millisecond)
	if err := list(); err != nil {
		t.Fatalf("after the wait: %v", err)
	}
	if _, text := w.get("/metrics"); !strings.Contains(text, `heliosmeta_rpc_refused_total{reason="LIMIT_REACHED"`) {
		t.Fatal("the refusal was not counted")
	}
}

func TestPeersAreForgotten(t *testing.T) {
	rates := newPeerRates(1, 1, newManual().Now)
	for i := range maxPeers + 10 {
		rates.take(string(rune(i)))
	}
	if len(rates.peers) != maxPeers || rates.order.Len() != maxPeers {
		t.Fatalf("%d peers are remembered", len(rates.peers))
	}
	if _, ok := rates.peers[string(rune(0))]; ok {
		t.Fatal("the oldest peer is remembered")
	}
}

func TestTLS(t *testing.T) {
	certificate, pool := selfSigned(t)
	w := start(t, Options{TLS: &tls.Config{
		Certificates: []tls.Certificate{certificate}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert,
		MinVersion: tls.VersionTLS13,
	}})
	config := &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{certificate}}
	for _, set := range []func(*http.Protocols){
		func(p *http.Protocols) { p.SetHTTP1(true) },
		func(p *http.Protocols) { p.SetHTTP2(true) },
	} {
		client := metadatav1connect.NewMetadataServiceClient(w.client(set, config), w.url)
		ctx, info := connect.NewClientContext(t.Context())
		info.RequestHeader().Set(ActorHeader, "somebody-else")
		_, err := client.CreateTable(ctx, createTable("t"))
		if err != nil && connect.CodeOf(err) != connect.CodeAlreadyExists {
			t.Fatal(err)
		}
		if got := *w.member.actor.Load(); got != "CN=compute-1" {
			t.Fatalf("the actor is %q", got)
		}
	}
	anonymous := metadatav1connect.NewMetadataServiceClient(
		w.client(func(p *http.Protocols) { p.SetHTTP2(true) }, &tls.Config{RootCAs: pool}), w.url)
	if _, err := anonymous.ListTables(t.Context(), &metadatav1.ListTablesRequest{}); err == nil {
		t.Fatal("a client without certificate is served")
	}
}

func selfSigned(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "compute-1"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der := must(x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key))(t)
	pool := x509.NewCertPool()
	pool.AddCert(must(x509.ParseCertificate(der))(t))
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}
