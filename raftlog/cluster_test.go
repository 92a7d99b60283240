package raftlog_test

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/heliosdb/metadata/raftlog"
	"github.com/heliosdb/metadata/raftlog/memstore"
	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

const testGroup raftlog.GroupID = 1

// model is the least a state machine can be: a count and a chain of hashes.
type model struct {
	seq    uint64
	digest [32]byte
}

func (m *model) fold(data []byte) {
	m.seq++
	m.digest = sha256.Sum256(append(m.digest[:], data...))
}

func (m *model) bytes() []byte {
	return append(binary.BigEndian.AppendUint64(nil, m.seq), m.digest[:]...)
}

// member is one member: what survives a crash is store, all else is rebuilt.
type member struct {
	id    uint64
	store *memstore.Store
	up    bool

	g       *raftlog.Group
	writes  []*raftlog.Write
	commits []raftlog.Entry
	model   model
	applied uint64
	term    uint64 // of the entry at applied
	conf    *pb.ConfState
	sender  *raftlog.Sender
	snap    *pb.Message      // a snapshot message that waits for its checkpoint
	staged  map[uint64]model // read from a staged checkpoint, not installed yet
	soft    raftlog.SoftState
	reads   map[uint64]uint64 // id -> least index of a right answer
}

// Ways to break the rules of storing.
const (
	mutantEarlyAck    = "acknowledge before it is stored"
	mutantNoSync      = "store without sync"
	mutantNoHardState = "do not store the hard state"
	mutantNothing     = "store nothing"
)

// cluster runs members in one goroutine over memstore. Everything random comes from
// rng; raft's own draws come from crypto/rand, which the tests seed.
type cluster struct {
	t       testing.TB
	rng     *rand.Rand
	members map[uint64]*member
	ids     []uint64
	net     []*pb.Message
	cut     map[[2]uint64]bool // broken directions

	log      map[uint64]string // every committed entry ever seen
	maxIndex uint64
	leaders  map[uint64]uint64 // term -> leader
	digests  map[uint64][32]byte
	readID   uint64
	proposed int
	trace    []byte // running hash of what happened
	counts   map[string]int
	gaps     map[uint64]bool // members that a snapshot skipped history for
	tolerate raftlog.Reason  // of messages that may be refused
	mutant   string          // a way to break the rules
	bad      error           // first violation
}

func newCluster(t testing.TB, seed uint64, n int) *cluster {
	c := &cluster{
		t: t, rng: rand.New(rand.NewPCG(seed, 1)), members: map[uint64]*member{}, cut: map[[2]uint64]bool{},
		log: map[uint64]string{}, leaders: map[uint64]uint64{}, digests: map[uint64][32]byte{}, counts: map[string]int{},
		gaps: map[uint64]bool{},
	}
	for id := range uint64(n) {
		c.ids = append(c.ids, id+1)
	}
	peers := []raftlog.Peer{}
	for _, id := range c.ids {
		peers = append(peers, raftlog.Peer{ID: id, Addr: fmt.Sprint("member-", id)})
	}
	for _, id := range c.ids {
		m := &member{id: id, store: memstore.New(fmt.Sprint("disk-", id))}
		identity := raftlog.Identity{Format: raftlog.IdentityFormat, ClusterName: "test", ClusterID: raftlog.ClusterID("test", peers), Member: id, Peers: peers}
		if err := m.store.Bootstrap(identity, []raftlog.GroupID{testGroup}, c.ids); err != nil {
			t.Fatal(err)
		}
		c.members[id] = m
		c.start(m)
	}
	return c
}

func (c *cluster) violate(format string, args ...any) {
	if c.bad == nil {
		c.bad = fmt.Errorf(format, args...)
	}
}

func (c *cluster) note(what string, args ...any) {
	c.counts[what]++
	h := sha256.Sum256(append(c.trace, fmt.Sprint(what, args)...))
	c.trace = h[:]
}

func (c *cluster) start(m *member) {
	l, err := m.store.Load(testGroup)
	if err != nil {
		c.violate("member %d: %v", m.id, err)
		return
	}
	cp := l.Newest()
	g, err := raftlog.NewGroup(raftlog.Config{
		Group: testGroup, Member: m.id, Loaded: l, Checkpoint: &cp,
		MaxApplyBytes: 512, MaxMessageBytes: 400, MaxInflightBytes: 1600, MaxInflightMessages: 4, MaxUncommittedBytes: 2000, StallTicks: 30,
	})
	if err != nil {
		c.violate("member %d: %v", m.id, err)
		return
	}
	*m = member{id: m.id, store: m.store, up: true, g: g, sender: raftlog.NewSender(15), conf: cp.ConfState,
		soft: raftlog.SoftState{Role: raftlog.Follower, Term: l.HardState.Term}, reads: map[uint64]uint64{}, staged: map[uint64]model{}}
	m.reset(cp, c.readModel(m, cp))
	c.drain(m)
}

