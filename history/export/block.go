package export

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/heliosdb/metadata/events"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/klauspost/compress/zstd"
)

const (
	baseTag    = "BASE"
	blockTag   = "BLCK"
	trailerTag = "TAIL"
	tagBytes   = 4
	// lengthBytes is what stands before each change of a block.
	lengthBytes = 4
)

// blockHead is what stands before a block's stored bytes.
type blockHead struct {
	stream   metadatav1.Stream
	first    uint64        // revision of the first change
	changes  uint32        // how many
	size     uint32        // of the changes, each with its length
	stored   uint32        // size as stored
	digest   events.Digest // of the stream behind the last change
	checksum uint32        // of the stored bytes
}

const blockHeadBytes = tagBytes + 4 + 8 + 4 + 4 + 4 + sha256.Size + 4 + checksumBytes

// last returns the revision of the last change.
func (h *blockHead) last() uint64 { return h.first + uint64(h.changes) - 1 }

func (h *blockHead) encode() []byte {
	b := make([]byte, 0, blockHeadBytes)
	b = append(b, blockTag...)
	b = binary.BigEndian.AppendUint32(b, uint32(h.stream))
	b = binary.BigEndian.AppendUint64(b, h.first)
	b = binary.BigEndian.AppendUint32(b, h.changes)
	b = binary.BigEndian.AppendUint32(b, h.size)
	b = binary.BigEndian.AppendUint32(b, h.stored)
	b = append(b, h.digest[:]...)
	b = binary.BigEndian.AppendUint32(b, h.checksum)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// parseBlockHead reads what encode wrote. The error says what is wrong with it.
func parseBlockHead(b []byte) (h blockHead, err error) {
	if len(b) != blockHeadBytes || string(b[:tagBytes]) != blockTag {
		return h, fmt.Errorf("there is no block")
	}
	body, sum := b[:blockHeadBytes-checksumBytes], binary.BigEndian.Uint32(b[blockHeadBytes-checksumBytes:])
	if crc32.Checksum(body, castagnoli) != sum {
		return h, fmt.Errorf("the head of its block does not match its checksum")
	}
	b = b[tagBytes:]
	h.stream = metadatav1.Stream(binary.BigEndian.Uint32(b))
	h.first = binary.BigEndian.Uint64(b[4:])
	h.changes = binary.BigEndian.Uint32(b[12:])
	h.size = binary.BigEndian.Uint32(b[16:])
	h.stored = binary.BigEndian.Uint32(b[20:])
	h.digest = events.Digest(b[24 : 24+len(h.digest)])
	h.checksum = binary.BigEndian.Uint32(b[24+len(h.digest):])
	if h.changes == 0 || h.size > MaxBlockBytes || uint64(h.changes)*lengthBytes > uint64(h.size) || h.stored > MaxStoredBytes {
		return h, fmt.Errorf("its block cannot have %d changes with %d bytes, stored as %d: MaxBlockBytes is %d, MaxStoredBytes %d",
			h.changes, h.size, h.stored, MaxBlockBytes, MaxStoredBytes)
	}
	return h, nil
}

// unpack returns the changes of the block in their bytes, given its stored bytes.
func (h *blockHead) unpack(unpacker *zstd.Decoder, stored []byte) ([]byte, error) {
	if crc32.Checksum(stored, castagnoli) != h.checksum {
		return nil, fmt.Errorf("its block does not match its checksum")
	}
	// The decoder writes no more than there is room for.
	b, err := unpacker.DecodeAll(stored, make([]byte, 0, h.size))
	if err != nil {
		return nil, fmt.Errorf("its block cannot be unpacked: %w", err)
	}
	if len(b) != int(h.size) {
		return nil, fmt.Errorf("its block has %d bytes instead of %d", len(b), h.size)
	}
	return b, nil
}

// split cuts a block's bytes into its changes. With an error come the changes before the
// damaged one.
func (h *blockHead) split(b []byte) ([]*events.Change, error) {
	changes := make([]*events.Change, 0, h.changes)
	for range h.changes {
		if len(b) < lengthBytes || uint64(binary.BigEndian.Uint32(b)) > uint64(len(b)-lengthBytes) {
			return changes, fmt.Errorf("it is cut short in its block")
		}
		end := lengthBytes + int(binary.BigEndian.Uint32(b))
		c, err := events.DecodeChange(b[lengthBytes:end:end])
		if err != nil {
			return changes, err
		}
		if want := h.first + uint64(len(changes)); c.Revision() != want || c.Stream() != h.stream {
			return changes, fmt.Errorf("change %d of the %s stream is in its place", c.Revision(), events.StreamName(c.Stream()))
		}
		changes, b = append(changes, c), b[end:]
	}
	if len(b) > 0 {
		return changes, fmt.Errorf("%d bytes follow it in its block", len(b))
	}
	return changes, nil
}

// newUnpacker returns a decoder that any number of goroutines may use, and that allocates
// nothing because of what a block says.
func newUnpacker() (*zstd.Decoder, error) {
	return zstd.NewReader(nil, zstd.WithDecoderMaxMemory(MaxBlockBytes), zstd.WithDecodeAllCapLimit(true))
}
