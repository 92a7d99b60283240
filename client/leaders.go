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
		if leader, ok := c.leader(s); ok && !c.endpoints[leader].isAvoided() {
			return leader
		}
	}
	return c.answering(int(c.preferred.Load()))
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
	if !l.looking && (age > leaderRefresh || !ok && age > leaderRetry) {
		l.looking = c.inBackground(c.lookUpLeaders)
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

// lookUpLeaders asks who leads: first one member, whose word counts if it hears most
// of the others, and the leaders themselves; else all of them at once.
func (c *Client) lookUpLeaders() {
	ctx, cancel := context.WithTimeout(c.life, leaderTimeout)
	defer cancel()
	l := &lookUp{client: c, members: make(map[uint64]int), claims: make(map[metadatav1.Stream]claim)}
	first := c.answering(int(c.preferred.Load()))
	status, err := c.statusOf(ctx, c.endpoints[first])
	if err == nil {
		l.note(first, status)
	}
	if err != nil || !l.settled(status) || !c.allIdentified() {
		var all sync.WaitGroup
		for at, e := range c.endpoints {
			if at == first {
				continue
			}
			all.Go(func() {
				if status, err := c.statusOf(ctx, e); err == nil {
					l.note(at, status)
				}
			})
		}
		all.Wait()
	}
	l.publish(false)
}

// allIdentified reports whether all endpoints have said of which cluster they are.
func (c *Client) allIdentified() bool {
	return !slices.ContainsFunc(c.endpoints, func(e *endpoint) bool { return !e.identified.Load() })
}

// statusOf asks one endpoint, which has to answer soon.
func (c *Client) statusOf(ctx context.Context, e *endpoint) (*metadatav1.StatusResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, leaderTimeout/2)
	defer cancel()
	return e.unaryService().Status(ctx, &metadatav1.StatusRequest{})
}

// lookUp gathers what members say about who leads.
type lookUp struct {
	client  *Client
	mu      sync.Mutex
	members map[uint64]int // endpoints by member id
	claims  map[metadatav1.Stream]claim
}

// claim is who leads a stream, as far as is known: the leader of the highest term that
// somebody has heard of.
type claim struct {
	term, leader uint64
}

// note takes from an answer who leads, and which endpoints are known by the addresses
// that the members advertise. Endpoints under other names are found by asking them.
func (l *lookUp) note(at int, status *metadatav1.StatusResponse) {
	if l.client.admit(l.client.endpoints[at], status.GetClusterId()) != nil {
		return
	}
	l.mu.Lock()
	l.members[status.GetMemberId()] = at
	for _, m := range status.GetMembers() {
		i := slices.IndexFunc(l.client.endpoints, func(e *endpoint) bool { return e.address == m.GetApiAddress() })
		if i >= 0 {
			l.members[m.GetMemberId()] = i
		}
		for _, s := range m.GetStreams() {
			if s.GetLeader() != 0 && s.GetTerm() > l.claims[s.GetStream()].term {
				l.claims[s.GetStream()] = claim{s.GetTerm(), s.GetLeader()}
			}
		}
	}
	l.mu.Unlock()
	l.publish(true)
}

// publish tells the client what is known so far.
func (l *lookUp) publish(more bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	found := make(map[metadatav1.Stream]int)
	for s, c := range l.claims {
		if i, ok := l.members[c.leader]; ok {
			found[s] = i
		}
	}
	known := &l.client.leaders
	known.mu.Lock()
	defer known.mu.Unlock()
	known.index, known.asked, known.looking = found, time.Now(), more
}

// settled reports whether one answer is enough: it comes from a member that hears most
// of the others, knows each leader's endpoint and has heard from each that it leads.
func (l *lookUp) settled(status *metadatav1.StatusResponse) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	reachable, confirmed := 0, 0
	streams := make(map[metadatav1.Stream]bool) // an older service has no stream of its own
	for _, m := range status.GetMembers() {
		if m.GetReachable() {
			reachable++
		}
		for _, s := range m.GetStreams() {
			streams[s.GetStream()] = true
			_, known := l.members[m.GetMemberId()]
			if known && s.GetRole() == metadatav1.Role_ROLE_LEADER && l.claims[s.GetStream()] == (claim{s.GetTerm(), m.GetMemberId()}) {
				confirmed++
			}
		}
	}
	return 2*reachable > len(status.GetMembers()) && confirmed == max(len(streams), len(follow.Streams))
}
