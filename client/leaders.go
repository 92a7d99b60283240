package client

import (
	"context"
	"slices"
	"sync"
	"time"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

const (
	leaderRefresh = 30 * time.Second // how long a look-up counts
	leaderTimeout = 2 * time.Second  // for one look-up
)

// leaders remembers which endpoint leads which stream, so that writes need no
// forwarding. It is only an optimisation: every member takes every call.
type leaders struct {
	mu      sync.Mutex
	index   map[metadatav1.Stream]int
	asked   time.Time
	looking bool
}

// leader returns the endpoint that leads a stream, if known. It starts a look-up
// in the background when what it knows is old.
func (c *Client) leader(s metadatav1.Stream) (int, bool) {
	if len(c.endpoints) == 1 {
		return 0, true
	}
	l := &c.leaders
	l.mu.Lock()
	defer l.mu.Unlock()
	index, ok := l.index[s]
	if !l.looking && (!ok || time.Since(l.asked) > leaderRefresh) {
		l.looking = true
		go c.lookUpLeaders()
	}
	return index, ok
}

// forget drops what is known of a stream's leader.
func (l *leaders) forget(s metadatav1.Stream) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.index, s)
}

// lookUpLeaders asks the members, one after the other, who leads.
func (c *Client) lookUpLeaders() {
	ctx, cancel := context.WithTimeout(context.Background(), leaderTimeout)
	defer cancel()
	found := make(map[metadatav1.Stream]int)
	for i := range c.endpoints {
		e := c.endpoints[(int(c.preferred.Load())+i)%len(c.endpoints)]
		status, err := e.cluster.Status(ctx, &metadatav1.StatusRequest{})
		if err != nil {
			continue
		}
		c.matchLeaders(status, found)
		break
	}
	l := &c.leaders
	l.mu.Lock()
	defer l.mu.Unlock()
	l.index, l.asked, l.looking = found, time.Now(), false
}

// matchLeaders finds the endpoints of the leaders by the addresses that the
// members advertise. A leader that is not among the endpoints stays unknown.
func (c *Client) matchLeaders(status *metadatav1.StatusResponse, found map[metadatav1.Stream]int) {
	for _, m := range status.GetMembers() {
		for _, s := range m.GetStreams() {
			if s.GetRole() != metadatav1.Role_ROLE_LEADER {
				continue
			}
			i := slices.IndexFunc(c.endpoints, func(e *endpoint) bool { return e.address == m.GetApiAddress() })
			if i >= 0 {
				found[s.GetStream()] = i
			}
		}
	}
}
