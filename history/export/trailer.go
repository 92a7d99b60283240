package export

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"slices"

	"github.com/heliosdb/metadata/events"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"google.golang.org/protobuf/proto"
)

// Trailer says what a file has held when it was complete.
type Trailer struct {
	Streams []StreamEnd // in order of the header
	// SignedHeads are the newest [MaxSignedHeads] of each stream, by stream and revision.
	// Their signatures were not looked at, and they may be about more than the file holds.
	SignedHeads []*metadatav1.SignedHead
}

// StreamEnd says what a file has held of a stream.
type StreamEnd struct {
	Stream  metadatav1.Stream
	Blocks  uint64
	Changes uint64
	Bytes   uint64        // of the changes as logged
	Digest  events.Digest // behind the last change

	// What follows other parts of the file say.
	First uint64 // the first revision
	Base  bool   // the model before it is there
}

// trailerText is the trailer's JSON.
type trailerText struct {
	Streams     []endText `json:"streams"`
	SignedHeads [][]byte  `json:"signedHeads"`
}

type endText struct {
	Stream  string `json:"stream"`
	Blocks  uint64 `json:"blocks"`
	Changes uint64 `json:"changes"`
	Bytes   uint64 `json:"bytes"`
	Digest  string `json:"digest"`
}

const trailerFrameBytes = tagBytes + 4

// encode returns the trailer up to its checksum.
func (t Trailer) encode() ([]byte, error) {
	text := trailerText{Streams: []endText{}, SignedHeads: [][]byte{}}
	for _, s := range t.Streams {
		text.Streams = append(text.Streams, endText{events.StreamName(s.Stream), s.Blocks, s.Changes, s.Bytes, s.Digest.String()})
	}
	for _, head := range t.SignedHeads {
		encoded, err := proto.MarshalOptions{Deterministic: true}.Marshal(head)
		if err != nil {
			return nil, fmt.Errorf("a signed head of revision %d cannot be written: %w", head.GetRevision(), err)
		}
		text.SignedHeads = append(text.SignedHeads, encoded)
	}
	encoded, err := json.Marshal(text)
	if err != nil {
		return nil, fmt.Errorf("an export's trailer cannot be written: %w", err)
	}
	if len(encoded) > MaxTrailerBytes {
		return nil, &TooLargeError{"a trailer of so many bytes", "MaxTrailerBytes", MaxTrailerBytes, len(encoded)}
	}
	b := binary.BigEndian.AppendUint32([]byte(trailerTag), uint32(len(encoded)))
	b = append(b, encoded...)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli)), nil
}

// parseTrailer reads what encode wrote. The error says what is wrong with it.
func parseTrailer(b []byte) (t Trailer, err error) {
	body, sum := b[:len(b)-checksumBytes], binary.BigEndian.Uint32(b[len(b)-checksumBytes:])
	if crc32.Checksum(body, castagnoli) != sum {
		return t, fmt.Errorf("it does not match its checksum")
	}
	var text trailerText
	if err := decodeText(body[trailerFrameBytes:], &text); err != nil {
		return t, fmt.Errorf("its text: %w", err)
	}
	for _, s := range text.Streams {
		end := StreamEnd{Blocks: s.Blocks, Changes: s.Changes, Bytes: s.Bytes}
		if end.Stream, err = parseStream(s.Stream); err != nil {
			return t, fmt.Errorf("its text: %w", err)
		}
		if end.Digest, err = parseDigest(s.Digest); err != nil {
			return t, fmt.Errorf("its text: %w", err)
		}
		t.Streams = append(t.Streams, end)
	}
	for i, encoded := range text.SignedHeads {
		head := new(metadatav1.SignedHead)
		if err := proto.Unmarshal(encoded, head); err != nil {
			return t, fmt.Errorf("its signed head %d: %w", i, err)
		}
		t.SignedHeads = append(t.SignedHeads, head)
	}
	if !slices.IsSortedFunc(t.SignedHeads, compareHeads) {
		return t, fmt.Errorf("its signed heads are out of order")
	}
	return t, nil
}

// newestHeads sorts signed heads by stream and revision, and leaves out what is there
// twice and all but the newest of each stream.
func newestHeads(heads []*metadatav1.SignedHead) []*metadatav1.SignedHead {
	heads = slices.Clone(heads)
	slices.SortFunc(heads, compareHeads)
	heads = slices.CompactFunc(heads, func(a, b *metadatav1.SignedHead) bool { return compareHeads(a, b) == 0 })
	kept := heads[:0]
	for i, head := range heads {
		if i+MaxSignedHeads >= len(heads) || heads[i+MaxSignedHeads].GetStream() != head.GetStream() {
			kept = append(kept, head)
		}
	}
	return kept
}

func compareHeads(a, b *metadatav1.SignedHead) int {
	return cmp.Or(
		cmp.Compare(a.GetStream(), b.GetStream()),
		cmp.Compare(a.GetRevision(), b.GetRevision()),
		bytes.Compare(a.GetKeyId(), b.GetKeyId()),
		bytes.Compare(a.GetDigest(), b.GetDigest()),
		bytes.Compare(a.GetSignature(), b.GetSignature()),
	)
}
