package events

import (
	"fmt"
	"time"
	"unicode/utf8"
	"unsafe"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/heliosdb/metadata/internal/canonical"
)

// DecodeChange reads a change as logged. It keeps references into raw. Messages are
// not decoded, but checked: what DecodeChange takes decodes. Events of older feature
// levels are turned into today's; Raw stays what was logged. The error is an
// [*UnsupportedError] or a [*CorruptError].
func DecodeChange(raw []byte) (*Change, error) {
	c := new(Change)
	if err := c.decode(raw); err != nil {
		return nil, err
	}
	return c, nil
}

// decode makes the zero Change the one that raw encodes.
func (c *Change) decode(raw []byte) error {
	c.raw = raw
	stamp, err := c.scan(raw)
	if err != nil {
		return err
	}
	if c.level > FeatureLevel {
		return &UnsupportedError{What: fmt.Sprintf("feature level %d of change %d", c.level, c.header.Revision)}
	}
	if c.header.Time, err = stamp.time(c.header.Revision); err != nil {
		return err
	}
	if err := c.checkHeader(); err != nil {
		return err
	}
	for i := range c.events {
		if err := c.events[i].decode(c.level); err != nil {
			return err
		}
		if s := c.events[i].Stream(); s != c.Stream() {
			return corrupt("change", "change %d has events of %v and %v", c.header.Revision, c.Stream(), s)
		}
	}
	return nil
}

// scan finds the header's fields, but for the time, and the events' bytes. It
// refuses fields that this build does not know before they could be dropped
// silently. What has another type than the contract's is no field to protobuf.
func (c *Change) scan(raw []byte) (stamp stamp, err error) {
	c.events = c.one[:0]
	for rest := raw; len(rest) > 0; {
		num, typ, n := protowire.ConsumeTag(rest)
		if n < 0 {
			return stamp, corrupt("change", "bad tag at byte %d", len(raw)-len(rest))
		}
		var number uint64
		var bytes []byte
		var m int
		switch typ {
		case protowire.VarintType:
			number, m = protowire.ConsumeVarint(rest[n:])
		case protowire.BytesType:
			bytes, m = protowire.ConsumeBytes(rest[n:])
		default:
			m = protowire.ConsumeFieldValue(num, typ, rest[n:])
		}
		if m < 0 {
			return stamp, corrupt("change", "bad value of field %d", num)
		}
		switch {
		case num == changePartial:
			return stamp, corrupt("change", "a filtered change cannot be logged")
		case num == changeEvents && typ != protowire.BytesType:
			return stamp, corrupt("change", "an event is no message")
		case num == changeTime && typ == protowire.BytesType:
			err = stamp.scan(bytes)
		case num == changeEvents:
			c.events = append(c.events, Event{raw: bytes[:len(bytes):len(bytes)]})
		case num > changeFeatureLevel:
			err = &UnsupportedError{What: fmt.Sprintf("field %d of a change", num)}
		default:
			c.set(num, typ, number, bytes)
		}
		if err != nil {
			return stamp, err
		}
		rest = rest[n+m:]
	}
	return stamp, nil
}

// set stores a field of the header.
func (c *Change) set(num protowire.Number, typ protowire.Type, number uint64, bytes []byte) {
	h := &c.header
	switch typ {
	case protowire.VarintType:
		switch num {
		case changeRevision:
			h.Revision = number
		case changeFeatureLevel:
			c.level = uint32(number) // as protobuf has it
		}
	case protowire.BytesType:
		switch num {
		case changeActor:
			h.Actor = view(bytes)
		case changeRequestID:
			h.RequestID = view(bytes)
		case changeCommandHash:
			h.CommandHash = bytes[:len(bytes):len(bytes)]
		}
	}
}

// view returns b as a string without copying: what is decoded does not change any
// more, and small strings of their own would be half of what a change allocates.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

func (c *Change) checkHeader() error {
	switch h := &c.header; {
	case h.Revision == 0:
		return corrupt("change", "it has no revision")
	case c.level == 0:
		return corrupt("change", "change %d has no feature level", h.Revision)
	case len(c.events) == 0:
		return corrupt("change", "change %d has no events", h.Revision)
	case !utf8.ValidString(h.Actor) || !utf8.ValidString(h.RequestID):
		return corrupt("change", "change %d has an actor or a request id that is not UTF-8", h.Revision)
	}
	return nil
}

// stamp is an encoded google.protobuf.Timestamp under way.
type stamp struct {
	given   bool
	seconds int64
	nanos   int32
}

// scan adds what b says; protobuf lets a message come in several parts.
func (s *stamp) scan(b []byte) error {
	s.given = true
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 || num > protowire.MaxValidNumber {
			return corrupt("change", "bad time")
		}
		m := protowire.ConsumeFieldValue(num, typ, b[n:])
		if m < 0 {
			return corrupt("change", "bad time")
		}
		if typ == protowire.VarintType {
			v, _ := protowire.ConsumeVarint(b[n:])
			switch num {
			case 1:
				s.seconds = int64(v)
			case 2:
				s.nanos = int32(v)
			}
		}
		b = b[n+m:]
	}
	return nil
}

// The years 1 to 9999, as google.protobuf.Timestamp has it.
const (
	minSeconds = -62135596800
	maxSeconds = 253402300799
)

// time returns the time, in UTC, of the change with this revision.
func (s *stamp) time(revision uint64) (time.Time, error) {
	if !s.given || s.seconds < minSeconds || s.seconds > maxSeconds || s.nanos < 0 || s.nanos >= 1e9 {
		return time.Time{}, corrupt("change", "change %d has no valid time", revision)
	}
	return time.Unix(s.seconds, int64(s.nanos)).UTC(), nil
}

// FromMessage seals a change that came as a message, from a subscription: for
// those that fold without a log. Its bytes need not be those that were logged,
// so no digest can be checked with it. The message is kept and shared from then on;
// a partial change stays recognisable in it. The error is an [*UnsupportedError]
// if the change needs a newer build, or a [*CorruptError].
func FromMessage(m *metadatav1.Change) (*Change, error) {
	if m.GetFeatureLevel() > FeatureLevel {
		return nil, &UnsupportedError{What: fmt.Sprintf("feature level %d of change %d", m.GetFeatureLevel(), m.GetRevision())}
	}
	if m == nil {
		return nil, corrupt("change", "there is none")
	}
	evs := make([]Event, len(m.Events))
	given := Change{header: Header{m.Revision, time.Time{}, m.Actor, m.RequestId, m.CommandHash}, level: m.FeatureLevel, events: evs}
	at := stamp{m.Time != nil, m.GetTime().GetSeconds(), m.GetTime().GetNanos()}
	var err error
	if given.header.Time, err = at.time(m.Revision); err != nil {
		return nil, err
	}
	if err := given.checkHeader(); err != nil {
		return nil, err
	}
	for i, message := range m.Events {
		if evs[i].raw, err = canonical.Marshal(message); err != nil {
			return nil, corrupt("change", "event %d of change %d: %v", i, m.Revision, err)
		}
		if err := evs[i].decode(m.FeatureLevel); err != nil {
			return nil, err
		}
	}
	c := Seal(given.header, evs)
	c.given = m
	return c, nil
}
