package preface

import (
	"container/list"
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
	// Conns bounds the connections that are looked at at once; a further one takes the
	// place of the oldest, which is closed.
	Conns int
}

// What Accept cannot do now, for want of file descriptors for example, is tried again.
const (
	firstPause   = 5 * time.Millisecond
	longestPause = time.Second
)

// Split hands out the connections of one listener as two listeners.
type Split struct {
	listener net.Listener
	tls      *tls.Config // nil: plain text
	limits   Limits
	grpc     *output
	rest     *output

	mu      sync.Mutex
	closed  bool
	opening list.List // of net.Conn, not handed out yet, oldest first
	work    sync.WaitGroup
}

// New prepares to split. With a TLS configuration, which has to name the protocols
// of ALPN, it speaks TLS on the listener.
func New(listener net.Listener, tls *tls.Config, limits Limits) *Split {
	s := &Split{listener: listener, tls: tls, limits: limits}
	s.grpc, s.rest = newOutput(s), newOutput(s)
	return s
}

// GRPC returns the listener of gRPC clients' connections.
func (s *Split) GRPC() net.Listener { return s.grpc }

// Rest returns the listener of all other connections.
func (s *Split) Rest() net.Listener { return s.rest }

// Run accepts until the listener is closed, which closing either output does, and
// returns why it ended once no connection is being looked at any more.
func (s *Split) Run() error {
	defer s.work.Wait()
	defer s.close()
	for pause := firstPause; ; {
		conn, err := s.listener.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return err
		case err != nil: // passes
			if !s.wait(pause) {
				return err
			}
			pause = min(2*pause, longestPause)
			continue
		}
		pause = firstPause
		place := s.begin(conn)
		s.work.Go(func() {
			defer s.end(place)
			s.open(conn)
		})
	}
}

// wait returns false when the listener is closed meanwhile.
func (s *Split) wait(d time.Duration) bool {
	select {
	case <-s.rest.done:
		return false
	case <-time.After(d):
		return true
	}
}

// Dismiss closes the connections that nothing has been asked on. Clients open some
// ahead of need, so there may always be one.
func (s *Split) Dismiss() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for e := s.opening.Front(); e != nil; e = e.Next() {
		_ = e.Value.(net.Conn).Close() // nothing was asked, nothing is lost
	}
}

// Opening returns the number of connections that are being looked at.
func (s *Split) Opening() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.opening.Len()
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

func (s *Split) begin(conn net.Conn) *list.Element {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.opening.Len() >= s.limits.Conns {
		_ = s.opening.Front().Value.(net.Conn).Close()
		s.opening.Remove(s.opening.Front())
	}
	return s.opening.PushBack(conn)
}

func (s *Split) end(place *list.Element) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opening.Remove(place) // nothing if it made room
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
	to, err := s.choose(c)
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

// output is one of the two listeners.
type output struct {
	split *Split
	conns chan net.Conn
	done  chan struct{}
}

func newOutput(s *Split) *output {
	return &output{split: s, conns: make(chan net.Conn), done: make(chan struct{})}
}

func (o *output) give(c net.Conn) {
	select {
	case o.conns <- c:
	case <-o.done:
		_ = c.Close()
	}
}

// Accept is of net.Listener.
func (o *output) Accept() (net.Conn, error) {
	select {
	case c := <-o.conns:
		return c, nil
	case <-o.done:
		return nil, net.ErrClosed
	}
}

// Close is of net.Listener. It closes both outputs and what they are made of.
func (o *output) Close() error {
	o.split.close()
	return nil
}

// Addr is of net.Listener.
func (o *output) Addr() net.Addr { return o.split.listener.Addr() }
