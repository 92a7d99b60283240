package replica

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/cryptotest"

	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/commands"
	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/internal/failure"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/raftlog"
)

func alone(t *testing.T, tune func(*Config[model])) (*cluster, *node) {
	cryptotest.SetGlobalRandom(t, 3)
	c := newCluster(t, 3, 1, tune)
	return c, c.elect(1)
}

func TestLoneCommandIsProposedAtOnceAndOthersGather(t *testing.T) {
	_, n := alone(t, nil)
	n.submit(createTable("a", "a"))
	if got := n.rep.Status().Entries; got != 1 {
		t.Fatalf("%d entries proposed, want 1 at once", got)
	}
	for i := range 10 {
		n.submit(createTable(fmt.Sprint("b", i), ""))
	}
	if got := n.rep.Status().Entries; got != 1 {
		t.Fatalf("%d entries proposed while the first is on its way to the disk", got)
	}
	n.storeWrites(len(n.writes))
	if s := n.rep.Status(); s.Entries != 2 || s.Changes != 11 {
		t.Fatalf("%d entries with %d changes, want 2 with 11", s.Entries, s.Changes)
	}
}

// What the own disk has is not committed yet: decisions gather until a majority has it.
func TestCommandsGatherUntilTheEntryBeforeIsCommitted(t *testing.T) {
	c := trio(t)
	n := c.elect(1)
	n.submit(createTable("a", "a"))
	for i := range 10 {
		n.submit(createTable(fmt.Sprint("b", i), ""))
	}
	before := n.rep.Status()
	n.storeWrites(len(n.writes))
	n.pump()
	if s := n.rep.Status(); s.Entries != before.Entries || s.Pending != 11 {
		t.Fatalf("%d entries were proposed before the first is committed, %d changes are pending", s.Entries-before.Entries, s.Pending)
	}
	c.settle()
	if s := n.rep.Status(); s.Entries != before.Entries+1 || s.Pending != 0 {
		t.Fatalf("its commit proposed %d entries, %d changes are pending", s.Entries-before.Entries, s.Pending)
	}
}

func TestBatchIsBoundedButTakesOneLargeChange(t *testing.T) {
	c, n := alone(t, nil)
	n.submit(createTable("first", ""))
	large := func(name string, columns int) *metadatav1.CreateTableRequest {
		cmd := createTable(name, "")
		for i := range columns {
			cmd.Table.Columns = append(cmd.Table.Columns, &metadatav1.ColumnSchema{
				Name: fmt.Sprint("c", i), Comment: strings.Repeat("x", 4000), DataType: cmd.Table.Columns[0].DataType})
		}
		return cmd
	}
	batch := &metadatav1.ApplyBatchRequest{}
	for i := range 3 { // one change of 2.4 MB
		huge := large(fmt.Sprint("huge", i), 200)
		huge.Write = nil // that of the batch counts
		batch.Commands = append(batch.Commands, &metadatav1.Command{Command: &metadatav1.Command_CreateTable{CreateTable: huge}})
	}
	var all []*outcome
	for i := range 6 {
		all = append(all, n.submit(large(fmt.Sprint("big", i), 100))) // 0.4 MB each
	}
	all = append(all, n.submit(batch), n.submit(createTable("last", "")))
	n.storeWrites(len(n.writes))
	// first; big0+big1, big2+big3, big4+big5; the batch; last
	entries := n.rep.Status().Entries
	c.settle()
	for _, o := range all {
		o.wantOK(t)
	}
	if entries != 6 {
		t.Fatalf("%d entries, want 6", entries)
	}
}

func TestLimitsNameThemselves(t *testing.T) {
	c, n := alone(t, func(c *Config[model]) { c.MaxPending, c.MaxWaiting = 3, 2 })
	var queued []*outcome
	for i := range 3 {
		queued = append(queued, n.submit(createTable(fmt.Sprint("a", i), "")))
	}
	if f := n.submit(createTable("b", "")).wantReason(t, limitReached); f.Metadata["limit"] != "replica.MaxPending" || f.Metadata["value"] != "3" {
		t.Fatalf("the error names %v", f.Metadata)
	}
	c.settle()
	for _, o := range queued {
		o.wantOK(t)
	}
	n.read(Read[model]{AtLeast: 100})
	n.read(Read[model]{AtLeast: 101})
	o := n.read(Read[model]{AtLeast: 102})
	if !o.done || !failure.Is(o.answer.Err, limitReached) || failure.As(o.answer.Err).Metadata["limit"] != "replica.MaxWaiting" {
		t.Fatalf("a read over the limit got %+v", *o)
	}
	n.submit(createTable("c", "")).wantReason(t, limitReached)
	c.tick(DefaultPatienceTicks)
	if o := n.read(Read[model]{AtLeast: 1}); !o.done || o.answer.Err != nil {
		t.Fatalf("reads that gave up still take room: %+v", *o)
	}

	_, n = alone(t, func(c *Config[model]) { c.MaxPendingBytes = 1 })
	n.submit(createTable("a", ""))
	if f := n.submit(createTable("b", "")).wantReason(t, limitReached); f.Metadata["limit"] != "replica.MaxPendingBytes" {
		t.Fatalf("the error names %v", f.Metadata)
	}
}

