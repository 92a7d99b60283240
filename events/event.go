package events

import (
	"fmt"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// Field numbers that this package reads without decoding.
const (
	fieldObject  protowire.Number = 1  // of every kind of event: the object
	fieldCommand protowire.Number = 99 // of Event
)

var deterministic = proto.MarshalOptions{Deterministic: true}

// Event is one fact with its encoding. The zero Event is not a fact.
type Event struct {
	message  *metadatav1.Event
	raw      []byte
	kind     protowire.Number
	from, to int // the kind's message within raw
}

// New encodes an event. It panics if m has no kind or no object, or holds a
// string that is not UTF-8: whoever decides has to have checked that.
func New(m *metadatav1.Event) Event {
	raw, err := deterministic.Marshal(m)
	if err != nil {
		panic(fmt.Sprintf("events: cannot encode %T: %v", m.GetKind(), err))
	}
	e, err := scanEvent(raw)
	if err != nil {
		panic(fmt.Sprintf("events: %T is not an event: %v", m.GetKind(), err))
	}
	e.message = m
	return e
}

// Message returns the event decoded. It is shared.
func (e Event) Message() *metadatav1.Event { return e.message }

// Raw returns the event's encoding.
func (e Event) Raw() []byte { return e.raw }

// Object returns the encoding of the i-th object that the event is about, as it
// is afterwards (for kinds that remove: as it was): field 1 of the kind. Only
// ShardSplit has more than one. It is nil if there is no i-th.
func (e Event) Object(i int) []byte {
	body := e.raw[e.from:e.to]
	for len(body) > 0 {
		num, typ, n := protowire.ConsumeTag(body)
		m := protowire.ConsumeFieldValue(num, typ, body[n:])
		if num == fieldObject {
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

// scanEvent finds the parts of an encoded event and checks the shape that the
// accessors rely on.
func scanEvent(raw []byte) (Event, error) {
	e := Event{raw: raw}
	for rest := raw; len(rest) > 0; {
		num, typ, n := protowire.ConsumeTag(rest)
		if n < 0 {
			return e, corrupt("event", "bad tag at byte %d", len(raw)-len(rest))
		}
		m := protowire.ConsumeFieldValue(num, typ, rest[n:])
		if m < 0 {
			return e, corrupt("event", "bad value of field %d", num)
		}
		switch {
		case num == fieldCommand && typ == protowire.VarintType:
		case !knownKind(num):
			return e, &UnsupportedError{What: fmt.Sprintf("event kind %d", num)}
		case typ != protowire.BytesType || e.kind != 0:
			return e, corrupt("event", "field %d is misplaced", num)
		default:
			body, _ := protowire.ConsumeBytes(rest[n:])
			e.kind = num
			e.to = len(raw) - len(rest) + n + m
			e.from = e.to - len(body)
		}
		rest = rest[n+m:]
	}
	if e.kind == 0 {
		return e, corrupt("event", "it has no kind")
	}
	return e, e.checkBody()
}

// checkBody checks that the kind's message can be walked and has an object.
func (e Event) checkBody() error {
	objects := 0
	for body := e.raw[e.from:e.to]; len(body) > 0; {
		num, typ, n := protowire.ConsumeTag(body)
		if n < 0 {
			return corrupt("event", "bad tag in kind %d", e.kind)
		}
		m := protowire.ConsumeFieldValue(num, typ, body[n:])
		if m < 0 {
			return corrupt("event", "bad value of field %d in kind %d", num, e.kind)
		}
		if num == fieldObject {
			if typ != protowire.BytesType {
				return corrupt("event", "the object of kind %d is no message", e.kind)
			}
			objects++
		}
		body = body[n+m:]
	}
	if objects == 0 || objects > 1 && e.kind != kindShardSplit {
		return corrupt("event", "kind %d has %d objects", e.kind, objects)
	}
	return nil
}
