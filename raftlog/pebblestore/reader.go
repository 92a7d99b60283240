package pebblestore

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/heliosdb/metadata/raftlog"
)

// reader reads a finished file. Its open file stays readable when it is deleted.
type reader struct {
	file   vfs.File // nil for genesis
	path   string
	desc   raftlog.Descriptor
	chunks []chunkAt
}

type chunkAt struct {
	at        int64
	size, sum uint32
}

// openFile reads header, trailer and the place of each chunk, not the chunks.
func openFile(fs vfs.FS, path string) (*reader, error) {
	r, from, to, err := openEnds(fs, path)
	if err != nil {
		return nil, err
	}
	if err := r.index(from, to); err != nil {
		_ = r.Close() // it was only read
		return nil, err
	}
	return r, nil
}

// openEnds reads header and trailer, and returns between where the chunks are.
func openEnds(fs vfs.FS, path string) (_ *reader, from, to int64, err error) {
	f, err := fs.Open(path)
	if other := surroundings(path, err); other != nil {
		return nil, 0, 0, other
	}
	if err != nil {
		return nil, 0, 0, err
	}
	r := &reader{file: f, path: path}
	defer func() {
		if err != nil {
			_ = f.Close() // it was only read
		}
	}()
	info, err := f.Stat()
	if err != nil {
		return nil, 0, 0, r.damage("it cannot be read", err)
	}
	head := make([]byte, min(info.Size(), raftlog.MaxFileHeaderBytes))
	trailer := make([]byte, min(info.Size(), raftlog.FileTrailerBytes))
	if err := errors.Join(readAt(f, head, 0), readAt(f, trailer, info.Size()-int64(len(trailer)))); err != nil {
		return nil, 0, 0, r.damage("it cannot be read", err)
	}
	d, at, err := raftlog.ParseFileHeader(head)
	if _, newer := errors.AsType[*raftlog.FormatError](err); newer {
		return nil, 0, 0, err
	}
	if err != nil {
		return nil, 0, 0, r.damage("header", err)
	}
	if r.desc, err = raftlog.ParseFileTrailer(d, trailer); err != nil {
		return nil, 0, 0, r.damage("trailer", err)
	}
	return r, int64(at), info.Size() - int64(len(trailer)), nil
}

// index walks over the chunks between from and to.
func (r *reader) index(from, to int64) error {
	var bytes uint64
	for i := range r.desc.Chunks {
		var frame [raftlog.FileFrameBytes]byte
		if err := readAt(r.file, frame[:], from); err != nil {
			return r.damage(fmt.Sprintf("chunk %d", i), err)
		}
		size, sum, last := raftlog.ParseFileFrame(frame)
		from += raftlog.FileFrameBytes
		if last || size > raftlog.MaxChunkBytes || from+int64(size) > to {
			return r.damage(fmt.Sprintf("chunk %d of %d bytes does not fit", i, size), nil)
		}
		r.chunks = append(r.chunks, chunkAt{at: from, size: size, sum: sum})
		from += int64(size)
		bytes += uint64(size)
	}
	if from != to || bytes != r.desc.Bytes {
		return r.damage(fmt.Sprintf("its chunks have %d bytes, the trailer says %d", bytes, r.desc.Bytes), nil)
	}
	return nil
}

func readAt(f vfs.File, b []byte, at int64) error {
	_, err := f.ReadAt(b, at)
	return err
}

func (r *reader) damage(detail string, err error) error {
	if other := surroundings(r.path, err); other != nil {
		return other
	}
	return &raftlog.DamageError{Path: r.path, Detail: detail, Err: err}
}

// otherThan says that a file is not the one that is recorded.
func (r *reader) otherThan(d raftlog.Descriptor) error {
	return r.damage(fmt.Sprintf("hash %x is recorded, it has %x", d.Hash, r.desc.Hash), nil)
}

func (r *reader) Descriptor() raftlog.Descriptor { return r.desc }

func (r *reader) ReadChunk(i uint32) ([]byte, error) {
	if i >= r.desc.Chunks {
		return nil, fmt.Errorf("pebblestore: checkpoint %d has %d chunks, there is no chunk %d", r.desc.Index, r.desc.Chunks, i)
	}
	c := r.chunks[i]
	data := make([]byte, c.size)
	if err := readAt(r.file, data, c.at); err != nil {
		return nil, r.damage(fmt.Sprintf("chunk %d", i), err)
	}
	if raftlog.ChunkChecksum(i, data) != c.sum {
		return nil, r.damage(fmt.Sprintf("chunk %d does not match its checksum", i), nil)
	}
	return data, nil
}

func (r *reader) Close() error {
	if r.file == nil {
		return nil
	}
	return r.file.Close()
}
