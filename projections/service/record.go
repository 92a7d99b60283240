package service

import (
	"fmt"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/projections/internal/fold"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"google.golang.org/protobuf/encoding/protowire"
)

// Consumer is one consumer as it was logged. It is immutable.
type Consumer struct {
	raw              string
	name, filter     string // parts of raw
	epoch            uint64
	schema, topology uint64 // revisions that it has acknowledged
}

func newConsumer(raw []byte) (*Consumer, error) {
	c := &Consumer{raw: string(raw)}
	var position string
	err := fold.Fields(c.raw, func(num protowire.Number, number uint64, value string) {
		switch num {
		case 1:
			c.name = value
		case 2:
			c.filter = value
		case 4:
			position = value
		case 5:
			c.epoch = number
		}
	})
	if err != nil {
		return c, err
	}
	err = fold.Fields(position, func(num protowire.Number, number uint64, _ string) {
		switch num {
		case 3:
			c.schema = number
		case 4:
			c.topology = number
		}
	})
	return c, err
}

// Name returns the consumer's name.
func (c *Consumer) Name() string { return c.name }

// Epoch returns the consumer's epoch; 0: it has not been opened yet.
func (c *Consumer) Epoch() uint64 { return c.epoch }

// Revision returns the revision of a stream up to which the consumer has acknowledged;
// 0 for a stream that it does not read.
func (c *Consumer) Revision(s metadatav1.Stream) uint64 {
	switch s {
	case metadatav1.Stream_STREAM_SCHEMA:
		return c.schema
	case metadatav1.Stream_STREAM_TOPOLOGY:
		return c.topology
	}
	return 0
}

// Reads reports whether the consumer's filter lets anything of a stream through. Nobody
// consumes the service stream. It decodes the filter.
func (c *Consumer) Reads(s metadatav1.Stream) bool {
	if s == metadatav1.Stream_STREAM_SERVICE {
		return false
	}
	filter := new(metadatav1.Filter)
	fold.Decode(c.filter, filter)
	return events.NewFilter(filter).MatchStream(s)
}

// Bytes returns the encoding. It is shared: never write to it.
func (c *Consumer) Bytes() []byte { return fold.Bytes(c.raw) }

// Message decodes the consumer. The message is the caller's.
func (c *Consumer) Message() *metadatav1.Consumer {
	m := new(metadatav1.Consumer)
	fold.Decode(c.raw, m)
	return m
}

// SignedHead is one signed head as it was logged. It is immutable.
type SignedHead struct {
	raw      string
	stream   metadatav1.Stream
	revision uint64
}

func newSignedHead(raw []byte) (*SignedHead, error) {
	h := &SignedHead{raw: string(raw)}
	err := fold.Fields(h.raw, func(num protowire.Number, number uint64, _ string) {
		switch num {
		case 1:
			h.stream = metadatav1.Stream(number)
		case 2:
			h.revision = number
		}
	})
	return h, err
}

// Stream returns whose head was signed.
func (h *SignedHead) Stream() metadatav1.Stream { return h.stream }

// Revision returns the revision of the stream that was signed.
func (h *SignedHead) Revision() uint64 { return h.revision }

// Bytes returns the encoding. It is shared: never write to it.
func (h *SignedHead) Bytes() []byte { return fold.Bytes(h.raw) }

// Message decodes the signed head. The message is the caller's.
func (h *SignedHead) Message() *metadatav1.SignedHead {
	m := new(metadatav1.SignedHead)
	fold.Decode(h.raw, m)
	return m
}

// Floor is where the history of a stream begins, as it was logged. It is an immutable
// value. The zero Floor says that nothing was trimmed.
type Floor struct {
	raw      string
	stream   metadatav1.Stream
	oldest   uint64
	previous events.Digest
}

func newFloor(raw []byte) (Floor, error) {
	f := Floor{raw: string(raw)}
	var digest string
	err := fold.Fields(f.raw, func(num protowire.Number, number uint64, value string) {
		switch num {
		case 1:
			f.stream = metadatav1.Stream(number)
		case 2:
			f.oldest = number
		case 3:
			digest = value
		}
	})
	if err == nil && len(digest) != len(f.previous) {
		err = fmt.Errorf("the digest before revision %d of %v has %d bytes, not %d", f.oldest, f.stream, len(digest), len(f.previous))
	}
	copy(f.previous[:], digest)
	return f, err
}

// OldestRevision returns the oldest revision that members keep; 0: nothing was trimmed.
func (f Floor) OldestRevision() uint64 { return f.oldest }

// PreviousDigest returns the digest of the stream before the oldest revision.
func (f Floor) PreviousDigest() events.Digest { return f.previous }

// Bytes returns the encoding. It is shared: never write to it.
func (f Floor) Bytes() []byte { return fold.Bytes(f.raw) }

// Message decodes the floor. The message is the caller's.
func (f Floor) Message() *metadatav1.HistoryFloor {
	m := new(metadatav1.HistoryFloor)
	fold.Decode(f.raw, m)
	return m
}
