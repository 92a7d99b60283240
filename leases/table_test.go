package leases_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/internal/failure"
	"github.com/heliosdb/metadata/leases"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

const (
	online   = metadatav1.NodeStatus_NODE_STATUS_ONLINE
	offline  = metadatav1.NodeStatus_NODE_STATUS_OFFLINE
	draining = metadatav1.NodeStatus_NODE_STATUS_DRAINING
)

// world is a Table with the clock that it is given, and a log to fold.
type world struct {
	t        *testing.T
	table    *leases.Table
	now      time.Duration
	revision uint64
}

// lead returns a world in which the Table leads term 7 over the nodes.
func lead(t *testing.T, nodes ...leases.Node) *world {
	t.Helper()
	table, err := leases.New(leases.Options{})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, table: table, now: time.Hour}
	table.Lead(7, slices.Values(nodes), w.now)
	return w
}

// pass lets time pass in ticks of 100 ms and returns what the ticks hand out.
func (w *world) pass(d time.Duration) []leases.Transition {
	var out []leases.Transition
	for end := w.now + d; w.now < end; {
		w.now += 100 * time.Millisecond
		out = append(out, w.table.Tick(w.now)...)
	}
	return out
}

func (w *world) beat(id string, epoch uint64) leases.Outcome {
	return w.table.Beat(id, epoch, w.now, nil, nil).Outcome
}

// fold folds one change with one event about the node.
func (w *world) fold(id string, epoch uint64, status metadatav1.NodeStatus, kind func(*metadatav1.NodeInfo) *metadatav1.Event) {
	w.revision++
	node := &metadatav1.NodeInfo{NodeId: id, Epoch: epoch, Status: status}
	w.table.Fold(events.Seal(events.Header{Revision: w.revision}, []events.Event{events.New(kind(node))}), w.now)
}

func registered(n *metadatav1.NodeInfo) *metadatav1.Event {
	return &metadatav1.Event{Kind: &metadatav1.Event_NodeRegistered{NodeRegistered: &metadatav1.NodeRegistered{Node: n}}}
}

func unregistered(n *metadatav1.NodeInfo) *metadatav1.Event {
	return &metadatav1.Event{Kind: &metadatav1.Event_NodeUnregistered{NodeUnregistered: &metadatav1.NodeUnregistered{Node: n}}}
}

func wentOffline(n *metadatav1.NodeInfo) *metadatav1.Event {
	return &metadatav1.Event{Kind: &metadatav1.Event_NodeWentOffline{NodeWentOffline: &metadatav1.NodeWentOffline{Node: n}}}
}

func cameOnline(n *metadatav1.NodeInfo) *metadatav1.Event {
	return &metadatav1.Event{Kind: &metadatav1.Event_NodeCameOnline{NodeCameOnline: &metadatav1.NodeCameOnline{Node: n}}}
}

func drained(n *metadatav1.NodeInfo) *metadatav1.Event {
	return &metadatav1.Event{Kind: &metadatav1.Event_NodeDrained{NodeDrained: &metadatav1.NodeDrained{Node: n}}}
}

func equal[T any](t *testing.T, what string, got, want T) {
	t.Helper()
	if g, w := fmt.Sprint(got), fmt.Sprint(want); g != w {
		t.Fatalf("%s: got %s, want %s", what, g, w)
	}
}

func TestVerdicts(t *testing.T) {
	w := lead(t, leases.Node{ID: "a", Epoch: 3, Status: online}, leases.Node{ID: "b", Epoch: 4, Status: draining}, leases.Node{ID: "c", Epoch: 5, Status: offline})
	for _, c := range []struct {
		id    string
		epoch uint64
		want  leases.Outcome
	}{
		{"a", 3, leases.Granted},
		{"b", 4, leases.Granted},
		{"a", 2, leases.StaleEpoch},
		{"a", 4, leases.StaleEpoch},
		{"c", 5, leases.Reviving},
		{"c", 4, leases.StaleEpoch},
		{"d", 1, leases.NotFound},
	} {
		equal(t, fmt.Sprintf("beat of %s/%d", c.id, c.epoch), w.beat(c.id, c.epoch), c.want)
		equal(t, fmt.Sprintf("check of %s/%d", c.id, c.epoch), w.table.Check(c.id, c.epoch).Outcome, c.want)
	}
	w.table.Stop()
	equal(t, "after Stop", w.beat("a", 3), leases.NotLeading)
	equal(t, "nodes after Stop", len(w.table.Reports(w.now)), 0)
}