func TestFullDiskRefusesWritesNotReads(t *testing.T) {
	c, n := alone(t, nil)
	n.rep.SetDiskLow(true)
	n.submit(createTable("a", "")).wantReason(t, metadatav1.ErrorReason_ERROR_REASON_DISK_FULL)
	read := n.read(Read[model]{})
	c.settle()
	if !read.done || read.answer.Err != nil {
		t.Fatalf("a read got %+v", *read)
	}
	n.rep.SetDiskLow(false)
	o := n.submit(createTable("a", ""))
	c.settle()
	o.wantOK(t)
}

func TestFollowerNamesTheLeader(t *testing.T) {
	c := trio(t)
	c.elect(2)
	c.tick(1)
	if f := c.node(1).submit(createTable("a", "")).wantReason(t, noLeader); f.Metadata["leader"] != "2" || f.Metadata["stream"] != "schema" {
		t.Fatalf("the error says %v", f.Metadata)
	}
}

// Commands that arrive between the election and the own term's first entry wait.
func TestEarlyCommandsWaitForTheTermsFirstEntry(t *testing.T) {
	cryptotest.SetGlobalRandom(t, 4)
	c := newCluster(t, 4, 1, nil)
	n := c.node(1)
	if err := n.rep.Campaign(); err != nil {
		t.Fatal(err)
	}
	n.pump()
	for range 3 { // the own votes
		if n.rep.lead == nil {
			n.storeWrites(len(n.writes))
		}
	}
	if st := n.rep.Status(); st.Role != raftlog.Leader || st.Leading || n.rep.lead == nil {
		t.Fatalf("want a leader that does not decide yet, have %+v", st.SoftState)
	}
	o := n.submit(createTable("a", "a"))
	n.submitIn(createTable("b", "b"), n.rep.lead.term+1).wantReason(t, noLeader)
	o.wantNone(t)
	c.settle()
	o.wantOK(t)
	if len(n.leading) != 1 || !n.leading[0].Now {
		t.Fatalf("told %+v", n.leading)
	}
}

// Whatever a decision does, it does not take the leader down.
func TestPanicInDecideIsAnswered(t *testing.T) {
	c, n := alone(t, func(c *Config[model]) {
		c.Decide = func(s *state, env commands.Env, cmd proto.Message) (commands.Decision, error) {
			if env.RequestID == "boom" {
				panic("boom")
			}
			return commands.Schema(s, env, cmd)
		}
	})
	o := &outcome{}
	n.rep.Submit(Request{Command: createTable("a", ""), Env: commands.Env{Now: c.now, RequestID: "boom"},
		Done: func(a Answer) { o.done, o.answer = true, a }})
	c.settle()
	o.wantReason(t, metadatav1.ErrorReason_ERROR_REASON_INTERNAL)
	after := n.submit(createTable("a", ""))
	c.settle()
	after.wantOK(t)
	if n.rep.Status().Panicked != 1 {
		t.Fatal("it was not counted")
	}
}

// A change that does not fold leaves nothing behind in the pending state: what was
// decided before it is proposed as if it had never been.
func TestAChangeThatDoesNotFoldIsForgotten(t *testing.T) {
	var decided *events.Change
	c, n := alone(t, func(c *Config[model]) {
		c.Decide = func(s *state, env commands.Env, cmd proto.Message) (commands.Decision, error) {
			d, err := commands.Schema(s, env, cmd)
			if env.RequestID == "twice" { // the second event of this change fails, after the first one was folded
				e := d.Change.Events()[0]
				d.Change = events.Seal(events.Header{Revision: d.Change.Revision(), Time: d.Change.Time(), RequestID: "twice"}, []events.Event{e, e})
			}
			decided = d.Change
			return d, err
		}
	})
	first := n.submit(createTable("first", "r0")) // proposed at once
	second := n.submit(createTable("second", "r1"))
	o := &outcome{}
	n.rep.Submit(Request{Command: createTable("third", ""), Env: commands.Env{Now: c.now, RequestID: "twice"},
		Done: func(a Answer) { o.done, o.answer = true, a }})
	revision := decided.Revision()
	again := n.submit(createTable("third", "r2"))
	if decided.Revision() != revision {
		t.Fatalf("the change after it is number %d, not %d", decided.Revision(), revision)
	}
	c.settle()
	o.wantReason(t, metadatav1.ErrorReason_ERROR_REASON_INTERNAL)
	for _, o := range []*outcome{first, second, again} {
		o.wantOK(t)
	}
}

