package events

import (
	"fmt"
	"sync"
	"time"
	"weak"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"google.golang.org/protobuf/encoding/protowire"
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

// Change is what one command changed: sealed, immutable, with its encoding. It
// holds on to that alone: its messages exist while somebody uses them.
type Change struct {
	header Header
	level  uint32
	raw    []byte
	events []Event
	one    [1]Event // what events lies in if there is one, as there mostly is: saves an allocation

	given   *metadatav1.Change // by FromMessage; else nil
	sharing sync.Mutex
	shared  weak.Pointer[metadatav1.Change]
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
	c := &Change{header: h, level: FeatureLevel}
	c.events = c.one[:0]
	if len(evs) > 1 {
		c.events = make([]Event, 0, len(evs))
	}
	for _, e := range evs {
		raw = protowire.AppendTag(raw, changeEvents, protowire.BytesType)
		raw = protowire.AppendBytes(raw, e.raw)
		e.raw, e.given = raw[len(raw)-len(e.raw):len(raw):len(raw)], nil
		c.events = append(c.events, e)
	}
	c.raw = raw
	return c
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
func (c *Change) Stream() metadatav1.Stream { return c.events[0].Stream() }

// Message returns the change as a message: the one that others are using, or else
// decodes it. The change does not keep it alive, so that memory full of changes is
// not full of messages, which are ten times the size.
func (c *Change) Message() *metadatav1.Change {
	if c.given != nil {
		return c.given
	}
	c.sharing.Lock()
	defer c.sharing.Unlock()
	m := c.shared.Value()
	if m == nil {
		m = c.message()
		c.shared = weak.Make(m)
	}
	return m
}

func (c *Change) message() *metadatav1.Change {
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
		m.Events[i] = e.Message()
	}
	return m
}
