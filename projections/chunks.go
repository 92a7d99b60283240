package projections

import (
	"encoding/binary"
	"errors"
	"iter"
)

// lengthBytes is what stands before each record of a checkpoint in [State.Chunks].
const lengthBytes = 8

// MaxRecordBytes bounds one record of a checkpoint.
const MaxRecordBytes = 8 << 20

// Chunks yields the checkpoint of the state as one row of bytes: each record that Export yields
// after its length as uint64, big endian, cut into chunks of size bytes; the last one may have
// fewer. Their SHA-256 is the model hash. A chunk is valid until yield returns.
func (s *State[D]) Chunks(size int) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		buf := make([]byte, 0, size)
		enough := s.Export(func(record []byte) error {
			for _, part := range [][]byte{binary.BigEndian.AppendUint64(nil, uint64(len(record))), record} {
				for len(part) > 0 {
					n := min(len(part), size-len(buf))
					buf, part = append(buf, part[:n]...), part[n:]
					if len(buf) < size {
						continue
					}
					if !yield(buf) {
						return errStopped
					}
					buf = buf[:0]
				}
			}
			return nil
		})
		if enough == nil && len(buf) > 0 {
			yield(buf)
		}
	}
}

// errStopped ends an export that nobody wants more of.
var errStopped = errors.New("no more of the checkpoint is wanted")

// Records cuts what [State.Chunks] yields into records again, for Import: whatever the chunks'
// sizes. It passes an error on as the last thing that it yields. A record is valid until yield
// returns.
func Records(chunks iter.Seq2[[]byte, error]) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		var rest []byte // of a record that goes on in the next chunk
		for chunk, err := range chunks {
			if err != nil {
				yield(nil, err)
				return
			}
			b := chunk
			if len(rest) > 0 {
				rest = append(rest, chunk...)
				b = rest
			}
			for len(b) >= lengthBytes {
				size := binary.BigEndian.Uint64(b)
				if size == 0 || size > MaxRecordBytes {
					yield(nil, damaged("a record has %d bytes; 1 to MaxRecordBytes, %d, are possible", size, MaxRecordBytes))
					return
				}
				if uint64(len(b)-lengthBytes) < size {
					break
				}
				end := lengthBytes + int(size)
				if !yield(b[lengthBytes:end:end], nil) {
					return
				}
				b = b[end:]
			}
			rest = append(rest[:0], b...) // which may be its own end
		}
		if len(rest) > 0 {
			yield(nil, damaged("it ends within a record"))
		}
	}
}
