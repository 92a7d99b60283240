package canonical

import (
	"bytes"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// The messages of a Pipeline stream are around every call of the Go client.

func (w *writer) pipelineRequest(m *metadatav1.PipelineRequest) {
	for _, c := range m.GetCalls() {
		call := w.open(1)
		w.number(1, c.GetId())
		w.text(2, c.GetMethod())
		if len(c.GetRequest()) > 0 {
			w.bytes(3, c.GetRequest())
		}
		w.number(4, uint64(c.GetTimeoutMillis()))
		w.after(c)
		w.close(call)
	}
	if len(m.GetCancelled()) > 0 {
		packed := w.open(2)
		for _, id := range m.GetCancelled() {
			w.varint(id)
		}
		w.close(packed)
	}
	w.after(m)
}

func (w *writer) pipelineResponse(m *metadatav1.PipelineResponse) {
	for _, a := range m.GetAnswers() {
		answer := w.open(1)
		w.number(1, a.GetId())
		switch outcome := a.GetOutcome().(type) {
		case *metadatav1.PipelineAnswer_Response:
			w.bytes(2, a.GetResponse())
		case *metadatav1.PipelineAnswer_Error:
			failed := w.open(3)
			b, err := reflected.MarshalAppend(w.b, a.GetError())
			if w.refused = w.refused || err != nil || outcome == nil; err == nil {
				w.b = b
			}
			w.close(failed)
		}
		w.after(a)
		w.close(answer)
	}
	w.after(m)
}

// bytes appends a bytes field, also an empty one.
func (w *writer) bytes(num protowire.Number, b []byte) {
	w.tag(num, protowire.BytesType)
	w.varint(uint64(len(b)))
	w.b = append(w.b, b...)
}

// pipeline reads a message of a Pipeline stream; false if it leaves it to the protobuf
// module. Requests and answers are parts of one copy of raw, which each of them keeps.
func pipeline(raw []byte, m proto.Message) bool {
	var r reader
	switch m := m.(type) {
	case *metadatav1.PipelineRequest:
		proto.Reset(m)
		r.raw = bytes.Clone(raw)
		r.pipelineRequest(m)
	case *metadatav1.PipelineResponse:
		proto.Reset(m)
		r.raw = bytes.Clone(raw)
		r.pipelineResponse(m)
	default:
		return false
	}
	return !r.odd
}

// elements counts the elements of field 1.
func (r *reader) elements() (n int) {
	s := span{end: len(r.raw)}
	for f := (field{}); r.next(&s, &f); {
		if f.tag == 1<<3|chunk {
			n++
		}
	}
	return n
}

func (r *reader) pipelineRequest(m *metadatav1.PipelineRequest) {
	if n := r.elements(); n > 0 {
		m.Calls = make([]*metadatav1.PipelineCall, 0, n)
	}
	calls := make([]metadatav1.PipelineCall, cap(m.Calls))
	method, s := "", span{end: len(r.raw)}
	for f := (field{}); r.next(&s, &f); {
		switch f.tag {
		case 1<<3 | chunk:
			call := &calls[len(m.Calls)]
			m.Calls = append(m.Calls, call)
			call.Method = method
			r.pipelineCall(f.value, call)
			method = call.Method
		case 2<<3 | chunk:
			for ids := f.value; ids.at < ids.end && !r.odd; {
				m.Cancelled = append(m.Cancelled, r.varint(&ids))
			}
		default:
			r.odd = true
		}
	}
}

// pipelineCall reads a call. That of the same method as the one before it, whose name it
// has already, needs no memory for the name.
func (r *reader) pipelineCall(s span, c *metadatav1.PipelineCall) {
	named := false
	for f := (field{}); r.next(&s, &f); {
		switch f.tag {
		case 1<<3 | varint:
			c.Id = f.number
		case 2<<3 | chunk:
			name := r.raw[f.value.at:f.value.end]
			if named = true; string(name) != c.Method {
				r.odd = r.odd || !utf8.Valid(name)
				c.Method = string(name)
			}
		case 3<<3 | chunk:
			c.Request = r.part(f.value)
		case 4<<3 | varint:
			c.TimeoutMillis = uint32(f.number) //nolint:gosec // as protobuf has it
		default:
			r.odd = true
		}
	}
	if !named {
		c.Method = ""
	}
}

// answer is an answer with room for its response.
type answer struct {
	message  metadatav1.PipelineAnswer
	response metadatav1.PipelineAnswer_Response
}

func (r *reader) pipelineResponse(m *metadatav1.PipelineResponse) {
	if n := r.elements(); n > 0 {
		m.Answers = make([]*metadatav1.PipelineAnswer, 0, n)
	}
	answers, s := make([]answer, cap(m.Answers)), span{end: len(r.raw)}
	for f := (field{}); r.next(&s, &f); {
		if f.tag != 1<<3|chunk {
			r.odd = true
			return
		}
		a := &answers[len(m.Answers)]
		m.Answers = append(m.Answers, &a.message)
		r.pipelineAnswer(f.value, a)
	}
}

func (r *reader) pipelineAnswer(s span, a *answer) {
	for f := (field{}); r.next(&s, &f); {
		switch {
		case f.tag == 1<<3|varint:
			a.message.Id = f.number
		case f.tag == 2<<3|chunk && a.message.Outcome == nil:
			a.response.Response = r.part(f.value)
			a.message.Outcome = &a.response
		case f.tag == 3<<3|chunk && a.message.Outcome == nil:
			failed := new(metadatav1.PipelineError)
			r.odd = r.odd || proto.Unmarshal(r.part(f.value), failed) != nil
			a.message.Outcome = &metadatav1.PipelineAnswer_Error{Error: failed}
		default:
			r.odd = true
		}
	}
}

// part is a part of raw, to which nothing can be appended in place.
func (r *reader) part(s span) []byte { return r.raw[s.at:s.end:s.end] }
