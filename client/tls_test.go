package client

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/proto/heliosdb/metadata/v1/metadatav1connect"
)

// secureServer serves the contract over TLS.
func secureServer(t *testing.T, clientAuth tls.ClientAuthType) *httptest.Server {
	t.Helper()
	mux := http.NewServeMux()
	mux.Handle(metadatav1connect.NewMetadataServiceHandler(&member{}))
	s := httptest.NewUnstartedServer(mux)
	s.EnableHTTP2 = true
	s.TLS = &tls.Config{ClientAuth: clientAuth, MinVersion: tls.VersionTLS12}
	s.Config.ErrorLog = quietLog()
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

// What TLS refuses is said in a sentence that says what to do, by calls and streams, and at
// once.
func TestWhatTLSRefuses(t *testing.T) {
	plain := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(plain.Close)
	open, strict := secureServer(t, tls.NoClientCert), secureServer(t, tls.RequireAnyClientCert)
	trusting := &tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS12}
	trusting.RootCAs.AddCert(open.Certificate())
	for name, c := range map[string]struct {
		server *httptest.Server
		tls    *tls.Config
		says   string
		refuse bool
	}{
		"an authority that nobody knows": {open, &tls.Config{MinVersion: tls.VersionTLS12}, "a certificate that this client does not trust", false},
		"no certificate of one's own":    {strict, trusting, "refuses this client's certificate", true},
		"TLS where there is none":        {plain, trusting, "does not speak TLS", false},
		"none where there is TLS":        {open, nil, "speaks TLS", false},
	} {
		client, err := New(Options{Endpoints: []string{c.server.Listener.Addr().String()}, TLS: c.tls, Timeout: 20 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(client.Close)
		begin := time.Now()
		_, err = client.GetTable(t.Context(), &metadatav1.GetTableRequest{})
		if err == nil || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), c.server.Listener.Addr().String()) || IsRefused(err) != c.refuse {
			t.Errorf("%s: a call: %v", name, err)
		}
		if IsOutcomeUnknown(err) {
			t.Errorf("%s: the outcome counts as unknown", name)
		}
		if c.tls == nil {
			continue // a stream sees only that the connection ends, as when a member stops: it tries again
		}
		for _, err = range client.Watch(soon(t), &metadatav1.SubscribeRequest{}) {
		}
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: a subscription: %v", name, err)
		}
		if took := time.Since(begin); took > 10*time.Second {
			t.Errorf("%s: it took %v", name, took)
		}
	}
}
