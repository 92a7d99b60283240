package consume

import (
	"fmt"

	"github.com/heliosdb/metadata/events"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// Delivery is a change as a consumer gets it.
type Delivery struct {
	// ClusterID is the cluster that the change is of, 32 hexadecimal digits.
	ClusterID string
	// RecoveryEpoch is the cluster's.
	RecoveryEpoch uint64
	// Stream is the stream that the change is of.
	Stream metadatav1.Stream
	// Change is what happened. It is the consumer's to keep.
	Change *metadatav1.Change

	size int // of Change, encoded
}

// ID names the change for ever: "{cluster}/{recovery epoch}/{stream}/{revision}". A change
// that is delivered again has the same one.
func (d Delivery) ID() string {
	return fmt.Sprintf("%s/%d/%s/%d", d.ClusterID, d.RecoveryEpoch, events.StreamName(d.Stream), d.Change.GetRevision())
}
