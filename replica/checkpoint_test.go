package replica

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/cryptotest"

	"github.com/golang/snappy"
	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/projections"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/raftlog"
	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// shortLog makes checkpoints often and cuts the log close behind them.
func shortLog(c *Config[model]) { c.CheckpointRevisions, c.TrailingEntries = 8, 2 }

func (c *cluster) fill(n *node, prefix string, tables int) {
	c.t.Helper()
	for i := range tables {
		name := fmt.Sprintf("%s%d", prefix, i)
		o := n.submit(createTable(name, name))
		c.settle()
		if !o.done || o.answer.Err != nil {
			c.t.Fatalf("table %s: %+v", name, *o)
		}
	}
}

func TestMemberThatWasDownCatchesUpByCheckpoint(t *testing.T) {
	cryptotest.SetGlobalRandom(t, 7)
	c := newCluster(t, 7, 3, shortLog)
	n := c.elect(1)
	c.fill(n, "a", 3)
	c.node(3).crash(0)
	c.fill(n, "b", 40)
	if st := n.rep.Status(); st.First <= st.Newest.Index-3 || st.Newest.Seq != 40 {
		t.Fatalf("the log starts at %d with the checkpoint of revision %d at %d: it was not cut", st.First, st.Newest.Seq, st.Newest.Index)
	}
	if st := n.rep.Status(); st.Checkpoints != 5 || c.node(2).rep.Status().Newest.Seq != st.Newest.Seq {
		t.Fatalf("members made %d checkpoints, the newest at %d and %d", st.Checkpoints, st.Newest.Seq, c.node(2).rep.Status().Newest.Seq)
	}
	back := c.node(3)
	back.start()
	c.tick(30)
	if st := back.rep.Status(); st.Installs != 1 || st.Head.Revision != 43 {
		t.Fatalf("installed %d checkpoints, at revision %d; want 1, 43", st.Installs, st.Head.Revision)
	}
	c.sameModels()
	if back.feed.Head() != 43 {
		t.Fatalf("its feed is at %d", back.feed.Head())
	}
	// What came by checkpoint is not in its history, what came after is.
	first, last, err := back.store.HistoryBounds(testGroup)
	if _, errGap := back.store.ReadHistory(testGroup, 4, 1); err != nil || first != 1 || last != 43 || errGap == nil {
		t.Fatalf("history from %d to %d (%v), record 4: %v", first, last, err, errGap)
	}
	// It can lead, and goes on from there; a crash brings it back to the same place.
	c.fill(c.elect(3), "c", 5)
	c.tick(2)
	c.sameModels()
	back.crash(0)
	back.start()
	c.tick(30)
	c.sameModels()
}

func TestRestartFromCheckpoint(t *testing.T) {
	cryptotest.SetGlobalRandom(t, 8)
	c := newCluster(t, 8, 1, shortLog)
	n := c.elect(1)
	c.fill(n, "a", 30)
	want := n.rep.View().Hash()
	for range 3 {
		n.crash(0)
		n.start()
		if got := n.rep.cfg.State.Head.Revision; got != 24 {
			t.Fatalf("restarted from revision %d, want the checkpoint at 24", got)
		}
		c.elect(1)
		if n.rep.View().Hash() != want || n.rep.View().Head.Revision != 30 {
			t.Fatalf("restarted to revision %d with another model", n.rep.View().Head.Revision)
		}
	}
	c.tick(1) // the last records wait for another Write until then
	if h := n.history(); len(h) != 30 || len(h["a29"]) != 1 {
		t.Fatalf("history has %d request ids; replay has to leave it as it was", len(h))
	}
	c.fill(n, "b", 1)
}

