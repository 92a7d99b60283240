package client

import (
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"time"

	"connectrpc.com/connect"
)

// EndpointError is a call that failed for what an endpoint is, or takes the client for, and
// not for what the call says. Other endpoints are asked before it is returned.
type EndpointError struct {
	Endpoint string // HOST:PORT
	says     string
	cause    error
}

// Error says what is wrong with the endpoint, and what to do.
func (e *EndpointError) Error() string {
	return fmt.Sprintf("client: %s %s: %v", e.Endpoint, e.says, e.cause)
}

// Unwrap returns the error as it came.
func (e *EndpointError) Unwrap() error { return e.cause }

// What can be wrong with an endpoint.
const (
	saysUnimplemented = "does not know this call: it runs an older version of the service, or is another program; upgrade it, or name another endpoint"
	saysRefused       = "refuses this client: show it a token or certificate that it accepts"
	saysUntrusted     = "shows a certificate that this client does not trust: name its authority in Options.TLS, and the endpoint as the certificate does"
	saysNoClientCert  = "refuses this client's certificate, or its having none: set Options.TLS.Certificates to one that its authority has signed"
	saysPlain         = "does not speak TLS: leave out Options.TLS and https://, or turn TLS on there"
	saysTLS           = "speaks TLS, or is not the service: set Options.TLS, or write https:// before the endpoint"
)

// signs are what errors say that have no type, or lose it inside grpc-go.
var signs = []struct{ text, says string }{
	{"tls: failed to verify certificate", saysUntrusted},
	{"remote error: tls:", saysNoClientCert},
	{"first record does not look like a TLS handshake", saysPlain},
	{"gave HTTP response to HTTPS client", saysPlain},
	{"HTTP/1.x transport connection broken: malformed HTTP response", saysTLS},
	{"400 Bad Request", saysTLS}, // the service says what is bad about a request
}

// explained returns the error of an attempt at an endpoint as an [*EndpointError] if it is
// about the endpoint. Somebody has to set that right, so it is logged.
func (c *Client) explained(e *endpoint, err error) error {
	if err == nil {
		return nil
	}
	says := aboutEndpoint(err)
	if says == "" {
		return err
	}
	err = &EndpointError{Endpoint: e.address, says: says, cause: err}
	now := &warning{says, time.Now()}
	if last := e.warned.Load(); (last == nil || last.says != says || now.at.Sub(last.at) > warnInterval) && e.warned.CompareAndSwap(last, now) {
		c.log.Warn("an endpoint is of no use", "error", err)
	}
	return err
}

// warnInterval is between two warnings of the same being wrong with an endpoint, even if it was well in
// between: who flaps, or refuses some calls and not others, would fill the log.
const warnInterval = time.Minute

// warning is what was last logged of an endpoint.
type warning struct {
	says string
	at   time.Time
}

func aboutEndpoint(err error) string {
	switch connect.CodeOf(err) {
	case connect.CodeUnimplemented:
		return saysUnimplemented
	case connect.CodeUnauthenticated, connect.CodePermissionDenied:
		return saysRefused
	case connect.CodeUnavailable, connect.CodeInternal, connect.CodeUnknown:
	default:
		return ""
	}
	if wasAnswered(err) {
		return "" // the service has been reached
	}
	if _, bad := errors.AsType[*tls.CertificateVerificationError](err); bad {
		return saysUntrusted
	}
	text := err.Error()
	if strings.Contains(text, saysHTTP2) || strings.Contains(text, saysNoHTTP2) {
		return "" // the next attempt goes the other way
	}
	for _, sign := range signs {
		if strings.Contains(text, sign.text) {
			return sign.says
		}
	}
	return ""
}

// isAboutEndpoint reports whether another endpoint may answer differently, and this one
// not before something is set right.
func isAboutEndpoint(err error) bool {
	_, ok := errors.AsType[*EndpointError](err)
	return ok
}
