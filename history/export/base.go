package export

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"iter"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/history"
	"github.com/heliosdb/metadata/internal/failure"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// pieceHead is what stands before a piece of a base. The last piece of each base is empty; so
// is the only one where there is no base.
type pieceHead struct {
	stream   metadatav1.Stream
	offset   uint64            // of its first byte in the checkpoint
	size     uint32            // of its bytes
	stored   uint32            // size as stored
	sum      [sha256.Size]byte // of the checkpoint up to the end of the piece
	checksum uint32            // of the stored bytes
}

const pieceHeadBytes = tagBytes + 4 + 8 + 4 + 4 + sha256.Size + 4 + checksumBytes

func (h *pieceHead) encode() []byte {
	b := make([]byte, 0, pieceHeadBytes)
	b = append(b, baseTag...)
	b = binary.BigEndian.AppendUint32(b, uint32(h.stream))
	b = binary.BigEndian.AppendUint64(b, h.offset)
	b = binary.BigEndian.AppendUint32(b, h.size)
	b = binary.BigEndian.AppendUint32(b, h.stored)
	b = append(b, h.sum[:]...)
	b = binary.BigEndian.AppendUint32(b, h.checksum)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// parsePieceHead reads what encode wrote. The error says what is wrong with it.
func parsePieceHead(b []byte) (h pieceHead, err error) {
	if len(b) != pieceHeadBytes || string(b[:tagBytes]) != baseTag {
		return h, fmt.Errorf("there is none")
	}
	body, sum := b[:pieceHeadBytes-checksumBytes], binary.BigEndian.Uint32(b[pieceHeadBytes-checksumBytes:])
	if crc32.Checksum(body, castagnoli) != sum {
		return h, fmt.Errorf("the head of a piece does not match its checksum")
	}
	b = b[tagBytes:]
	h.stream = metadatav1.Stream(binary.BigEndian.Uint32(b))
	h.offset = binary.BigEndian.Uint64(b[4:])
	h.size = binary.BigEndian.Uint32(b[12:])
	h.stored = binary.BigEndian.Uint32(b[16:])
	h.sum = [sha256.Size]byte(b[20 : 20+sha256.Size])
	h.checksum = binary.BigEndian.Uint32(b[20+sha256.Size:])
	if h.size > MaxBlockBytes || h.stored > MaxStoredBytes || h.size == 0 && h.stored > 0 {
		return h, fmt.Errorf("a piece cannot have %d bytes, stored as %d: MaxBlockBytes is %d, MaxStoredBytes %d",
			h.size, h.stored, MaxBlockBytes, MaxStoredBytes)
	}
	return h, nil
}

// piece is a piece of a base and where it is.
type piece struct {
	pieceHead
	at int64 // of its head
}

// indexBase finds the pieces of the stream's base, which begin at an offset, and returns where
// they end.
func (s *source) indexBase(at int64) (int64, error) {
	f, head := s.file, make([]byte, pieceHeadBytes)
	for offset := uint64(0); ; {
		if at+pieceHeadBytes > f.size {
			return at, damaged(PartBase, at, "it is cut short: the file ends at byte %d", f.size)
		}
		if err := f.readAt(head, at); err != nil {
			return at, err
		}
		h, err := parsePieceHead(head)
		switch {
		case err != nil:
			return at, &DamagedError{PartBase, at, err}
		case h.stream != s.origin.Stream || h.offset != offset:
			return at, damaged(PartBase, at, "byte %d of the base of the %s stream is in the place of byte %d", h.offset, events.StreamName(h.stream), offset)
		case at+pieceHeadBytes+int64(h.stored) > f.size:
			return at, damaged(PartBase, at, "a piece of it is cut short: the file ends at byte %d", f.size)
		}
		s.base = append(s.base, piece{h, at})
		at += pieceHeadBytes + int64(h.stored)
		offset += uint64(h.size)
		if h.size == 0 {
			return at, nil
		}
	}
}

// Base yields the checkpoint as [history.BaseKeeper] says. Damage is a [*DamagedError].
func (s *source) Base(ctx context.Context, revision uint64) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		if len(s.base) < 2 || revision+1 != s.bounds.First {
			yield(nil, history.NoBase(s.origin.Stream, revision+1, "the export has none"))
			return
		}
		sum := sha256.New()
		for i := range s.base {
			chunk, err := s.piece(ctx, &s.base[i], sum)
			if err != nil {
				yield(nil, err)
				return
			}
			if len(chunk) > 0 && !yield(chunk, nil) {
				return
			}
		}
	}
}

