package events

import (
	"fmt"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/heliosdb/metadata/internal/canonical"
)

// Field numbers that this package reads without decoding.
const (
	fieldObject  protowire.Number = 1  // of every kind of event: the object
	fieldBefore  protowire.Number = 2  // of kinds that replace objects: those
	fieldCommand protowire.Number = 99 // of Event
)

// Event is one fact with its encoding. The zero Event is not a fact.
type Event struct {
	given    *metadatav1.Event // by New; nil once it is in a change
	raw      []byte
	kind     Kind
	from, to uint32 // the kind's message within raw
}

// New encodes an event. It panics if m has no kind or no object, or holds a
// string that is not UTF-8: whoever decides has to have checked that.
func New(m *metadatav1.Event) Event {
	raw, err := canonical.Marshal(m)
	if err != nil {
		panic(fmt.Sprintf("events: cannot encode %T: %v", m.GetKind(), err))
	}
	e := Event{given: m, raw: raw}
	if err := e.scan(); err != nil {
		panic(fmt.Sprintf("events: %T is not an event: %v", m.GetKind(), err))
	}
	return e
}

// Message returns the event as a message. That of a new event is the one it was
// made of; an event in a change decodes it each time, see [Change.Message].
func (e Event) Message() *metadatav1.Event {
	if e.given != nil {
		return e.given
	}
	m := new(metadatav1.Event)
	if err := canonical.Unmarshal(e.raw, m); err != nil {
		panic(fmt.Sprintf("events: a checked event of kind %v does not decode: %v", e.kind, err))
	}
	return m
}

// Raw returns the event's encoding.
func (e Event) Raw() []byte { return e.raw }

// Kind returns what kind of event it is.
func (e Event) Kind() Kind { return e.kind }

// Stream returns the stream that the event belongs to.
func (e Event) Stream() metadatav1.Stream { return e.kind.Stream() }

// Object returns the encoding of the i-th object that the event is about, as it
// is afterwards (for kinds that remove: as it was): field 1 of the kind. Only
// ShardSplit has more than one. It is nil if there is no i-th.
func (e Event) Object(i int) []byte { return e.part(fieldObject, i) }

// Before returns the encoding of the i-th object that the event's objects replace,
// for kinds that have any (ShardChanged, ShardMoved, ShardSplit, ShardsMerged):
// field 2 of the kind. It is nil if there is no i-th.
func (e Event) Before(i int) []byte {
	if !e.kind.replaces() {
		return nil
	}
	return e.part(fieldBefore, i)
}

// part returns the i-th field with this number of the kind's message.
func (e Event) part(field protowire.Number, i int) []byte {
	body := e.raw[e.from:e.to]
	for len(body) > 0 {
		num, typ, n := protowire.ConsumeTag(body)
		m := protowire.ConsumeFieldValue(num, typ, body[n:])
		if num == field {
			if i == 0 {
				value, _ := protowire.ConsumeBytes(body[n:])
				return value
			}
			i--
		}
		body = body[n+m:]
	}
	return nil
}

// Objects returns the number of objects: at least one.
func (e Event) Objects() int {
	n := 0
	for e.Object(n) != nil {
		n++
	}
	return n
}

// decode scans an event that was logged at the given feature level, checks that it
// could be decoded, and makes it today's.
func (e *Event) decode(level uint32) error {
	if err := e.scan(); err != nil {
		return err
	}
	// The levels above the kind's message are those of change and event.
	if err := bodies[e.kind].check(e.raw[e.from:e.to], maxNesting-2, false); err != nil {
		return corrupt("event", "kind %v does not decode: %v", e.kind, err)
	}
	if level == FeatureLevel {
		return nil
	}
	old := e.Message()
	if today := Upcast(level, old); today != old {
		*e = New(today)
		e.given = nil
	}
	return nil
}

// scan finds the parts of the encoded event and checks the shape that the
// accessors rely on.
func (e *Event) scan() error {
	for rest := e.raw; len(rest) > 0; {
		num, typ, n := protowire.ConsumeTag(rest)
		if n < 0 {
			return corrupt("event", "bad tag at byte %d", len(e.raw)-len(rest))
		}
		m := protowire.ConsumeFieldValue(num, typ, rest[n:])
		if m < 0 {
			return corrupt("event", "bad value of field %d", num)
		}
		switch {
		case num == fieldCommand && typ == protowire.VarintType:
		case !knownKind(num):
			return &UnsupportedError{What: fmt.Sprintf("event kind %d", num)}
		case typ != protowire.BytesType || e.kind != 0:
			return corrupt("event", "field %d is misplaced", num)
		default:
			body, _ := protowire.ConsumeBytes(rest[n:])
			e.kind = Kind(num)
			e.to = uint32(len(e.raw) - len(rest) + n + m)
			e.from = e.to - uint32(len(body))
		}
		rest = rest[n+m:]
	}
	if e.kind == 0 {
		return corrupt("event", "it has no kind")
	}
	return e.checkBody()
}

// checkBody checks that the kind's message can be walked and has an object, and one
// of what only lists have several of.
func (e *Event) checkBody() error {
	objects, before := 0, 0
	for body := e.raw[e.from:e.to]; len(body) > 0; {
		num, typ, n := protowire.ConsumeTag(body)
		if n < 0 {
			return corrupt("event", "bad tag in kind %v", e.kind)
		}
		m := protowire.ConsumeFieldValue(num, typ, body[n:])
		if m < 0 {
			return corrupt("event", "bad value of field %d in kind %v", num, e.kind)
		}
		switch {
		case num == fieldObject:
			objects++
		case num == fieldBefore && e.kind.replaces():
			before++
		default:
			typ = protowire.BytesType
		}
		if typ != protowire.BytesType {
			return corrupt("event", "object %d of kind %v is no message", num, e.kind)
		}
		body = body[n+m:]
	}
	if objects == 0 || objects > 1 && e.kind != KindShardSplit || before > 1 && e.kind != KindShardsMerged {
		return corrupt("event", "kind %v has %d objects that replace %d", e.kind, objects, before)
	}
	return nil
}
