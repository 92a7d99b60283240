package transport

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"slices"

	"github.com/heliosdb/metadata/raftlog"
)

type frameType uint8

const (
	frameHello   frameType = 1
	frameRefusal frameType = 2
	frameMessage frameType = 3
	frameRequest frameType = 4
	frameAnswer  frameType = 5
	frameFailure frameType = 6
	frameCancel  frameType = 7
	framePing    frameType = 8
	framePong    frameType = 9
)

const (
	headerBytes   = 10
	checkedHeader = 6       // the header's bytes under the checksum
	readStepBytes = 1 << 18 // a payload's buffer grows by this as its bytes arrive
	keepBytes     = 1 << 20 // buffers larger than this are not kept for the next frame
	copyBytes     = 1 << 14 // payloads up to this size are copied, larger ones handed over
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// beginFrame appends an unfinished header. Append the payload, then call
// endFrame with the length that b had before.
func beginFrame(b []byte, typ frameType, group raftlog.GroupID) []byte {
	return append(b, 0, 0, 0, 0, byte(typ), byte(group), 0, 0, 0, 0)
}

// endFrame completes the header of the frame that starts at start.
func endFrame(b []byte, start int) []byte {
	frame := b[start:]
	binary.BigEndian.PutUint32(frame, uint32(len(frame)-headerBytes))
	binary.BigEndian.PutUint32(frame[checkedHeader:], frameChecksum(frame[:checkedHeader], frame[headerBytes:]))
	return b
}

func appendFrame(b []byte, typ frameType, payload []byte) []byte {
	start := len(b)
	return endFrame(append(beginFrame(b, typ, 0), payload...), start)
}

func frameChecksum(header, payload []byte) uint32 {
	return crc32.Update(crc32.Checksum(header, castagnoli), castagnoli, payload)
}

// frame is a decoded frame. Its payload is valid until the reader's next call.
type frame struct {
	typ     frameType
	group   raftlog.GroupID
	payload []byte
}

// frameReader decodes frames. It is owned by one goroutine.
type frameReader struct {
	r     *bufio.Reader
	limit int // largest payload
	buf   []byte
}

func newFrameReader(r io.Reader, limit int) *frameReader {
	return &frameReader{r: bufio.NewReaderSize(r, 64<<10), limit: limit}
}

// next reads one frame. Errors are those of the underlying reader (io.EOF only
// between frames) or a *FrameError, after either of which the stream is over.
func (fr *frameReader) next() (frame, error) {
	var header [headerBytes]byte
	if _, err := io.ReadFull(fr.r, header[:]); err != nil {
		return frame{}, err
	}
	length := binary.BigEndian.Uint32(header[:])
	if int64(length) > int64(fr.limit) {
		return frame{}, &FrameError{Reason: fmt.Sprintf("a payload of %d bytes, the limit here is %d", length, fr.limit)}
	}
	if err := fr.fill(int(length)); err != nil {
		return frame{}, err
	}
	if frameChecksum(header[:checkedHeader], fr.buf) != binary.BigEndian.Uint32(header[checkedHeader:]) {
		return frame{}, &FrameError{Reason: "the checksum does not match", kind: faultCorrupt}
	}
	return frame{typ: frameType(header[4]), group: raftlog.GroupID(header[5]), payload: fr.buf}, nil
}

// fill reads n bytes into buf. The buffer grows with what has arrived, so that
// a length alone costs no memory.
func (fr *frameReader) fill(n int) error {
	if cap(fr.buf) > keepBytes {
		fr.buf = nil
	}
	fr.buf = fr.buf[:0]
	for len(fr.buf) < n {
		have := len(fr.buf)
		step := min(n-have, max(readStepBytes, cap(fr.buf)-have))
		fr.buf = slices.Grow(fr.buf, step)[:have+step]
		if _, err := io.ReadFull(fr.r, fr.buf[have:]); err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
	}
	return nil
}

// own makes part, a piece of the last frame's payload, the caller's to keep.
func (fr *frameReader) own(part []byte) []byte {
	if len(part) <= copyBytes {
		return bytes.Clone(part)
	}
	fr.buf = nil
	return part
}
