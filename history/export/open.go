package export

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/history"
	"github.com/klauspost/compress/zstd"
)

// File is an export that was opened. Its methods may be called at the same time, but for
// Close.
type File struct {
	r        io.ReaderAt
	size     int64
	close    func() error
	unpacker *zstd.Decoder

	header  Header
	trailer Trailer
	tail    int64 // where the trailer begins
	sources []*source
}

// Read opens an export of this size. It reads everything but the changes; what is damaged
// there is a [*DamagedError]. A file of a newer format is an [*events.UnsupportedError].
// Other errors are those of the reader. Close the file when it is not used any more.
func Read(r io.ReaderAt, size int64) (*File, error) {
	f := &File{r: r, size: size, close: func() error { return nil }}
	header, at, format, err := readHeader(r, size)
	if err != nil {
		return nil, err
	}
	f.header = header
	for _, s := range header.Streams {
		origin := history.Origin{Stream: s.Stream, Cluster: header.Cluster, RecoveryEpoch: header.RecoveryEpoch}
		source := &source{file: f, origin: origin, bounds: s.Bounds}
		if format > formatWhole && s.First > 1 {
			if at, err = source.indexBase(at); err != nil {
				return nil, err
			}
		}
		if at, err = source.index(at); err != nil {
			return nil, err
		}
		f.sources = append(f.sources, source)
	}
	if err := f.readTrailer(at); err != nil {
		return nil, err
	}
	if f.unpacker, err = newUnpacker(); err != nil {
		return nil, err
	}
	return f, nil
}

// Close gives back what Open took. Sources of the file cannot be read any more.
func (f *File) Close() error {
	f.unpacker.Close()
	return f.close()
}

// Header returns what the file holds. It is shared.
func (f *File) Header() Header { return f.header }

// Trailer returns what the file has held when it was complete. It is shared.
func (f *File) Trailer() Trailer { return f.trailer }

// Sources returns the histories of the streams, in order of the header. Each is a
// [history.DigestKeeper] too, with a digest behind each block, and a [history.BaseKeeper]. They
// keep the block that was read last, so that reading on costs nothing twice.
func (f *File) Sources() []history.Source {
	all := make([]history.Source, len(f.sources))
	for i, s := range f.sources {
		all[i] = s
	}
	return all
}

// readTrailer reads the trailer, which begins at an offset, and holds it against the index.
func (f *File) readTrailer(at int64) error {
	f.tail = at
	frame := make([]byte, trailerFrameBytes)
	if at+int64(len(frame)) > f.size {
		return damaged(PartTrailer, at, "it is cut short: the file ends at byte %d", f.size)
	}
	if err := f.readAt(frame, at); err != nil {
		return err
	}
	length := binary.BigEndian.Uint32(frame[tagBytes:])
	if string(frame[:tagBytes]) != trailerTag || length > MaxTrailerBytes {
		return damaged(PartTrailer, at, "there is none, or its text of %d bytes is longer than MaxTrailerBytes, %d", length, MaxTrailerBytes)
	}
	body := int64(trailerFrameBytes) + int64(length) + checksumBytes
	switch end := at + body + sha256.Size; {
	case end > f.size:
		return damaged(PartTrailer, at, "it is cut short: the file ends at byte %d instead of %d", f.size, end)
	case end < f.size:
		return damaged(PartTrailer, at, "the file has %d bytes behind its end at byte %d", f.size-end, end)
	}
	b := make([]byte, body)
	if err := f.readAt(b, at); err != nil {
		return err
	}
	trailer, err := parseTrailer(b)
	if err != nil {
		return &DamagedError{PartTrailer, at, err}
	}
	f.trailer = trailer
	if err := f.checkTrailer(); err != nil {
		return err
	}
	for i, s := range f.sources {
		f.trailer.Streams[i].First, f.trailer.Streams[i].Base = s.bounds.First, len(s.base) > 1
	}
	return nil
}

// checkTrailer compares the trailer with the blocks that there are.
func (f *File) checkTrailer() error {
	if len(f.trailer.Streams) != len(f.sources) {
		return damaged(PartTrailer, f.tail, "it has %d streams, but the header %d", len(f.trailer.Streams), len(f.sources))
	}
	for i, s := range f.sources {
		end, name := f.trailer.Streams[i], events.StreamName(s.origin.Stream)
		changes := s.bounds.Last + 1 - s.bounds.First
		if end.Stream != s.origin.Stream || end.Blocks != uint64(len(s.blocks)) || end.Changes != changes {
			return damaged(PartTrailer, f.tail, "it has %d changes of the %s stream in %d blocks, but there are %d of the %s stream in %d",
				end.Changes, events.StreamName(end.Stream), end.Blocks, changes, name, len(s.blocks))
		}
		if last := s.lastDigest(); end.Digest != last {
			return damaged(PartTrailer, f.tail, "it has the digest %v of the %s stream, but the last block %v", end.Digest, name, last)
		}
	}
	return nil
}

// readAt fills b from an offset where the file has enough.
func (f *File) readAt(b []byte, at int64) error { return readAt(f.r, b, at) }

func readAt(r io.ReaderAt, b []byte, at int64) error {
	if n, err := r.ReadAt(b, at); n < len(b) {
		return fmt.Errorf("cannot read the export at byte %d: %w", at, err)
	}
	return nil
}
