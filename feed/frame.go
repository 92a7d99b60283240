package feed

import (
	"sync"

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
)

// Frame is one frame of a subscription. It is immutable, and shared between
// subscribers where they are sent the same. The zero Frame is no frame.
type Frame struct {
	message *metadatav1.SubscribeResponse
	once    *encoding
}

// encoding is a frame's, made on demand and once.
type encoding struct {
	sync.Once
	whole []*events.Change // if the frame is nothing but these: their bytes are at hand
	raw   []byte
	err   error
}

// Message returns the frame; nil for the zero Frame. It is shared and must not
// be changed.
func (f Frame) Message() *metadatav1.SubscribeResponse { return f.message }

// Encoded returns the frame's encoding, made once for all that share the frame,
// out of the changes' bytes as logged where the frame holds whole changes. It is
// shared. Safe for concurrent use.
func (f Frame) Encoded() ([]byte, error) {
	f.once.Do(func() {
		if f.once.whole != nil {
			f.once.raw = encodeWhole(f.message.GetChanges().GetStream(), f.once.whole)
			return
		}
		f.once.raw, f.once.err = proto.MarshalOptions{Deterministic: true}.Marshal(f.message)
	})
	return f.once.raw, f.once.err
}

// encodeWhole puts a frame together from changes as logged.
func encodeWhole(s metadatav1.Stream, changes []*events.Change) []byte {
	size := protowire.SizeTag(changesStream) + protowire.SizeVarint(uint64(s))
	for _, c := range changes {
		size += protowire.SizeTag(changesChanges) + protowire.SizeBytes(len(c.Raw()))
	}
	b := make([]byte, 0, size+16)
	b = protowire.AppendTag(b, responseChanges, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(size))
	b = protowire.AppendTag(b, changesStream, protowire.VarintType)
	b = protowire.AppendVarint(b, uint64(s))
	for _, c := range changes {
		b = protowire.AppendTag(b, changesChanges, protowire.BytesType)
		b = protowire.AppendBytes(b, c.Raw())
	}
	return b
}

// entry is a change in a Log with the frame that holds nothing else.
type entry struct {
	change *events.Change
	once   sync.Once
	frame  Frame
}

// alone returns the frame that holds the whole change and nothing else, the same
// for all subscribers.
func (e *entry) alone(s metadatav1.Stream) Frame {
	e.once.Do(func() {
		e.frame = changesFrame(s, []*metadatav1.Change{e.change.Message()}, []*events.Change{e.change})
	})
	return e.frame
}

// changesFrame makes a frame of changes. whole are the same changes, if none of
// them is partial, else nil.
func changesFrame(s metadatav1.Stream, changes []*metadatav1.Change, whole []*events.Change) Frame {
	for _, c := range whole {
		if c.FeatureLevel() != events.FeatureLevel { // logged in an older form than the one sent
			whole = nil
			break
		}
	}
	return Frame{
		message: &metadatav1.SubscribeResponse{Frame: &metadatav1.SubscribeResponse_Changes{
			Changes: &metadatav1.Changes{Stream: s, Changes: changes},
		}},
		once: &encoding{whole: whole},
	}
}

// frameOf makes a frame of any other message.
func frameOf(m *metadatav1.SubscribeResponse) Frame {
	return Frame{message: m, once: &encoding{}}
}
