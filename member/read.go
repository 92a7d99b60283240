package member

import (
	"context"

	"github.com/heliosdb/metadata/internal/failure"
	"github.com/heliosdb/metadata/projections"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/replica"
)

// Schema returns the schema model, as fresh as the options ask for.
func (m *Member) Schema(ctx context.Context, o *metadatav1.ReadOptions) (*projections.Schema, error) {
	r, err := m.awaitRunning(ctx)
	if err != nil {
		return nil, err
	}
	return view(ctx, m, r.schema, o, o.GetAtLeast().GetSchemaRevision())
}

// Topology returns the topology model, as fresh as the options ask for.
func (m *Member) Topology(ctx context.Context, o *metadatav1.ReadOptions) (*projections.Topology, error) {
	r, err := m.awaitRunning(ctx)
	if err != nil {
		return nil, err
	}
	return view(ctx, m, r.topology, o, o.GetAtLeast().GetTopologyRevision())
}

// Service returns the model of the service stream. Positions do not cover it: AT_LEAST is
// LINEARIZABLE.
func (m *Member) Service(ctx context.Context, o *metadatav1.ReadOptions) (*projections.Service, error) {
	r, err := m.awaitRunning(ctx)
	if err != nil {
		return nil, err
	}
	if o.GetConsistency() == metadatav1.Consistency_CONSISTENCY_AT_LEAST {
		o = nil
	}
	return view(ctx, m, r.service, o, 0)
}

// view returns a stream's model at a consistency.
func view[D projections.Domain[D]](
	ctx context.Context, m *Member, s *stream[D], o *metadatav1.ReadOptions, atLeast uint64,
) (*projections.State[D], error) {
	if p := o.GetAtLeast(); p != nil {
		if err := m.checkOrigin(p); err != nil {
			return nil, err
		}
	}
	switch o.GetConsistency() {
	case metadatav1.Consistency_CONSISTENCY_LOCAL:
		return s.replica.View(), nil
	case metadatav1.Consistency_CONSISTENCY_AT_LEAST:
		if o.GetAtLeast() == nil {
			return nil, failure.InvalidField("read.at_least", "AT_LEAST without a position; name the one to wait for, or use LOCAL")
		}
		if v := s.replica.View(); v.Head.Revision >= atLeast {
			return v, nil
		}
		state, _, err := s.read(ctx, replica.Read[D]{AtLeast: atLeast})
		return state, err
	case metadatav1.Consistency_CONSISTENCY_UNSPECIFIED, metadatav1.Consistency_CONSISTENCY_LINEARIZABLE:
		state, _, err := s.read(ctx, replica.Read[D]{})
		return state, err
	}
	return nil, failure.InvalidField("read.consistency", "%v is not a consistency; use LINEARIZABLE, AT_LEAST or LOCAL", o.GetConsistency())
}

// checkOrigin refuses positions of another cluster or of another life of it.
func (m *Member) checkOrigin(p *metadatav1.Position) error {
	if id := p.GetClusterId(); id != "" && id != m.cluster.String() {
		return foreign("cluster", m.cluster, id)
	}
	if e := p.GetRecoveryEpoch(); p.GetClusterId() != "" && e != m.identity.RecoveryEpoch {
		return foreign("recovery epoch", m.identity.RecoveryEpoch, e)
	}
	return nil
}

// position returns what has been applied by now.
func (r *running) position() *metadatav1.Position {
	schema, topology := r.schema.replica.View().Head, r.topology.replica.View().Head
	return &metadatav1.Position{
		ClusterId: schema.Cluster.String(), RecoveryEpoch: schema.RecoveryEpoch,
		SchemaRevision: schema.Revision, TopologyRevision: topology.Revision,
	}
}

// revision returns what has been applied of one stream by now.
func (r *running) revision(id metadatav1.Stream) uint64 {
	switch id {
	case metadatav1.Stream_STREAM_TOPOLOGY:
		return r.topology.replica.View().Head.Revision
	case metadatav1.Stream_STREAM_SERVICE:
		return r.service.replica.View().Head.Revision
	}
	return r.schema.replica.View().Head.Revision
}

// completePosition adds to a position that knows one stream what has been applied of
// the other. One that knows neither stays as it is.
func (r *running) completePosition(p *metadatav1.Position, known metadatav1.Stream) {
	switch known {
	case metadatav1.Stream_STREAM_SCHEMA:
		p.TopologyRevision = r.revision(metadatav1.Stream_STREAM_TOPOLOGY)
	case metadatav1.Stream_STREAM_TOPOLOGY:
		p.SchemaRevision = r.revision(metadatav1.Stream_STREAM_SCHEMA)
	}
}

// Position returns what this member has applied by now.
func (m *Member) Position() *metadatav1.Position {
	if r := m.running.Load(); r != nil {
		return r.position()
	}
	return &metadatav1.Position{ClusterId: m.cluster.String(), RecoveryEpoch: m.identity.RecoveryEpoch}
}
