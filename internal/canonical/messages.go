package canonical

import (
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// message appends the fields of a message, or refuses it.
func (w *writer) message(m proto.Message) {
	switch m := m.(type) {
	case *metadatav1.TableSchema:
		if w.refused = m == nil; m != nil {
			w.fields(m)
		}
	case *metadatav1.CreateTableRequest:
		w.createTable(m)
	case *metadatav1.ApplyBatchRequest:
		w.applyBatch(m)
	case *metadatav1.Event:
		w.event(m)
	case *metadatav1.CreateTableResponse:
		w.tableAndResult(m, m.GetTable(), m.GetResult())
	case *metadatav1.AlterTableResponse:
		w.tableAndResult(m, m.GetTable(), m.GetResult())
	case *metadatav1.GetTableResponse:
		w.table(1, m.GetTable())
		w.position(2, m.GetPosition())
		w.after(m)
	case *metadatav1.ApplyBatchResponse:
		w.batchDone(m)
	case *metadatav1.PipelineRequest:
		w.pipelineRequest(m)
	case *metadatav1.PipelineResponse:
		w.pipelineResponse(m)
	default:
		w.refused = true
	}
}

func (w *writer) createTable(m *metadatav1.CreateTableRequest) {
	w.table(1, m.GetTable())
	w.options(2, m.GetWrite())
	w.unknown(m)
}

func (w *writer) applyBatch(m *metadatav1.ApplyBatchRequest) {
	for _, c := range m.GetCommands() {
		command := w.open(1)
		w.command(c)
		w.close(command)
	}
	w.options(2, m.GetWrite())
	w.unknown(m)
}

// command appends the fields of an element of a batch. A command other than
// CreateTable is written by the protobuf module, in the middle of the batch.
func (w *writer) command(c *metadatav1.Command) {
	create, ok := c.GetCommand().(*metadatav1.Command_CreateTable)
	if !ok || create == nil {
		b, err := reflected.MarshalAppend(w.b, c)
		if w.refused = w.refused || err != nil; err == nil {
			w.b = b
		}
		return
	}
	body := w.open(3)
	if create.CreateTable != nil {
		w.createTable(create.CreateTable)
	}
	w.close(body)
	w.unknown(c)
}

func (w *writer) options(num protowire.Number, o *metadatav1.WriteOptions) {
	if o == nil {
		return
	}
	body := w.open(num)
	w.text(1, o.RequestId)
	w.number(2, o.KnownRevision)
	w.flag(3, o.DryRun)
	w.unknown(o)
	w.close(body)
}

// event appends the events about tables. Fields outside of a oneof come first.
func (w *writer) event(m *metadatav1.Event) {
	w.number(99, uint64(m.GetCommand()))
	switch kind := m.GetKind().(type) {
	case *metadatav1.Event_TableCreated:
		body := w.open(3)
		w.table(1, kind.TableCreated.GetTable())
		w.after(kind.TableCreated)
		w.close(body)
	case *metadatav1.Event_TableAltered:
		body := w.open(4)
		w.table(1, kind.TableAltered.GetTable())
		w.text(2, kind.TableAltered.GetPreviousNamespace())
		w.text(3, kind.TableAltered.GetPreviousName())
		w.after(kind.TableAltered)
		w.close(body)
	case *metadatav1.Event_TableDropped:
		body := w.open(5)
		w.table(1, kind.TableDropped.GetTable())
		w.after(kind.TableDropped)
		w.close(body)
	default:
		w.refused = true
		return
	}
	w.unknown(m)
}

// after is unknown for a message that may be missing where its field is set.
func (w *writer) after(m proto.Message) {
	if m.ProtoReflect().IsValid() {
		w.unknown(m)
	}
}

func (w *writer) tableAndResult(m proto.Message, t *metadatav1.TableSchema, r *metadatav1.WriteResult) {
	w.table(1, t)
	w.result(2, r)
	w.after(m)
}

func (w *writer) batchDone(m *metadatav1.ApplyBatchResponse) {
	for _, r := range m.GetResults() {
		body := w.open(1)
		for _, o := range r.GetObjects() {
			w.object(1, o)
		}
		w.after(r)
		w.close(body)
	}
	w.result(2, m.GetResult())
	w.after(m)
}

func (w *writer) object(num protowire.Number, o *metadatav1.ObjectVersion) {
	body := w.open(num)
	if o != nil {
		w.number(1, enum(o.Kind))
		w.number(2, o.Id)
		w.text(3, o.Name)
		w.number(4, o.Version)
		w.flag(5, o.Removed)
		w.unknown(o)
	}
	w.close(body)
}

func (w *writer) result(num protowire.Number, r *metadatav1.WriteResult) {
	if r == nil {
		return
	}
	body := w.open(num)
	w.position(1, r.Position)
	for _, e := range r.Events {
		event := w.open(2)
		if e != nil {
			w.event(e)
		}
		w.close(event)
	}
	w.flag(3, r.Changed)
	w.flag(4, r.Deduplicated)
	w.unknown(r)
	w.close(body)
}

func (w *writer) position(num protowire.Number, p *metadatav1.Position) {
	if p == nil {
		return
	}
	body := w.open(num)
	w.text(1, p.ClusterId)
	w.number(2, p.RecoveryEpoch)
	w.number(3, p.SchemaRevision)
	w.number(4, p.TopologyRevision)
	w.unknown(p)
	w.close(body)
}
