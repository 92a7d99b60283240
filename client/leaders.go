package client

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/heliosdb/metadata/client/follow"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

const (
	leaderRefresh = 30 * time.Second       // how long a look-up that found the leader counts
	leaderRetry   = 500 * time.Millisecond // how long one that did not
	leaderTimeout = 2 * time.Second        // for one look-up
)

// leaders remembers which endpoint leads which stream, so that writes need no
// forwarding. It is only an optimisation: every member takes every call.
type leaders struct {
	mu      sync.Mutex
	index   map[metadatav1.Stream]int
	asked   time.Time
	looking bool
}

// first returns the endpoint that a call asks first: the stream's leader if it
// is known, else the one that answered last.
func (c *Client) first(s metadatav1.Stream) int {
	if s != 0 {
		if leader, ok := c.leader(s); ok {
			return leader
		}
	}
	return int(c.preferred.Load())
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
	age := time.Since(l.asked)
	if !l.looking && (age > leaderRefresh || !ok && age > leaderRetry) && c.life.Err() == nil {
		l.looking = true
		c.background.Go(c.lookUpLeaders)
	}
	return index, ok
}

// suspect forgets the leader of a stream if it is this endpoint: an attempt there
// failed.
func (l *leaders) suspect(s metadatav1.Stream, index int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if at, ok := l.index[s]; ok && at == index {
		delete(l.index, s)
	}
}

// lookUpLeaders asks the members, one after the other, who leads, until it knows
// an endpoint for each leader.
func (c *Client) lookUpLeaders() {
	ctx, cancel := context.WithTimeout(c.life, leaderTimeout)
	defer cancel()
	leading := make(map[metadatav1.Stream]uint64) // member ids
	endpoints := make(map[uint64]int)             // by member id
	found := make(map[metadatav1.Stream]int)
	for i := range c.endpoints {
		at := (int(c.preferred.Load()) + i) % len(c.endpoints)
		status, err := c.statusOf(ctx, c.endpoints[at])
		if err != nil {
			continue
		}
		endpoints[status.GetMemberId()] = at
		c.noteLeaders(status, leading, endpoints)
		for s, id := range leading {
			if index, ok := endpoints[id]; ok {
				found[s] = index
			}
		}
		if len(found) == len(follow.Streams) {
			break
		}
	}
	l := &c.leaders
	l.mu.Lock()
	defer l.mu.Unlock()
	l.index, l.asked, l.looking = found, time.Now(), false
}

// statusOf asks one endpoint, which has to answer soon.
func (c *Client) statusOf(ctx context.Context, e *endpoint) (*metadatav1.StatusResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, leaderTimeout/2)
	defer cancel()
	return e.cluster.Status(ctx, &metadatav1.StatusRequest{})
}

// noteLeaders takes from an answer who leads, and which endpoints are known by
// the addresses that the members advertise. Endpoints under other names are
// found by asking them.
func (c *Client) noteLeaders(
	status *metadatav1.StatusResponse, leading map[metadatav1.Stream]uint64, endpoints map[uint64]int,
) {
	for _, m := range status.GetMembers() {
		i := slices.IndexFunc(c.endpoints, func(e *endpoint) bool { return e.address == m.GetApiAddress() })
		if i >= 0 {
			endpoints[m.GetMemberId()] = i
		}
		for _, s := range m.GetStreams() {
			if s.GetRole() == metadatav1.Role_ROLE_LEADER {
				leading[s.GetStream()] = m.GetMemberId()
			}
		}
	}
}
