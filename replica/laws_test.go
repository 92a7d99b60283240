package replica

import (
	"fmt"
	"testing"
	"testing/cryptotest"

	"github.com/heliosdb/metadata/commands"
	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/internal/failure"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

const (
	noLeader       = metadatav1.ErrorReason_ERROR_REASON_NO_LEADER
	outcomeUnknown = metadatav1.ErrorReason_ERROR_REASON_OUTCOME_UNKNOWN
	alreadyExists  = metadatav1.ErrorReason_ERROR_REASON_ALREADY_EXISTS
	limitReached   = metadatav1.ErrorReason_ERROR_REASON_LIMIT_REACHED
)

func trio(t *testing.T) *cluster {
	cryptotest.SetGlobalRandom(t, 1)
	return newCluster(t, 1, 3, nil)
}

func (o *outcome) wantOK(t *testing.T) Answer {
	t.Helper()
	if !o.done || o.answer.Err != nil || o.answer.Reply == nil {
		t.Fatalf("want an answer without error, got %+v (%v)", *o, o.answer.Err)
	}
	return o.answer
}

func (o *outcome) wantReason(t *testing.T, reason metadatav1.ErrorReason) *failure.Error {
	t.Helper()
	if !o.done || !failure.Is(o.answer.Err, reason) {
		t.Fatalf("want %s, got %+v (%v)", reason, *o, o.answer.Err)
	}
	return failure.As(o.answer.Err)
}

func (o *outcome) wantNone(t *testing.T) {
	t.Helper()
	if o.done {
		t.Fatalf("answered too early: %+v", o.answer)
	}
}

// sameModels checks that all members stand at one revision with one model.
func (c *cluster) sameModels() {
	c.t.Helper()
	want := c.nodes[0].rep.View()
	for _, n := range c.nodes[1:] {
		if have := n.rep.View(); have.Head.Revision != want.Head.Revision || have.Hash() != want.Hash() {
			c.t.Fatalf("member %d is at revision %d with model %x, member 1 at %d with %x",
				n.id, have.Head.Revision, have.Hash(), want.Head.Revision, want.Hash())
		}
	}
}

func TestWriteIsAnsweredAfterCommitAndSeenByAll(t *testing.T) {
	c := trio(t)
	n := c.elect(1)
	o := n.submit(createTable("a", "r1"))
	o.wantNone(t)
	n.storeWrites(len(n.writes))
	o.wantNone(t) // on the own disk only
	c.settle()
	if a := o.wantOK(t); a.Revision != 1 {
		t.Fatalf("revision %d, want 1", a.Revision)
	}
	c.tick(1)
	c.sameModels()
	if _, ok := c.node(3).rep.View().Model.TableByName("public", "a"); !ok {
		t.Fatal("member 3 does not have the table")
	}
}

// Law 2: what was decided in another term or on another state is skipped by all
// members alike, and does not disturb what the leader decides.
func TestFenceSkipsForeignProposals(t *testing.T) {
	c := trio(t)
	n := c.elect(1)
	n.submit(createTable("a", "r1"))
	c.settle()
	spoiled := []func(*events.Batch){
		func(b *events.Batch) { b.Term-- },
		func(b *events.Batch) { b.Term++ },
		func(b *events.Batch) { b.Previous[0]++ },
		func(b *events.Batch) { b.Cluster[0]++ },
		func(b *events.Batch) { b.RecoveryEpoch++ },
	}
	for i, spoil := range spoiled {
		head := n.rep.View().Head
		decided, err := n.rep.cfg.Decide(n.rep.View(), envAt(c), createTable("evil", "evil"))
		if err != nil {
			t.Fatal(err)
		}
		b := events.Batch{Stream: head.Stream, Cluster: head.Cluster, RecoveryEpoch: head.RecoveryEpoch,
			Term: n.rep.soft.Term, Previous: head.Digest, Changes: []*events.Change{decided.Change}}
		spoil(&b)
		if err := n.rep.group.Propose(b.Encode()); err != nil {
			t.Fatal(err)
		}
		o := n.submit(createTable(fmt.Sprintf("t%d", i), fmt.Sprintf("t%d", i)))
		c.settle()
		o.wantOK(t)
	}
	c.tick(1)
	c.sameModels()
	for _, m := range c.nodes {
		if got := m.rep.Status().Fenced; got != uint64(len(spoiled)) {
			t.Errorf("member %d skipped %d entries, want %d", m.id, got, len(spoiled))
		}
		if _, ok := m.rep.View().Model.TableByName("public", "evil"); ok {
			t.Errorf("member %d let a fenced change take effect", m.id)
		}
	}
}

// Law 2: a leader whose own proposals can no longer take effect starts anew from the
// applied model and tells the waiters to retry.
func TestLeaderStartsAnewWhenOvertaken(t *testing.T) {
	c := trio(t)
	n := c.elect(1)
	head := n.rep.View().Head
	decided, err := n.rep.cfg.Decide(n.rep.View(), envAt(c), createTable("other", "other"))
	if err != nil {
		t.Fatal(err)
	}
	b := events.Batch{Stream: head.Stream, Cluster: head.Cluster, RecoveryEpoch: head.RecoveryEpoch,
		Term: n.rep.soft.Term, Previous: head.Digest, Changes: []*events.Change{decided.Change}}
	if err := n.rep.group.Propose(b.Encode()); err != nil { // a valid batch that this leader knows nothing of
		t.Fatal(err)
	}
	own := n.submit(createTable("own", "own"))
	seen := n.submit(createTable("own", "another"))
	c.settle()
	own.wantReason(t, noLeader)
	seen.wantReason(t, noLeader)
	again := n.submit(createTable("own", "own"))
	c.settle()
	again.wantOK(t)
	c.tick(1)
	c.sameModels()
	for _, m := range c.nodes {
		if s := m.rep.Status(); s.Fenced != 1 || s.Head.Revision != 2 {
			t.Errorf("member %d: fenced %d at revision %d, want 1 at 2", m.id, s.Fenced, s.Head.Revision)
		}
	}
}

// Law 3: a leader that was deposed without knowing does not reject on old state.
func TestDeposedLeaderDoesNotAnswer(t *testing.T) {
	c := trio(t)
	old := c.elect(1)
	old.submit(createTable("a", "r1"))
	c.settle()
	c.isolate(1)
	fresh := c.elect(2)
	dropped := fresh.submit(dropTable("a", "r2"))
	c.settle()
	dropped.wantOK(t)
	if !old.rep.Status().Leading {
		t.Fatal("the test needs a leader that does not know yet")
	}
	duplicate := old.submit(createTable("a", "r3")) // on its state: already exists
	dry := createTable("b", "r4")
	dry.Write.DryRun = true
	rehearsal := old.submit(dry)
	confirmed := old.read(Read[model]{Leading: true})
	c.settle()
	duplicate.wantNone(t)
	rehearsal.wantNone(t)
	c.tick(1)
	duplicate.wantNone(t)
	c.heal()
	c.tick(3)
	duplicate.wantReason(t, noLeader)
	rehearsal.wantReason(t, noLeader)
	if !confirmed.done || !failure.Is(confirmed.answer.Err, noLeader) {
		t.Fatalf("a deposed leader confirmed that it leads: %+v", *confirmed)
	}
}

// Law 3: a rejection decided on a change in flight waits for that change.
func TestRejectionWaitsForWhatItSaw(t *testing.T) {
	c := trio(t)
	n := c.elect(1)
	c.isolate(1) // nothing commits
	first := n.submit(createTable("a", "r1"))
	second := n.submit(createTable("a", "r2"))
	c.settle()
	first.wantNone(t)
	second.wantNone(t)
	c.heal()
	c.tick(10)
	if n.rep.Status().Leading {
		first.wantOK(t)
		if f := second.wantReason(t, alreadyExists); f == nil || second.answer.Revision != 1 {
			t.Fatalf("rejected at revision %d, want 1", second.answer.Revision)
		}
		return
	}
	t.Fatal("the leader should have survived ten ticks")
}

// Law 4: whoever has a change in flight when leadership is lost is told that the
// outcome is unknown; a retry anywhere is exactly-once. Who has none is told that
// nothing happened.
func TestOutcomeUnknownAndRetry(t *testing.T) {
	for _, replicated := range []bool{true, false} {
		t.Run(fmt.Sprintf("replicated=%t", replicated), func(t *testing.T) {
			c := trio(t)
			old := c.elect(1)
			if !replicated {
				c.isolate(1)
			}
			flying := old.submit(createTable("a", "r1"))
			repeated := old.submit(createTable("a", "r1"))
			if replicated { // it reaches the others, their acknowledgements do not come back
				old.storeWrites(len(old.writes))
				for len(c.net) > 0 {
					c.deliver(0, false)
				}
				c.isolate(1)
			}
			gathered := old.submit(createTable("b", "r2"))
			c.settle()
			if !replicated {
				gathered.wantNone(t)
			}
			fresh := c.elect(2)
			c.settle()
			c.heal()
			c.tick(3)
			if f := flying.wantReason(t, outcomeUnknown); f.RequestID != "r1" {
				t.Fatalf("the request to retry is %q, want r1", f.RequestID)
			}
			repeated.wantReason(t, outcomeUnknown)
			retry := fresh.submit(createTable("a", "r1"))
			c.settle()
			a := retry.wantOK(t)
			reply := a.Reply.(*metadatav1.CreateTableResponse)
			if reply.GetResult().GetDeduplicated() != replicated || !reply.GetResult().GetChanged() {
				t.Fatalf("the retry got %v", reply.GetResult())
			}
			c.tick(1)
			c.sameModels()
			if got := fresh.rep.View().Head.Revision; got > 2 {
				t.Fatalf("revision %d: a retry was carried out twice", got)
			}
		})
	}
}

// A change that never reached the log is not said to be unknown.
func TestUnproposedChangeIsKnownToBeLost(t *testing.T) {
	c := trio(t)
	old := c.elect(1)
	c.isolate(1)
	old.frozen = true
	first := old.submit(createTable("a", "r1"))  // proposed, its write never completes
	second := old.submit(createTable("b", "r2")) // gathers behind it
	c.elect(2)
	first.wantNone(t)
	second.wantNone(t)
	c.heal()
	c.tick(3)
	first.wantReason(t, outcomeUnknown)
	second.wantReason(t, noLeader)
}

// Law 5: the same log makes the same model, however it was cut into batches.
func TestBatchesDoNotMatter(t *testing.T) {
	var want [32]byte
	for i, together := range []int{1, 3, 50} {
		c := trio(t)
		n := c.elect(1)
		for k := range 100 {
			n.submit(createTable(fmt.Sprintf("t%d", k), fmt.Sprintf("r%d", k)))
			if k%together == 0 {
				c.settle()
			}
		}
		c.settle()
		c.tick(1)
		c.sameModels()
		s := n.rep.Status()
		if together > 1 && s.Entries >= s.Changes {
			t.Fatalf("%d changes in %d entries: nothing was grouped", s.Changes, s.Entries)
		}
		got := n.rep.View().Hash()
		if i > 0 && got != want {
			t.Fatalf("%d changes a batch make model %x, one by one %x", together, got, want)
		}
		want = got
	}
}

func envAt(c *cluster) commands.Env { return commands.Env{Now: c.now, Actor: "test"} }
