package member

import (
	"context"

	"github.com/heliosdb/metadata/history"
	"github.com/heliosdb/metadata/history/objects"
	"github.com/heliosdb/metadata/history/stored"
	"github.com/heliosdb/metadata/projections"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// History returns what this member has of a stream's past. It is good until the member stops
// or goes into quarantine; its failures say so then.
func (m *Member) History(ctx context.Context, stream metadatav1.Stream) (history.Live, error) {
	r, err := m.awaitRunning(ctx)
	if err != nil {
		return nil, err
	}
	return r.pastOf(stream).live(), nil
}

// VerifyHistory reads everything that this member keeps of a stream and follows the digest
// chain through it, see history.Verify.
func (m *Member) VerifyHistory(ctx context.Context, stream metadatav1.Stream, progress history.Progress) (history.Verified, error) {
	r, err := m.awaitRunning(ctx)
	if err != nil {
		return history.Verified{}, err
	}
	return history.Verify(ctx, stored.NewVerified(r.pastOf(stream).live()), history.VerifyOptions{Progress: progress})
}

// Objects returns the log of a stream's objects, as long as History.
func (m *Member) Objects(ctx context.Context, stream metadatav1.Stream) (*objects.Log, error) {
	r, err := m.awaitRunning(ctx)
	if err != nil {
		return nil, err
	}
	return r.pastOf(stream).objects(), nil
}

// SchemaAt returns the schema model behind the change of a revision, or the newest one for
// history.Now, see history.Models.
func (m *Member) SchemaAt(ctx context.Context, revision uint64) (*projections.Schema, error) {
	r, err := m.awaitRunning(ctx)
	if err != nil {
		return nil, err
	}
	return r.pasts.schema.at(ctx, revision)
}

// TopologyAt returns the topology model, likewise.
func (m *Member) TopologyAt(ctx context.Context, revision uint64) (*projections.Topology, error) {
	r, err := m.awaitRunning(ctx)
	if err != nil {
		return nil, err
	}
	return r.pasts.topology.at(ctx, revision)
}

// ServiceAt returns the model of the service stream, likewise.
func (m *Member) ServiceAt(ctx context.Context, revision uint64) (*projections.Service, error) {
	r, err := m.awaitRunning(ctx)
	if err != nil {
		return nil, err
	}
	return r.pasts.service.at(ctx, revision)
}
