package feed

import (
	"github.com/heliosdb/metadata/internal/failure"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// revisionOf returns a position's component for a stream.
func revisionOf(p *metadatav1.Position, s metadatav1.Stream) uint64 {
	switch s {
	case metadatav1.Stream_STREAM_SCHEMA:
		return p.GetSchemaRevision()
	case metadatav1.Stream_STREAM_TOPOLOGY:
		return p.GetTopologyRevision()
	}
	return 0
}

// setRevision sets a position's component for a stream.
func setRevision(p *metadatav1.Position, s metadatav1.Stream, revision uint64) {
	switch s {
	case metadatav1.Stream_STREAM_SCHEMA:
		p.SchemaRevision = revision
	case metadatav1.Stream_STREAM_TOPOLOGY:
		p.TopologyRevision = revision
	}
}

// position returns the position whose every component is 0.
func (f *Feed) position() *metadatav1.Position {
	return &metadatav1.Position{ClusterId: f.options.Cluster.String(), RecoveryEpoch: f.options.RecoveryEpoch}
}

// checkOrigin returns a FOREIGN_POSITION failure if a position was not issued in
// this cluster and recovery epoch. A position that names neither is anybody's.
func (f *Feed) checkOrigin(p *metadatav1.Position) error {
	cluster, epoch := p.GetClusterId(), p.GetRecoveryEpoch()
	if cluster == "" && epoch == 0 {
		return nil
	}
	own := f.position()
	if cluster != "" && cluster != own.ClusterId {
		return failure.New(metadatav1.ErrorReason_ERROR_REASON_FOREIGN_POSITION,
			"the position belongs to cluster %q, this is cluster %q; start from a snapshot", cluster, own.ClusterId)
	}
	if epoch != own.RecoveryEpoch {
		return failure.New(metadatav1.ErrorReason_ERROR_REASON_FOREIGN_POSITION,
			"the position belongs to recovery epoch %d, the cluster is in epoch %d; start from a snapshot", epoch, own.RecoveryEpoch)
	}
	return nil
}
