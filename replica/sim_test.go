package replica

import (
	"fmt"
	"slices"
	"testing"
	"testing/cryptotest"
)

// TestSimulation runs three members through seeded loss, duplication, reordering,
// crashes that lose what was not synced, partitions and transfers, under clients that
// retry. cluster.check and the clients look at every step; at the end every
// acknowledged change is there exactly once and all models are equal.
func TestSimulation(t *testing.T) {
	seeds := uint64(40)
	if testing.Short() {
		seeds = 5
	}
	var total simTotals
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			cryptotest.SetGlobalRandom(t, seed)
			s := newSimulation(t, seed)
			for range 3000 {
				s.step()
			}
			s.finish()
			total.add(s)
		})
	}
	t.Logf("%+v", total)
	if total.crashes == 0 || total.installs == 0 || total.terms < 2*seeds || total.rejected == 0 || total.read == 0 || total.checkpoints == 0 {
		t.Errorf("the simulation did not reach what it is for: %+v", total)
	}
}

type simTotals struct {
	changes, retried, rejected, read, terms, installs, checkpoints, fenced, rounds uint64
	crashes                                                                        int
}

func (x *simTotals) add(s *simulation) {
	for _, n := range s.nodes {
		st := n.rep.Status()
		x.installs += s.installs[n.id] + st.Installs
		x.checkpoints += uint64(n.written)
		x.fenced += st.Fenced
		x.rounds += st.Rounds
	}
	x.changes += s.nodes[0].rep.View().Head.Revision
	x.terms += s.nodes[0].rep.Status().Term
	x.crashes += s.crashes
	for _, k := range s.clients {
		x.rejected += uint64(k.probes)
		x.read += uint64(k.reads)
	}
	x.retried += s.retried()
}

type simulation struct {
	*cluster
	clients  []*client
	quiet    bool // no more faults
	crashes  int
	installs map[uint64]uint64
	down     map[uint64]int // step at which a member comes back
	now      int
	healAt   int
}

func newSimulation(t *testing.T, seed uint64) *simulation {
	s := &simulation{installs: map[uint64]uint64{}, down: map[uint64]int{}}
	s.cluster = newCluster(t, seed, 3, func(c *Config[model]) {
		c.CheckpointRevisions, c.TrailingEntries = 5, 2
		c.Log.ElectionTicks = 10
	})
	for i := range 4 {
		s.clients = append(s.clients, &client{c: s.cluster, id: i, acked: map[string]uint64{}})
	}
	return s
}

func (s *simulation) retried() (n uint64) {
	for _, k := range s.clients {
		n += uint64(k.retries)
	}
	return n
}

// step does one random thing.
func (s *simulation) step() {
	s.now++
	s.revive()
	switch d := s.rng.IntN(100); {
	case d < 45:
		s.network()
	case d < 70:
		if n := s.anyUp(); n != nil && len(n.writes) > 0 {
			n.storeWrites(1 + s.rng.IntN(len(n.writes)))
		}
	case d < 81:
		if n := s.anyUp(); n != nil {
			s.clients[s.rng.IntN(len(s.clients))].step(n)
		}
	case d < 89:
		s.tickOnce()
	case d < 98:
		if n := s.anyUp(); n != nil {
			n.background()
		}
	case !s.quiet:
		s.fault()
	}
}

func (s *simulation) network() {
	if len(s.net) == 0 {
		return
	}
	i := 0
	if !s.quiet && s.rng.IntN(4) == 0 {
		i = s.rng.IntN(len(s.net)) // out of order
	}
	switch d := s.rng.IntN(100); {
	case s.quiet || d >= 5:
		s.deliver(i, !s.quiet && d >= 97)
	default:
		s.net = append(s.net[:i:i], s.net[i+1:]...)
	}
}

