package jetstream

import (
	"sync"

	"github.com/nats-io/nats.go"
)

// trouble is what a connection has said last of what goes wrong in the background, such as
// attempts to connect and messages that are not permitted.
type trouble struct {
	mu   sync.Mutex
	last error
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
