// Package projections is what is true: the state of a stream at one revision,
// folded from its changes, and the way of that state into a checkpoint and back.
//
// A [State] is a head (where in the log it stands), the window of remembered
// request ids, and the stream's model ([schema.Model], [TopologyModel] or
// [service.Model]). It is an immutable value: readers take it without locks and
// keep it as long as they like; folding makes a new one that shares almost
// everything with the old.
//
// There is one fold for members, client caches, replay tools and simulations. It
// reads no clock, no randomness and no map order, so the same log makes the same
// bytes however it is cut into batches. It cannot reject: a change that does not
// fit is a bug, and panics with a [*FoldError], which ends the member.
//
// The package does no input or output, and decides nothing.
package projections

import (
	"time"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/projections/internal/fold"
	"github.com/heliosdb/metadata/projections/schema"
	"github.com/heliosdb/metadata/projections/service"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// FoldError is the panic of a fold that met a change it cannot apply.
type FoldError = fold.Error

// Restorer builds a model from the records of a checkpoint.
type Restorer[D any] = fold.Restorer[D]

// Domain is the model of a stream.
type Domain[D any] interface {
	// Fold returns the model after some changes, given in order. It does not
	// change its receiver.
	Fold(changes ...*events.Change) D
	// Begin returns a private copy to apply events to.
	Begin() ModelDraft[D]
	// Size returns about how many bytes a checkpoint of the model has. It is the same
	// for equal models.
	Size() int
	// Export yields the model's checkpoint records; each is valid until yield
	// returns.
	Export(yield func(record []byte) error) error
	// Restorer returns a restorer of models of this kind.
	Restorer() Restorer[D]
}

// Schema is the state of the schema stream.
type Schema = State[*schema.Model]

// Topology is the state of the topology stream.
type Topology = State[*TopologyModel]

// Service is the state of the service stream.
type Service = State[*service.Model]

// Head says where in its log a state stands.
type Head struct {
	Stream        metadatav1.Stream
	Cluster       events.ClusterID
	RecoveryEpoch uint64
	Revision      uint64        // of the last change; 0: none yet
	Digest        events.Digest // of the stream up to Revision
	Time          time.Time     // of the last change, in UTC; zero: none yet
	FeatureLevel  uint32        // of the stream
}

// State is a stream at one revision.
type State[D Domain[D]] struct {
	Head     Head
	Requests Requests
	Model    D
}

// NewSchema returns the schema stream before its first change.
func NewSchema(cluster events.ClusterID, recoveryEpoch uint64) *Schema {
	return newState(metadatav1.Stream_STREAM_SCHEMA, cluster, recoveryEpoch, schema.New())
}

// NewTopology returns the topology stream before its first change.
func NewTopology(cluster events.ClusterID, recoveryEpoch uint64) *Topology {
	return newState(metadatav1.Stream_STREAM_TOPOLOGY, cluster, recoveryEpoch, newTopologyModel())
}

// NewService returns the service stream before its first change.
func NewService(cluster events.ClusterID, recoveryEpoch uint64) *Service {
	return newState(metadatav1.Stream_STREAM_SERVICE, cluster, recoveryEpoch, service.New())
}

func newState[D Domain[D]](s metadatav1.Stream, c events.ClusterID, epoch uint64, model D) *State[D] {
	return &State[D]{
		Head: Head{
			Stream:        s,
			Cluster:       c,
			RecoveryEpoch: epoch,
			Digest:        events.FirstDigest(c, s),
			FeatureLevel:  1,
		},
		Requests: newRequests(),
		Model:    model,
	}
}

// Fold returns the state after one more change. It panics with a [*FoldError] if
// the change does not follow: another stream, a gap or repetition in the
// revisions, a time before the last change's, or an event that does not fit.
func (s *State[D]) Fold(c *events.Change) *State[D] {
	d := s.Draft()
	d.Fold(c)
	return d.Freeze()
}

// FoldAll returns the state after several changes, given in order: the same as
// Fold one by one, but the maps are copied once.
func (s *State[D]) FoldAll(changes []*events.Change) *State[D] {
	d := s.Draft()
	for _, c := range changes {
		d.Fold(c)
	}
	return d.Freeze()
}

// advance moves the head over a change.
func (s *State[D]) advance(c *events.Change) {
	h := &s.Head
	switch {
	case c.Stream() != h.Stream:
		fold.Fail(h.Stream, c.Revision(), "it is a change of %v", c.Stream())
	case c.Revision() != h.Revision+1:
		fold.Fail(h.Stream, c.Revision(), "the state is at revision %d", h.Revision)
	case c.Time().Before(h.Time):
		fold.Fail(h.Stream, c.Revision(), "its time %v is before %v, that of the last change", c.Time(), h.Time)
	}
	h.Revision = c.Revision()
	h.Digest = h.Digest.Next(c.Raw())
	h.Time = c.Time()
	h.FeatureLevel = max(h.FeatureLevel, c.FeatureLevel())
}