func TestVerdictsAsFailures(t *testing.T) {
	for outcome, reason := range map[leases.Outcome]metadatav1.ErrorReason{
		leases.NotFound:   metadatav1.ErrorReason_ERROR_REASON_NOT_FOUND,
		leases.StaleEpoch: metadatav1.ErrorReason_ERROR_REASON_STALE_EPOCH,
		leases.Expiring:   metadatav1.ErrorReason_ERROR_REASON_LEASE_CHANGING,
		leases.Reviving:   metadatav1.ErrorReason_ERROR_REASON_LEASE_CHANGING,
		leases.NotLeading: metadatav1.ErrorReason_ERROR_REASON_NO_LEADER,
	} {
		e := leases.Verdict{Outcome: outcome, NodeID: "node-9", Epoch: 2, Current: 3}.Failure()
		if !failure.Is(e, reason) || !strings.Contains(e.Message, "node-9") {
			t.Errorf("%v: got %v %q, want %v naming the node", outcome, e.Reason, e.Message, reason)
		}
	}
	if e := (leases.Verdict{Outcome: leases.Granted}).Failure(); e != nil {
		t.Errorf("a granted lease has failure %v", e)
	}
}

func TestSilenceExpires(t *testing.T) {
	w := lead(t, leases.Node{ID: "a", Epoch: 1, Status: online}, leases.Node{ID: "b", Epoch: 2, Status: draining}, leases.Node{ID: "c", Epoch: 3, Status: offline})
	for range 10 { // b beats, a does not
		if out := w.pass(400 * time.Millisecond); len(out) > 0 {
			t.Fatalf("%v within the lease", out)
		}
		w.beat("b", 2)
	}
	equal(t, "at the end of a's lease", w.pass(time.Second), []leases.Transition{{NodeID: "a", Epoch: 1, Term: 7}})
	equal(t, "at the end of b's lease", w.pass(4*time.Second), []leases.Transition{{NodeID: "b", Epoch: 2, Term: 7}})
	equal(t, "afterwards", len(w.pass(time.Minute)), 0)
}

func TestCommandsOfTransitions(t *testing.T) {
	expire := leases.Transition{NodeID: "a", Epoch: 1}.Command()
	if want := (&metadatav1.ExpireNodeLease{NodeId: "a", Epoch: 1}); !proto.Equal(expire, want) {
		t.Errorf("got %v, want %v", expire, want)
	}
	revive := leases.Transition{NodeID: "a", Epoch: 1, Online: true}.Command()
	if want := (&metadatav1.ReviveNode{NodeId: "a", Epoch: 1}); !proto.Equal(revive, want) {
		t.Errorf("got %v, want %v", revive, want)
	}
}

// A beat that arrives after the expiry was handed out does not save the node:
// it goes offline and comes back by events.
func TestNoSilentResurrection(t *testing.T) {
	w := lead(t, leases.Node{ID: "a", Epoch: 1, Status: online})
	out := w.pass(5 * time.Second)
	equal(t, "expiry", out, []leases.Transition{{NodeID: "a", Epoch: 1, Term: 7}})
	equal(t, "due", w.table.Due(out[0]), true)
	for range 20 {
		equal(t, "beat while expiring", w.beat("a", 1), leases.Expiring)
		equal(t, "handed out again", len(w.pass(time.Second)), 0)
	}
	w.fold("a", 1, draining, drained) // another change of the node meanwhile
	equal(t, "beat after draining", w.beat("a", 1), leases.Expiring)

	w.fold("a", 1, offline, wentOffline)
	equal(t, "due after fold", w.table.Due(out[0]), false)
	equal(t, "check when offline", w.table.Check("a", 1).Outcome, leases.Reviving)
	equal(t, "nothing to do before a beat", len(w.pass(time.Second)), 0)
	equal(t, "beat when offline", w.beat("a", 1), leases.Reviving)
	equal(t, "second beat", w.beat("a", 1), leases.Reviving)
	out = w.pass(time.Second)
	equal(t, "revival, once", out, []leases.Transition{{NodeID: "a", Epoch: 1, Term: 7, Online: true}})
	equal(t, "beat while reviving", w.beat("a", 1), leases.Reviving)
	equal(t, "not handed out again", len(w.pass(10*time.Second)), 0)

	w.fold("a", 1, draining, cameOnline)
	equal(t, "check when back", w.table.Check("a", 1).Outcome, leases.Granted)
	equal(t, "a full lease", len(w.pass(4900*time.Millisecond)), 0)
	equal(t, "and no more", len(w.pass(100*time.Millisecond)), 1)
}

