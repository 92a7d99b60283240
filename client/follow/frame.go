package follow

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/events"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// Field numbers of the messages that frames of changes are made of.
const (
	responseChanges protowire.Number = 2 // SubscribeResponse.changes
	changesStream   protowire.Number = 1 // Changes.stream
	changesChanges  protowire.Number = 2 // Changes.changes
	changeRevision  protowire.Number = 1 // Change.revision
	changePartial   protowire.Number = 7 // Change.partial
)

// Frame is a frame of a subscription. Changes that came over the wire stay in their
// encoding until somebody asks: a subscriber who only counts them, or folds them, has no
// use for the messages that they would become.
type Frame struct {
	message *metadatav1.SubscribeResponse // nil: it is changes in their encoding
	stream  metadatav1.Stream
	changes []Change
}

// Change is one change of a Frame.
type Change struct {
	revision uint64
	partial  bool
	raw      []byte
	message  *metadatav1.Change // if it did not come in its encoding
}

// FrameOf returns a frame that is decoded already. It keeps the message.
func FrameOf(m *metadatav1.SubscribeResponse) Frame {
	f := Frame{message: m, stream: m.GetChanges().GetStream()}
	for _, c := range m.GetChanges().GetChanges() {
		f.changes = append(f.changes, Change{revision: c.GetRevision(), partial: c.GetPartial(), message: c})
	}
	return f
}

// ParseFrame reads the encoding of a SubscribeResponse, which it keeps: it must not be
// changed any more. What is in a change is looked at when it is asked for.
func ParseFrame(raw []byte) (Frame, error) {
	if f, ok := parseChanges(raw); ok {
		return f, nil
	}
	m := new(metadatav1.SubscribeResponse) // no changes, or not in the form that the service sends
	if err := proto.Unmarshal(raw, m); err != nil {
		return Frame{}, fmt.Errorf("client: a frame that cannot be decoded: %w", err)
	}
	return FrameOf(m), nil
}

// parseChanges reads a frame that is nothing but changes, each field once and in the
// order of its number.
func parseChanges(raw []byte) (f Frame, ok bool) {
	rest, raw, ok := cutField(raw, responseChanges)
	if !ok || len(raw) > 0 {
		return f, false
	}
	num, typ, n := protowire.ConsumeTag(rest)
	if n < 0 || num != changesStream || typ != protowire.VarintType {
		return f, false
	}
	stream, m := protowire.ConsumeVarint(rest[n:])
	if m < 0 {
		return f, false
	}
	f.stream = metadatav1.Stream(stream) // as protobuf has it
	for rest = rest[n+m:]; len(rest) > 0; {
		var c Change
		if c.raw, rest, ok = cutField(rest, changesChanges); !ok || !c.scan() {
			return f, false
		}
		f.changes = append(f.changes, c)
	}
	return f, true
}

// cutField takes a field that is bytes off the front.
func cutField(raw []byte, want protowire.Number) (value, rest []byte, ok bool) {
	num, typ, n := protowire.ConsumeTag(raw)
	if n < 0 || num != want || typ != protowire.BytesType {
		return nil, raw, false
	}
	value, m := protowire.ConsumeBytes(raw[n:])
	if m < 0 {
		return nil, raw, false
	}
	return value, raw[n+m:], true
}

// scan finds what is known of a change without decoding it. It returns false if it is
// malformed.
func (c *Change) scan() bool {
	for rest := c.raw; len(rest) > 0; {
		num, typ, n := protowire.ConsumeTag(rest)
		if n < 0 {
			return false
		}
		m := protowire.ConsumeFieldValue(num, typ, rest[n:])
		if m < 0 {
			return false
		}
		if typ == protowire.VarintType && (num == changeRevision || num == changePartial) {
			v, _ := protowire.ConsumeVarint(rest[n:])
			if num == changeRevision {
				c.revision = v
			} else {
				c.partial = v != 0
			}
		}
		rest = rest[n+m:]
	}
	return true
}

// Message returns the whole frame as a message. The caller may keep it; it is made anew
// for each call if the frame came in its encoding.
func (f Frame) Message() (*metadatav1.SubscribeResponse, error) {
	if f.message != nil {
		return f.message, nil
	}
	all := &metadatav1.Changes{Stream: f.stream, Changes: make([]*metadatav1.Change, len(f.changes))}
	for i, c := range f.changes {
		var err error
		if all.Changes[i], err = c.Message(); err != nil {
			return nil, err
		}
	}
	return &metadatav1.SubscribeResponse{Frame: &metadatav1.SubscribeResponse_Changes{Changes: all}}, nil
}

// Bookmark returns the position of a bookmark; nil if the frame is none.
func (f Frame) Bookmark() *metadatav1.Position { return f.message.GetBookmark().GetPosition() }

// Changes returns the changes of a frame that has some, and their stream.
func (f Frame) Changes() (metadatav1.Stream, []Change) { return f.stream, f.changes }

// Revision returns the stream's revision after the change.
func (c Change) Revision() uint64 { return c.revision }

// Partial reports whether the subscription's filter left events of the change out.
func (c Change) Partial() bool { return c.partial }

// Raw returns the change's encoding, which is shared; nil if it came as a message.
func (c Change) Raw() []byte { return c.raw }

// Message returns the change as a message.
func (c Change) Message() (*metadatav1.Change, error) {
	if c.message != nil {
		return c.message, nil
	}
	m := new(metadatav1.Change)
	if err := proto.Unmarshal(c.raw, m); err != nil {
		return nil, fmt.Errorf("client: change %d cannot be decoded: %w", c.revision, err)
	}
	return m, nil
}

// Sealed returns a whole change as the fold takes it. The error is an
// [*events.UnsupportedError] if the change needs a newer build, or an
// [*events.CorruptError]; that of a partial change, too.
func (c Change) Sealed() (*events.Change, error) {
	switch {
	case c.partial:
		return nil, &events.CorruptError{What: "change", Reason: fmt.Sprintf("change %d is partial: events were left out of it", c.revision)}
	case c.message != nil:
		return events.FromMessage(c.message)
	}
	return events.DecodeChange(c.raw)
}
