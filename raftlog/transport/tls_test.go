package transport

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/raft/v3/raftpb"
)

// authority is a certificate authority of the test's own.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	dir  string
	file string
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	a := &authority{dir: t.TempDir()}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: "test authority"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign,
	}
	der, key := sign(t, template, nil)
	a.key = key
	var err error
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.file = filepath.Join(a.dir, "ca.pem")
	writePEM(t, a.file, "CERTIFICATE", der)
	return a
}

// sign completes a certificate, self-signed without an authority.
func sign(t testing.TB, template *x509.Certificate, by *authority) ([]byte, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if template.SerialNumber, err = rand.Int(rand.Reader, big.NewInt(1<<62)); err != nil {
		t.Fatal(err)
	}
	if template.NotAfter.IsZero() {
		template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	}
	parent, signer := template, key
	if by != nil {
		parent, signer = by.cert, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	return der, key
}

func writePEM(t testing.TB, file, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

// memberCert is a certificate for a member's SPIFFE name or DNS name.
func memberCert(t testing.TB, name string) *x509.Certificate {
	t.Helper()
	cert := &x509.Certificate{
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if uri, err := url.Parse(name); err == nil && uri.Scheme != "" {
		cert.URIs = []*url.URL{uri}
	} else {
		cert.DNSNames = []string{name}
	}
	return cert
}

// issue writes a certificate and its key, and returns their files.
func (a *authority) issue(t testing.TB, template *x509.Certificate) (certFile, keyFile string) {
	t.Helper()
	der, key := sign(t, template, a)
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writePEM(t, certFile, "CERTIFICATE", der)
	writePEM(t, keyFile, "EC PRIVATE KEY", keyDER)
	return certFile, keyFile
}

// config loads what a member with this certificate would, trusting a.
func (a *authority) config(t testing.TB, template *x509.Certificate, trusting *authority) *tls.Config {
	t.Helper()
	certFile, keyFile := a.issue(t, template)
	config, err := LoadTLS(certFile, keyFile, trusting.file)
	if err != nil {
		t.Fatal(err)
	}
	return config
}

func TestMutualTLS(t *testing.T) {
	ca := newAuthority(t)
	names := map[uint64]string{1: "spiffe://prod/member/1", 2: "member-2", 3: "spiffe://prod/member/3"}
	nodes := startCluster(t, 3, func(c *Config) { c.TLS = ca.config(t, memberCert(t, names[c.Member]), ca) })
	awaitUp(t, nodes)
	for id, n := range nodes {
		for to := range nodes {
			if to == id {
				continue
			}
			n.Send(1, []*pb.Message{message(pb.MsgApp, id, to, id, make([]byte, 1<<20))})
			if r := nodes[to].awaitMessage(t); r.from != id || len(r.m.GetEntries()[0].GetData()) != 1<<20 {
				t.Errorf("member %d got %d bytes from %d", to, len(r.m.GetEntries()[0].GetData()), r.from)
			}
			if got, err := n.Call(t.Context(), to, 1, []byte("hi")); err != nil || string(got) != "hi" {
				t.Errorf("call from %d to %d: %q, %v", id, to, got, err)
			}
		}
	}
	if _, err := nodes[1].Probe(t.Context(), 2); err != nil {
		t.Error(err)
	}
}

// TestUntrustedMembers gives member 2 a bad certificate: neither side may then
// connect to the other.
func TestUntrustedMembers(t *testing.T) {
	ca, foreign := newAuthority(t), newAuthority(t)
	good := func() *x509.Certificate { return memberCert(t, "spiffe://prod/member/2") }
	expired := good()
	expired.NotBefore, expired.NotAfter = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
	serverOnly := good()
	serverOnly.ExtKeyUsage = serverOnly.ExtKeyUsage[:1]
	clientOnly := good()
	clientOnly.ExtKeyUsage = clientOnly.ExtKeyUsage[1:]
	for _, test := range []struct {
		name         string
		config       *tls.Config
		dial, accept bool   // whether member 1 may reach it, and it member 1
		reason       string // in the error when member 1 dials
	}{
		{"good", ca.config(t, good(), ca), true, true, ""},
		{"another authority", foreign.config(t, good(), ca), false, false, "unknown authority"},
		{"expired", ca.config(t, expired, ca), false, false, "expired"},
		{"of another member", ca.config(t, memberCert(t, "spiffe://prod/member/3"), ca), false, false, "spiffe://prod/member/3"},
		{"of another member, by DNS", ca.config(t, memberCert(t, "member-22"), ca), false, false, "member-22"},
		{"of another cluster", ca.config(t, memberCert(t, "spiffe://test/member/2"), ca), false, false, "spiffe://test/member/2"},
		{"only for servers", ca.config(t, serverOnly, ca), true, false, ""},
		{"only for clients", ca.config(t, clientOnly, ca), false, true, "usage"},
		{"no TLS at all", nil, false, false, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			nodes := startCluster(t, 2, func(c *Config) {
				if c.TLS = test.config; c.Member == 1 {
					c.TLS = ca.config(t, memberCert(t, "spiffe://prod/member/1"), ca)
				}
				if test.config == nil { // one side waits for TLS, the other for a hello
					c.Timing.Handshake = 300 * time.Millisecond
				}
			})
			_, err := nodes[1].Probe(t.Context(), 2)
			if (err == nil) != test.dial || (err != nil && !strings.Contains(err.Error(), test.reason)) {
				t.Errorf("member 1 dials: %v, want success %v or a reason with %q", err, test.dial, test.reason)
			}
			if _, err := nodes[2].Probe(t.Context(), 1); (err == nil) != test.accept {
				t.Errorf("member 2 dials: %v, want success %v", err, test.accept)
			}
		})
	}
}

func TestForgedIdentityIsRefused(t *testing.T) {
	ca := newAuthority(t)
	n := lonely(t, func(c *Config) { c.TLS = ca.config(t, memberCert(t, "member-1"), ca) })
	s := connectTo(t, n)
	// A true member 3 that says it is member 2.
	secured := tls.Client(s.Conn, clientTLS(ca.config(t, memberCert(t, "member-3"), ca)))
	s = &stranger{Conn: secured, frames: newFrameReader(secured, MaxFrame)}
	f := s.greet(t, asMember2(forMessages))
	if f.typ != frameRefusal {
		t.Fatalf("answered with frame type %d", f.typ)
	}
	if r, err := parseRefusal(f.payload); err != nil || r.Code != RefusedIdentity || !strings.Contains(r.Reason, "member-3") {
		t.Errorf("refused with %v, %v", r, err)
	}
}

func TestOldTLSIsRefused(t *testing.T) {
	ca := newAuthority(t)
	n := lonely(t, func(c *Config) { c.TLS = ca.config(t, memberCert(t, "member-1"), ca) })
	config := clientTLS(ca.config(t, memberCert(t, "member-2"), ca))
	config.MinVersion, config.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	if err := tls.Client(connectTo(t, n).Conn, config).Handshake(); err == nil {
		t.Error("TLS 1.2 was accepted")
	}
}

func TestLoadTLSReadsANewCertificate(t *testing.T) {
	ca := newAuthority(t)
	certFile, keyFile := ca.issue(t, memberCert(t, "member-1"))
	config, err := LoadTLS(certFile, keyFile, ca.file)
	if err != nil {
		t.Fatal(err)
	}
	shown := func() string {
		cert, err := config.GetCertificate(nil)
		if err != nil {
			t.Fatal(err)
		}
		return cert.Leaf.DNSNames[0]
	}
	if shown() != "member-1" {
		t.Fatalf("shows %s", shown())
	}
	replace := func(file, with string, stamp time.Time) {
		b, err := os.ReadFile(with)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(file, stamp, stamp); err != nil {
			t.Fatal(err)
		}
	}
	newCert, newKey := ca.issue(t, memberCert(t, "member-1-renewed"))
	stamp := time.Now().Add(time.Minute)
	replace(certFile, newCert, stamp)
	if shown() != "member-1" {
		t.Error("a certificate without its key replaced the pair")
	}
	replace(keyFile, newKey, stamp)
	if shown() != "member-1-renewed" {
		t.Errorf("still shows %s", shown())
	}
}

func TestLoadTLSNamesTheFile(t *testing.T) {
	ca := newAuthority(t)
	certFile, keyFile := ca.issue(t, memberCert(t, "member-1"))
	for _, test := range []struct{ cert, key, ca, want string }{
		{"nowhere.pem", keyFile, ca.file, "nowhere.pem"},
		{certFile, certFile, ca.file, certFile},
		{certFile, keyFile, "nowhere.pem", "nowhere.pem"},
		{certFile, keyFile, keyFile, keyFile},
	} {
		if _, err := LoadTLS(test.cert, test.key, test.ca); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("got %v, want an error that names %s", err, test.want)
		}
	}
	bare := Config{Member: 1, Hello: testHello(), Listener: listen(t, "127.0.0.1:0"), Handler: newRecorder(), TLS: &tls.Config{}}
	defer bare.Listener.Close()
	if _, err := New(bare); err == nil || errors.Is(err, ErrClosed) {
		t.Error("a TLS configuration without authorities was taken")
	}
}
