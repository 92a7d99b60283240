package preface

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// Limits of what a connection may take before it is handed out.
type Limits struct {
	// Opening bounds the TLS handshake and the wait for the first byte of a request.
	Opening time.Duration
	// FirstCall bounds the wait for the first call of an HTTP/2 connection. A
	// connection that is slower goes to the HTTP server.
	FirstCall time.Duration
	// HeaderBytes bounds the header of the first call.
	HeaderBytes int
}

// Split hands out the connections of one listener as two listeners.
type Split struct {
	listener net.Listener
	tls      *tls.Config // nil: plain text
	limits   Limits
	grpc     *half
	rest     *half

	mu      sync.Mutex
	closed  bool
	opening map[net.Conn]struct{} // not handed out yet
	work    sync.WaitGroup
}

// New prepares to split. With a TLS configuration, which has to name the protocols
// of ALPN, it speaks TLS on the listener.
func New(listener net.Listener, tls *tls.Config, limits Limits) *Split {
	s := &Split{listener: listener, tls: tls, limits: limits, opening: make(map[net.Conn]struct{})}
	s.grpc, s.rest = newHalf(s), newHalf(s)
	return s
}

// GRPC returns the listener of gRPC clients' connections.
func (s *Split) GRPC() net.Listener { return s.grpc }

// Rest returns the listener of all other connections.
func (s *Split) Rest() net.Listener { return s.rest }

// Run accepts until the listener is closed, which closing either half does, and
// returns why it ended. Connections that are being looked at then are closed after
// some grace.
func (s *Split) Run() error {
	defer s.work.Wait()
	defer s.close()
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return err
		}
		if !s.begin(conn) {
			continue
		}
		s.work.Go(func() {
			defer s.end(conn)
			s.open(conn)
		})
	}
}

// Dismiss closes the connections that nothing has been asked on. Clients open some
// ahead of need, so there may always be one.
func (s *Split) Dismiss() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for conn := range s.opening {
		_ = conn.Close() // nothing was asked, nothing is lost
	}
}

func (s *Split) close() {
	s.mu.Lock()
	closed := s.closed
	s.closed = true
	s.mu.Unlock()
	if closed {
		return
	}
	_ = s.listener.Close() // Accept says what there is to say
	close(s.grpc.done)
	close(s.rest.done)
}

func (s *Split) begin(conn net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opening[conn] = struct{}{}
	return true
}

func (s *Split) end(conn net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.opening, conn)
}

// open looks at a connection and hands it out, or closes it.
func (s *Split) open(conn net.Conn) {
	c := &Conn{Conn: conn}
	if s.tls != nil {
		secured := tls.Server(conn, s.tls)
		ctx, cancel := context.WithTimeout(context.Background(), s.limits.Opening)
		err := secured.HandshakeContext(ctx)
		cancel()
		if err != nil {
			tellPlainText(err)
			_ = conn.Close()
			return
		}
		state := secured.ConnectionState()
		c.Conn, c.state = secured, &state
	}
	to, err := s.sort(c)
	if err == nil {
		err = c.SetReadDeadline(time.Time{})
	}
	if err != nil {
		_ = c.Close()
		return
	}
	to.give(c)
}

// tellPlainText answers who speaks HTTP/1 without TLS where TLS is spoken, as net/http
// does: silence would leave them guessing.
func tellPlainText(err error) {
	broken, ok := errors.AsType[tls.RecordHeaderError](err)
	if !ok || broken.Conn == nil {
		return
	}
	switch string(broken.RecordHeader[:]) {
	case "GET /", "HEAD ", "POST ", "PUT /", "OPTIO":
		_, _ = io.WriteString(broken.Conn, "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n")
	}
}

// half is one of the two listeners.
type half struct {
	split *Split
	conns chan net.Conn
	done  chan struct{}
}

func newHalf(s *Split) *half {
	return &half{split: s, conns: make(chan net.Conn), done: make(chan struct{})}
}

func (h *half) give(c net.Conn) {
	select {
	case h.conns <- c:
	case <-h.done:
		_ = c.Close()
	}
}

// Accept is of net.Listener.
func (h *half) Accept() (net.Conn, error) {
	select {
	case c := <-h.conns:
		return c, nil
	case <-h.done:
		return nil, net.ErrClosed
	}
}

// Close is of net.Listener. It closes both halves and what they are made of.
func (h *half) Close() error {
	h.split.close()
	return nil
}

// Addr is of net.Listener.
func (h *half) Addr() net.Addr { return h.split.listener.Addr() }