func (s *simulation) fault() {
	id := uint64(1 + s.rng.IntN(len(s.nodes)))
	n := s.node(id)
	switch d := s.rng.IntN(100); {
	case d < 12 && n.rep != nil:
		s.crashes++
		s.installs[id] += n.rep.Status().Installs
		n.crash(s.rng.IntN(3))
		s.down[id] = s.now + 1 + s.rng.IntN(1000)
	case d < 20:
		s.isolate(id)
		s.healAt = s.now + 50 + s.rng.IntN(400)
	case d < 26:
		s.cut[[2]uint64{id, uint64(1 + s.rng.IntN(len(s.nodes)))}] = true // one way
		s.healAt = s.now + 50 + s.rng.IntN(300)
	case d < 36 && n.rep != nil:
		n.rep.TransferLeader(uint64(1 + s.rng.IntN(len(s.nodes))))
		n.pump()
	case d < 44 && n.rep != nil:
		_ = n.rep.ForgetLeader() // a leader has none to forget
		_ = n.rep.Campaign()     // refused when it cannot be promoted
		n.pump()
	}
}

func (s *simulation) revive() {
	if s.healAt != 0 && s.now >= s.healAt {
		s.heal()
		s.healAt = 0
	}
	for _, n := range s.nodes {
		if n.rep == nil && s.now >= s.down[n.id] {
			n.start()
		}
	}
}

// anyUp returns a random member that is up, nil if the chosen one is not.
func (s *simulation) anyUp() *node {
	n := s.nodes[s.rng.IntN(len(s.nodes))]
	if n.rep == nil {
		return nil
	}
	return n
}

// finish ends all faults, lets every client come to an end, and audits.
func (s *simulation) finish() {
	s.quiet = true
	s.heal()
	for _, n := range s.nodes {
		if n.rep == nil {
			n.start()
		}
	}
	for range 4000 {
		s.step()
	}
	for range 60 { // long enough for an election and for raft's probes
		s.tick(1)
		for _, k := range s.clients {
			if k.cmd != nil {
				n := s.leader()
				if n == nil {
					continue
				}
				if !k.flying.done {
					k.send(n)
				}
				s.settle()
				if k.flying.done {
					k.take(n)
				}
			}
		}
	}
	for _, k := range s.clients {
		if k.cmd != nil {
			s.t.Fatalf("client %d never got an answer after the faults: %+v", k.id, k.flying)
		}
	}
	s.sameModels()
	s.audit()
}

// audit compares what was acknowledged with the history.
func (s *simulation) audit() {
	changes := map[string][]uint64{} // a checkpoint may have left a gap in one member's history
	for _, n := range s.nodes {
		for id, at := range n.history() {
			for _, revision := range at {
				if !slices.Contains(changes[id], revision) {
					changes[id] = append(changes[id], revision)
				}
			}
		}
		if got := n.rep.Status().Fenced; got != 0 {
			s.t.Errorf("member %d: the fence fired %d times with a careful leader", n.id, got)
		}
	}
	for _, k := range s.clients {
		for id, revision := range k.acked {
			if at := changes[id]; len(at) != 1 || at[0] != revision {
				s.t.Errorf("%s was acknowledged at revision %d, history has it at %v", id, revision, at)
			}
		}
	}
}

// history returns the revisions of each request id that the member's storage holds.
func (n *node) history() map[string][]uint64 {
	t := n.c.t
	first, last, err := n.store.HistoryBounds(testGroup)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string][]uint64{}
	for seq := first; seq != 0 && seq <= last; seq++ {
		rs, err := n.store.ReadHistory(testGroup, seq, 1)
		if err != nil {
			continue // a gap that a checkpoint left
		}
		past, err := DecodePast(&rs[0])
		if err != nil {
			t.Fatal(err)
		}
		last := past.Changes[len(past.Changes)-1].Revision()
		if digest := n.c.digests[last]; past.Digest != digest {
			t.Fatalf("member %d: history has digest %s at revision %d, the chain %s", n.id, past.Digest, last, digest)
		}
		for _, change := range past.Changes {
			if change.Revision() == seq {
				found[change.RequestID()] = append(found[change.RequestID()], seq)
			}
		}
	}
	return found
}
