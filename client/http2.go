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

// newHTTP2 carries calls as gRPC.
func newHTTP2(config *tls.Config) *http.Transport {
	t := newTransport(config)
	t.MaxConnsPerHost = 0 // one carries all
	t.HTTP2 = &http.HTTP2Config{SendPingTimeout: 10 * time.Second, PingTimeout: 5 * time.Second}
	t.Protocols = new(http.Protocols)
	t.Protocols.SetHTTP2(true)
	t.Protocols.SetUnencryptedHTTP2(true)
	return t
}

// calls is how calls of their own reach the endpoint right now.
func (e *endpoint) calls() service {
	if e.overHTTP2.Load() {
		return e.http2
	}
	return e.http1
}

// way notes whether a call by HTTP/1.1, or HTTP/2, was answered, and decides how the next ones go.
func (e *endpoint) way(ctx context.Context, http2 bool, err error) {
	switch {
	case told(err) && http2:
		e.speaksHTTP2.Store(true)
	case told(err):
		e.speaksHTTP1.Store(true)
		e.overHTTP2.Store(false)
	case http2 && !e.speaksHTTP2.Load() && ctx.Err() == nil:
		e.overHTTP2.Store(false) // it may have been a member's end
	case !http2 && !e.speaksHTTP1.Load() && unanswered(ctx, err):
		e.overHTTP2.Store(true)
	}
}

const (
	// saysHTTP2 is what the error of a call by HTTP/1.1 says if the answer was of HTTP/2: nobody has read the call.
	saysHTTP2 = `malformed HTTP response "\x00`
	// saysNoHTTP2 is what the error of a call by HTTP/2 says where TLS leads to HTTP/1.1 only.
	saysNoHTTP2 = "tls: no application protocol"
)

// unanswered reports whether somebody was reached who did not answer in HTTP/1.1, without a better
// reason.
func unanswered(ctx context.Context, err error) bool {
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" || errors.Is(ctx.Err(), context.Canceled) {
		return false
	}
	_, transport := errors.AsType[*url.Error](err)
	broken := transport || errors.Is(err, io.ErrUnexpectedEOF) || ctx.Err() != nil
	return broken && aboutEndpoint(err) == ""
}
