package server

import (
	"net"
	"net/http"
	"sync"
	"time"
)

// newcomerGrace is how long a connection may still begin its first call when the
// server stops. net/http would wait 5 seconds for it.
const newcomerGrace = 250 * time.Millisecond

// newcomers are the connections on which nothing has been asked yet. Clients open
// some ahead of need, so there may always be one.
type newcomers struct {
	mu    sync.Mutex
	conns map[net.Conn]struct{}
}

// note is an http.Server's ConnState.
func (n *newcomers) note(conn net.Conn, state http.ConnState) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if state != http.StateNew {
		delete(n.conns, conn)
		return
	}
	if n.conns == nil {
		n.conns = make(map[net.Conn]struct{})
	}
	n.conns[conn] = struct{}{}
}

// dismiss closes them all.
func (n *newcomers) dismiss() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for conn := range n.conns {
		_ = conn.Close() // nothing was asked, nothing is lost
	}
	clear(n.conns)
}
