package client

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"
)

// Calls that share no stream go by HTTP/1.1, which costs least; but some gateways carry HTTP/2
// only, as gRPC needs no more. Most of them do not say so: they end a connection that begins otherwise, or wait. So
// as long as nobody has answered either way, each call without an answer has the next one go the other way.

// newTransportHTTP2 carries calls as gRPC.
func newTransportHTTP2(config *tls.Config) *http.Transport {
	t := newTransportHTTP1(config)
	t.MaxConnsPerHost = 0 // one carries all
	t.HTTP2 = &http.HTTP2Config{SendPingTimeout: 10 * time.Second, PingTimeout: 5 * time.Second}
	t.Protocols = new(http.Protocols)
	t.Protocols.SetHTTP2(true)
	t.Protocols.SetUnencryptedHTTP2(true)
	return t
}

// unaryService makes calls of their own at the endpoint, by the transport that reaches it as far as is known.
func (e *endpoint) unaryService() service {
	if e.prefersHTTP2.Load() {
		return e.serviceHTTP2
	}
	return e.serviceHTTP1
}

// noteTransport notes how a call ended by HTTP/2, or else HTTP/1.1, and decides how the next ones go.
func (e *endpoint) noteTransport(ctx context.Context, isHTTP2 bool, err error) {
	switch {
	case wasAnswered(err) && isHTTP2:
		e.speaksHTTP2.Store(true)
	case wasAnswered(err):
		e.speaksHTTP1.Store(true)
		e.prefersHTTP2.Store(false)
	case isHTTP2 && !e.speaksHTTP2.Load() && ctx.Err() == nil:
		e.prefersHTTP2.Store(false) // it may have been a member's end
	case !isHTTP2 && !e.speaksHTTP1.Load() && mayWantHTTP2(ctx, err):
		e.prefersHTTP2.Store(true)
	}
}

const (
	// saysHTTP2 is what the error of a call by HTTP/1.1 says if the answer was of HTTP/2: nobody has read the call.
	saysHTTP2 = `malformed HTTP response "\x00`
	// saysNoHTTP2 is what the error of a call by HTTP/2 says where TLS leads to HTTP/1.1 only.
	saysNoHTTP2 = "tls: no application protocol"
)

// mayWantHTTP2 reports whether somebody was reached who did not answer in HTTP/1.1, without a better
// reason.
func mayWantHTTP2(ctx context.Context, err error) bool {
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" || errors.Is(ctx.Err(), context.Canceled) {
		return false
	}
	_, transport := errors.AsType[*url.Error](err)
	broken := transport || errors.Is(err, io.ErrUnexpectedEOF) || ctx.Err() != nil
	return broken && aboutEndpoint(err) == ""
}