// A dropped proposal takes everything decided after it with it.
func TestDroppedProposalIsForgotten(t *testing.T) {
	c := trio(t)
	n := c.elect(1)
	n.submit(createTable("before", "r0"))
	c.settle()
	n.rep.TransferLeader(2) // raft takes no proposals now
	c.isolate(1)
	dropped := n.submit(createTable("a", "r1"))
	n.storeWrites(len(n.writes))
	n.rep.Tick()
	n.pump()
	dropped.wantReason(t, noLeader)
	seen := n.submit(createTable("a", "r2"))
	n.pump()
	seen.wantReason(t, noLeader)
	if got := n.rep.Status().Dropped; got != 2 {
		t.Fatalf("%d decisions forgotten, want 2", got)
	}
	c.heal()
	c.tick(30)
	c.sameModels()
	if got := c.node(3).rep.View().Head.Revision; got != 1 {
		t.Fatalf("revision %d, want 1", got)
	}
}

func TestReadsShareRoundsAndWaitForRevisions(t *testing.T) {
	c := trio(t)
	n := c.elect(1)
	c.tick(1)
	follower := c.node(3)
	before := follower.rep.Status().Rounds
	var all []*readOutcome
	for range 50 {
		all = append(all, follower.read(Read[model]{}))
	}
	c.settle()
	for _, o := range all {
		if !o.done || o.answer.Err != nil {
			t.Fatalf("a read got %+v", *o)
		}
	}
	if got := follower.rep.Status().Rounds - before; got != 2 {
		t.Fatalf("%d rounds for 50 reads, want 2", got)
	}
	later := follower.read(Read[model]{AtLeast: 2})
	c.fill(n, "a", 1)
	c.tick(1)
	if later.done {
		t.Fatal("answered at revision 1")
	}
	c.fill(n, "b", 1)
	c.tick(1)
	if !later.done || later.answer.State.Head.Revision != 2 {
		t.Fatalf("got %+v", *later)
	}
	leading := n.read(Read[model]{Leading: true})
	c.settle()
	if !leading.done || leading.answer.Term != n.rep.soft.Term {
		t.Fatalf("the leader got %+v", *leading)
	}
	if o := follower.read(Read[model]{Leading: true}); !o.done || !failure.Is(o.answer.Err, noLeader) {
		t.Fatalf("a follower got %+v", *o)
	}
}

func TestReadWithoutLeaderGivesUp(t *testing.T) {
	c := trio(t)
	c.elect(1)
	c.tick(1)
	c.isolate(3)
	linear, atLeast := c.node(3).read(Read[model]{}), c.node(3).read(Read[model]{AtLeast: 5})
	c.tick(DefaultPatienceTicks - 1)
	if linear.done || atLeast.done {
		t.Fatal("gave up too early")
	}
	c.tick(1)
	if !failure.Is(linear.answer.Err, noLeader) {
		t.Fatalf("got %+v", *linear)
	}
	if !failure.Is(atLeast.answer.Err, metadatav1.ErrorReason_ERROR_REASON_DEADLINE) {
		t.Fatalf("got %+v", *atLeast)
	}
}

func TestDrainAnswersThenHandsOver(t *testing.T) {
	c := trio(t)
	n := c.elect(1)
	c.tick(2)
	flying := n.submit(createTable("a", "a"))
	gathered := n.submit(createTable("c", "c"))
	n.rep.Drain()
	n.pump()
	n.submit(createTable("b", "b")).wantReason(t, metadatav1.ErrorReason_ERROR_REASON_STOPPING)
	if n.rep.Drained() {
		t.Fatal("drained with a change in flight")
	}
	c.settle()
	flying.wantOK(t)
	gathered.wantOK(t)
	c.tick(1)
	if !n.rep.Drained() || c.leader() == nil || c.leader() == n {
		t.Fatalf("drained %t, %+v", n.rep.Drained(), n.rep.Status().SoftState)
	}
	o := c.leader().submit(createTable("b", "b"))
	c.settle()
	o.wantOK(t)

	_, n = alone(t, nil)
	n.rep.Drain()
	n.pump()
	if !n.rep.Drained() {
		t.Fatal("a lone member has nobody to hand over to")
	}
}

