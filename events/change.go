package events

import (
	"fmt"
	"sync"
	"time"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// Field numbers of Change.
const (
	changeRevision     protowire.Number = 1
	changeTime         protowire.Number = 2
	changeActor        protowire.Number = 3
	changeRequestID    protowire.Number = 4
	changeCommandHash  protowire.Number = 5
	changeFeatureLevel protowire.Number = 6
	changePartial      protowire.Number = 7
	changeEvents       protowire.Number = 15
)

// Header is what a change says beside its events.
type Header struct {
	Revision    uint64    // of the stream after the change; starts at 1
	Time        time.Time // when the leader decided
	Actor       string    // who asked
	RequestID   string    // empty for changes that nobody retries
	CommandHash []byte    // SHA-256 of the command
}

// Change is what one command changed: sealed, immutable, with its encoding.
type Change struct {
	header Header
	level  uint32
	raw    []byte
	events []Event

	once    sync.Once // builds message on first use
	message *metadatav1.Change
}

// Seal makes a change of events. The header is encoded here, the events are
// copied as they were encoded. It panics if there are no events or the revision
// is 0: then nothing changed.
func Seal(h Header, evs []Event) *Change {
	if len(evs) == 0 || h.Revision == 0 {
		panic(fmt.Sprintf("events: change %d with %d events cannot be sealed", h.Revision, len(evs)))
	}
	h.Time = h.Time.UTC()
	size := 64 + len(h.Actor) + len(h.RequestID) + len(h.CommandHash)
	for _, e := range evs {
		size += len(e.raw) + 8
	}
	raw := appendHeader(make([]byte, 0, size), h, FeatureLevel)
	sealed := make([]Event, len(evs))
	for i, e := range evs {
		raw = protowire.AppendTag(raw, changeEvents, protowire.BytesType)
		raw = protowire.AppendBytes(raw, e.raw)
		e.raw = raw[len(raw)-len(e.raw) : len(raw) : len(raw)]
		sealed[i] = e
	}
	return &Change{header: h, level: FeatureLevel, raw: raw, events: sealed}
}

// appendHeader appends the fields before the events as the deterministic
// encoding of Change has them.
func appendHeader(b []byte, h Header, level uint32) []byte {
	b = protowire.AppendTag(b, changeRevision, protowire.VarintType)
	b = protowire.AppendVarint(b, h.Revision)
	b = protowire.AppendTag(b, changeTime, protowire.BytesType)
	var stamp [24]byte
	b = protowire.AppendBytes(b, appendTimestamp(stamp[:0], h.Time))
	if h.Actor != "" {
		b = protowire.AppendTag(b, changeActor, protowire.BytesType)
		b = protowire.AppendString(b, h.Actor)
	}
	if h.RequestID != "" {
		b = protowire.AppendTag(b, changeRequestID, protowire.BytesType)
		b = protowire.AppendString(b, h.RequestID)
	}
	if len(h.CommandHash) > 0 {
		b = protowire.AppendTag(b, changeCommandHash, protowire.BytesType)
		b = protowire.AppendBytes(b, h.CommandHash)
	}
	b = protowire.AppendTag(b, changeFeatureLevel, protowire.VarintType)
	return protowire.AppendVarint(b, uint64(level))
}

func appendTimestamp(b []byte, t time.Time) []byte {
	if s := t.Unix(); s != 0 {
		b = protowire.AppendTag(b, 1, protowire.VarintType)
		b = protowire.AppendVarint(b, uint64(s))
	}
	if n := t.Nanosecond(); n != 0 {
		b = protowire.AppendTag(b, 2, protowire.VarintType)
		b = protowire.AppendVarint(b, uint64(n))
	}
	return b
}

// Revision returns the stream's revision after the change.
func (c *Change) Revision() uint64 { return c.header.Revision }

// Time returns when the leader decided, in UTC.
func (c *Change) Time() time.Time { return c.header.Time }

// Actor returns who asked.
func (c *Change) Actor() string { return c.header.Actor }

// RequestID returns the write's request id; empty if it had none.
func (c *Change) RequestID() string { return c.header.RequestID }

// CommandHash returns the SHA-256 of the command. It is shared.
func (c *Change) CommandHash() []byte { return c.header.CommandHash }

// FeatureLevel returns the level that the change was decided at.
func (c *Change) FeatureLevel() uint32 { return c.level }

// Events returns what happened, in order: at least one event. The slice is
// shared.
func (c *Change) Events() []Event { return c.events }

// Raw returns the change as logged: what the digest covers.
func (c *Change) Raw() []byte { return c.raw }

// Stream returns the stream that the change belongs to.
func (c *Change) Stream() metadatav1.Stream { return StreamOf(c.events[0].message) }

// Message returns the change as a message, built on first use. It is shared.
func (c *Change) Message() *metadatav1.Change {
	c.once.Do(func() {
		m := &metadatav1.Change{
			Revision:     c.header.Revision,
			Time:         timestamppb.New(c.header.Time),
			Actor:        c.header.Actor,
			RequestId:    c.header.RequestID,
			CommandHash:  c.header.CommandHash,
			FeatureLevel: c.level,
			Events:       make([]*metadatav1.Event, len(c.events)),
		}
		for i, e := range c.events {
			m.Events[i] = e.message
		}
		c.message = m
	})
	return c.message
}

// DecodeChange reads a change as logged. It keeps references into raw. Events of
// older feature levels are turned into today's; Raw stays what was logged. The
// error is an [*UnsupportedError] or a [*CorruptError].
func DecodeChange(raw []byte) (*Change, error) {
	c := &Change{raw: raw}
	encoded, err := scanChange(raw)
	if err != nil {
		return nil, err
	}
	var m metadatav1.Change
	if err := proto.Unmarshal(raw, &m); err != nil {
		return nil, corrupt("change", "%v", err)
	}
	if m.FeatureLevel > FeatureLevel {
		return nil, &UnsupportedError{What: fmt.Sprintf("feature level %d of change %d", m.FeatureLevel, m.Revision)}
	}
	if err := checkHeader(&m); err != nil {
		return nil, err
	}
	c.header = Header{m.Revision, m.Time.AsTime(), m.Actor, m.RequestId, m.CommandHash}
	c.level = m.FeatureLevel
	c.events = make([]Event, len(m.Events))
	stream := StreamOf(m.Events[0])
	for i, message := range m.Events {
		if c.events[i], err = decodeEvent(encoded[i], message, c.level); err != nil {
			return nil, err
		}
		if s := StreamOf(message); s != stream {
			return nil, corrupt("change", "change %d has events of %v and %v", m.Revision, stream, s)
		}
	}
	return c, nil
}

// ScanChange returns revision and request id (a part of raw) of a change whose
// bytes are known to be whole, as in a checkpoint with checksums. It checks the
// change's outer shape and its feature level, at a fraction of DecodeChange's
// cost. The errors are those of DecodeChange.
func ScanChange(raw []byte) (revision uint64, requestID []byte, err error) {
	encoded, err := scanChange(raw)
	if err != nil {
		return 0, nil, err
	}
	level := uint32(0)
	for rest := raw; len(rest) > 0; {
		num, typ, n := protowire.ConsumeTag(rest)
		switch {
		case num == changeRevision && typ == protowire.VarintType:
			revision, _ = protowire.ConsumeVarint(rest[n:])
		case num == changeFeatureLevel && typ == protowire.VarintType:
			v, _ := protowire.ConsumeVarint(rest[n:])
			level = uint32(v) // as protobuf has it
		case num == changeRequestID && typ == protowire.BytesType:
			requestID, _ = protowire.ConsumeBytes(rest[n:])
		}
		rest = rest[n+protowire.ConsumeFieldValue(num, typ, rest[n:]):]
	}
	if level > FeatureLevel {
		return 0, nil, &UnsupportedError{What: fmt.Sprintf("feature level %d of change %d", level, revision)}
	}
	if revision == 0 || level == 0 || len(encoded) == 0 {
		return 0, nil, corrupt("change", "revision %d, feature level %d, %d events", revision, level, len(encoded))
	}
	for _, e := range encoded {
		if _, err := scanEvent(e); err != nil {
			return 0, nil, err
		}
	}
	return revision, requestID, nil
}

// scanChange finds the encoded events, and fields that this build does not know
// before they could be dropped silently.
func scanChange(raw []byte) (encoded [][]byte, err error) {
	for rest := raw; len(rest) > 0; {
		num, typ, n := protowire.ConsumeTag(rest)
		if n < 0 {
			return nil, corrupt("change", "bad tag at byte %d", len(raw)-len(rest))
		}
		m := protowire.ConsumeFieldValue(num, typ, rest[n:])
		if m < 0 {
			return nil, corrupt("change", "bad value of field %d", num)
		}
		switch num {
		case changeRevision, changeTime, changeActor, changeRequestID, changeCommandHash, changeFeatureLevel:
		case changeEvents:
			if typ != protowire.BytesType {
				return nil, corrupt("change", "an event is no message")
			}
			value, _ := protowire.ConsumeBytes(rest[n:])
			encoded = append(encoded, value)
		case changePartial:
			return nil, corrupt("change", "a filtered change cannot be logged")
		default:
			return nil, &UnsupportedError{What: fmt.Sprintf("field %d of a change", num)}
		}
		rest = rest[n+m:]
	}
	return encoded, nil
}

func checkHeader(m *metadatav1.Change) error {
	switch {
	case m.Revision == 0:
		return corrupt("change", "it has no revision")
	case m.FeatureLevel == 0:
		return corrupt("change", "change %d has no feature level", m.Revision)
	case m.Time.CheckValid() != nil:
		return corrupt("change", "change %d: %v", m.Revision, m.Time.CheckValid())
	case len(m.Events) == 0:
		return corrupt("change", "change %d has no events", m.Revision)
	}
	return nil
}

// FromMessage seals a change that came as a message, from a subscription: for
// those that fold without a log. Its bytes need not be those that were logged,
// so no digest can be checked with it. The message is shared from then on; a
// partial change stays recognisable in it. The error is an [*UnsupportedError]
// if the change needs a newer build, or a [*CorruptError].
func FromMessage(m *metadatav1.Change) (*Change, error) {
	if m.GetFeatureLevel() > FeatureLevel {
		return nil, &UnsupportedError{What: fmt.Sprintf("feature level %d of change %d", m.GetFeatureLevel(), m.GetRevision())}
	}
	if m == nil {
		return nil, corrupt("change", "there is none")
	}
	if err := checkHeader(m); err != nil {
		return nil, err
	}
	evs := make([]Event, len(m.Events))
	for i, message := range m.Events {
		raw, err := deterministic.Marshal(message)
		if err != nil {
			return nil, corrupt("change", "event %d of change %d: %v", i, m.Revision, err)
		}
		if evs[i], err = decodeEvent(raw, message, m.FeatureLevel); err != nil {
			return nil, err
		}
	}
	c := Seal(Header{m.Revision, m.Time.AsTime(), m.Actor, m.RequestId, m.CommandHash}, evs)
	c.once.Do(func() { c.message = m })
	return c, nil
}

func decodeEvent(raw []byte, m *metadatav1.Event, level uint32) (Event, error) {
	e, err := scanEvent(raw)
	if err != nil {
		return e, err
	}
	if today := Upcast(level, m); today != m {
		return New(today), nil
	}
	e.message = m
	return e, nil
}
