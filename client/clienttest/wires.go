package clienttest

import (
	"context"
	"errors"
	"net"
	"sync"
)

var errCut = errors.New("clienttest: the member was killed")

// wires are all connections of one member, to be cut at once.
type wires struct {
	mu        sync.Mutex
	gone      bool
	listeners []net.Listener
	open      map[*wire]struct{}
}

// wire is one of them.
type wire struct {
	net.Conn
	wires *wires
}

func newWires() *wires { return &wires{open: make(map[*wire]struct{})} }

// Close implements net.Conn.
func (w *wire) Close() error {
	w.wires.mu.Lock()
	delete(w.wires.open, w)
	w.wires.mu.Unlock()
	return w.Conn.Close()
}

// cut closes all connections and listeners, and has later ones fail.
func (w *wires) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.gone = true
	for _, l := range w.listeners {
		_ = l.Close() // it is closed again by who serves it
	}
	for wire := range w.open {
		_ = wire.Conn.Close()
	}
}

func (w *wires) track(conn net.Conn) (net.Conn, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.gone {
		return nil, errors.Join(errCut, conn.Close())
	}
	tracked := &wire{conn, w}
	w.open[tracked] = struct{}{}
	return tracked, nil
}

func (w *wires) dial(ctx context.Context, address string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return w.track(conn)
}

func (w *wires) listen(address string) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	w.listeners = append(w.listeners, l)
	return listener{l, w}, nil
}

// listener accepts connections that are tracked.
type listener struct {
	net.Listener
	wires *wires
}

// Accept implements net.Listener.
func (l listener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return l.wires.track(conn)
}
