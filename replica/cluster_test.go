package replica

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/commands"
	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/feed"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"

	"github.com/heliosdb/metadata/projections"
	"github.com/heliosdb/metadata/projections/schema"
	"github.com/heliosdb/metadata/raftlog"
	"github.com/heliosdb/metadata/raftlog/memstore"
)

const (
	testGroup  raftlog.GroupID = 1
	testStream                 = metadatav1.Stream_STREAM_SCHEMA
)

var testCluster = events.ClusterID{0xc1}

type (
	model = *schema.Model
	state = projections.Schema
)

func genesis() *state { return projections.NewSchema(testCluster, 1) }

// cluster is a few members in one goroutine: their disks, the network between them
// and a clock that moves with the ticks. check looks at the world after each step.
type cluster struct {
	t       testing.TB
	rng     *rand.Rand
	nodes   []*node
	net     []packet
	cut     map[[2]uint64]bool // links that lose everything, by sender and receiver
	now     time.Time
	tune    func(*Config[model])
	digests map[uint64]events.Digest // by revision: what every member has to agree on
	hashes  map[uint64][32]byte      // by revision, of checkpoints
	starts  uint64
	fatal   map[uint64]error // members that are allowed to stop, and why they did

	pendingReads []pendingRead
}

type packet struct {
	from, to uint64
	m        *pb.Message
}

// node is one member. What is above rep survives a crash.
type node struct {
	c     *cluster
	id    uint64
	store *memstore.Store

	rep     *Replica[model] // nil: down
	feed    *feed.Log
	writes  []*raftlog.Write
	job     *CheckpointJob[model]
	fetch   *Fetch
	frozen  bool      // its disk does not answer
	leading []Leading // as told
	written int       // checkpoint jobs done since the start
}

func newCluster(t testing.TB, seed uint64, members int, tune func(*Config[model])) *cluster {
	c := &cluster{
		t: t, rng: rand.New(rand.NewPCG(seed, 1)), cut: map[[2]uint64]bool{}, now: time.Unix(1_800_000_000, 0).UTC(),
		tune: tune, digests: map[uint64]events.Digest{0: events.FirstDigest(testCluster, testStream)},
		hashes: map[uint64][32]byte{}, fatal: map[uint64]error{},
	}
	var voters []uint64
	for id := range uint64(members) {
		voters = append(voters, id+1)
	}
	for _, id := range voters {
		n := &node{c: c, id: id, store: memstore.New(fmt.Sprintf("m%d", id))}
		identity := raftlog.Identity{Format: raftlog.IdentityFormat, ClusterID: testCluster, RecoveryEpoch: 1, ClusterName: "test", Member: id}
		if err := n.store.Bootstrap(identity, []raftlog.GroupID{testGroup}, voters); err != nil {
			t.Fatal(err)
		}
		c.nodes = append(c.nodes, n)
		n.start()
	}
	return c
}

func (c *cluster) node(id uint64) *node { return c.nodes[id-1] }

// start brings a member up from its disk.
func (n *node) start() {
	t := n.c.t
	loaded, err := n.store.Load(testGroup)
	if err != nil {
		t.Fatalf("member %d: %v", n.id, err)
	}
	st, cp, err := Restore(n.store, loaded, genesis())
	if err != nil {
		t.Fatalf("member %d: %v", n.id, err)
	}
	n.feed = feed.NewLog(feed.LogOptions{Stream: testStream, Head: st.Head.Revision})
	n.c.starts++
	cfg := Config[model]{
		Log:   raftlog.Config{Group: testGroup, Member: n.id, Loaded: loaded, Checkpoint: cp},
		State: st, Decide: commands.Schema, Feed: n.feed, ReadSeed: n.c.starts << 20,
	}
	if n.c.tune != nil {
		n.c.tune(&cfg)
	}
	if n.rep, err = New(cfg); err != nil {
		t.Fatalf("member %d: %v", n.id, err)
	}
	n.pump()
}

// crash loses what is not synced, but for the first keep writes.
func (n *node) crash(keep int) {
	n.rep, n.writes, n.job, n.fetch, n.written = nil, nil, nil, nil, 0
	n.store.Crash(keep)
}

// pump drains the outputs.
func (n *node) pump() {
	for {
		out, more := n.rep.Ready()
		for _, m := range out.Messages {
			n.c.net = append(n.c.net, packet{n.id, m.GetTo(), proto.Clone(m).(*pb.Message)})
		}
		if out.Write != nil {
			n.writes = append(n.writes, out.Write)
		}
		if out.Checkpoint != nil {
			n.job = out.Checkpoint
		}
		if out.Fetch != nil {
			n.fetch = out.Fetch
		}
		if out.Leading != nil {
			n.leading = append(n.leading, *out.Leading)
		}
		if out.Fatal != nil {
			if _, allowed := n.c.fatal[n.id]; !allowed {
				n.c.t.Fatalf("member %d stopped: %v", n.id, out.Fatal)
			}
			n.c.fatal[n.id] = out.Fatal
		}
		for _, ch := range out.Applied {
			n.c.agree(n.id, ch)
		}
		if !more {
			n.check()
			return
		}
	}
}

