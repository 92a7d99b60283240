package consistency

import (
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/events"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// trial is a history and a truth, prepared for the checks.
type trial struct {
	*History
	truth  Truth
	lines  map[metadatav1.Stream]*timeline
	writes []*write // in order of beginning
	byID   map[requestKey]*write
}

// requestKey names a write. Each stream remembers request ids of its own.
type requestKey struct {
	stream metadatav1.Stream
	id     string
}

// write is all operations with one request id: one logical write, of which at most
// one takes effect.
type write struct {
	id     string // empty: it had none, and is alone
	stream metadatav1.Stream
	ops    []*Op
	began  time.Duration  // when the first of them did
	change *events.Change // in the truth; nil: none
}

// newTrial prepares the checks. A truth that is no history is a violation, and
// then there is nothing else to check.
func newTrial(h *History, truth Truth) (*trial, []Violation) {
	c := &trial{History: h, truth: truth, lines: make(map[metadatav1.Stream]*timeline), byID: make(map[requestKey]*write)}
	var found []Violation
	for _, s := range streams {
		line, violations := newTimeline(s, truth)
		c.lines[s] = line
		found = append(found, violations...)
	}
	if len(found) > 0 {
		return nil, found
	}
	c.gatherWrites()
	for _, s := range streams {
		c.lines[s].bound(c)
	}
	return c, nil
}

// gatherWrites groups the writes by request id and finds their changes.
func (c *trial) gatherWrites() {
	for _, o := range c.ops {
		stream := streamOf(o.Request)
		if !isWrite(o.Request) {
			continue
		}
		id := optionsOf(o.Request).GetRequestId()
		key := requestKey{stream, id}
		w := c.byID[key]
		if id == "" || w == nil {
			w = &write{id: id, stream: stream, began: o.Began}
			c.writes = append(c.writes, w)
		}
		if id != "" {
			c.byID[key] = w
			w.change = c.lines[stream].byRequest[id]
		} else if r, changed := o.changed(); changed {
			w.change = c.lines[stream].change(r)
		}
		w.ops = append(w.ops, o)
		w.began = min(w.began, o.Began)
	}
}

// writer returns the write that an operation belongs to.
func (c *trial) writer(o *Op) *write {
	if id := optionsOf(o.Request).GetRequestId(); id != "" {
		return c.byID[requestKey{streamOf(o.Request), id}]
	}
	for _, w := range c.writes {
		if w.ops[0] == o {
			return w
		}
	}
	return nil
}

// acked returns when somebody first heard that the write took effect; never, if
// nobody did.
func (w *write) acked() time.Duration {
	at := never
	for _, o := range w.ops {
		if _, changed := o.changed(); changed {
			at = min(at, o.Ended)
		}
	}
	return at
}

// revision returns that of the write's change; 0: it has none.
func (w *write) revision() uint64 {
	if w == nil || w.change == nil {
		return 0
	}
	return w.change.Revision()
}

// changed returns the revision that an answer says the write had, 0 if it does not say;
// false if the answer is another one.
func (o *Op) changed() (revision uint64, ok bool) {
	r := resultOf(o.Response)
	if !o.answered() || r == nil || !r.GetChanged() || optionsOf(o.Request).GetDryRun() && !r.GetDeduplicated() {
		return 0, false
	}
	if s := streamOf(o.Request); s != serviceStream {
		return revisionOf(r.GetPosition(), s), true
	}
	if _, gone := o.Response.(*metadatav1.DeleteConsumerResponse); gone {
		return 0, true
	}
	return consumerOf(o.Response).GetUpdatedRevision(), true
}

// isWrite reports whether a request is a command.
func isWrite(request proto.Message) bool {
	_, ok := request.(interface {
		GetWrite() *metadatav1.WriteOptions
	})
	return ok
}

// optionsOf returns a command's options; nil for a read.
func optionsOf(request proto.Message) *metadatav1.WriteOptions {
	if w, ok := request.(interface {
		GetWrite() *metadatav1.WriteOptions
	}); ok {
		return w.GetWrite()
	}
	return nil
}

// readOptionsOf returns a read's options; nil for a write.
func readOptionsOf(request proto.Message) *metadatav1.ReadOptions {
	if r, ok := request.(interface {
		GetRead() *metadatav1.ReadOptions
	}); ok {
		return r.GetRead()
	}
	return nil
}

// resultOf returns an answer's result; nil if it is not the answer to a write.
func resultOf(response proto.Message) *metadatav1.WriteResult {
	if r, ok := response.(interface {
		GetResult() *metadatav1.WriteResult
	}); ok {
		return r.GetResult()
	}
	return nil
}

// positionOf returns the position that an answer names; nil: none.
func positionOf(response proto.Message) *metadatav1.Position {
	if r := resultOf(response); r != nil {
		return r.GetPosition()
	}
	if r, ok := response.(interface{ GetPosition() *metadatav1.Position }); ok {
		return r.GetPosition()
	}
	return nil
}

// streamOf returns the stream that a request asks or changes.
func streamOf(request proto.Message) metadatav1.Stream {
	switch r := request.(type) {
	case *metadatav1.CreateNamespaceRequest, *metadatav1.DropNamespaceRequest, *metadatav1.ListNamespacesRequest,
		*metadatav1.CreateTableRequest, *metadatav1.AlterTableRequest, *metadatav1.DropTableRequest,
		*metadatav1.GetTableRequest, *metadatav1.ListTablesRequest:
		return schemaStream
	case *metadatav1.CreateConsumerRequest, *metadatav1.OpenConsumerRequest, *metadatav1.AcknowledgeConsumerRequest,
		*metadatav1.DeleteConsumerRequest, *metadatav1.GetConsumerRequest:
		return serviceStream
	case *metadatav1.ApplyBatchRequest:
		if len(r.GetCommands()) > 0 {
			return streamOf(commandOf(r.GetCommands()[0]))
		}
	}
	return topologyStream
}

// commandOf returns the command of an element of a batch; nil if it has none.
func commandOf(c *metadatav1.Command) proto.Message {
	m := c.ProtoReflect()
	field := m.WhichOneof(m.Descriptor().Oneofs().ByName("command"))
	if field == nil {
		return nil
	}
	return m.Get(field).Message().Interface()
}

// commandsOf returns the commands of a write: those of a batch, or itself.
func commandsOf(request proto.Message) []proto.Message {
	batch, ok := request.(*metadatav1.ApplyBatchRequest)
	if !ok {
		return []proto.Message{request}
	}
	all := make([]proto.Message, 0, len(batch.GetCommands()))
	for _, c := range batch.GetCommands() {
		all = append(all, commandOf(c))
	}
	return all
}

// revisionOf returns a position's component for a stream; 0 for the service stream, which
// has none.
func revisionOf(p *metadatav1.Position, s metadatav1.Stream) uint64 {
	switch s {
	case schemaStream:
		return p.GetSchemaRevision()
	case topologyStream:
		return p.GetTopologyRevision()
	}
	return 0
}

// nameOf names a stream in reports.
func nameOf(s metadatav1.Stream) string { return events.StreamName(s) }

// broken returns a violation.
func broken(kind Kind, ops []*Op, format string, args ...any) Violation {
	return Violation{Kind: kind, Text: fmt.Sprintf(format, args...), Ops: slices.DeleteFunc(ops, func(o *Op) bool { return o == nil })}
}
