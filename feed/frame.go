package feed

import (
	"slices"
	"sync"
	"sync/atomic"

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
type Frame struct{ *content }

// content is what is in a frame. Message and encoding are made on demand and once.
type content struct {
	stream metadatav1.Stream
	whole  []*events.Change // nil, or all that the frame is: their bytes are at hand

	said    sync.Once
	message *metadatav1.SubscribeResponse

	encoded sync.Once
	raw     []byte
	err     error
}

// Message returns the frame; nil for the zero Frame. It is shared and must not
// be changed.
func (f Frame) Message() *metadatav1.SubscribeResponse {
	if f.content == nil {
		return nil
	}
	f.said.Do(func() {
		if f.message != nil {
			return
		}
		changes := make([]*metadatav1.Change, len(f.whole))
		for i, c := range f.whole {
			changes[i] = c.Message()
		}
		f.message = changesMessage(f.stream, changes)
	})
	return f.message
}

// Encoded returns the frame's encoding, made once for all that share the frame,
// out of the changes' bytes as logged where the frame holds whole changes. It is
// shared. Safe for concurrent use.
func (f Frame) Encoded() ([]byte, error) {
	f.encoded.Do(func() {
		if f.whole != nil && !slices.ContainsFunc(f.whole, inAnOlderForm) {
			f.raw = encodeWhole(f.stream, f.whole)
			return
		}
		f.raw, f.err = proto.MarshalOptions{Deterministic: true}.Marshal(f.Message())
	})
	return f.raw, f.err
}

// inAnOlderForm reports whether a change was logged in an older form than the one sent.
func inAnOlderForm(c *events.Change) bool { return c.FeatureLevel() != events.FeatureLevel }

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

// entry is a change in a Log.
type entry struct{ change *events.Change }

// recent are the newest frames of whole changes of one stream, by the revision that
// they begin with: subscribers who are as far as each other share them, also where
// they lag. It is safe for concurrent use.
type recent [recentFrames]atomic.Pointer[content]

// frame returns the frame that is nothing but these changes, which follow each other.
func (r *recent) frame(s metadatav1.Stream, entries []*entry) Frame {
	first := entries[0].change
	place := &r[first.Revision()%recentFrames]
	if c := place.Load(); c != nil && c.whole[0].Revision() == first.Revision() && len(c.whole) == len(entries) {
		return Frame{c}
	}
	f := wholeFrame(s, entries)
	place.Store(f.content)
	return f
}

// wholeFrame makes a frame that is nothing but these changes.
func wholeFrame(s metadatav1.Stream, entries []*entry) Frame {
	c := &content{stream: s, whole: make([]*events.Change, len(entries))}
	for i, e := range entries {
		c.whole[i] = e.change
	}
	return Frame{c}
}

func changesMessage(s metadatav1.Stream, changes []*metadatav1.Change) *metadatav1.SubscribeResponse {
	return &metadatav1.SubscribeResponse{Frame: &metadatav1.SubscribeResponse_Changes{
		Changes: &metadatav1.Changes{Stream: s, Changes: changes},
	}}
}

// frameOf makes a frame of a message that nobody else is sent.
func frameOf(m *metadatav1.SubscribeResponse) Frame { return Frame{&content{message: m}} }
