package replica

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/events"
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
}

type packet struct {
	from, to uint64
	m        *pb.Message
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
			for _, id := range n.sender.Tick() {
				n.rep.ReportSnapshot(id, false)
			}
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
