package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/proto/heliosdb/metadata/v1/metadatav1connect"
)

// versions notes which HTTP calls came by, those on shared streams aside.
type versions struct {
	mu   sync.Mutex
	seen []int
}

func (v *versions) serve(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != metadatav1connect.MetadataServicePipelineProcedure {
			v.mu.Lock()
			v.seen = append(v.seen, r.ProtoMajor)
			v.mu.Unlock()
		}
		next.ServeHTTP(w, r)
	})
}

func (v *versions) all() []int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Clone(v.seen)
}

// pageMember answers what no stream carries, too.
type pageMember struct{ oldMember }

func (pageMember) ListTables(context.Context, *metadatav1.ListTablesRequest) (*metadatav1.ListTablesResponse, error) {
	return nil, connect.NewError(connect.CodeNotFound, io.ErrNoProgress)
}

// ListNodes never answers.
func (pageMember) ListNodes(ctx context.Context, _ *metadatav1.ListNodesRequest) (*metadatav1.ListNodesResponse, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// startVersion serves some versions of HTTP.
func startVersion(t *testing.T, secure bool, set func(*http.Protocols)) (*versions, *Client) {
	t.Helper()
	v := new(versions)
	mux := http.NewServeMux()
	mux.Handle(metadatav1connect.NewMetadataServiceHandler(pageMember{oldMember{&member{ids: make(chan string, 100)}}}))
	s := httptest.NewUnstartedServer(v.serve(mux))
	s.Config.Protocols, s.Config.ErrorLog = new(http.Protocols), quietLog()
	set(s.Config.Protocols)
	options := Options{Endpoints: []string{s.Listener.Addr().String()}, Timeout: 5 * time.Second}
	if secure {
		s.TLS = &tls.Config{NextProtos: []string{"h2"}, MinVersion: tls.VersionTLS12}
		s.StartTLS()
		options.TLS = &tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS12}
		options.TLS.RootCAs.AddCert(s.Certificate())
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	c, err := New(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return v, c
}

// Calls get through a gateway that carries HTTP/2 only, and come by HTTP/1.1 wherever that is
// carried.
func TestCallsGoThroughAGatewayOfHTTP2(t *testing.T) {
	for name, c := range map[string]struct {
		secure bool
		set    func(*http.Protocols)
		want   int
	}{
		"HTTP/2 in plain text": {false, func(p *http.Protocols) { p.SetUnencryptedHTTP2(true) }, 2},
		"HTTP/2 over TLS":      {true, func(p *http.Protocols) { p.SetHTTP2(true) }, 2},
		"both":                 {false, func(p *http.Protocols) { p.SetHTTP1(true); p.SetUnencryptedHTTP2(true) }, 1},
	} {
		v, client := startVersion(t, c.secure, c.set)
		for range 3 {
			if _, err := client.GetTable(soon(t), &metadatav1.GetTableRequest{}); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if _, err := client.CreateTable(soon(t), &metadatav1.CreateTableRequest{}); err != nil {
				t.Fatalf("%s: a write: %v", name, err)
			}
			if _, err := client.ListTables(soon(t), &metadatav1.ListTablesRequest{}); !IsNotFound(err) {
				t.Fatalf("%s: a page: %v", name, err)
			}
		}
		if seen := v.all(); len(seen) != 9 || slices.ContainsFunc(seen, func(n int) bool { return n != c.want }) {
			t.Errorf("%s: calls came by HTTP %v", name, seen)
		}
	}
}

// That a caller has enough of one call does not send the next ones through a gateway of HTTP/2 the wrong way.
func TestAGatewayOfHTTP2IsRemembered(t *testing.T) {
	v, client := startVersion(t, false, func(p *http.Protocols) { p.SetUnencryptedHTTP2(true) })
	if _, err := client.GetTable(soon(t), &metadatav1.GetTableRequest{}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		if _, err := client.ListNodes(ctx, &metadatav1.ListNodesRequest{}); err == nil {
			t.Fatal("nobody answered, and there is no error")
		}
		cancel()
		if !client.endpoints[0].prefersHTTP2.Load() {
			t.Fatal("one call without an answer sends the next by HTTP/1.1")
		}
	}
	if _, err := client.GetTable(soon(t), &metadatav1.GetTableRequest{}); err != nil || client.Stats().Retries != 1 {
		t.Fatalf("after %d retries: %v", client.Stats().Retries, err)
	}
	if seen := v.all(); slices.Contains(seen, 1) {
		t.Errorf("calls came by HTTP %v", seen)
	}
}

// An end that says that it speaks the other HTTP does not refuse the client, and has not read the call.
func TestTheOtherHTTPIsNoRefusal(t *testing.T) {
	for _, text := range []string{"remote error: " + saysNoHTTP2, "net/http: HTTP/1.x transport connection broken: " + saysHTTP2} {
		err := connect.NewError(connect.CodeUnavailable, errors.New(text))
		if says := aboutEndpoint(err); says != "" || mayHaveHappened(err) {
			t.Errorf("%s: %q; may have happened: %v", text, says, mayHaveHappened(err))
		}
	}
}

// A gateway may answer in HTTP/2 whatever it is asked: that is not taken for TLS. What is neither is
// an error still, and at once where it is TLS.
func TestAnAnswerInHTTP2(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Read(make([]byte, 1000))
			_, _ = conn.Write([]byte("\x00\x00\x00\x04\x00\x00\x00\x00\x00")) // its SETTINGS
			_ = conn.Close()
		}
	}()
	c := newClient(t, l.Addr().String())
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err = c.GetTable(ctx, &metadatav1.GetTableRequest{})
	if isAboutEndpoint(err) || !IsUnavailable(err) || c.Stats().Retries == 0 {
		t.Fatalf("after %d retries: %v", c.Stats().Retries, err)
	}
}

// A member's end is not taken for a gateway.
func TestAMembersEndKeepsHTTP1(t *testing.T) {
	f, c := startFakes(t, 1, done, breaks, done)
	for range 2 {
		if err := getTableOnce(t, c); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(f.all()); n != 3 || c.endpoints[0].prefersHTTP2.Load() {
		t.Fatalf("after %d calls HTTP/1.1 is given up: %v", n, c.endpoints[0].prefersHTTP2.Load())
	}
	dead := newClient(t, "127.0.0.1:1")
	ctx, cancel := context.WithCancel(t.Context()) // a deadline might pass before an attempt has found out
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		_, err := dead.GetTable(ctx, &metadatav1.GetTableRequest{})
		ended <- err
	}()
	eventually(t, "nobody is found twice", func() bool { return dead.Stats().Retries > 1 })
	cancel()
	if err := <-ended; err == nil || dead.endpoints[0].prefersHTTP2.Load() {
		t.Fatalf("nobody is there, and HTTP/1.1 is given up: %v", err)
	}
}