// agree checks that all members have one digest for each revision.
func (c *cluster) agree(id uint64, ch *events.Change) {
	before, ok := c.digests[ch.Revision()-1]
	if !ok {
		c.t.Fatalf("member %d applied change %d before anybody applied the one before", id, ch.Revision())
	}
	digest := before.Next(ch.Raw())
	if have, ok := c.digests[ch.Revision()]; ok && have != digest {
		c.t.Fatalf("member %d applied another change %d than the others", id, ch.Revision())
	}
	c.digests[ch.Revision()] = digest
}

// check holds after every step.
func (n *node) check() {
	t, r := n.c.t, n.rep
	if r.failed != nil {
		return
	}
	if head := r.View().Head; head.Digest != n.c.digests[head.Revision] || head.Revision != n.feed.Head() {
		t.Fatalf("member %d: view at revision %d has digest %s, the chain %s; the feed is at %d", n.id, head.Revision, head.Digest, n.c.digests[head.Revision], n.feed.Head())
	}
	if r.View() != r.state {
		t.Fatalf("member %d: the view is not the applied state", n.id)
	}
	l := r.lead
	if l == nil || !l.ready {
		return
	}
	want, changes, bytes := r.state, 0, 0
	for _, ds := range append(proposedOf(l), l.gathered) {
		for _, d := range ds {
			want = want.Fold(d.change)
			changes++
			bytes += len(d.change.Raw())
		}
	}
	if l.state.Head.Digest != want.Head.Digest || changes != l.changes || bytes != l.bytes {
		t.Fatalf("member %d: pending is at revision %d with %d changes and %d bytes; applied and proposed make %d, %d and %d",
			n.id, l.state.Head.Revision, l.changes, l.bytes, want.Head.Revision, changes, bytes)
	}
	if n.c.rng.IntN(20) == 0 && want.Requests.Bytes() < 1<<20 && l.state.Hash() != want.Hash() {
		t.Fatalf("member %d: the pending model is not the fold of what is in flight", n.id)
	}
}

func proposedOf(l *lead[model]) (all [][]decision[model]) {
	for _, p := range l.proposed {
		all = append(all, p.decisions)
	}
	return all
}

// store completes the first k writes, in one call of the disk.
func (n *node) storeWrites(k int) {
	ws := n.writes[:k]
	n.writes = slices.Clone(n.writes[k:])
	if err := n.store.Write(ws); err != nil {
		n.c.t.Fatalf("member %d: %v", n.id, err)
	}
	for _, w := range ws {
		n.rep.Wrote(w)
	}
	n.pump()
}

// background does the driver's slow jobs: writing and fetching checkpoints.
func (n *node) background() {
	if job := n.job; job != nil {
		n.job = nil
		d, err := WriteCheckpoint(context.Background(), n.store, job)
		if err != nil {
			n.c.t.Fatalf("member %d: %v", n.id, err)
		}
		if have, ok := n.c.hashes[d.Seq]; ok && have != d.Hash {
			n.c.t.Fatalf("member %d wrote another checkpoint of revision %d than the others", n.id, d.Seq)
		}
		n.c.hashes[d.Seq] = d.Hash
		n.written++
		n.rep.CheckpointWritten(d, nil)
		n.pump()
	}
	if f := n.fetch; f != nil {
		n.fetch = nil
		st, err := n.fetchFrom(f)
		n.rep.Fetched(f, st, err)
		if from := n.c.node(f.From); from.rep != nil {
			from.rep.ReportSnapshot(n.id, err == nil)
			from.pump()
		}
		n.pump()
	}
}

// fetchFrom copies a checkpoint as the transport would.
func (n *node) fetchFrom(f *Fetch) (*state, error) {
	from := n.c.node(f.From)
	if from.rep == nil || n.c.cut[[2]uint64{f.From, n.id}] {
		return nil, fmt.Errorf("member %d cannot be reached", f.From)
	}
	r, err := from.store.OpenCheckpoint(testGroup, f.Descriptor.Index)
	if err != nil {
		return nil, err
	}
	w, err := n.store.StageCheckpoint(testGroup, f.Descriptor)
	if err != nil {
		return nil, err
	}
	for i := range f.Descriptor.Chunks {
		chunk, err := r.ReadChunk(i)
		if err != nil {
			return nil, err
		}
		if err := w.WriteChunk(chunk); err != nil {
			return nil, err
		}
	}
	if _, err := w.Commit(); err != nil {
		return nil, err
	}
	return ReadCheckpoint(n.store, f.Descriptor, genesis())
}