func TestFailedTransitionsAreTriedAgain(t *testing.T) {
	w := lead(t, leases.Node{ID: "a", Epoch: 1, Status: online}, leases.Node{ID: "b", Epoch: 2, Status: offline})
	expiry := w.pass(5 * time.Second)
	w.table.Failed(expiry[0], w.now)
	equal(t, "due after the failure", w.table.Due(expiry[0]), false)
	equal(t, "before the pause is over", len(w.pass(900*time.Millisecond)), 0)
	equal(t, "after the pause", w.pass(100*time.Millisecond), expiry)

	w.table.Failed(expiry[0], w.now)
	equal(t, "a beat after the failure", w.beat("a", 1), leases.Granted)
	equal(t, "renews the lease", len(w.pass(4900*time.Millisecond)), 0)

	w.beat("b", 2)
	revival := w.pass(100 * time.Millisecond)
	equal(t, "expiry and revival", len(revival), 2)
	w.table.Failed(revival[1], w.now)
	w.beat("b", 2)
	equal(t, "a beat within the pause", len(w.pass(time.Second)), 0)
	w.beat("b", 2)
	equal(t, "a beat after it", w.pass(100*time.Millisecond), revival[1:])
}

func TestNewLeadershipGrantsFullLeases(t *testing.T) {
	nodes := []leases.Node{{ID: "a", Epoch: 1, Status: online}, {ID: "b", Epoch: 2, Status: online}}
	w := lead(t, nodes...)
	expiries := w.pass(5 * time.Second)
	equal(t, "expiries", len(expiries), 2)
	w.table.Lead(9, slices.Values(nodes), w.now)
	for _, tr := range expiries {
		if w.table.Due(tr) {
			t.Errorf("%v of term 7 is due in term 9", tr)
		}
		w.table.Failed(tr, w.now) // late news of the old leadership change nothing
	}
	equal(t, "check in the new term", w.table.Check("a", 1).Outcome, leases.Granted)
	equal(t, "within the new lease", len(w.pass(4900*time.Millisecond)), 0)
	equal(t, "after it", w.pass(100*time.Millisecond), []leases.Transition{{NodeID: "a", Epoch: 1, Term: 9}, {NodeID: "b", Epoch: 2, Term: 9}})
	equal(t, "the same of term 7", w.table.Due(expiries[0]), false)
}

func TestExpiriesInOrderOfDeadlines(t *testing.T) {
	w := lead(t, leases.Node{ID: "a", Epoch: 1, Status: online}, leases.Node{ID: "b", Epoch: 2, Status: online})
	w.pass(100 * time.Millisecond)
	w.beat("b", 2)
	w.pass(100 * time.Millisecond)
	w.beat("a", 1)
	equal(t, "before", len(w.pass(4700*time.Millisecond)), 0)
	w.now += 400 * time.Millisecond
	equal(t, "in one tick", w.table.Tick(w.now), []leases.Transition{{NodeID: "b", Epoch: 2, Term: 7}, {NodeID: "a", Epoch: 1, Term: 7}})
}

// The log has the last word, even if this Table thought that the node is alive.
func TestOfflineWithinTheLease(t *testing.T) {
	w := lead(t, leases.Node{ID: "a", Epoch: 1, Status: online})
	w.fold("a", 1, offline, wentOffline)
	equal(t, "beat", w.beat("a", 1), leases.Reviving)
	equal(t, "revival", w.table.Tick(w.now), []leases.Transition{{NodeID: "a", Epoch: 1, Term: 7, Online: true}})
}

// A service that was stopped, or whose clock jumped, does not take everybody
// offline, whichever call comes first afterwards.
func TestPausesExtendLeases(t *testing.T) {
	for _, first := range []string{"tick", "beat", "fold", "reports"} {
		t.Run(first, func(t *testing.T) {
			w := lead(t, leases.Node{ID: "a", Epoch: 1, Status: online}, leases.Node{ID: "b", Epoch: 2, Status: online})
			w.pass(4 * time.Second)
			w.now += 3 * time.Hour
			switch first {
			case "beat":
				w.beat("b", 2)
			case "fold":
				w.fold("c", 3, online, registered)
			case "reports":
				w.table.Reports(w.now)
			}
			equal(t, "right after the pause", len(w.table.Tick(w.now)), 0)
			equal(t, "a in the rest of its lease", w.table.Check("a", 1).Outcome, leases.Granted)
			equal(t, "a silent still", slices.IndexFunc(w.pass(time.Second), func(tr leases.Transition) bool { return tr.NodeID == "a" }), 0)
		})
	}
}