// readModel reads a model from a checkpoint.
func (c *cluster) readModel(m *member, d raftlog.Descriptor) (out model) {
	if d.Chunks == 0 {
		return out
	}
	r, err := m.store.OpenCheckpoint(testGroup, d.Index)
	if err != nil {
		c.t.Fatal(err)
	}
	defer r.Close()
	var all []byte
	for i := range d.Chunks {
		b, err := r.ReadChunk(i)
		if err != nil {
			c.t.Fatal(err)
		}
		all = append(all, b...)
	}
	out.seq = binary.BigEndian.Uint64(all)
	copy(out.digest[:], all[8:])
	return out
}

func (m *member) reset(d raftlog.Descriptor, to model) {
	m.model, m.applied, m.term, m.conf = to, d.Index, d.Term, d.ConfState
}

// drain takes everything the group has to say.
func (c *cluster) drain(m *member) {
	for {
		out, more := m.g.Ready()
		if !more {
			return
		}
		for _, msg := range out.Messages {
			if msg.GetType() == pb.MsgSnap {
				m.sender.Started(msg.GetTo(), msg.GetSnapshot().GetMetadata().GetIndex())
			}
			c.send(msg)
		}
		if out.Write != nil {
			m.writes = append(m.writes, out.Write)
			if c.mutant == mutantEarlyAck {
				m.g.Appended(out.Write)
			}
		}
		for _, e := range out.Committed {
			c.committed(m, e)
		}
		for _, rs := range out.ReadStates {
			if least, ok := m.reads[rs.ID]; ok && rs.Index < least {
				c.violate("member %d: read %d answered with index %d, %d was committed before it", m.id, rs.ID, rs.Index, least)
			}
			delete(m.reads, rs.ID)
			c.counts["read"]++
		}
		if out.Soft != nil {
			c.elected(m, *out.Soft)
		}
	}
}

func (c *cluster) elected(m *member, s raftlog.SoftState) {
	if s.Term < m.soft.Term {
		c.violate("member %d went from term %d back to %d", m.id, m.soft.Term, s.Term)
	}
	m.soft = s
	if s.Role != raftlog.Leader {
		return
	}
	c.note("leader", m.id, s.Term)
	if other, ok := c.leaders[s.Term]; ok && other != m.id {
		c.violate("members %d and %d both lead term %d", other, m.id, s.Term)
	}
	c.leaders[s.Term] = m.id
}

func (c *cluster) committed(m *member, e raftlog.Entry) {
	what := fmt.Sprintf("%d:%q:%v", e.Term, e.Data, e.Conf)
	if before, ok := c.log[e.Index]; ok && before != what {
		c.violate("member %d: entry %d is %s, it was %s", m.id, e.Index, what, before)
	}
	c.log[e.Index], c.maxIndex = what, max(c.maxIndex, e.Index)
	if n := len(m.commits); n > 0 && m.commits[n-1].Index+1 != e.Index {
		c.violate("member %d: entry %d after entry %d", m.id, e.Index, m.commits[n-1].Index)
	}
	m.commits = append(m.commits, e)
}

// send puts a copy on the network, as the wire would.
func (c *cluster) send(m *pb.Message) {
	b, err := proto.Marshal(m)
	if err != nil {
		c.t.Fatal(err)
	}
	msg := &pb.Message{}
	if err := proto.Unmarshal(b, msg); err != nil {
		c.t.Fatal(err)
	}
	c.net = append(c.net, msg)
}

// deliver takes message i off the network.
func (c *cluster) deliver(i int, keep bool) {
	msg := c.net[i]
	if !keep {
		c.net = slices.Delete(c.net, i, i+1)
	}
	m := c.members[msg.GetTo()]
	if !m.up || c.cut[[2]uint64{msg.GetFrom(), msg.GetTo()}] {
		return
	}
	err := m.g.Step(msg.GetFrom(), msg)
	switch {
	case errors.Is(err, raftlog.ErrNotStaged):
		m.snap = msg
	case err != nil:
		if bad, ok := errors.AsType[*raftlog.BadMessageError](err); !ok || bad.Reason != c.tolerate {
			c.violate("member %d: %v", m.id, err)
		}
	}
	c.drain(m)
}

