package leases

import (
	"container/heap"
	"iter"
	"sync"
	"time"

	"github.com/heliosdb/metadata/events"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// Node is what the Table has to know of a registered node.
type Node struct {
	ID     string
	Epoch  uint64
	Status metadatav1.NodeStatus
}

// alive reports whether the log says that the node is alive.
func (n Node) alive() bool {
	return n.Status == metadatav1.NodeStatus_NODE_STATUS_ONLINE ||
		n.Status == metadatav1.NodeStatus_NODE_STATUS_DRAINING
}

// Table holds the leases of all registered nodes while its member leads the
// topology stream. It is safe for concurrent use. Its memory grows with the
// number of registered nodes, which the topology limits.
type Table struct {
	options Options

	mu       sync.Mutex
	leading  bool
	term     uint64
	seen     time.Duration // latest reading of the caller's clock
	clock    time.Duration // the leases' own clock: moves by at most MaxStep a call
	nodes    map[string]*lease
	expiries expiries // leases of alive nodes that are not being taken offline
	revivals []*lease // offline nodes that beat, in order of their beats
}

// lease is one node's.
type lease struct {
	node     Node
	deadline time.Duration // on the Table's clock
	pending  attempt
	beat     time.Duration // when the latest beat arrived, on the caller's clock
	beats    uint64        // of this registration, under this leadership
	load     load
	acked    position

	index  int           // in expiries; -1: not there
	queued time.Duration // deadline that expiries knows; never later than deadline
}

// attempt is how far a transition of a node has come.
type attempt uint8

const (
	none   attempt = iota
	wanted         // in revivals: to be handed out by Tick
	given          // handed out: proposed, perhaps committed, not yet folded
)

// New returns a Table that does not lead. It fails like [Options.Check].
func New(o Options) (*Table, error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	return &Table{options: o.withDefaults(), nodes: map[string]*lease{}}, nil
}

// Options returns the options with their defaults filled in.
func (t *Table) Options() Options { return t.options }

// Lead starts a leadership: every node that is not offline gets a full lease,
// whatever was known before is forgotten. Call it when the leader has applied
// its own term's first entry, with the nodes of that model, and Fold every
// change that is applied after.
func (t *Table) Lead(term uint64, nodes iter.Seq[Node], now time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.clear()
	t.advance(now)
	t.leading, t.term = true, term
	for n := range nodes {
		t.put(n)
	}
}

// Stop ends the leadership. Transitions that were handed out must not be
// submitted any more.
func (t *Table) Stop() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.clear()
}

func (t *Table) clear() {
	t.leading, t.term = false, 0
	clear(t.nodes)
	t.expiries, t.revivals = nil, nil
}

// Leading returns the term of the present leadership, false if there is none.
func (t *Table) Leading() (term uint64, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.term, t.leading
}

// Beat records a node's heartbeat, which arrived at now, and returns what to
// tell the node, provided that Check says the same once a ReadIndex round that
// began after the beat's arrival has ended. The beat counts even if that round
// fails: a lease that is too long is safe. load and acked are copied and may be
// nil.
func (t *Table) Beat(nodeID string, epoch uint64, now time.Duration, load *metadatav1.NodeLoad, acked *metadatav1.Position) Verdict {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.advance(now)
	return t.beat(nodeID, epoch, load, acked)
}

// BeatAll is Beat for beats that arrived together. It appends the verdicts, in
// their order, to heard.
func (t *Table) BeatAll(heard []Verdict, beats []*metadatav1.HeartbeatRequest, now time.Duration) []Verdict {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.advance(now)
	for _, b := range beats {
		heard = append(heard, t.beat(b.GetNodeId(), b.GetEpoch(), b.GetLoad(), b.GetAcknowledged()))
	}
	return heard
}

