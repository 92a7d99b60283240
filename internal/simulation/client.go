package simulation

import (
	"fmt"
	"strings"
	"time"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/internal/consistency"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// newWorkload makes the clients of a run.
func newWorkload(w *world) workload { return newClients(w) }

// clients are everybody outside the cluster: callers, which read and write; followers,
// which keep a subscription, some with a cache; nodes, which register and beat; and
// consumers, which carry changes out and acknowledge them. What they see is recorded and
// judged at the end.
//
// Each uses the link of one of the plan's clients, so that a cut hits all of them alike.
// In the history everybody has a number of its own.
type clients struct {
	w        *world
	history  *consistency.History
	requests *consistency.Workload
	numbers  int // given out
	settling bool

	callers   []*caller
	followers []*follower
	nodes     []*node
	consumers []*consumer
}

// Numbers of followers, nodes and consumers, beside one caller for each client of the plan.
const (
	maxFollowers = 4
	maxNodes     = 3
	maxConsumers = 2
)

func newClients(w *world) *clients {
	c := &clients{w: w, history: consistency.New()}
	nodes := 1 + w.rng.IntN(maxNodes)
	var hosts []string
	for i := range nodes {
		hosts = append(hosts, fmt.Sprint("host", i+1))
	}
	c.requests = consistency.NewWorkload(w.rng, consistency.Options{
		Tables: pick(w.rng, 2, 4, 8), Namespaces: 1 + w.rng.IntN(2), Nodes: pick(w.rng, 2, 3), Hosts: hosts,
	})
	for i := range w.plan.clients {
		c.callers = append(c.callers, newCaller(c, i))
	}
	for range 1 + w.rng.IntN(maxFollowers) {
		c.followers = append(c.followers, newFollower(c, w.rng.IntN(w.plan.clients)))
	}
	for _, host := range hosts {
		c.nodes = append(c.nodes, newNode(c, w.rng.IntN(w.plan.clients), host))
	}
	for i := range pick(w.rng, 1, 1, maxConsumers) {
		c.consumers = append(c.consumers, newConsumer(c, fmt.Sprint("consumer", i+1)))
	}
	return c
}

// number returns the next one, for somebody who begins anew.
func (c *clients) number() int {
	c.numbers++
	return c.numbers
}

// anyMember returns a member at random.
func (c *clients) anyMember() uint64 { return uint64(1 + c.w.rng.IntN(len(c.w.members))) }

func (c *clients) start() {
	for _, caller := range c.callers {
		caller.think()
	}
	for _, f := range c.followers {
		f.begin()
	}
	for _, n := range c.nodes {
		n.begin()
	}
	for _, n := range c.consumers {
		n.begin()
	}
}

// settle ends what is new: callers begin no operation, followers no other subscription,
// nodes run on without an accident, and each consumer is left to one process.
func (c *clients) settle() {
	c.settling = true
	for _, n := range c.consumers {
		n.settle()
	}
}

func (c *clients) settled() (bool, string) {
	var open []string
	for _, caller := range c.callers {
		if caller.open != nil {
			open = append(open, fmt.Sprintf("client %d waits for an answer: %v", caller.link, caller.open))
		}
	}
	for _, f := range c.followers {
		if why := f.behind(); why != "" {
			open = append(open, why)
		}
	}
	for _, n := range c.consumers {
		if why := n.behind(); why != "" {
			open = append(open, why)
		}
	}
	return len(open) == 0, strings.Join(open, "; ")
}

// check judges the history by the log.
func (c *clients) check() {
	for _, f := range c.followers {
		f.session.Rest(c.w.now)
	}
	found := consistency.Check(c.history, c.truth())
	if len(found) == 0 {
		return
	}
	const most = 5
	var texts []string
	for i, v := range found {
		if i == most {
			texts = append(texts, fmt.Sprintf("and %d more", len(found)-most))
			break
		}
		texts = append(texts, v.String())
	}
	c.w.violate(string(found[0].Kind), "%s", strings.Join(texts, "\n"))
}

// truth is the log, with what only the simulator knows: when each change was first
// applied, and when a leader decided that a lease had run out.
func (c *clients) truth() consistency.Truth {
	t := consistency.Truth{Cluster: c.w.cluster}
	first := make(map[metadatav1.Stream][]time.Duration)
	t.Schema, first[metadatav1.Stream_STREAM_SCHEMA] = c.w.judge.committed(metadatav1.Stream_STREAM_SCHEMA)
	t.Topology, first[metadatav1.Stream_STREAM_TOPOLOGY] = c.w.judge.committed(metadatav1.Stream_STREAM_TOPOLOGY)
	t.Service, first[metadatav1.Stream_STREAM_SERVICE] = c.w.judge.committed(metadatav1.Stream_STREAM_SERVICE)
	t.Committed = func(s metadatav1.Stream, revision uint64) (time.Duration, bool) {
		if revision == 0 || revision > uint64(len(first[s])) {
			return 0, false
		}
		return first[s][revision-1], true
	}
	t.Decided = func(change *events.Change) (time.Duration, bool) {
		if at, ok := c.w.judge.leases.submitted[change.RequestID()]; ok {
			return at, true
		}
		return t.Committed(change.Stream(), change.Revision())
	}
	return t
}