// store performs the oldest n writes in one call, then reports them.
func (c *cluster) store(m *member, n int) {
	if n = min(n, len(m.writes)); n == 0 {
		return
	}
	ws := m.writes[:n:n]
	m.writes = m.writes[n:]
	for _, w := range ws {
		switch c.mutant {
		case mutantNoSync:
			w.Sync = false
		case mutantNoHardState:
			w.HardState = nil
		case mutantNothing:
			w.HardState = nil
			w.Entries = nil
		}
	}
	if err := m.store.Write(ws); err != nil {
		c.violate("member %d: %v", m.id, err)
		return
	}
	for _, w := range ws {
		if w.Install != nil {
			c.note("install", m.id, w.Install.Index)
			c.gaps[m.id] = true
			m.commits = slices.DeleteFunc(m.commits, func(e raftlog.Entry) bool { return e.Index <= w.Install.Index })
			m.reset(*w.Install, m.staged[w.Install.Index])
			c.checkDigest(m)
		}
		if c.mutant != mutantEarlyAck {
			m.g.Appended(w)
		}
		if w.Install != nil {
			m.g.Applied(w.Install.Index)
		}
	}
	c.drain(m)
}

func (c *cluster) checkDigest(m *member) {
	if d, ok := c.digests[m.model.seq]; ok && d != m.model.digest {
		c.violate("member %d: another digest at %d", m.id, m.model.seq)
	}
	c.digests[m.model.seq] = m.model.digest
}

// apply folds the oldest n committed entries.
func (c *cluster) apply(m *member, n int) {
	for _, e := range m.commits[:min(n, len(m.commits))] {
		if e.Index <= m.applied {
			continue
		}
		if e.Index != m.applied+1 {
			c.violate("member %d: folds entry %d on %d", m.id, e.Index, m.applied)
		}
		m.applied, m.term = e.Index, e.Term
		if e.Conf != nil {
			m.conf = e.Conf
		}
		if e.Data != nil {
			m.model.fold(e.Data)
			m.g.AddHistory(raftlog.Record{First: m.model.seq, Last: m.model.seq, Entry: e.Index})
		}
	}
	m.commits = m.commits[min(n, len(m.commits)):]
	c.checkDigest(m)
	m.g.Applied(m.applied)
	c.drain(m)
}

func (c *cluster) linked(a, b uint64) bool {
	return c.members[a].up && c.members[b].up && !c.cut[[2]uint64{a, b}] && !c.cut[[2]uint64{b, a}]
}

func (c *cluster) tick(m *member) {
	m.g.Tick()
	for _, to := range m.sender.Tick() {
		m.g.ReportSnapshot(to, false)
	}
	c.drain(m)
}

// crash loses what was not synced, but for a random first part of it.
func (c *cluster) crash(m *member) {
	c.note("crash", m.id, m.store.Unsynced())
	m.store.Crash(c.rng.IntN(m.store.Unsynced() + 1))
	m.up = false
}

func (c *cluster) leader() *member {
	var best *member
	for _, m := range c.sorted() {
		if m.up && m.soft.Role == raftlog.Leader && (best == nil || m.soft.Term > best.soft.Term) {
			best = m
		}
	}
	return best
}

func (c *cluster) sorted() []*member {
	var out []*member
	for _, id := range slices.Sorted(maps.Keys(c.members)) {
		out = append(out, c.members[id])
	}
	return out
}

// settle runs without faults until nothing happens in a round, ticking every member
// up to ticks times.
func (c *cluster) settle(ticks int) {
	for range ticks {
		for range 50 {
			before := len(c.net)
			for len(c.net) > 0 {
				c.deliver(0, false)
			}
			busy := before > 0
			for _, m := range c.sorted() {
				if m.up {
					busy = busy || len(m.writes)+len(m.commits) > 0 || m.snap != nil
					c.transfer(m, 0)
					c.store(m, len(m.writes))
					c.apply(m, len(m.commits))
				}
			}
			if !busy {
				break
			}
		}
		for _, m := range c.sorted() {
			if m.up {
				c.tick(m)
			}
		}
	}
}

// heal ends all faults.
func (c *cluster) heal() {
	clear(c.cut)
	for _, m := range c.sorted() {
		if !m.up {
			c.start(m)
		}
	}
}

func (c *cluster) propose(m *member, data string) error {
	err := m.g.Propose([]byte(data))
	c.drain(m)
	return err
}
