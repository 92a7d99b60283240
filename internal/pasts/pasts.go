// Package pasts makes up what happened in a cluster, for tests of whatever reads history:
// changes as real commands make them, and a source that holds changes in memory. The same
// seed makes the same past.
package pasts

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/heliosdb/metadata/commands"
	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/internal/consistency"
	"github.com/heliosdb/metadata/internal/failure"
	"github.com/heliosdb/metadata/projections"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"google.golang.org/protobuf/proto"
)

// Cluster is the cluster of all pasts, in its recovery epoch 1.
var Cluster = events.ClusterID{1, 2, 3}

// Epoch is the recovery epoch of all pasts.
const Epoch = 1

// Start is the time at which pasts begin.
var Start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// hosts are nodes that are registered first and hold shards from then on.
var hosts = []string{"h1", "h2", "h3"}

// world is a cluster whose past is made up.
type world struct {
	rng      *rand.Rand
	workload *consistency.Workload
	schema   *projections.Schema
	topology *projections.Topology
	now      time.Time

	schemaChanges, topologyChanges []*events.Change
}

// Schema returns so many changes of a schema stream.
func Schema(seed uint64, n int) []*events.Change {
	w := newWorld(seed)
	for len(w.schemaChanges) < n {
		w.step()
	}
	return w.schemaChanges
}

// Topology returns so many changes of a topology stream.
func Topology(seed uint64, n int) []*events.Change {
	w := newWorld(seed)
	for len(w.topologyChanges) < n {
		w.step()
	}
	return w.topologyChanges
}

func newWorld(seed uint64) *world {
	rng := rand.New(rand.NewPCG(seed, 0))
	w := &world{
		rng:      rng,
		workload: consistency.NewWorkload(rng, consistency.Options{Tables: 6, Namespaces: 2, Nodes: 4, Hosts: hosts}),
		schema:   projections.NewSchema(Cluster, Epoch),
		topology: projections.NewTopology(Cluster, Epoch),
		now:      Start,
	}
	for _, host := range hosts {
		w.try(&metadatav1.RegisterNodeRequest{Node: &metadatav1.NodeInfo{
			NodeId: host, Addr: host + ":1", NodeType: metadatav1.NodeType_NODE_TYPE_STORAGE, Incarnation: "first",
		}})
	}
	return w
}

// step tries one command. Two in a row share their time now and then.
func (w *world) step() {
	w.now = w.now.Add(time.Duration(w.rng.IntN(3)) * time.Second)
	if w.rng.IntN(10) == 0 {
		w.beat()
		return
	}
	w.try(w.workload.Next(0))
}

// beat takes a node offline or brings it back.
func (w *world) beat() {
	nodes := slices.Collect(w.topology.Model.Nodes(""))
	n := nodes[w.rng.IntN(len(nodes))]
	if n.Status() == metadatav1.NodeStatus_NODE_STATUS_OFFLINE {
		w.try(&metadatav1.ReviveNode{NodeId: n.ID(), Epoch: n.Epoch()})
		return
	}
	w.try(&metadatav1.ExpireNodeLease{NodeId: n.ID(), Epoch: n.Epoch()})
}

// try decides a request if it is a command, and folds what it changes.
func (w *world) try(request proto.Message) {
	stream, err := commands.StreamOf(request)
	if err != nil {
		return // a read
	}
	env := commands.Env{Now: w.now, Actor: fmt.Sprint("actor ", w.rng.IntN(3))}
	var d commands.Decision
	if stream == metadatav1.Stream_STREAM_SCHEMA {
		d, err = commands.Schema(w.schema, env, request)
	} else {
		d, err = commands.Topology(w.topology, env, request)
	}
	op := &consistency.Op{Request: request, Known: true}
	if err == nil {
		op.Response = d.Reply
	} else {
		op.Reason = failure.As(err).Reason
	}
	w.workload.Learn(op)
	switch {
	case d.Change == nil:
	case stream == metadatav1.Stream_STREAM_SCHEMA:
		w.schema, w.schemaChanges = w.schema.Fold(d.Change), append(w.schemaChanges, d.Change)
	default:
		w.topology, w.topologyChanges = w.topology.Fold(d.Change), append(w.topologyChanges, d.Change)
	}
}