// However few entries precede a checkpoint, what is kept of them is bounded by its bytes.
func TestTrailingEntriesAreBoundedByBytes(t *testing.T) {
	cryptotest.SetGlobalRandom(t, 4)
	c := newCluster(t, 4, 1, func(c *Config[model]) { c.CheckpointBytes = MaxTrailingBytes + 1<<20 })
	n := c.elect(1)
	for i := 0; n.rep.Status().Checkpoints == 0 && i < 100; i++ {
		cmd := createTable(fmt.Sprintf("big%d", i), fmt.Sprintf("big%d", i))
		for k := range 100 {
			cmd.Table.Columns = append(cmd.Table.Columns, &metadatav1.ColumnSchema{
				Name: fmt.Sprintf("c%d", k), Comment: strings.Repeat("x", 4000), DataType: cmd.Table.Columns[0].DataType})
		}
		n.submit(cmd)
		c.settle()
	}
	c.tick(1)
	st := n.rep.Status()
	if st.Checkpoints != 1 || st.First <= 1 || st.First >= st.Newest.Index || st.LogBytes > MaxTrailingBytes || st.LogBytes < MaxTrailingBytes/2 {
		t.Errorf("%d checkpoints, the newest at index %d; the log begins at %d and has %d bytes",
			st.Checkpoints, st.Newest.Index, st.First, st.LogBytes)
	}
}

// The larger the model, the rarer are checkpoints, so that what they cost each change does
// not grow; and members agree on which, also one that has started again in between.
func TestCheckpointsThinOutAsTheModelGrows(t *testing.T) {
	cryptotest.SetGlobalRandom(t, 6)
	c := newCluster(t, 6, 3, func(c *Config[model]) { c.CheckpointBytes = 8 << 10 })
	n := c.elect(1)
	var at []uint64
	for i := range 256 {
		cmd := createTable(fmt.Sprintf("t%d", i), fmt.Sprintf("t%d", i))
		cmd.Table.Comment = strings.Repeat("x", 1<<10)
		n.submit(cmd)
		c.settle()
		if i == 60 {
			c.node(3).crash(0)
			c.node(3).start()
			c.tick(30)
		}
		if seq := n.rep.Status().Newest.Seq; len(at) == 0 || seq != at[len(at)-1] {
			at = append(at, seq)
		}
	}
	c.tick(1)
	if len(at) < 5 || len(at) > 8 {
		t.Fatalf("checkpoints were made at %d", at)
	}
	for i := 2; i < len(at); i++ {
		if 2*at[i] < 3*at[i-1] {
			t.Errorf("a checkpoint at revision %d follows that at %d", at[i], at[i-1])
		}
	}
	for id := uint64(2); id <= 3; id++ {
		if got, want := c.node(id).rep.Status().Newest, n.rep.Status().Newest; got.Hash != want.Hash {
			t.Errorf("the newest checkpoint of member %d is at %d, that of the leader at %d", id, got.Seq, want.Seq)
		}
	}
}