// Beats that arrive together are answered as if they had arrived one by one, and what is
// being taken offline is not granted because the attempt failed meanwhile.
func TestBeatsTogether(t *testing.T) {
	w := lead(t, leases.Node{ID: "a", Epoch: 1, Status: online}, leases.Node{ID: "b", Epoch: 2, Status: online}, leases.Node{ID: "c", Epoch: 3, Status: online})
	w.pass(4 * time.Second)
	w.beat("b", 2)
	w.beat("c", 3)
	expiry := w.pass(time.Second)
	equal(t, "who is silent", expiry, []leases.Transition{{NodeID: "a", Epoch: 1, Term: 7}})
	heard := w.table.BeatAll(nil, []*metadatav1.HeartbeatRequest{
		{NodeId: "a", Epoch: 1}, {NodeId: "b", Epoch: 2}, {NodeId: "c", Epoch: 3}, {NodeId: "d", Epoch: 4},
	}, w.now)
	w.table.Failed(expiry[0], w.now)
	w.fold("b", 9, online, registered)
	w.table.CheckAll(heard)
	var outcomes []leases.Outcome
	for _, v := range heard {
		outcomes = append(outcomes, v.Outcome)
	}
	equal(t, "outcomes", outcomes, []leases.Outcome{leases.Expiring, leases.StaleEpoch, leases.Granted, leases.NotFound})
	equal(t, "the epoch to register anew from", heard[1].Current, 9)
}

func TestClockThatRunsBackwards(t *testing.T) {
	w := lead(t, leases.Node{ID: "a", Epoch: 1, Status: online})
	w.pass(4 * time.Second)
	equal(t, "a reading from the past", len(w.table.Tick(time.Minute)), 0)
	w.table.Beat("a", 1, time.Minute, nil, nil) // a beat stamped before others counts from the latest reading
	equal(t, "the renewed lease", len(w.pass(4900*time.Millisecond)), 0)
	equal(t, "its end", len(w.pass(100*time.Millisecond)), 1)
}

func TestRegistrations(t *testing.T) {
	w := lead(t, leases.Node{ID: "a", Epoch: 1, Status: online})
	w.table.Beat("a", 1, w.now, &metadatav1.NodeLoad{CpuMillis: 5}, nil)
	expiry := w.pass(5 * time.Second)
	w.fold("a", 2, online, registered) // the same incarnation registered with another address
	equal(t, "expiry of the old registration", w.table.Due(expiry[0]), false)
	equal(t, "the old registration", w.beat("a", 1), leases.StaleEpoch)
	equal(t, "the new one", w.table.Check("a", 2).Outcome, leases.Granted)
	r, _ := w.table.Report("a", w.now)
	if r.Beats != 0 || r.Load != nil || r.Remaining != 5*time.Second {
		t.Errorf("the new registration begins with %+v", r)
	}
	equal(t, "the new lease", len(w.pass(4900*time.Millisecond)), 0)
	w.fold("a", 2, online, unregistered)
	equal(t, "after it was removed", w.beat("a", 2), leases.NotFound)
	equal(t, "nothing expires", len(w.pass(time.Minute)), 0)

	w.table.Stop()
	w.fold("a", 3, online, registered)
	w.table.Lead(8, slices.Values([]leases.Node{}), w.now)
	equal(t, "changes while not leading are not kept", w.beat("a", 3), leases.NotFound)
}

func TestRemovedWhileToBeRevived(t *testing.T) {
	w := lead(t, leases.Node{ID: "a", Epoch: 1, Status: offline}, leases.Node{ID: "b", Epoch: 2, Status: offline})
	w.beat("a", 1)
	w.beat("b", 2)
	w.fold("a", 1, offline, unregistered)
	equal(t, "revivals", w.pass(100*time.Millisecond), []leases.Transition{{NodeID: "b", Epoch: 2, Term: 7, Online: true}})
}