// piece reads a piece and holds it against the sum of all up to it.
func (s *source) piece(ctx context.Context, p *piece, sum hash.Hash) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	stored := make([]byte, p.stored)
	if err := s.file.readAt(stored, p.at+pieceHeadBytes); err != nil {
		return nil, err
	}
	if crc32.Checksum(stored, castagnoli) != p.checksum {
		return nil, damaged(PartBase, p.at, "a piece of it does not match its checksum")
	}
	chunk := make([]byte, 0, p.size)
	if p.size > 0 {
		var err error
		if chunk, err = s.file.unpacker.DecodeAll(stored, chunk); err != nil {
			return nil, damaged(PartBase, p.at, "a piece of it cannot be unpacked: %w", err)
		}
	}
	if len(chunk) != int(p.size) {
		return nil, damaged(PartBase, p.at, "a piece of it has %d bytes instead of %d", len(chunk), p.size)
	}
	sum.Write(chunk)
	if got := [sha256.Size]byte(sum.Sum(nil)); got != p.sum {
		return nil, damaged(PartBase, p.at, "its SHA-256 up to byte %d is %x, but should be %x", p.offset+uint64(p.size), got, p.sum)
	}
	return chunk, nil
}

// verifyBase reads the base of a stream from end to end, if there is one.
func (f *File) verifyBase(ctx context.Context, s *source) error {
	if len(s.base) < 2 {
		return nil
	}
	_, err := history.FollowBase(ctx, s, s.bounds, nil)
	if found, ok := errors.AsType[*history.DamagedError](err); ok {
		return &DamagedError{PartBase, s.base[0].at, found}
	}
	return err
}

// base writes the base of a stream, or that there is none, and reports which.
func (w *writer) base(ctx context.Context, source history.Source, s Stream) (has bool, err error) {
	h, sum := pieceHead{stream: s.Stream}, sha256.New()
	flush := func(b []byte) error {
		sum.Write(b)
		w.stored = w.stored[:0]
		if len(b) > 0 {
			w.stored = w.packer.EncodeAll(b, w.stored)
		}
		h.size, h.stored = uint32(len(b)), uint32(len(w.stored))
		h.sum, h.checksum = [sha256.Size]byte(sum.Sum(nil)), crc32.Checksum(w.stored, castagnoli)
		if err := w.write(h.encode()); err != nil {
			return err
		}
		h.offset += uint64(len(b))
		return w.write(w.stored)
	}
	_, err = history.FollowBase(ctx, source, s.Bounds, func(chunk []byte) error {
		for has = true; len(chunk) > 0; {
			n := min(len(chunk), BlockBytes-len(w.block))
			w.block, chunk = append(w.block, chunk[:n]...), chunk[n:]
			if len(w.block) < BlockBytes {
				continue
			}
			if err := flush(w.block); err != nil {
				return err
			}
			w.block = w.block[:0]
		}
		return nil
	})
	if err != nil && (has || !failure.Is(err, metadatav1.ErrorReason_ERROR_REASON_HISTORY_TRIMMED)) {
		return has, err
	}
	if len(w.block) > 0 {
		if err := flush(w.block); err != nil {
			return has, err
		}
		w.block = w.block[:0]
	}
	return has, flush(nil)
}
