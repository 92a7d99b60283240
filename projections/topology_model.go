package projections

import (
	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/projections/internal/fold"
	"github.com/heliosdb/metadata/projections/liveness"
	"github.com/heliosdb/metadata/projections/topology"
)

// TopologyModel is the model of the topology stream: nodes and shards, and who
// is alive.
type TopologyModel struct {
	*topology.Model
	Liveness *liveness.Model
}

func newTopologyModel() *TopologyModel {
	return &TopologyModel{topology.New(), liveness.New()}
}

// Fold returns the model after some changes, given in order.
func (m *TopologyModel) Fold(changes ...*events.Change) *TopologyModel {
	return &TopologyModel{m.Model.Fold(changes...), m.Liveness.Fold(changes...)}
}

// Draft returns a private copy to apply events to. It costs next to nothing.
func (m *TopologyModel) Draft() *TopologyDraft {
	nodes, lives := m.Model.Draft(), m.Liveness.Draft()
	return &TopologyDraft{TopologyModel{&nodes.Model, &lives.Model}, nodes, lives}
}

// Begin is Draft for those who do not know the domain.
func (m *TopologyModel) Begin() ModelDraft[*TopologyModel] { return m.Draft() }

// TopologyDraft is a private copy of a model, for deciding several commands on
// top of each other. Read it through TopologyModel, which shows what was applied
// so far. It belongs to one goroutine.
type TopologyDraft struct {
	TopologyModel
	topology *topology.Draft
	liveness *liveness.Draft
}

// Apply folds one event of the change with this revision. It panics with a
// [*FoldError] if the event does not fit the model.
func (d *TopologyDraft) Apply(e events.Event, revision uint64) {
	d.topology.Apply(e, revision)
	d.liveness.Apply(e, revision)
}

// View returns the model as it is.
func (d *TopologyDraft) View() *TopologyModel { return &d.TopologyModel }

// Freeze returns what the draft holds as a model of its own. The draft can be
// used on.
func (d *TopologyDraft) Freeze() *TopologyModel {
	return &TopologyModel{d.topology.Freeze(), d.liveness.Freeze()}
}

// objectBytes is about what a node or a shard takes in a checkpoint.
const objectBytes = 256

// Size returns about how many bytes a checkpoint of the model has. It is the same for
// equal models.
func (m *TopologyModel) Size() int { return objectBytes * (m.NodeCount() + m.ShardCount()) }

// Export yields the records of a checkpoint. Liveness needs none of its own: it
// follows from the nodes.
func (m *TopologyModel) Export(yield func(record []byte) error) error {
	return m.Model.Export(yield)
}

// Restorer returns a restorer of models from what Export yields. The model that
// it is called on does not matter.
func (m *TopologyModel) Restorer() Restorer[*TopologyModel] {
	return &topologyRestorer{(*topology.Model)(nil).Restorer(), liveness.New().Draft()}
}

type topologyRestorer struct {
	topology Restorer[*topology.Model]
	liveness *liveness.Draft
}

func (r *topologyRestorer) Restore(record []byte) error {
	if err := r.topology.Restore(record); err != nil {
		return err
	}
	num, _, value, err := fold.SplitRecord(record)
	if err != nil || num != fold.RecordNode {
		return err
	}
	return r.liveness.Put(value)
}

func (r *topologyRestorer) Done() (*TopologyModel, error) {
	m, err := r.topology.Done()
	if err != nil {
		return nil, err
	}
	return &TopologyModel{m, r.liveness.Freeze()}, nil
}
