package member

import (
	"context"
	"sync"

	"github.com/heliosdb/metadata/feed"
	"github.com/heliosdb/metadata/leases"
	"github.com/heliosdb/metadata/projections"
	"github.com/heliosdb/metadata/projections/schema"
	"github.com/heliosdb/metadata/projections/service"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// running is what exists while the streams run: from genesis to the member's end, or
// to a quarantine. Adding a stream means a field here and a line in newRunning.
type running struct {
	ctx    context.Context // ends with the streams
	cancel context.CancelCauseFunc
	jobs   sync.WaitGroup // beside the streams, and over before the storage is touched
	writer *writer
	// condemned is final when the streams and jobs are over.
	condemned condemnation

	schema   *stream[*schema.Model]
	topology *stream[*projections.TopologyModel]
	service  *stream[*service.Model]
	pasts    struct {
		schema   *past[*schema.Model]
		topology *past[*projections.TopologyModel]
		service  *past[*service.Model]
	}
	feed   *feed.Feed
	leases *leases.Table
	beats  *beatForwarder
	held   heldBack
	// overdue: heads that nobody signs.
	overdue overdue
}

// awaitRunning returns what runs; a call that comes too early waits a little.
func (m *Member) awaitRunning(ctx context.Context) (*running, error) {
	if r := m.running.Load(); r != nil {
		return r, nil
	}
	ctx, cancel := context.WithTimeout(ctx, submitPatience)
	defer cancel()
	for {
		changed := m.changed.next()
		if r := m.running.Load(); r != nil {
			return r, nil
		}
		if m.quarantine.Load() != nil {
			return nil, m.notRunning()
		}
		select {
		case <-changed:
		case <-m.ctx.Done():
			return nil, m.notRunning()
		case <-ctx.Done():
			return nil, m.notRunning()
		}
	}
}

// all returns the streams in order of their numbers.
func (r *running) all() []streamer { return []streamer{r.schema, r.topology, r.service} }

// floor returns where the history of a stream begins, as the service stream has it on
// this member.
func (r *running) floor(id metadatav1.Stream) service.Floor {
	return r.service.replica.View().Model.Floor(id)
}

// of returns one stream.
func (r *running) of(id metadatav1.Stream) streamer {
	switch id {
	case metadatav1.Stream_STREAM_TOPOLOGY:
		return r.topology
	case metadatav1.Stream_STREAM_SERVICE:
		return r.service
	}
	return r.schema
}