func TestTransitionsPerTickAreLimited(t *testing.T) {
	var nodes []leases.Node
	for i := range leases.MaxTransitionsPerTick + 10 {
		nodes = append(nodes, leases.Node{ID: fmt.Sprintf("n%04d", i), Epoch: 1, Status: online})
	}
	nodes = append(nodes, leases.Node{ID: "z", Epoch: 1, Status: offline})
	w := lead(t, nodes...)
	w.pass(4900 * time.Millisecond)
	w.beat("z", 1)
	w.now += 100 * time.Millisecond
	first, second := w.table.Tick(w.now), w.table.Tick(w.now)
	equal(t, "first", len(first), leases.MaxTransitionsPerTick)
	equal(t, "second", len(second), 11)
	equal(t, "order", first[1].NodeID+" "+second[0].NodeID+" "+second[10].NodeID, "n0001 n0512 z")
}

func TestReports(t *testing.T) {
	w := lead(t, leases.Node{ID: "b", Epoch: 2, Status: offline}, leases.Node{ID: "a", Epoch: 1, Status: online})
	load := &metadatav1.NodeLoad{CpuMillis: 1, MemoryBytes: 2, DiskBytes: 3, RequestsPerSecond: 4}
	acked := &metadatav1.Position{ClusterId: "c", RecoveryEpoch: 1, SchemaRevision: 2, TopologyRevision: 3}
	w.table.Beat("a", 1, w.now, load, acked)
	w.table.Beat("a", 99, w.now, &metadatav1.NodeLoad{CpuMillis: 99}, nil) // not its registration
	w.pass(2 * time.Second)
	all := w.table.Reports(w.now)
	equal(t, "nodes", len(all), 2)
	a, b := all[0], all[1]
	if !proto.Equal(a.Load, load) || !proto.Equal(a.Acknowledged, acked) || a.Load == load {
		t.Errorf("got %v and %v, want copies of %v and %v", a.Load, a.Acknowledged, load, acked)
	}
	if a.Beats != 1 || a.Silent != 2*time.Second || a.Remaining != 3*time.Second {
		t.Errorf("a: %+v", a)
	}
	if b.Beats != 0 || b.Load != nil || b.Remaining != 0 {
		t.Errorf("b: %+v", b)
	}
	w.table.Beat("a", 1, w.now, nil, &metadatav1.Position{ClusterId: strings.Repeat("x", 1<<20)})
	if r, _ := w.table.Report("a", w.now); len(r.Acknowledged.ClusterId) > 32 {
		t.Errorf("a beat left %d bytes of cluster id in memory", len(r.Acknowledged.ClusterId))
	}
	if _, ok := w.table.Report("nobody", w.now); ok {
		t.Error("a report of a node that is not registered")
	}
}

func TestOptions(t *testing.T) {
	for _, c := range []struct {
		options leases.Options
		want    string
	}{
		{leases.Options{}, ""},
		{leases.Options{Lease: 300 * time.Millisecond, Interval: 100 * time.Millisecond}, ""},
		{leases.Options{Interval: time.Millisecond}, "heartbeat_interval: 1ms"},
		{leases.Options{Lease: 2 * time.Second}, "lease_duration: 2s is too short"},
		{leases.Options{Lease: 2 * time.Hour}, "lease_duration: 2h0m0s is too long"},
		{leases.Options{MaxStep: 6 * time.Second}, "max_step: 6s"},
		{leases.Options{MaxStep: -1}, "max_step: -1ns"},
	} {
		_, err := leases.New(c.options)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: got %v, want %q", c.options, err, c.want)
		}
	}
}

func TestConcurrentUse(t *testing.T) {
	w := lead(t, leases.Node{ID: "a", Epoch: 1, Status: online}, leases.Node{ID: "b", Epoch: 2, Status: offline})
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for n := range 500 {
				now := w.now + time.Duration(n)*20*time.Millisecond
				switch i {
				case 0:
					w.table.Beat("a", 1, now, &metadatav1.NodeLoad{CpuMillis: uint64(n)}, nil)
				case 1:
					for _, tr := range w.table.Tick(now) {
						w.table.Failed(tr, now)
					}
				case 2:
					for _, r := range w.table.Reports(now) {
						_ = r.Load.GetCpuMillis()
					}
				case 3:
					w.table.Beat("b", 2, now, nil, nil)
				}
			}
		})
	}
	wg.Wait()
	r, ok := w.table.Report("a", w.now)
	if !ok || r.Beats != 500 || r.Load.GetCpuMillis() != 499 {
		t.Errorf("after 500 beats: %+v", r)
	}
}