// A checkpoint of several chunks with a record larger than a chunk comes back as it
// was, and its bytes do not depend on who writes it.
func TestLargeCheckpointRoundTrip(t *testing.T) {
	cryptotest.SetGlobalRandom(t, 9)
	c := newCluster(t, 9, 3, func(c *Config[model]) { c.CheckpointBytes = 512 << 10 })
	n := c.elect(1)
	for i := range 8 {
		cmd := createTable(fmt.Sprintf("big%d", i), fmt.Sprintf("big%d", i))
		for k := range 100 {
			cmd.Table.Columns = append(cmd.Table.Columns, &metadatav1.ColumnSchema{
				Name: fmt.Sprintf("c%d", k), Comment: strings.Repeat("x", 4000), DataType: cmd.Table.Columns[0].DataType})
		}
		n.submit(cmd)
		c.settle()
	}
	c.tick(1)
	st := n.rep.Status()
	if st.Checkpoints < 2 || st.Newest.Chunks < 4 || len(c.hashes) < 2 || c.node(3).rep.Status().Newest.Hash != st.Newest.Hash {
		t.Fatalf("%d checkpoints, the newest with %d chunks, %d hashes", st.Checkpoints, st.Newest.Chunks, len(c.hashes))
	}
	back, err := ReadCheckpoint(n.store, st.Newest, genesis())
	if err != nil || back.Head.Revision != st.Newest.Seq {
		t.Fatalf("read back revision %d: %v", back.Head.Revision, err)
	}
	d, err := WriteCheckpoint(t.Context(), c.node(2).store, &CheckpointJob[model]{State: back, Descriptor: st.Newest})
	if err != nil || !d.Equal(st.Newest) {
		t.Fatalf("written again it is %+v (%v), was %+v", d, err, st.Newest)
	}
	wrong := st.Newest
	wrong.Hash[0]++
	if _, err := ReadCheckpoint(n.store, wrong, genesis()); err == nil {
		t.Fatal("a checkpoint with another hash was read")
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("stop")
	cancel(stop)
	if _, err := WriteCheckpoint(ctx, n.store, &CheckpointJob[model]{State: back, Descriptor: st.Newest}); !errors.Is(err, stop) {
		t.Fatalf("a cancelled job ended with %v", err)
	}
}

func TestRecordsRefuseWhatWasNotWritten(t *testing.T) {
	for name, chunk := range map[string][]byte{
		"cut short":    {5, 1, 2},
		"empty record": {0},
		"too large":    {0xff, 0xff, 0xff, 0xff, 0x0f},
		"no length":    bytes.Repeat([]byte{0xff}, 11),
	} {
		t.Run(name, func(t *testing.T) {
			var got error
			for _, err := range records(fakeReader{chunk}) {
				got = err
			}
			if got == nil {
				t.Fatal("read without an error")
			}
		})
	}
}

// Wherever the ends of chunks cut them, records are read as they were written.
func TestRecordsAreReadWhereverChunksEnd(t *testing.T) {
	var want [][]byte
	for _, size := range []int{1, 127, 128, 3, 300, 1, 1} {
		want = append(want, bytes.Repeat([]byte{byte(size)}, size))
	}
	for size := 1; size < 600; size++ {
		var chunks fakeReader
		c := chunker{size: size, write: func(packed []byte) error {
			chunk, err := unpack(packed)
			chunks = append(chunks, chunk)
			return err
		}}
		for _, record := range want {
			if err := c.record(record); err != nil {
				t.Fatal(err)
			}
		}
		if err := c.flush(); err != nil {
			t.Fatal(err)
		}
		var got [][]byte
		for record, err := range records(chunks) {
			if err != nil {
				t.Fatalf("chunks of %d bytes: %v", size, err)
			}
			got = append(got, record)
		}
		if !slices.EqualFunc(got, want, bytes.Equal) {
			t.Fatalf("chunks of %d bytes: read %x", size, got)
		}
	}
}

// fakeReader has these chunks.
type fakeReader [][]byte

func (f fakeReader) Descriptor() raftlog.Descriptor {
	return raftlog.Descriptor{Index: 9, Chunks: uint32(len(f))}
}
func (f fakeReader) ReadChunk(i uint32) ([]byte, error) { return snappy.Encode(nil, f[i]), nil }

// The hash of a checkpoint, which members compare, is that of what snappy makes of it: the
// same on every machine and in every version that we use.
func TestChunksArePackedAlikeEverywhere(t *testing.T) {
	var records []byte
	for i := range 2000 {
		records = fmt.Appendf(records, "table %d of %d columns\n", i, i%17)
	}
	const want = "fa4e2c3c1fc584baa660a29d94b1ad21daa28a91d5ddef8124c5af1ee0ebc27e"
	if got := fmt.Sprintf("%x", sha256.Sum256(snappy.Encode(nil, records))); got != want {
		t.Errorf("snappy packs to something with hash %s, it was %s: members of two builds cannot compare checkpoints", got, want)
	}
}

func TestChunksThatCannotBeUnpacked(t *testing.T) {
	large := binary.AppendUvarint(nil, MaxChunkBytes+1)
	for name, packed := range map[string][]byte{
		"nothing": {}, "noise": {0xff, 0xff, 0xff}, "cut short": snappy.Encode(nil, make([]byte, 100))[:3],
		"a bomb": append(large, 0xfe, 0, 0),
	} {
		if chunk, err := unpack(packed); err == nil || name == "a bomb" && !strings.Contains(err.Error(), "MaxChunkBytes") {
			t.Errorf("%s is unpacked to %d bytes, %v", name, len(chunk), err)
		}
	}
}
func (f fakeReader) Close() error { return nil }

// A fetch that fails is tried again when the leader offers the checkpoint again. It fails also if
// the storage calls it overtaken where the log has not come so far: nothing was read then.
func TestFailedFetchIsRepeated(t *testing.T) {
	for _, failed := range []error{errors.New("the link broke"), raftlog.ErrOvertaken} {
		cryptotest.SetGlobalRandom(t, 10)
		c := newCluster(t, 10, 3, shortLog)
		n := c.elect(1)
		c.node(3).crash(0)
		c.fill(n, "a", 20)
		back := c.node(3)
		back.start()
		f := c.untilOffered(back)
		back.fetch = nil
		back.rep.Fetched(f, nil, failed)
		n.rep.ReportSnapshot(3, false)
		c.tick(30)
		c.sameModels()
		if got := back.rep.Status().Installs; got != 1 {
			t.Fatalf("%v: installed %d checkpoints", failed, got)
		}
	}
}

// untilOffered lets time pass until a member is asked to fetch a checkpoint.
func (c *cluster) untilOffered(n *node) *Fetch {
	c.t.Helper()
	for range 30 {
		c.tickOnce()
		for len(c.net) > 0 {
			c.deliver(0, false)
		}
		if n.fetch != nil {
			return n.fetch
		}
		for _, m := range c.nodes {
			m.storeWrites(len(m.writes))
		}
	}
	c.t.Fatal("no checkpoint was offered")
	return nil
}

// While a checkpoint is on its way into the storage, a newer one is offered: the
// first is installed with its own model.
func TestOfferDuringInstallation(t *testing.T) {
	cryptotest.SetGlobalRandom(t, 13)
	c := newCluster(t, 13, 3, shortLog)
	n := c.elect(1)
	c.node(3).crash(0)
	c.fill(n, "a", 10)
	back := c.node(3)
	back.start()
	c.untilOffered(back)
	back.background()
	if back.rep.install.writing == nil {
		t.Fatal("nothing is being installed")
	}
	back.frozen = true
	c.fill(n, "b", 10)
	n.rep.ReportSnapshot(3, false)
	c.tick(5)
	if back.fetch != nil || back.rep.Status().Installs != 0 {
		t.Fatalf("a second checkpoint is fetched: %+v", back.fetch)
	}
	back.frozen = false
	c.settle()
	if st := back.rep.Status(); st.Installs != 1 || st.Head.Revision < 8 {
		t.Fatalf("installed %d checkpoints, at revision %d", st.Installs, st.Head.Revision)
	}
	n.rep.ReportSnapshot(3, false)
	c.tick(30)
	c.sameModels()
}

// What a member cannot fold stops it, with a message that says what and where.
func TestUnknownFeatureLevelStopsTheMember(t *testing.T) {
	cryptotest.SetGlobalRandom(t, 11)
	c := newCluster(t, 11, 3, nil)
	n := c.elect(1)
	for _, m := range c.nodes {
		c.fatal[m.id] = nil
	}
	head := n.rep.View().Head
	raw, err := proto.Marshal(&metadatav1.Batch{
		Stream: testStream, ClusterId: head.Cluster[:], RecoveryEpoch: 1, Term: n.rep.soft.Term,
		PreviousDigest: head.Digest[:], FeatureLevel: events.FeatureLevel + 1, Changes: [][]byte{{1}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := n.rep.group.Propose(raw); err != nil {
		t.Fatal(err)
	}
	waiting := n.submit(createTable("a", "r1"))
	c.settle()
	c.tick(60) // the next leader commits the entry too, and stops; the last one alone commits nothing
	stopped := 0
	for _, m := range c.nodes {
		if _, ok := errors.AsType[*events.UnsupportedError](c.fatal[m.id]); ok {
			stopped++
		}
		if m.rep.View().Head.Revision != 0 {
			t.Errorf("member %d is at revision %d", m.id, m.rep.View().Head.Revision)
		}
	}
	if stopped != 2 {
		t.Errorf("%d members stopped: %v", stopped, c.fatal)
	}
	if msg := c.fatal[1].Error(); !strings.Contains(msg, "stream schema") || !strings.Contains(msg, "feature level 2") {
		t.Errorf("the message names neither stream nor level: %s", msg)
	}
	if !waiting.done || waiting.answer.Err == nil {
		t.Errorf("who waited was told %+v", *waiting)
	}
	n.submit(createTable("b", "r2")).wantReason(t, metadatav1.ErrorReason_ERROR_REASON_STOPPING)
}

// A change that does not fold stops the member too: it is a bug, and going on would
// make members differ.
func TestChangeThatDoesNotFoldStopsTheMember(t *testing.T) {
	cryptotest.SetGlobalRandom(t, 12)
	c := newCluster(t, 12, 1, nil)
	n := c.elect(1)
	c.fill(n, "a", 1)
	c.fatal[1] = nil
	head := n.rep.View().Head
	before := genesis() // decided on a state that has no table "a0"
	before.Head.Revision, before.Head.Time = head.Revision, head.Time
	decided, err := n.rep.cfg.Decide(before, envAt(c), createTable("a0", "again"))
	if err != nil {
		t.Fatal(err)
	}
	b := events.Batch{Stream: head.Stream, Cluster: head.Cluster, RecoveryEpoch: head.RecoveryEpoch,
		Term: n.rep.soft.Term, Previous: head.Digest, Changes: []*events.Change{decided.Change}}
	if err := n.rep.group.Propose(b.Encode()); err != nil {
		t.Fatal(err)
	}
	c.settle()
	if c.fatal[1] == nil || !strings.Contains(c.fatal[1].Error(), "cannot take effect") {
		t.Fatalf("the member went on: %v", c.fatal[1])
	}
	if n.rep.View().Head.Revision != 1 {
		t.Fatalf("revision %d was published", n.rep.View().Head.Revision)
	}
}

// Raft forgets for a moment, once in each election time-out, whom it has heard of.
// The log has to stay for a member that receives a checkpoint in that moment too.
func TestLogIsKeptForAMemberThatReceivesACheckpoint(t *testing.T) {
	cryptotest.SetGlobalRandom(t, 9)
	c := newCluster(t, 9, 3, shortLog)
	n := c.elect(1)
	c.fill(n, "a", 3)
	c.node(3).crash(0)
	c.fill(n, "b", 40)
	c.node(3).start()
	tick := func() {
		c.tickOnce()
		d := raftlog.Descriptor{Index: n.rep.Status().Applied}
		if n.rep.Status().Progress[3].State == progressSnapshot {
			clear(n.rep.checkpts.kept)
			if upTo := n.rep.cutFor(d); upTo != 0 {
				t.Fatalf("the log is cut up to %d of %d", upTo, d.Index)
			}
		}
		for len(c.net) > 0 {
			if c.net[0].m.GetType() == pb.MsgSnap {
				c.net = c.net[1:] // stays under way
				continue
			}
			to := c.node(c.net[0].to)
			c.deliver(0, false)
			to.storeWrites(len(to.writes))
		}
	}
	for range 2 * raftlog.DefaultElectionTicks {
		tick()
		if n.rep.Status().Progress[3].State == progressSnapshot {
			break
		}
	}
	for range raftlog.DefaultElectionTicks {
		tick()
		if st := n.rep.Status().Progress[3]; st.State != progressSnapshot {
			t.Fatalf("the test needs a member that receives a checkpoint: %+v", st)
		}
	}
}

// What a member in quarantine was offered stays while it takes it, for a bounded number of
// checkpoints.
func TestLogIsKeptForAMemberThatWasOfferedIt(t *testing.T) {
	cryptotest.SetGlobalRandom(t, 11)
	c := newCluster(t, 11, 3, shortLog)
	n := c.elect(1)
	c.node(3).crash(0)
	c.fill(n, "a", 20)
	rounds := 0
	offer := func() raftlog.EntriesRequest {
		o, err := n.rep.Offer(3, n.rep.Status().Term)
		if err != nil {
			t.Fatal(err)
		}
		return raftlog.EntriesRequest{Group: testGroup, Term: o.Term, UpTo: o.Last, MaxBytes: 1 << 20,
			After: raftlog.LogStart{Index: o.Checkpoint.Index, Term: o.Checkpoint.Term}}
	}
	checkpoint := func() {
		rounds++
		before := n.rep.Status().Newest.Index
		for i := 0; n.rep.Status().Newest.Index == before; i++ {
			c.fill(n, fmt.Sprintf("b%d_%d_", rounds, i), 1)
		}
	}
	q := offer()
	for range MaxPinnedCuts {
		checkpoint()
		if es, err := n.rep.EntriesAfter(3, q); err != nil || len(es) == 0 {
			t.Fatalf("after %d checkpoints, what was offered: %d entries, %v", rounds, len(es), err)
		}
	}
	checkpoint()
	checkpoint()
	if _, err := n.rep.EntriesAfter(3, q); !errors.Is(err, raftlog.ErrLogCut) {
		t.Fatalf("after %d checkpoints the log is still kept: %v", rounds, err)
	}
	for what, end := range map[string]func(){
		"a rebuild after which it is not heard": func() {
			n.rep.EndOffer(3)
			for range OfferIdleTicks {
				n.rep.checkpts.tick()
			}
		},
		"its silence": func() {
			for range OfferIdleTicks {
				n.rep.checkpts.tick()
			}
		},
	} {
		q = offer()
		checkpoint()
		if _, err := n.rep.EntriesAfter(3, q); err != nil {
			t.Fatalf("a second offer is not kept: %v", err)
		}
		end()
		checkpoint()
		checkpoint()
		if _, err := n.rep.EntriesAfter(3, q); !errors.Is(err, raftlog.ErrLogCut) {
			t.Fatalf("after %s the log is still kept: %v", what, err)
		}
	}
}

// The log stays after a rebuild until raft has heard the member: a checkpoint that is written
// in between must not cut what it needs next.
func TestLogIsKeptForARebuiltMemberUntilItIsHeard(t *testing.T) {
	cryptotest.SetGlobalRandom(t, 13)
	c := newCluster(t, 13, 3, shortLog)
	n := c.elect(1)
	c.fill(n, "a", 20)
	c.node(3).crash(0)
	o, err := n.rep.Offer(3, n.rep.Status().Term)
	if err != nil {
		t.Fatal(err)
	}
	checkpoints := 0
	checkpoint := func() {
		checkpoints++
		before := n.rep.Status().Newest.Index
		for i := 0; n.rep.Status().Newest.Index == before; i++ {
			c.fill(n, fmt.Sprintf("b%d_%d_", checkpoints, i), 1)
		}
	}
	checkpoint()
	n.rep.ReportUnreachable(3) // what the driver reports too: raft does not know yet that it follows
	n.rep.EndOffer(3)
	if n.rep.Offered(3) {
		t.Fatal("it counts as one that is being rebuilt")
	}
	checkpoint()
	q := raftlog.EntriesRequest{Group: testGroup, Term: o.Term, UpTo: n.rep.Status().Last, MaxBytes: 1 << 20,
		After: raftlog.LogStart{Index: o.Last, Term: o.Term}}
	if _, err := n.rep.EntriesAfter(3, q); err != nil {
		t.Fatalf("the log after its rebuild: %v", err)
	}
	c.node(3).start()
	c.tick(5)
	if p := n.rep.Status().Progress[3]; p.State != progressReplicate || n.rep.Status().Installs+c.node(3).rep.Status().Installs != 0 {
		t.Fatalf("the member is caught up in state %q, with %d checkpoints installed", p.State, c.node(3).rep.Status().Installs)
	}
	checkpoint()
	checkpoint()
	if _, err := n.rep.EntriesAfter(3, q); !errors.Is(err, raftlog.ErrLogCut) {
		t.Fatalf("the log is kept for one that follows: %v", err)
	}
}

// TestOfferOfGenesis offers a member the checkpoint that every log begins with, as a
// leader does while it has written no other: an empty answer to a message of an earlier
// term has raft believe that the member holds nothing. That checkpoint has no file and no
// head, and nobody needs it.
func TestOfferOfGenesis(t *testing.T) {
	cryptotest.SetGlobalRandom(t, 8)
	c := newCluster(t, 8, 3, nil)
	n := c.elect(1)
	c.fill(n, "a", 3)
	snapshot, err := raftlog.GenesisDescriptor(testGroup, []uint64{1, 2, 3}).Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	member, term := c.node(3), n.rep.Status().Term
	offer := &pb.Message{Type: pb.MsgSnap.Enum(), From: new(uint64(1)), To: new(uint64(3)), Term: new(term), Snapshot: snapshot}
	if err := member.rep.Step(1, offer); err != nil {
		t.Fatalf("an offer of genesis: %v", err)
	}
	member.pump()
	member.storeWrites(len(member.writes)) // the answer waits for the disk
	for _, p := range c.net {
		if at := member.rep.Status().Commit; p.m.GetType() == pb.MsgAppResp && p.m.GetIndex() == at && member.fetch == nil {
			return
		}
	}
	t.Fatalf("member 3 did not answer that it holds more than genesis: %v, fetches %v", c.net, member.fetch)
}

// A checkpoint that only a newer build can read stops the member, which says so, but only if
// its leader offers it again and again: a message may be wrong.
func TestACheckpointOfANewerBuildStopsTheMember(t *testing.T) {
	newerFormat := func(t *testing.T, s *pb.Snapshot, _ raftlog.Descriptor) {
		newer := raftlog.DescriptorFormat + 1
		binary.BigEndian.PutUint32(s.Data[4:], newer)
		var d raftlog.Descriptor
		var format *raftlog.FormatError
		if err := d.UnmarshalBinary(s.Data); !errors.As(err, &format) || format.Have != newer {
			t.Fatalf("the test needs a descriptor of format %d: %v", newer, err)
		}
	}
	newerLevel := func(t *testing.T, s *pb.Snapshot, d raftlog.Descriptor) {
		head, err := proto.Marshal(&metadatav1.CheckpointHead{Format: projections.CheckpointFormat, FeatureLevel: events.FeatureLevel + 1})
		if err != nil {
			t.Fatal(err)
		}
		d.Meta = head
		if s.Data, err = d.MarshalBinary(); err != nil {
			t.Fatal(err)
		}
	}
	for name, test := range map[string]struct {
		change func(*testing.T, *pb.Snapshot, raftlog.Descriptor)
		says   []string
	}{
		"descriptor": {newerFormat, []string{"checkpoint format 2", "it knows 1", "upgrade this member"}},
		"head":       {newerLevel, []string{"feature level 2", "feature level 1", "update it"}},
	} {
		t.Run(name, func(t *testing.T) {
			cryptotest.SetGlobalRandom(t, 12)
			c := newCluster(t, 12, 3, nil)
			n := c.elect(1)
			c.fill(n, "a", 3)
			d := raftlog.GenesisDescriptor(testGroup, []uint64{1, 2, 3})
			d.Index, d.Term = 100, n.rep.Status().Term
			snapshot, err := d.Snapshot()
			if err != nil {
				t.Fatal(err)
			}
			test.change(t, snapshot, d)
			third := c.node(3)
			offer := func(from, term uint64) error {
				err := third.rep.Step(from, &pb.Message{
					Type: pb.MsgSnap.Enum(), From: new(from), To: new(uint64(3)), Term: new(term), Snapshot: snapshot,
				})
				third.pump()
				return err
			}
			refused := func(what string, err error) {
				t.Helper()
				if err == nil || third.rep.failed != nil {
					t.Fatalf("%s: %v, and then %v", what, err, third.rep.failed)
				}
			}
			wait := func(ticks int) {
				for range ticks {
					c.tick(1)
				}
			}
			c.fatal[3] = nil
			for range 2 * unreadableTimes {
				err := offer(1, d.Term)
				refused("at once", err)
				for _, text := range test.says {
					if !strings.Contains(err.Error(), text) {
						t.Fatalf("%q does not say %q", err, text)
					}
				}
			}
			wait(unreadableTicks)
			for range unreadableTimes {
				refused("of a member that does not lead", offer(2, d.Term+1))
			}
			c.fill(n, "b", 1) // it follows: there is no need of the checkpoint
			for range unreadableTimes {
				refused("again while it follows", offer(1, d.Term))
			}
			wait(unreadableTicks - 1)
			refused("just before the time", offer(1, d.Term))
			wait(1)
			if err := offer(1, d.Term); err != nil {
				t.Fatalf("refused for ever: %v", err)
			}
			for _, text := range test.says {
				if err := c.fatal[3]; err == nil || !strings.Contains(err.Error(), text) {
					t.Fatalf("it stops with %v, want %q", err, text)
				}
			}
		})
	}
}
