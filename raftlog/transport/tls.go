package transport

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// LoadTLS builds the configuration for mutual TLS 1.3 from PEM files: this
// member's certificate chain, its key, and the authorities that vouch for
// members. The certificate must name the member, as the URI
// spiffe://<cluster name>/member/<id> or as the DNS name member-<id>, and allow
// both server and client authentication. Certificate and key are read again,
// at a handshake, when their files have changed; a changed pair that cannot be
// read leaves the old one in use. The authorities are read once.
func LoadTLS(certFile, keyFile, caFile string) (*tls.Config, error) {
	pair := &keyPair{certFile: certFile, keyFile: keyFile}
	if _, err := pair.current(); err != nil {
		return nil, err
	}
	pem, err := os.ReadFile(caFile)
	if err != nil {
		return nil, fmt.Errorf("transport: read the certificate authorities: %w", err)
	}
	authorities := x509.NewCertPool()
	if !authorities.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("transport: %s has no certificate in PEM form: give the file of the cluster's certificate authority", caFile)
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		ClientAuth: tls.RequireAndVerifyClientCert,
		RootCAs:    authorities,
		ClientCAs:  authorities,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return pair.current()
		},
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return pair.current()
		},
	}, nil
}

// keyPair is a certificate and key on disk.
type keyPair struct {
	certFile, keyFile string

	mu     sync.Mutex
	cert   *tls.Certificate
	stamps [2]time.Time
}

// current returns the pair, read again if its files have changed.
func (p *keyPair) current() (*tls.Certificate, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var stamps [2]time.Time
	for i, name := range []string{p.certFile, p.keyFile} {
		if info, err := os.Stat(name); err == nil {
			stamps[i] = info.ModTime()
		}
	}
	if p.cert != nil && stamps == p.stamps {
		return p.cert, nil
	}
	cert, err := tls.LoadX509KeyPair(p.certFile, p.keyFile)
	switch {
	case err == nil:
		p.cert, p.stamps = &cert, stamps
	case p.cert == nil:
		return nil, fmt.Errorf("transport: load certificate %s with key %s: %w", p.certFile, p.keyFile, err)
	}
	return p.cert, nil
}

// serverTLS is the configuration for accepted connections.
func serverTLS(base *tls.Config) *tls.Config {
	c := base.Clone()
	c.MinVersion = max(c.MinVersion, tls.VersionTLS13)
	c.ClientAuth = tls.RequireAndVerifyClientCert
	c.SessionTicketsDisabled = true // each handshake checks the certificate anew
	return c
}

// clientTLS is the configuration for dialled connections. Members are known by
// id and not by host name, so the standard check of the host name is replaced:
// the chain is verified here, the member id by identify.
func clientTLS(base *tls.Config) *tls.Config {
	c := base.Clone()
	c.MinVersion = max(c.MinVersion, tls.VersionTLS13)
	c.ClientSessionCache = nil
	c.InsecureSkipVerify = true
	c.VerifyConnection = func(state tls.ConnectionState) error {
		if len(state.PeerCertificates) == 0 {
			return errors.New("transport: the peer showed no certificate")
		}
		options := x509.VerifyOptions{
			Roots:         c.RootCAs,
			Intermediates: x509.NewCertPool(),
			KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		}
		if c.Time != nil {
			options.CurrentTime = c.Time()
		}
		for _, cert := range state.PeerCertificates[1:] {
			options.Intermediates.AddCert(cert)
		}
		_, err := state.PeerCertificates[0].Verify(options)
		return err
	}
	return c
}

// secure does the TLS handshake on a connection, if TLS is configured.
func (c *conn) secure(ctx context.Context, wrap func(net.Conn, *tls.Config) *tls.Conn, config *tls.Config) error {
	if config == nil {
		return nil
	}
	secured := wrap(c.raw, config)
	c.raw = secured
	return secured.HandshakeContext(ctx)
}

// identify checks that the other side's certificate names a member.
func (c *conn) identify(member uint64) *RefusedError {
	secured, ok := c.raw.(*tls.Conn)
	if !ok {
		return nil
	}
	leaf := secured.ConnectionState().PeerCertificates[0] // both sides verified that there is one
	if namesMember(leaf, c.t.cfg.ClusterName, member) {
		return nil
	}
	return &RefusedError{
		Code: RefusedIdentity,
		Reason: fmt.Sprintf("the certificate of member %d must have the URI %s or the DNS name %s, it has %s",
			member, memberURI(c.t.cfg.ClusterName, member), memberDNS(member), certificateNames(leaf)),
	}
}

func memberURI(cluster string, member uint64) string {
	return fmt.Sprintf("spiffe://%s/member/%d", cluster, member)
}

func memberDNS(member uint64) string { return fmt.Sprintf("member-%d", member) }

func namesMember(cert *x509.Certificate, cluster string, member uint64) bool {
	want := memberURI(cluster, member)
	for _, uri := range cert.URIs {
		if uri.String() == want {
			return true
		}
	}
	return slices.Contains(cert.DNSNames, memberDNS(member))
}

// certificateNames lists a certificate's names, for an error message.
func certificateNames(cert *x509.Certificate) string {
	var names []string
	for _, uri := range cert.URIs {
		names = append(names, uri.String())
	}
	names = append(names, cert.DNSNames...)
	if len(names) == 0 {
		return "none"
	}
	list := strings.Join(names, ", ")
	return list[:min(len(list), MaxReasonBytes/4)]
}
