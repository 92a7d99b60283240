package consistency

import (
	"fmt"
	"math/rand/v2"
	"slices"

	"google.golang.org/protobuf/proto"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// Options say what a workload is about. Small pools make operations collide.
type Options struct {
	Tables     int // names of tables in each namespace; default 4
	Namespaces int // beside "public"; default 1
	Nodes      int // that the workload registers, and that never beat by themselves; default 3
	// Hosts are nodes that somebody else keeps alive: shards are placed on them, too, and
	// they are drained, but never unregistered.
	Hosts []string
	// Quiet leaves out what makes most of the log: for runs that need few changes.
	Quiet bool
}

// Workload makes up requests: a random mix that knows a small pool of names, and
// learns versions, epochs, shards and positions from the answers. All randomness
// comes from the source that it is given. It belongs to one goroutine.
type Workload struct {
	rng     *rand.Rand
	options Options

	namespaces []string
	tables     []string
	nodes      []string
	versions   map[string]uint64 // of tables by key, as last heard
	tableIDs   []uint64          // that were heard of
	epochs     map[string]uint64 // of nodes
	shards     []*metadatav1.ShardInfo
	positions  map[int]*metadatav1.Position // of each client
	runs       int                          // counts incarnations and comments
}

// NewWorkload returns a workload.
func NewWorkload(rng *rand.Rand, o Options) *Workload {
	w := &Workload{
		rng: rng, options: o, namespaces: []string{publicName},
		versions: make(map[string]uint64), epochs: make(map[string]uint64), positions: make(map[int]*metadatav1.Position),
	}
	count := func(n, otherwise int) int {
		if n == 0 {
			return otherwise
		}
		return n
	}
	for i := range count(o.Namespaces, 1) {
		w.namespaces = append(w.namespaces, fmt.Sprint("ns", i+1))
	}
	for i := range count(o.Tables, 4) {
		w.tables = append(w.tables, fmt.Sprint("t", i+1))
	}
	for i := range count(o.Nodes, 3) {
		w.nodes = append(w.nodes, fmt.Sprint("n", i+1))
	}
	return w
}

// choice is one kind of request with how often it is chosen.
type choice struct {
	weight int
	loud   bool // makes changes
	make   func(w *Workload, client int) proto.Message
}

var choices = []choice{
	{12, true, (*Workload).createTable},
	{12, true, (*Workload).alterTable},
	{6, true, (*Workload).dropTable},
	{2, true, (*Workload).createNamespace},
	{1, true, (*Workload).dropNamespace},
	{3, true, (*Workload).batch},
	{6, true, (*Workload).registerNode},
	{2, true, (*Workload).unregisterNode},
	{2, true, (*Workload).drainNode},
	{5, true, (*Workload).putShard},
	{6, true, (*Workload).splitShard},
	{4, true, (*Workload).moveShard},
	{2, true, (*Workload).mergeShards},
	{1, true, (*Workload).deleteShard},
	{6, false, (*Workload).beat},
	{14, false, (*Workload).getTable},
	{3, false, (*Workload).listTables},
	{2, false, (*Workload).listNamespaces},
	{6, false, (*Workload).getNode},
	{2, false, (*Workload).listNodes},
	{6, false, (*Workload).getShard},
	{3, false, (*Workload).listShards},
	{2, false, (*Workload).getTopology},
}

// Next returns the next request of a client. Writes have a fresh request id.
func (w *Workload) Next(client int) proto.Message {
	total := 0
	for _, c := range choices {
		if !c.loud || !w.options.Quiet {
			total += c.weight
		}
	}
	n := w.rng.IntN(total)
	for _, c := range choices {
		if c.loud && w.options.Quiet {
			continue
		}
		if n -= c.weight; n < 0 {
			return c.make(w, client)
		}
	}
	panic("consistency: the weights do not add up")
}

// Position returns what a client has seen; the zero position at first.
func (w *Workload) Position(client int) *metadatav1.Position {
	if p := w.positions[client]; p != nil {
		return proto.CloneOf(p)
	}
	return &metadatav1.Position{}
}

// Subscribe returns a request for a subscription with a random start and filter.
func (w *Workload) Subscribe(client int) *metadatav1.SubscribeRequest {
	r := &metadatav1.SubscribeRequest{Filter: w.filter(), BookmarkIntervalMillis: uint32(100 + w.rng.IntN(2000))}
	switch w.rng.IntN(4) {
	case 0:
		r.Start = &metadatav1.SubscribeRequest_Snapshot{Snapshot: true}
	case 1:
		r.Start = &metadatav1.SubscribeRequest_After{After: &metadatav1.Position{}}
	case 2:
		r.Start = &metadatav1.SubscribeRequest_After{After: w.Position(client)}
	}
	r.FailOnGap = w.chance(0.2)
	return r
}

func (w *Workload) filter() *metadatav1.Filter {
	switch w.rng.IntN(7) {
	case 0:
		return &metadatav1.Filter{Streams: []metadatav1.Stream{pick(w, positioned)}}
	case 1:
		return &metadatav1.Filter{Kinds: []metadatav1.ObjectKind{metadatav1.ObjectKind(1 + w.rng.IntN(4)), metadatav1.ObjectKind(1 + w.rng.IntN(4))}}
	case 2:
		return &metadatav1.Filter{Tables: []string{w.table(), w.table()}}
	case 3:
		return &metadatav1.Filter{Namespaces: []string{w.namespace()}}
	case 4:
		return &metadatav1.Filter{Nodes: []string{w.host()}}
	case 5:
		f := &metadatav1.Filter{Nodes: []string{w.host()}, Kinds: []metadatav1.ObjectKind{metadatav1.ObjectKind_OBJECT_KIND_SHARD}}
		if s := w.shard(); s != nil {
			f.Shards = []uint64{s.GetShardId()}
		}
		return f
	}
	return nil
}

// Learn takes what an answer says. Errors are learnt from, too: a version that did
// not match is forgotten.
func (w *Workload) Learn(o *Op) {
	if !o.answered() {
		if o.Reason == versionMismatch || o.Reason == notFound {
			w.forget(o.Request)
		}
		return
	}
	if p := positionOf(o.Response); p != nil {
		w.positions[o.Client] = merge(w.positions[o.Client], p)
	}
	switch r := o.Response.(type) {
	case *metadatav1.CreateTableResponse:
		w.learnTable(r.GetTable())
	case *metadatav1.AlterTableResponse:
		w.learnTable(r.GetTable())
	case *metadatav1.GetTableResponse:
		w.learnTable(r.GetTable())
	case *metadatav1.ListTablesResponse:
		for _, t := range r.GetTables() {
			w.learnTable(t)
		}
	case *metadatav1.RegisterNodeResponse:
		w.epochs[r.GetNode().GetNodeId()] = r.GetNode().GetEpoch()
	case *metadatav1.GetNodeResponse:
		w.epochs[r.GetNode().GetNodeId()] = r.GetNode().GetEpoch()
	case *metadatav1.UpdateShardMapResponse:
		for _, id := range r.GetRemovedShardIds() {
			w.forgetShard(id)
		}
		for _, s := range r.GetShards() {
			w.forgetShard(s.GetShardId())
			w.shards = append(w.shards, s)
		}
	case *metadatav1.ListShardsResponse:
		for _, s := range r.GetShards() {
			w.forgetShard(s.GetShardId())
			w.shards = append(w.shards, s)
		}
	}
}

// merge returns the position that is at least both.
func merge(a, b *metadatav1.Position) *metadatav1.Position {
	m := proto.CloneOf(b)
	m.SchemaRevision = max(a.GetSchemaRevision(), b.GetSchemaRevision())
	m.TopologyRevision = max(a.GetTopologyRevision(), b.GetTopologyRevision())
	return m
}

func (w *Workload) learnTable(t *metadatav1.TableSchema) {
	w.versions[tableKey(t.GetNamespace(), t.GetName())] = t.GetVersion()
	if !slices.Contains(w.tableIDs, t.GetTableId()) {
		w.tableIDs = append(w.tableIDs, t.GetTableId())
	}
	if len(w.tableIDs) > maxRemembered {
		w.tableIDs = w.tableIDs[1:]
	}
}

// maxRemembered bounds what a workload remembers of each kind.
const maxRemembered = 16

// forget drops what turned out wrong.
func (w *Workload) forget(request proto.Message) {
	switch r := request.(type) {
	case *metadatav1.AlterTableRequest:
		delete(w.versions, tableKey(r.GetTable().GetNamespace(), r.GetTable().GetName()))
	case *metadatav1.UpdateShardMapRequest:
		for _, c := range r.GetChanges() {
			w.forgetShard(c.GetSplit().GetShardId())
			w.forgetShard(c.GetMove().GetShardId())
			w.forgetShard(c.GetDelete().GetShardId())
			for _, id := range c.GetMerge().GetShardIds() {
				w.forgetShard(id)
			}
		}
	}
}

func (w *Workload) forgetShard(id uint64) {
	w.shards = slices.DeleteFunc(w.shards, func(s *metadatav1.ShardInfo) bool { return s.GetShardId() == id })
}

func (w *Workload) chance(p float64) bool { return w.rng.Float64() < p }

func pick[T any](w *Workload, from []T) T { return from[w.rng.IntN(len(from))] }
