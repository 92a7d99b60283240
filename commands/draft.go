package commands

import (
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/projections"
	"github.com/heliosdb/metadata/projections/schema"
	"github.com/heliosdb/metadata/projections/service"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// recorder gathers the events of one change.
type recorder struct {
	revision uint64                 // that the change will have
	at       time.Time              // when it is decided
	stamp    *timestamppb.Timestamp // the same; shared by all events
	ordinal  uint32                 // of the command within its batch
	events   []events.Event
	size     int // encoded, of events
}

// newRecorder stamps the next change. Time never runs backwards in a stream,
// whatever the leaders' clocks say.
func newRecorder(head projections.Head, now time.Time) recorder {
	now = now.UTC() // drops the monotonic reading too, which no other member could compare
	if now.Before(head.Time) {
		now = head.Time
	}
	return recorder{revision: head.Revision + 1, at: now, stamp: timestamppb.New(now)}
}

func (r *recorder) record(m *metadatav1.Event) events.Event {
	m.Command = r.ordinal
	e := events.New(m)
	r.events = append(r.events, e)
	r.size += len(e.Raw()) + 8
	return e
}

// checkChangeSize keeps changes small enough to be sent in one message.
func (r *recorder) checkChangeSize() error {
	if r.size > MaxChangeBytes {
		return limit("MaxChangeBytes", "the change has %d bytes so far; at most %d are allowed: split the command", r.size, MaxChangeBytes)
	}
	return nil
}

// schemaDraft is the schema that a command sees: the model, in a batch with the
// events recorded so far. Folding those is what lets the commands of a batch see
// each other. The events of a single command are seen by nobody here; whoever
// proposes the change folds it first, so that nothing gets into the log that does
// not fold. The draft of a batch has done that already: it goes into the decision.
type schemaDraft struct {
	recorder
	*schema.Model
	batch bool
	draft *schema.Draft // of a batch, from its first event on
}

func (d *schemaDraft) emit(m *metadatav1.Event) { d.show(d.record(m)) }

// emitTable is emit for an event that can make its table too large.
func (d *schemaDraft) emitTable(what func() string, m *metadatav1.Event) error {
	e := d.record(m)
	if err := checkSize(what, len(e.Object(0))); err != nil {
		return err
	}
	d.show(e)
	return nil
}

// show lets the commands behind an event see it.
func (d *schemaDraft) show(e events.Event) {
	if !d.batch {
		return
	}
	if d.draft == nil {
		d.draft = d.Draft()
		d.Model = d.draft.View()
	}
	d.draft.Apply(e, d.revision)
}

// topologyDraft is the same for nodes and shards.
type topologyDraft struct {
	recorder
	*projections.TopologyDraft
}

func (d *topologyDraft) emit(m *metadatav1.Event) { d.Apply(d.record(m), d.revision) }

// serviceDraft is what a command of the service stream sees. None of them is in a
// batch, so that nobody here sees its events.
type serviceDraft struct {
	recorder
	*service.Model
	head projections.Head
	env  Env
}
