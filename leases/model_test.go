package leases_test

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/leases"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// naive is a second, slow Table: it looks at every node on each tick.
type naive struct {
	seen, clock time.Duration
	nodes       map[string]*naiveNode
	beats       int // number of revivals asked for, for their order
}

type naiveNode struct {
	epoch    uint64
	alive    bool
	deadline time.Duration
	given    bool // a transition is under way
	wanted   int  // order of the beat that asks for a revival; 0: none
}

func (n *naive) advance(now time.Duration) {
	if now > n.seen {
		n.clock += min(now-n.seen, leases.DefaultInterval/2)
		n.seen = now
	}
}

func (n *naive) put(id string, epoch uint64, alive bool) {
	old := n.nodes[id]
	if old != nil && old.epoch == epoch && old.alive == alive {
		return
	}
	fresh := &naiveNode{epoch: epoch, alive: alive}
	if alive {
		fresh.deadline = n.clock + leases.DefaultLease
	}
	n.nodes[id] = fresh
}

func (n *naive) beat(id string, epoch uint64) leases.Outcome {
	l := n.nodes[id]
	if l != nil && l.epoch == epoch && !l.given {
		if l.alive {
			l.deadline = n.clock + leases.DefaultLease
		} else if l.wanted == 0 && n.clock >= l.deadline {
			n.beats++
			l.wanted = n.beats
		}
	}
	switch {
	case l == nil:
		return leases.NotFound
	case l.epoch != epoch:
		return leases.StaleEpoch
	case !l.alive:
		return leases.Reviving
	case l.given:
		return leases.Expiring
	}
	return leases.Granted
}

func (n *naive) tick() (out []leases.Transition) {
	ids := slices.SortedFunc(maps.Keys(n.nodes), func(a, b string) int {
		x, y := n.nodes[a], n.nodes[b]
		if x.alive && y.alive {
			return cmp.Or(cmp.Compare(x.deadline, y.deadline), cmp.Compare(a, b))
		}
		if x.alive != y.alive {
			if x.alive {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(x.wanted, y.wanted), cmp.Compare(a, b))
	})
	for _, id := range ids {
		l := n.nodes[id]
		if !l.given && (l.alive && l.deadline <= n.clock || !l.alive && l.wanted > 0) {
			l.given, l.wanted = true, 0
			out = append(out, leases.Transition{NodeID: id, Epoch: l.epoch, Term: 1, Online: !l.alive})
		}
	}
	return out
}

// The Table and the naive one agree on every verdict and every transition,
// whatever happens in whatever order, and no node is given up within a lease of
// a beat that was granted.
func TestAgainstTheNaiveTable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table, err := leases.New(leases.Options{})
		if err != nil {
			t.Fatal(err)
		}
		model := &naive{nodes: map[string]*naiveNode{}}
		table.Lead(1, slices.Values([]leases.Node(nil)), 0)
		var (
			now      time.Duration
			revision uint64
			epochs   uint64
			underWay []leases.Transition
			granted  = map[string]time.Duration{} // when the latest granted beat of the present registration arrived
		)
		id := rapid.Custom(func(t *rapid.T) string { return fmt.Sprint("n", rapid.IntRange(0, 4).Draw(t, "node")) })
		fold := func(name string, epoch uint64, status metadatav1.NodeStatus, kind func(*metadatav1.NodeInfo) *metadatav1.Event) {
			revision++
			node := &metadatav1.NodeInfo{NodeId: name, Epoch: epoch, Status: status}
			table.Fold(events.Seal(events.Header{Revision: revision}, []events.Event{events.New(kind(node))}), now)
			model.advance(now)
		}
		takeOne := func() (leases.Transition, bool) {
			if len(underWay) == 0 {
				return leases.Transition{}, false
			}
			i := rapid.IntRange(0, len(underWay)-1).Draw(t, "which")
			tr := underWay[i]
			underWay = slices.Delete(underWay, i, i+1)
			l := model.nodes[tr.NodeID]
			due := l != nil && l.epoch == tr.Epoch && l.given && l.alive != tr.Online
			if table.Due(tr) != due {
				t.Fatalf("%v: due is %v", tr, !due)
			}
			return tr, due
		}
		t.Repeat(map[string]func(*rapid.T){
			"time": func(t *rapid.T) {
				now += time.Duration(rapid.SampledFrom([]int{1, 50, 400, 500, 900, 60_000}).Draw(t, "ms")) * time.Millisecond
			},
			"beat": func(t *rapid.T) {
				name := id.Draw(t, "id")
				epoch := epochs
				if l := model.nodes[name]; l != nil && rapid.IntRange(0, 9).Draw(t, "stale") > 0 {
					epoch = l.epoch
				}
				got := table.Beat(name, epoch, now, nil, nil).Outcome
				model.advance(now)
				if want := model.beat(name, epoch); got != want {
					t.Fatalf("beat of %s/%d: %v, want %v", name, epoch, got, want)
				}
				if got == leases.Granted {
					granted[name] = now
				}
			},
			"tick": func(t *rapid.T) {
				got := table.Tick(now)
				model.advance(now)
				if want := model.tick(); !slices.Equal(got, want) {
					t.Fatalf("tick: %v, want %v", got, want)
				}
				for _, tr := range got {
					if at, ok := granted[tr.NodeID]; !tr.Online && ok && now-at < leases.DefaultLease {
						t.Fatalf("%v only %v after a granted beat", tr, now-at)
					}
				}
				underWay = append(underWay, got...)
			},
			"commit": func(t *rapid.T) {
				tr, due := takeOne()
				if !due {
					return
				}
				if tr.Online {
					fold(tr.NodeID, tr.Epoch, online, cameOnline)
				} else {
					fold(tr.NodeID, tr.Epoch, offline, wentOffline)
				}
				delete(granted, tr.NodeID)
				model.put(tr.NodeID, tr.Epoch, tr.Online)
			},
			"fail": func(t *rapid.T) {
				tr, due := takeOne()
				table.Failed(tr, now)
				model.advance(now)
				if due {
					l := model.nodes[tr.NodeID]
					l.given, l.deadline = false, model.clock+leases.DefaultInterval
					delete(granted, tr.NodeID)
				}
			},
			"register": func(t *rapid.T) {
				name := id.Draw(t, "id")
				epochs++
				fold(name, epochs, online, registered)
				delete(granted, name)
				model.put(name, epochs, true)
			},
			"unregister": func(t *rapid.T) {
				name := id.Draw(t, "id")
				fold(name, 0, offline, unregistered)
				delete(granted, name)
				delete(model.nodes, name)
			},
		})
	})
}
