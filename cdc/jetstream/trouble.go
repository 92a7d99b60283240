package jetstream

import (
	"log/slog"
	"sync"

	"github.com/nats-io/nats.go"
)

// trouble is what a connection has said last of what goes wrong in the background, such as
// attempts to connect and messages that are not permitted. People are told when the servers cannot be
// reached, and when they can be again: there may be nothing to deliver for long.
type trouble struct {
	log *slog.Logger

	mu   sync.Mutex
	last error
	away bool // people were told
}

// note notes an error; nil: there is none any more.
func (t *trouble) note(_ *nats.Conn, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last = err
}

func (t *trouble) said() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.last
}

// lost notes that there is no connection, and why.
func (t *trouble) lost(c *nats.Conn, err error) {
	t.note(c, err)
	if err != nil && t.tellAway(true) {
		t.log.Warn("NATS cannot be reached; trying on until it can", "error", err)
	}
}

// found notes that there is a connection.
func (t *trouble) found(*nats.Conn) {
	if t.tellAway(false) {
		t.log.Info("NATS can be reached again")
	}
}

// tellAway reports whether people have to be told that the servers are away, or not any more.
func (t *trouble) tellAway(away bool) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	tell := t.away != away
	t.away = away
	return tell
}
