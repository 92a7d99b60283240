package leases

import (
	"slices"
	"strings"
	"time"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// maxClusterID is the length of a cluster id in a position; a longer one is
// dropped.
const maxClusterID = 32

// Report is what the Table knows of one node.
type Report struct {
	Node         Node
	Remaining    time.Duration        // of the lease at the latest Beat, Fold or Tick; 0 if it ran out or the node is offline
	Beats        uint64               // of this registration, under this leadership
	Silent       time.Duration        // since the latest beat; meaningless if Beats is 0
	Load         *metadatav1.NodeLoad // as of the latest beat; nil if Beats is 0 or the beat had none
	Acknowledged *metadatav1.Position // likewise
}

// Report returns what is known of a node; false if there is no such node or the
// Table does not lead.
func (t *Table) Report(nodeID string, now time.Duration) (Report, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := t.nodes[nodeID]
	if l == nil {
		return Report{}, false
	}
	return t.report(l, now), true
}

// Reports returns what is known of all nodes, by id; nothing if the Table does
// not lead.
func (t *Table) Reports(now time.Duration) []Report {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := make([]Report, 0, len(t.nodes))
	for _, l := range t.nodes {
		all = append(all, t.report(l, now))
	}
	slices.SortFunc(all, func(a, b Report) int { return strings.Compare(a.Node.ID, b.Node.ID) })
	return all
}

// report looks only: a reading of the clock by an onlooker says nothing of
// whether beats were heard meanwhile.
func (t *Table) report(l *lease, now time.Duration) Report {
	r := Report{Node: l.node, Beats: l.beats}
	if l.node.alive() && l.pending == none {
		r.Remaining = max(0, l.deadline-t.clock)
	}
	if l.beats > 0 {
		r.Silent = max(0, now-l.beat)
		r.Load, r.Acknowledged = l.load.message(), l.acked.message()
	}
	return r
}

// load and position are what a beat says of them. They are kept by value, because
// beats are many and allocate nothing then, and reports are few.
type load struct {
	told              bool
	cpu, memory, disk uint64
	requests          float64
}

func (l load) message() *metadatav1.NodeLoad {
	if !l.told {
		return nil
	}
	return &metadatav1.NodeLoad{CpuMillis: l.cpu, MemoryBytes: l.memory, DiskBytes: l.disk, RequestsPerSecond: l.requests}
}

type position struct {
	told                    bool
	cluster                 string
	epoch, schema, topology uint64
}

func (p position) message() *metadatav1.Position {
	if !p.told {
		return nil
	}
	return &metadatav1.Position{
		ClusterId: p.cluster, RecoveryEpoch: p.epoch, SchemaRevision: p.schema, TopologyRevision: p.topology,
	}
}

// record keeps what a beat says. The messages are copied field by field: what
// else a sender put into them is not kept in memory.
func (l *lease) record(now time.Duration, said *metadatav1.NodeLoad, acked *metadatav1.Position) {
	l.beat = now
	l.beats++
	l.load = load{said != nil, said.GetCpuMillis(), said.GetMemoryBytes(), said.GetDiskBytes(), said.GetRequestsPerSecond()}
	cluster := acked.GetClusterId()
	switch {
	case len(cluster) > maxClusterID:
		cluster = ""
	case cluster == l.acked.cluster:
		cluster = l.acked.cluster // one copy is enough
	}
	l.acked = position{acked != nil, cluster, acked.GetRecoveryEpoch(), acked.GetSchemaRevision(), acked.GetTopologyRevision()}
}