// Law 6: readers own what they loaded, while the owner goes on folding, and nobody
// takes a lock. Run with -race.
func TestReadersWhileFolding(t *testing.T) {
	c, n := alone(t, shortLog)
	var stop atomic.Bool
	var wg sync.WaitGroup
	rep := n.rep
	for range 4 {
		wg.Go(func() {
			var last uint64
			for !stop.Load() {
				v := rep.View()
				if v.Head.Revision < last {
					t.Errorf("the view went from revision %d back to %d", last, v.Head.Revision)
					return
				}
				last = v.Head.Revision
				tables := 0
				for table := range v.Model.TablesByName("", "") {
					tables++
					if _, err := strconv.Atoi(table.Message().GetName()[1:]); err != nil {
						t.Errorf("table %q", table.Message().GetName())
						return
					}
				}
				if tables != int(last) {
					t.Errorf("%d tables at revision %d", tables, last)
					return
				}
			}
		})
	}
	c.fill(n, "t", 300)
	stop.Store(true)
	wg.Wait()
}

// Raft tells reads apart by their ids alone: the late answer to one that was asked
// before a restart is not taken for the answer to a new one, whichever id is the
// larger one.
func TestAnswerToAnEarlierProcessIsNotTaken(t *testing.T) {
	t.Run("smaller id", func(t *testing.T) { testAnswerToAnEarlierProcess(t, trio(t)) })
	t.Run("larger id", func(t *testing.T) {
		c := trio(t)
		c.tune = func(cfg *Config[model]) { cfg.ReadSeed = 1<<40 - cfg.ReadSeed }
		c.node(3).crash(0)
		c.node(3).start()
		testAnswerToAnEarlierProcess(t, c)
	})
}

func testAnswerToAnEarlierProcess(t *testing.T, c *cluster) {
	n, follower := c.elect(1), c.node(3)
	c.tick(1)
	take := func(to uint64, kind pb.MessageType) (found []packet) {
		keep := c.net[:0]
		for _, p := range c.net {
			if p.to == to && p.m.GetType() == kind {
				found = append(found, p)
			} else {
				keep = append(keep, p)
			}
		}
		c.net = keep
		return found
	}
	follower.read(Read[model]{})
	var late []packet
	for len(c.net) > 0 && len(late) == 0 {
		c.deliver(0, false)
		late = take(3, pb.MsgReadIndexResp)
	}
	c.isolate(3)
	c.fill(n, "a", 1)
	follower.crash(0)
	follower.start()
	c.heal()
	c.tickOnce()
	c.net = append(c.net[:0], take(3, pb.MsgHeartbeat)...) // it learns who leads, and no entries
	c.deliver(0, false)
	fresh := follower.read(Read[model]{})
	if len(late) != 1 || follower.rep.Status().Rounds != 1 {
		t.Fatalf("the test needs one late answer and one new question, has %d and %d", len(late), follower.rep.Status().Rounds)
	}
	c.net = late
	c.deliver(0, false)
	if fresh.done {
		t.Fatalf("answered at revision %d, 1 was acknowledged", fresh.answer.State.Head.Revision)
	}
	c.tick(DefaultReadRetryTicks + 1)
	if !fresh.done || fresh.answer.Err != nil || fresh.answer.State.Head.Revision != 1 {
		t.Fatalf("got %+v", *fresh)
	}
}

func TestLostRoundIsAskedAgain(t *testing.T) {
	c := trio(t)
	c.elect(1)
	c.tick(1)
	o := c.node(3).read(Read[model]{})
	c.net = nil
	c.tick(DefaultReadRetryTicks - 1)
	if o.done {
		t.Fatal("answered although the question was lost")
	}
	c.tick(1)
	if !o.done || o.answer.Err != nil {
		t.Fatalf("got %+v", *o)
	}
}

// The only voter confirms reads by the commit index that it found on its disk, which
// may be behind what it has acknowledged.
func TestAnAloneLeaderReadsWhatItAcknowledgedBeforeARestart(t *testing.T) {
	cryptotest.SetGlobalRandom(t, 5)
	c := newCluster(t, 5, 1, nil)
	n := c.elect(1)
	c.settle()
	n.submit(createTable("a", "a")) // stored, and committed by that
	for range 4 {
		n.storeWrites(len(n.writes))
		n.pump()
	}
	n.crash(0)
	n.start()
	if err := n.rep.Campaign(); err != nil {
		t.Fatal(err)
	}
	n.pump()
	for range 3 { // the own votes
		if n.rep.lead == nil {
			n.storeWrites(len(n.writes))
			n.pump()
		}
	}
	o := n.read(Read[model]{})
	c.settle()
	if !o.done || o.answer.Err != nil || o.answer.State.Head.Revision != 1 {
		t.Fatalf("got %v, revision %d, %v; want revision 1", o.done, o.answer.State.Head.Revision, o.answer.Err)
	}
}
