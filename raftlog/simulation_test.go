package raftlog_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/cryptotest"
)

// runFaults lets a cluster run under random faults for some steps.
func runFaults(c *cluster, steps int) {
	for range steps {
		if c.bad != nil {
			return
		}
		m := c.members[c.ids[c.rng.IntN(len(c.ids))]]
		switch p := c.rng.IntN(1000); {
		case p < 420:
			if n := len(c.net); n > 0 {
				i := c.rng.IntN(min(n, 4)) // some reordering
				switch q := c.rng.IntN(100); {
				case q < 6:
					c.net = slices.Delete(c.net, i, i+1)
				default:
					c.deliver(i, q < 10)
				}
			}
		case !m.up:
			if p > 985 {
				c.start(m)
			}
		case m.snap != nil && p < 440:
			c.transfer(m, 0.1)
		case p < 600:
			c.store(m, 1+c.rng.IntN(3))
		case p < 740:
			c.apply(m, 1+c.rng.IntN(4))
		case p < 830:
			c.tick(m)
		default:
			c.rareStep(m, p)
		}
	}
}

func (c *cluster) rareStep(m *member, p int) {
	switch {
	case p < 930:
		c.proposed++
		if err := c.propose(m, fmt.Sprintf("p%d-%s", c.proposed, strings.Repeat("x", c.rng.IntN(60)))); err == nil {
			c.note("propose", m.id, c.proposed)
		}
	case p < 955:
		c.readID++
		if m.g.ReadIndex(c.readID) == nil {
			m.reads[c.readID] = c.maxIndex
			c.drain(m)
		}
	case p < 960:
		c.crash(m)
	case p < 968:
		c.cut[[2]uint64{m.id, c.ids[c.rng.IntN(len(c.ids))]}] = true
	case p < 976:
		clear(c.cut)
	case p < 982:
		if m.applied > 1 {
			c.checkpoint(m, uint64(c.rng.IntN(6)))
		}
	case p < 991:
		_ = m.g.TransferLeader(c.ids[c.rng.IntN(len(c.ids))])
		c.drain(m)
	case p < 995:
		_, _ = m.g.ForgetLeader(), m.g.Campaign()
		c.drain(m)
	default:
		for _, id := range c.ids {
			if id != m.id {
				m.g.ReportUnreachable(id)
			}
		}
		c.drain(m)
	}
}

const simulationSteps = 4000

// TestFaults runs many short histories with lost, repeated and reordered messages,
// one-way partitions, crashes that lose what was not synced, checkpoints and
// transfers, and checks what Raft promises.
func TestFaults(t *testing.T) {
	total := map[string]int{}
	for seed := range uint64(300) {
		cryptotest.SetGlobalRandom(t, seed)
		c := newCluster(t, seed, 3)
		runFaults(c, simulationSteps)
		c.heal()
		c.settle(120)
		if c.bad != nil {
			t.Fatalf("seed %d: %v", seed, c.bad)
		}
		c.converged()
		for k, n := range c.counts {
			total[k] += n
		}
	}
	t.Log(total)
	for _, what := range []string{"leader", "propose", "crash", "checkpoint", "install", "read"} {
		if total[what] < 100 {
			t.Errorf("%s happened %d times only: the runs no longer reach it", what, total[what])
		}
	}
}

// TestFaultsRepeat runs seeds twice: a failure can be replayed from its seed.
func TestFaultsRepeat(t *testing.T) {
	run := func(seed uint64) []byte {
		cryptotest.SetGlobalRandom(t, seed)
		c := newCluster(t, seed, 3)
		runFaults(c, simulationSteps)
		return c.trace
	}
	for seed := range uint64(10) {
		if a, b := run(seed), run(seed); !bytes.Equal(a, b) {
			t.Fatalf("seed %d: two runs differ", seed)
		}
	}
}

// TestFaultsFindMutants breaks one rule at a time: the checks above have to notice.
func TestFaultsFindMutants(t *testing.T) {
	for _, mutant := range []string{mutantEarlyAck, mutantNoSync, mutantNoHardState, mutantNothing} {
		t.Run(mutant, func(t *testing.T) {
			for seed := range uint64(200) {
				cryptotest.SetGlobalRandom(t, seed)
				c := newCluster(t, seed, 3)
				c.mutant = mutant
				if what := findViolation(c); what != "" {
					t.Logf("seed %d: %s", seed, what)
					return
				}
			}
			t.Fatal("200 seeds went unnoticed")
		})
	}
}

// findViolation also counts raft's own panics on an impossible state.
func findViolation(c *cluster) (what string) {
	defer func() {
		if r := recover(); r != nil {
			what = fmt.Sprint("panic: ", r)
		}
	}()
	runFaults(c, simulationSteps)
	c.heal()
	c.settle(120)
	if c.bad != nil {
		return c.bad.Error()
	}
	if err := c.convergence(); err != nil {
		return err.Error()
	}
	return ""
}
