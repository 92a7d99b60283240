package raftlog

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"hash/crc32"
)

// The checkpoint file, all integers big endian:
//
//	header:  magic "HMCP", length u32 of what follows, the head of the Descriptor
//	         (its stored form up to and including meta), CRC-32C u32 of that head
//	chunks:  each length u32 (1 to MaxChunkBytes), CRC-32C u32 over the chunk's
//	         number (u32) and its data, data
//	trailer: length u32 0xffffffff, chunks u32, bytes u64, SHA-256 [32] of header
//	         and chunks, CRC-32C u32 of the four fields before
//
// The same Descriptor and the same chunks give the same bytes on every member.
const (
	fileMagic      = "HMCP"
	fileTrailerTag = 0xffffffff

	// FileFrameBytes is what stands before each chunk's data.
	FileFrameBytes = 8
	// FileTrailerBytes is the size of the trailer.
	FileTrailerBytes = 4 + 4 + 8 + sha256.Size + 4
	// MaxFileHeaderBytes is more than any header.
	MaxFileHeaderBytes = MaxMetaBytes + 4*(1+MaxConfMembers*8) + 128
)

// Castagnoli is the polynomial of all checksums of stored data.
var Castagnoli = crc32.MakeTable(crc32.Castagnoli)

// FileEncoder gives the bytes of a checkpoint file piece by piece, and counts and
// hashes them. Every Storage uses it, whatever it does with the bytes, so that
// hashes can be compared between members.
type FileEncoder struct {
	d    Descriptor
	hash hash.Hash
}

// NewFileEncoder starts a file. Bytes, Chunks and Hash of d are ignored.
func NewFileEncoder(d Descriptor) (*FileEncoder, error) {
	d.Bytes, d.Chunks, d.Hash = 0, 0, [32]byte{}
	if err := d.Validate(); err != nil {
		return nil, err
	}
	return &FileEncoder{d: d, hash: sha256.New()}, nil
}

// Header returns the first bytes of the file. Call it once, first.
func (e *FileEncoder) Header() []byte {
	head := e.d.appendHead(nil)
	b := binary.BigEndian.AppendUint32([]byte(fileMagic), uint32(len(head)+4))
	b = append(b, head...)
	b = binary.BigEndian.AppendUint32(b, crc32.Checksum(head, Castagnoli))
	e.hash.Write(b)
	return b
}

// Frame returns what stands before the data of the next chunk.
func (e *FileEncoder) Frame(data []byte) ([FileFrameBytes]byte, error) {
	var frame [FileFrameBytes]byte
	switch {
	case len(data) == 0:
		return frame, fmt.Errorf("raftlog: checkpoint %d: chunk %d is empty", e.d.Index, e.d.Chunks)
	case len(data) > MaxChunkBytes:
		return frame, &TooLargeError{What: "checkpoint chunk", Limit: "MaxChunkBytes", Max: MaxChunkBytes, Got: len(data)}
	case e.d.Chunks == MaxChunks:
		return frame, &TooLargeError{What: "checkpoint", Limit: "MaxChunks", Max: MaxChunks, Got: MaxChunks + 1}
	}
	binary.BigEndian.PutUint32(frame[:4], uint32(len(data)))
	binary.BigEndian.PutUint32(frame[4:], ChunkChecksum(e.d.Chunks, data))
	e.hash.Write(frame[:])
	e.hash.Write(data)
	e.d.Chunks++
	e.d.Bytes += uint64(len(data))
	return frame, nil
}

// Trailer returns the last bytes of the file and its complete descriptor.
func (e *FileEncoder) Trailer() ([]byte, Descriptor) {
	e.hash.Sum(e.d.Hash[:0])
	b := binary.BigEndian.AppendUint32(nil, fileTrailerTag)
	b = binary.BigEndian.AppendUint32(b, e.d.Chunks)
	b = binary.BigEndian.AppendUint64(b, e.d.Bytes)
	b = append(b, e.d.Hash[:]...)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, Castagnoli)), e.d
}

// ChunkChecksum covers a chunk and its number, so that a chunk in another's place
// is noticed.
func ChunkChecksum(i uint32, data []byte) uint32 {
	sum := crc32.Update(0, Castagnoli, binary.BigEndian.AppendUint32(nil, i))
	return crc32.Update(sum, Castagnoli, data)
}

// ParseFileHeader reads the header from the start of a file and returns its size. A
// newer format is a *FormatError.
func ParseFileHeader(b []byte) (Descriptor, int, error) {
	r := reader{b: b}
	r.magic(fileMagic)
	n := r.u32()
	head := r.bytes(n, MaxFileHeaderBytes)
	if r.bad == "" && len(head) < 4 {
		r.bad = "its header is empty"
	}
	if r.bad != "" {
		return Descriptor{}, 0, fmt.Errorf("raftlog: checkpoint header cannot be read: %s", r.bad)
	}
	body, sum := head[:len(head)-4], binary.BigEndian.Uint32(head[len(head)-4:])
	if crc32.Checksum(body, Castagnoli) != sum {
		return Descriptor{}, 0, fmt.Errorf("raftlog: checkpoint header does not match its checksum")
	}
	if err := newerDescriptor(body); err != nil {
		return Descriptor{}, 0, err
	}
	h := reader{b: body}
	d := h.descriptorHead()
	if err := h.end("checkpoint header"); err != nil {
		return d, 0, err
	}
	return d, len(fileMagic) + 4 + len(head), d.Validate()
}

// ParseFileFrame reads what stands before a chunk; last is true at the trailer.
func ParseFileFrame(b [FileFrameBytes]byte) (size, checksum uint32, last bool) {
	size = binary.BigEndian.Uint32(b[:4])
	return size, binary.BigEndian.Uint32(b[4:]), size == fileTrailerTag
}

// ParseFileTrailer completes a descriptor from a file's last FileTrailerBytes.
func ParseFileTrailer(d Descriptor, b []byte) (Descriptor, error) {
	r := reader{b: b}
	tag := r.u32()
	d.Chunks = r.u32()
	d.Bytes = r.u64()
	copy(d.Hash[:], r.take(len(d.Hash)))
	sum := r.u32()
	if err := r.end("checkpoint trailer"); err != nil {
		return d, err
	}
	if tag != fileTrailerTag || crc32.Checksum(b[:FileTrailerBytes-4], Castagnoli) != sum {
		return d, fmt.Errorf("raftlog: checkpoint trailer does not match its checksum")
	}
	return d, d.Validate()
}