func (t *Table) beat(nodeID string, epoch uint64, load *metadatav1.NodeLoad, acked *metadatav1.Position) Verdict {
	l := t.nodes[nodeID]
	if t.leading && l != nil && l.node.Epoch == epoch {
		l.record(t.seen, load, acked)
		switch {
		case l.node.alive() && l.pending == none:
			l.deadline = t.clock + t.options.Lease
		case !l.node.alive() && l.pending == none && t.clock >= l.deadline:
			l.pending = wanted
			t.revivals = append(t.revivals, l)
		}
	}
	return t.verdict(l, nodeID, epoch)
}

// Check returns what to tell a node, without recording a beat.
func (t *Table) Check(nodeID string, epoch uint64) Verdict {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.verdict(t.nodes[nodeID], nodeID, epoch)
}

// CheckAll is Check for the nodes of several verdicts, which it replaces. One of
// Expiring stays what it is: its beat renewed nothing, even if the attempt to take
// the node offline has failed since.
func (t *Table) CheckAll(heard []Verdict) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i, v := range heard {
		if v.Outcome != Expiring {
			heard[i] = t.verdict(t.nodes[v.NodeID], v.NodeID, v.Epoch)
		}
	}
}

func (t *Table) verdict(l *lease, nodeID string, epoch uint64) Verdict {
	v := Verdict{NodeID: nodeID, Epoch: epoch}
	if !t.leading {
		return v
	}
	if l == nil {
		v.Outcome = NotFound
		return v
	}
	v.Current, v.Status = l.node.Epoch, l.node.Status
	switch {
	case l.node.Epoch != epoch:
		v.Outcome = StaleEpoch
	case !l.node.alive():
		v.Outcome = Reviving
	case l.pending == given:
		v.Outcome = Expiring
	default:
		v.Outcome = Granted
	}
	return v
}

// Fold keeps the Table in step with a change of the topology stream that this
// member has applied. It does nothing while the Table does not lead.
func (t *Table) Fold(c *events.Change, now time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.advance(now)
	if !t.leading {
		return
	}
	for _, e := range c.Events() {
		m := e.Message()
		n := events.NodeOf(m)
		switch {
		case n == nil:
		case m.GetNodeUnregistered() != nil:
			t.drop(n.GetNodeId())
		default:
			t.put(Node{ID: n.GetNodeId(), Epoch: n.GetEpoch(), Status: n.GetStatus()})
		}
	}
}

// put takes over a node's committed state. A new registration and a node that
// came online begin with a full lease; other changes leave the lease alone.
func (t *Table) put(n Node) {
	l := t.nodes[n.ID]
	if l == nil || l.node.Epoch != n.Epoch {
		t.drop(n.ID)
		l = &lease{node: n, index: -1}
		t.nodes[n.ID] = l
		if n.alive() {
			t.grant(l)
		}
		return
	}
	was := l.node.alive()
	l.node = n
	if was == n.alive() {
		return
	}
	t.forget(l)
	if n.alive() {
		t.grant(l)
	} else {
		l.deadline = t.clock // may be revived by the next beat
	}
}

// grant gives an alive node without a lease a full one.
func (t *Table) grant(l *lease) {
	l.deadline = t.clock + t.options.Lease
	l.queued = l.deadline
	heap.Push(&t.expiries, l)
}

// drop forgets a node.
func (t *Table) drop(id string) {
	if l := t.nodes[id]; l != nil {
		t.forget(l)
		delete(t.nodes, id)
	}
}

// forget takes a lease out of all queues and ends its attempt.
func (t *Table) forget(l *lease) {
	if l.index >= 0 {
		heap.Remove(&t.expiries, l.index)
	}
	if l.pending == wanted {
		for i, r := range t.revivals {
			if r == l {
				t.revivals = append(t.revivals[:i:i], t.revivals[i+1:]...)
				break
			}
		}
	}
	l.pending = none
}

// advance moves the Table's clock to the caller's, by at most MaxStep: of a
// longer gap nobody knows whether the nodes were silent or we were deaf.
func (t *Table) advance(now time.Duration) {
	if gap := now - t.seen; gap > 0 {
		t.seen = now
		t.clock += min(gap, t.options.MaxStep)
	}
}
