package chaos

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/heliosdb/metadata/client"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

const (
	probeInterval = 10 * time.Millisecond
	// shortDeadline is for probes of single members: one that does not answer is asked
	// again soon.
	shortDeadline = 300 * time.Millisecond
	// longDeadline is for probes of a client that may choose: it shows how long
	// applications wait.
	longDeadline = client.DefaultTimeout
)

// prober writes at short intervals and notes when writes got through.
type prober struct {
	name     string
	run      *run
	clients  []*client.Client // asked in turn
	members  []uint64         // that they ask; 0: any
	deadline time.Duration
	slots    int // probes that may be in flight
	first    int // number of its first client in the history

	mu   sync.Mutex
	done []time.Duration // since the run began
}

// slot is a client of a prober: it creates and drops one namespace in turn, so that no
// probe waits for another and the number of namespaces is bounded.
type slot struct {
	number int // in the history
	name   string
	there  bool // the namespace, as far as the slot knows
	ids    int
}

// work probes until the context ends.
func (p *prober) work(ctx context.Context) {
	free := make(chan *slot, p.slots)
	for i := range p.slots {
		free <- &slot{number: p.first + i, name: fmt.Sprintf("%s_%d", p.name, i)}
	}
	ticker := time.NewTicker(probeInterval)
	defer ticker.Stop()
	var probes sync.WaitGroup
	defer probes.Wait()
	for i := 0; ; i++ {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		select {
		case s := <-free:
			probes.Go(func() {
				if p.probe(i%len(p.clients), s) {
					now := p.run.now()
					p.mu.Lock()
					p.done = append(p.done, now)
					p.mu.Unlock()
				}
				free <- s
			})
		default: // too many wait already; they tell enough
		}
	}
}

// probe makes one write and reports whether it changed something.
func (p *prober) probe(at int, s *slot) bool {
	ctx, cancel := context.WithTimeout(context.Background(), p.deadline)
	defer cancel()
	s.ids++
	options := &metadatav1.WriteOptions{RequestId: fmt.Sprintf("%s-%d", s.name, s.ids)}
	var err error
	if s.there {
		request := &metadatav1.DropNamespaceRequest{Name: s.name, Write: options}
		op := p.run.begin(s.number, p.members[at], request)
		var response *metadatav1.DropNamespaceResponse
		response, err = p.clients[at].DropNamespace(ctx, request)
		p.run.end(op, response, err)
		s.there = err != nil && !client.IsNotFound(err)
	} else {
		request := &metadatav1.CreateNamespaceRequest{Namespace: &metadatav1.Namespace{Name: s.name}, Write: options}
		op := p.run.begin(s.number, p.members[at], request)
		var response *metadatav1.CreateNamespaceResponse
		response, err = p.clients[at].CreateNamespace(ctx, request)
		p.run.end(op, response, err)
		s.there = err == nil || client.IsAlreadyExists(err)
	}
	return err == nil
}

// gap returns the longest time without a success that has a part in [from, until].
func (p *prober) gap(from, until time.Duration) time.Duration {
	p.mu.Lock()
	done := slices.Clone(p.done)
	p.mu.Unlock()
	return longestGap(done, from, until)
}

// longestGap returns the longest time between two neighbours in times, in any order, of
// those that have a part in [from, until]. What is before the first or behind the last one
// counts as far as it is in there.
func longestGap(times []time.Duration, from, until time.Duration) time.Duration {
	slices.Sort(times)
	longest, before := time.Duration(0), from
	for _, at := range times {
		if at <= from {
			before = at
			continue
		}
		longest = max(longest, at-before)
		before = at
		if at >= until {
			return longest
		}
	}
	return max(longest, until-before)
}
