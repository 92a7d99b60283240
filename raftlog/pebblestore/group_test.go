package pebblestore_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/cryptotest"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/heliosdb/metadata/raftlog"
	"github.com/heliosdb/metadata/raftlog/storagetest"
)

// TestGroupOverCrashes runs a group of one member on the store and cuts the power
// again and again: every proposal that was committed comes back.
func TestGroupOverCrashes(t *testing.T) {
	cryptotest.SetGlobalRandom(t, 1)
	rng := rand.New(rand.NewPCG(1, 2))
	d := newDisk(t)
	s := d.Open(t)
	storagetest.Must(t, s.Bootstrap(storagetest.Identity(), []raftlog.GroupID{storagetest.A}, []uint64{2}))
	committed := map[uint64]string{}
	for round := range 15 {
		l, err := s.Load(storagetest.A)
		storagetest.Must(t, err)
		g, err := raftlog.NewGroup(raftlog.Config{Group: storagetest.A, Member: 2, Loaded: l})
		storagetest.Must(t, err)
		seen := map[uint64]string{}
		storagetest.Must(t, g.Campaign())
		run(t, s, g, seen)
		for i := range rng.IntN(8) {
			storagetest.Must(t, g.Propose(fmt.Appendf(nil, "round %d, proposal %d", round, i)))
			if rng.IntN(3) > 0 {
				run(t, s, g, seen)
			}
		}
		for index, data := range committed {
			if seen[index] != data {
				t.Fatalf("round %d: entry %d is %q, it was committed as %q", round, index, seen[index], data)
			}
		}
		committed = seen
		d.crash(vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(101), RNG: rng})
		s = d.Open(t)
	}
	if len(committed) < 30 {
		t.Fatalf("only %d entries were committed in all rounds", len(committed))
	}
}

// run stores and folds until there is nothing to do.
func run(t *testing.T, s raftlog.Storage, g *raftlog.Group, seen map[uint64]string) {
	t.Helper()
	for {
		out, more := g.Ready()
		if !more {
			return
		}
		if out.Write != nil {
			storagetest.Must(t, s.Write([]*raftlog.Write{out.Write}))
			g.Appended(out.Write)
		}
		for _, e := range out.Committed {
			seen[e.Index] = string(e.Data)
			g.Applied(e.Index)
		}
	}
}
