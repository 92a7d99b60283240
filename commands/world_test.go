package commands_test

import (
	"bytes"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/commands"
	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/internal/failure"
	"github.com/heliosdb/metadata/projections"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// start is the leader's clock at the beginning of every test.
var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// world is all streams as a leader sees them, with what the laws need to be
// checked after each step.
type world struct {
	schema   *projections.Schema
	topology *projections.Topology
	service  *projections.Service
	now      time.Time

	shardEpochs map[uint64]uint64 // the last epoch seen of each shard
	nodeEpoch   uint64            // the last one seen of any node
	consumers   map[string]*metadatav1.Consumer
	floors      map[metadatav1.Stream]uint64
}

func newWorld() *world {
	cluster := events.ClusterID{1}
	return &world{
		schema:      projections.NewSchema(cluster, 0),
		topology:    projections.NewTopology(cluster, 0),
		service:     projections.NewService(cluster, 0),
		now:         start,
		shardEpochs: make(map[uint64]uint64),
		consumers:   make(map[string]*metadatav1.Consumer),
		floors:      make(map[metadatav1.Stream]uint64),
	}
}

// tb is what *testing.T and *rapid.T have in common.
type tb interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// try decides a command on its stream, and checks what holds for every decision:
// deciding again gives the same bytes, nothing was changed by deciding, a
// rejection is typed and never a bug, and the change fits behind the model.
func (w *world) try(t tb, env commands.Env, cmd proto.Message) (commands.Decision, error) {
	t.Helper()
	decide := func() (commands.Decision, error) { return commands.Schema(w.schema, env, cmd) }
	switch stream, _ := commands.StreamOf(cmd); stream {
	case metadatav1.Stream_STREAM_TOPOLOGY:
		decide = func() (commands.Decision, error) { return commands.Topology(w.topology, env, cmd) }
	case metadatav1.Stream_STREAM_SERVICE:
		decide = func() (commands.Decision, error) { return commands.Service(w.service, env, cmd) }
	}
	before := proto.Clone(cmd)
	hashes := w.hashes()
	d, err := decide()
	again, errAgain := decide()
	if !proto.Equal(before, cmd) {
		t.Fatalf("deciding changed the command %T", cmd)
	}
	if w.hashes() != hashes {
		t.Fatalf("deciding %T changed the model", cmd)
	}
	if err != nil {
		if e := failure.As(err); e == nil || e.Reason == 0 || e.Reason == metadatav1.ErrorReason_ERROR_REASON_INTERNAL {
			t.Fatalf("%T is rejected with %v", cmd, err)
		}
		if errAgain == nil || errAgain.Error() != err.Error() {
			t.Fatalf("rejected differently: %v, then %v", err, errAgain)
		}
		return d, err
	}
	if errAgain != nil || !proto.Equal(d.Reply, again.Reply) || (d.Change == nil) != (again.Change == nil) ||
		d.Change != nil && !bytes.Equal(d.Change.Raw(), again.Change.Raw()) {
		t.Fatalf("%T was decided differently the second time: %v", cmd, errAgain)
	}
	return d, nil
}

func (w *world) hashes() [3][32]byte {
	return [3][32]byte{w.schema.Hash(), w.topology.Hash(), w.service.Hash()}
}

// fold makes a change of any stream take effect, as it would come out of the
// log.
func (w *world) fold(c *events.Change) {
	if c == nil {
		return
	}
	logged, err := events.DecodeChange(bytes.Clone(c.Raw()))
	if err != nil {
		panic(err)
	}
	switch c.Stream() {
	case metadatav1.Stream_STREAM_SCHEMA:
		w.schema = w.schema.Fold(logged)
	case metadatav1.Stream_STREAM_TOPOLOGY:
		w.topology = w.topology.Fold(logged)
	default:
		w.service = w.service.Fold(logged)
	}
}

// check holds the models against the laws: names and ranges are unique, what
// names something names what exists, epochs grow.
func (w *world) check(t tb) {
	t.Helper()
	w.checkSchema(t)
	w.checkTopology(t)
	w.checkService(t)
}

func (w *world) checkSchema(t tb) {
	t.Helper()
	names := make(map[[2]string]bool)
	for table := range w.schema.Model.TablesByID(0) {
		m := table.Message()
		name := [2]string{m.Namespace, m.Name}
		if names[name] {
			t.Errorf("two tables are called %v", name)
		}
		names[name] = true
		namespace, ok := w.schema.Model.Namespace(m.Namespace)
		if !ok || namespace.ID() != m.NamespaceId {
			t.Errorf("table %v is in a namespace that does not exist", name)
		}
		if !w.schema.Model.UsedTableID(m.TableId) || m.Version == 0 || m.UpdatedRevision > w.schema.Head.Revision {
			t.Errorf("table %v has id %d, version %d, revision %d", name, m.TableId, m.Version, m.UpdatedRevision)
		}
		checkColumns(t, m)
	}
}

func checkColumns(t tb, m *metadatav1.TableSchema) {
	t.Helper()
	names, ids := make(map[string]bool), make(map[uint32]bool)
	for _, id := range m.RetiredColumnIds {
		ids[id] = true
	}
	for _, c := range m.Columns {
		if names[c.Name] || ids[c.ColumnId] || c.ColumnId == 0 {
			t.Errorf("table %s: column %d %s is there twice", m.Name, c.ColumnId, c.Name)
		}
		names[c.Name], ids[c.ColumnId] = true, true
	}
	for _, key := range m.PrimaryKey {
		if !names[key] {
			t.Errorf("table %s: primary key %s is no column", m.Name, key)
		}
	}
}

func (w *world) checkTopology(t tb) {
	t.Helper()
	m := w.topology.Model
	epochs := make(map[uint64]bool)
	newest := w.nodeEpoch
	for n := range m.Nodes("") {
		if epochs[n.Epoch()] || n.Epoch() == 0 || n.Epoch() > m.LastNodeEpoch() {
			t.Errorf("node %s has epoch %d, the last one given is %d", n.ID(), n.Epoch(), m.LastNodeEpoch())
		}
		epochs[n.Epoch()] = true
		newest = max(newest, n.Epoch())
		if lives, ok := m.Liveness.Node(n.ID()); !ok || lives.Status != n.Status() {
			t.Errorf("node %s is %v to the topology and %v to the liveness", n.ID(), n.Status(), lives.Status)
		}
	}
	if m.LastNodeEpoch() < w.nodeEpoch {
		t.Errorf("the last node epoch went back from %d to %d", w.nodeEpoch, m.LastNodeEpoch())
	}
	w.nodeEpoch = newest
	var behind []byte // end of the shard before
	first := true
	for s := range m.Shards(nil) {
		if !first && (len(behind) == 0 || bytes.Compare(s.Start(), behind) < 0) {
			t.Errorf("shard %d begins at %q, before the end %q of the one before", s.ID(), s.Start(), behind)
		}
		first, behind = false, s.End()
		if s.Epoch() < w.shardEpochs[s.ID()] || s.Version() == 0 {
			t.Errorf("shard %d went from epoch %d to %d", s.ID(), w.shardEpochs[s.ID()], s.Epoch())
		}
		w.shardEpochs[s.ID()] = s.Epoch()
		for _, id := range []string{s.Primary(), s.Mirror(), s.Witness()} {
			n, ok := m.Node(id)
			if id != "" && (!ok || n.Type() != metadatav1.NodeType_NODE_TYPE_STORAGE) {
				t.Errorf("shard %d names %q, which is no storage node", s.ID(), id)
			}
		}
	}
}

// inhabited is a world in which commands find something.
func inhabited(t tb) *world {
	w := newWorld()
	for _, cmd := range []proto.Message{
		&metadatav1.CreateNamespaceRequest{Namespace: &metadatav1.Namespace{Name: "sales"}},
		&metadatav1.CreateTableRequest{Table: wide("t", 3, 1)},
		&metadatav1.CreateTableRequest{Table: wide("u", 3, 1)},
		registerStorage("n"), registerStorage("n1"), registerStorage("n2"),
		putShards(&metadatav1.KeyRange{}),
		split([]byte("k"), []byte("p")),
		&metadatav1.CreateConsumerRequest{Consumer: &metadatav1.Consumer{Name: "c"}},
		&metadatav1.CreateConsumerRequest{Consumer: &metadatav1.Consumer{Name: "c1", Filter: onlySchema()}},
		&metadatav1.OpenConsumerRequest{Name: "c"},
		signed(metadatav1.Stream_STREAM_SCHEMA, 2),
	} {
		d, err := w.try(t, commands.Env{Now: start}, cmd)
		if err != nil {
			t.Fatalf("%v", err)
		}
		w.fold(d.Change)
	}
	return w
}

func registerStorage(id string) *metadatav1.RegisterNodeRequest {
	return &metadatav1.RegisterNodeRequest{Node: &metadatav1.NodeInfo{
		NodeId: id, Addr: "h:1", Incarnation: "x", NodeType: metadatav1.NodeType_NODE_TYPE_STORAGE,
	}}
}