// deliver hands packet i to its receiver, unless the link is cut.
func (c *cluster) deliver(i int, duplicate bool) {
	p := c.net[i]
	if !duplicate {
		c.net = slices.Delete(c.net, i, i+1)
	}
	n := c.node(p.to)
	if n.rep == nil || c.cut[[2]uint64{p.from, p.to}] {
		return
	}
	if err := n.rep.Step(p.from, proto.Clone(p.m).(*pb.Message)); err != nil {
		c.t.Fatalf("member %d refused %s: %v", p.to, p.m.GetType(), err)
	}
	n.pump()
}

// settle runs everything that is under way to its end, without time passing.
func (c *cluster) settle() {
	for busy := true; busy; {
		busy = false
		for _, n := range c.nodes {
			if n.rep == nil {
				continue
			}
			n.pump()
			if len(n.writes) > 0 && !n.frozen {
				n.storeWrites(len(n.writes))
				busy = true
			}
			if n.job != nil || n.fetch != nil {
				n.background()
				busy = true
			}
		}
		for len(c.net) > 0 {
			c.deliver(0, false)
			busy = true
		}
	}
}

// tick lets time pass on all members, and settles after each tick.
func (c *cluster) tick(times int) {
	for range times {
		c.tickOnce()
		c.settle()
	}
}

func (c *cluster) tickOnce() {
	c.now = c.now.Add(100 * time.Millisecond)
	for _, n := range c.nodes {
		if n.rep != nil {
			n.rep.Tick()
			n.pump()
		}
	}
}

// elect makes a member the leader.
func (c *cluster) elect(id uint64) *node {
	c.t.Helper()
	n := c.node(id)
	for range 20 {
		if n.rep.Status().Leading {
			return n
		}
		for _, other := range c.nodes {
			if other.rep != nil && other != n && !c.cut[[2]uint64{id, other.id}] {
				_ = other.rep.ForgetLeader() // refused by a leader, which is then told to hand over
				other.rep.TransferLeader(id)
				other.pump()
			}
		}
		if err := n.rep.Campaign(); err != nil {
			c.t.Fatal(err)
		}
		n.pump()
		c.settle()
		if !n.rep.Status().Leading {
			c.tick(1)
		}
	}
	c.t.Fatalf("member %d was not elected: %+v", id, n.rep.Status().SoftState)
	return nil
}

// isolate cuts all links of a member, heal restores all.
func (c *cluster) isolate(id uint64) {
	for _, n := range c.nodes {
		c.cut[[2]uint64{id, n.id}], c.cut[[2]uint64{n.id, id}] = true, true
	}
}

func (c *cluster) heal() { clear(c.cut) }

// leader returns the member that decides, if there is exactly one.
func (c *cluster) leader() *node {
	var found *node
	for _, n := range c.nodes {
		if n.rep != nil && n.rep.Status().Leading {
			if found != nil {
				return nil
			}
			found = n
		}
	}
	return found
}

// outcome is where an answer lands.
type outcome struct {
	done   bool
	answer Answer
}

func (n *node) submit(cmd proto.Message) *outcome { return n.submitIn(cmd, 0) }

func (n *node) submitIn(cmd proto.Message, term uint64) *outcome {
	o := &outcome{}
	n.rep.Submit(Request{Command: cmd, Env: commands.Env{Now: n.c.now, Actor: "test"}, Term: term, Done: func(a Answer) {
		if o.done {
			n.c.t.Fatalf("member %d answered twice", n.id)
		}
		o.done, o.answer = true, a
	}})
	n.pump()
	return o
}

type readOutcome struct {
	done   bool
	answer ReadAnswer[model]
}

func (n *node) read(q Read[model]) *readOutcome {
	o := &readOutcome{}
	q.Done = func(a ReadAnswer[model]) {
		if o.done {
			n.c.t.Fatalf("member %d answered a read twice", n.id)
		}
		o.done, o.answer = true, a
	}
	n.rep.Read(q)
	n.pump()
	return o
}

func createTable(name, requestID string) *metadatav1.CreateTableRequest {
	return &metadatav1.CreateTableRequest{
		Table: &metadatav1.TableSchema{Name: name, Columns: []*metadatav1.ColumnSchema{
			{Name: "id", DataType: &metadatav1.DataType{Kind: metadatav1.TypeKind_TYPE_KIND_INT64}},
		}},
		Write: &metadatav1.WriteOptions{RequestId: requestID},
	}
}

func dropTable(name, requestID string) *metadatav1.DropTableRequest {
	return &metadatav1.DropTableRequest{
		Table: &metadatav1.TableRef{Name: name}, Write: &metadatav1.WriteOptions{RequestId: requestID},
	}
}
