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
	// maxProbes bounds the probes of one prober in flight.
	maxProbes = 400
)

// prober writes at short intervals and notes when writes got through.
type prober struct {
	name     string
	run      *run
	clients  []*client.Client // asked in turn
	members  []uint64         // that they ask; 0: any
	deadline time.Duration
	first    int // number of its first client in the history

	mu   sync.Mutex
	done []time.Duration // since the run began
}

// work probes until the context ends.
func (p *prober) work(ctx context.Context) {
	slots := make(chan int, maxProbes)
	for i := range maxProbes {
		slots <- p.first + i
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
		case slot := <-slots:
			probes.Go(func() {
				p.probe(i, slot)
				slots <- slot
			})
		default: // too many wait already; they tell enough
		}
	}
}

// probe creates a namespace of its own, so that no probe waits for another.
func (p *prober) probe(i, slot int) {
	at := i % len(p.clients)
	name := fmt.Sprintf("%s_%d", p.name, i)
	request := &metadatav1.CreateNamespaceRequest{
		Namespace: &metadatav1.Namespace{Name: name},
		Write:     &metadatav1.WriteOptions{RequestId: name},
	}
	ctx, cancel := context.WithTimeout(context.Background(), p.deadline)
	defer cancel()
	op := p.run.begin(slot, p.members[at], request)
	response, err := p.clients[at].CreateNamespace(ctx, request)
	p.run.end(op, response, err)
	if err != nil {
		return
	}
	now := p.run.now()
	p.mu.Lock()
	p.done = append(p.done, now)
	p.mu.Unlock()
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
