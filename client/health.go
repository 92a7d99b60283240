package client

import (
	"sync"
	"time"

	"connectrpc.com/connect"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// health is whether an endpoint answers at all. A member that is paused, or behind
// a link that carries nothing, keeps its connections: only silence tells. One that
// is slow with one call answers others, and is not silent.
type health struct {
	mu     sync.Mutex
	heard  time.Time // when it last answered anything
	silent bool
	asking bool // somebody asks it until it answers
}

// answered notes an answer of any kind.
func (h *health) answered() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.heard, h.silent = time.Now(), false
}

// waited notes that a call has waited in vain since a moment. It reports whether
// somebody has to begin to ask the endpoint until it answers.
func (h *health) waited(since time.Time) (ask bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.heard.After(since) {
		return false
	}
	h.silent = true
	ask, h.asking = !h.asking, true
	return ask
}

// isSilent reports whether calls should go elsewhere.
func (h *health) isSilent() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.silent
}

// askOn reports whether there is a reason to ask again; if not, nobody does.
func (h *health) askOn() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.asking = h.silent
	return h.silent
}

// isAvoided reports whether others are asked instead, if there are any.
func (e *endpoint) isAvoided() bool { return e.health.isSilent() || e.foreign.Load() != nil }

// wasAnswered reports whether an attempt ended with an answer of the service.
func wasAnswered(err error) bool {
	return err == nil || Reason(err) != metadatav1.ErrorReason_ERROR_REASON_UNSPECIFIED || connect.IsWireError(err)
}

// answering returns an endpoint or, if that is silent or of another cluster, the next one
// that is neither; if there is none, the endpoint itself.
func (c *Client) answering(index int) int {
	for i := range c.endpoints {
		if at := (index + i) % len(c.endpoints); !c.endpoints[at].isAvoided() {
			return at
		}
	}
	return index
}

// Waits between two questions to a silent endpoint.
const (
	minSilence = 50 * time.Millisecond
	maxSilence = 2 * time.Second
)

// noteWaited notes that an attempt has ended without an answer. A silent endpoint is
// asked in the background until it answers, so that no call has to find out.
func (c *Client) noteWaited(e *endpoint, since time.Time) {
	if len(c.endpoints) == 1 || !e.health.waited(since) {
		return
	}
	c.log.Warn("an endpoint is silent", "endpoint", e.address)
	c.inBackground(func() {
		for pause := minSilence; e.health.askOn() && sleep(c.life, pause); pause = min(2*pause, maxSilence) {
			if _, err := c.statusOf(c.life, e); wasAnswered(err) {
				e.health.answered()
				c.log.Info("an endpoint answers again", "endpoint", e.address)
			}
		}
	})
}
