// Package jsonl is a file of JSON lines that a crash leaves readable: what was appended is
// on the disk when Append returns, and what a crash has left of the last Append is gone after
// the next Open. Any other damage is refused, and so is damage with a whole line behind it: a line
// that is cut off is behind all that can be read.
//
// A File belongs to one goroutine. The file is locked: two processes cannot have it, on
// systems that can lock.
package jsonl

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
)

// MaxAppendBytes bounds what is appended at once, unless it is a single line: as much may a
// crash damage.
const MaxAppendBytes = 4 << 20

// ErrBroken is of a file that cannot be gone on with: nobody knows what of it is on the
// disk. After a failed sync a second one may succeed without having written anything.
// Open it again, in another process after looking at the disk.
var ErrBroken = errors.New("the file is broken")

// handle is what a File needs of a file.
type handle interface {
	io.Writer
	Sync() error
	Truncate(size int64) error
	Close() error
}

// File is a file of JSON lines, open for appending.
type File struct {
	name   string
	file   handle
	size   int64 // of all whole lines
	broken error // nil: it is not
}

// Open opens a file for appending, and creates it if there is none. What a crash has left
// of the last Append is cut off, which the log is told. A file with any other damage, or
// that holds something else than JSON objects, is refused and stays as it is.
func Open(name string, log *slog.Logger) (*File, error) {
	file, err := OpenLocked(name, os.O_RDWR|os.O_APPEND)
	if err != nil {
		return nil, err
	}
	size, err := repair(name, file, log)
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	if err := SyncDir(filepath.Dir(name)); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return &File{name: name, file: file, size: size}, nil
}

// SyncDir makes the names in a directory durable.
func SyncDir(name string) error {
	dir, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// Size returns the size of the file.
func (f *File) Size() int64 { return f.size }

// Append appends text that is one whole line, or several of at most MaxAppendBytes together,
// and syncs it. After an error the text is not in the file, unless the error is [ErrBroken].
func (f *File) Append(text []byte) error {
	if f.broken != nil {
		return f.broken
	}
	if len(text) > MaxAppendBytes && bytes.IndexByte(text, '\n') < len(text)-1 {
		return fmt.Errorf("%s: %d bytes of several lines at once; at most %d can be appended", f.name, len(text), MaxAppendBytes)
	}
	if _, err := f.file.Write(text); err != nil {
		if cut := f.file.Truncate(f.size); cut != nil {
			return f.breakOff(errors.Join(err, cut))
		}
		return fmt.Errorf("%s: %w", f.name, err)
	}
	if err := f.file.Sync(); err != nil {
		return f.breakOff(err)
	}
	f.size += int64(len(text))
	return nil
}

func (f *File) breakOff(err error) error {
	f.broken = fmt.Errorf("%s: %w: %w", f.name, ErrBroken, err)
	return f.broken
}

// Close closes the file.
func (f *File) Close() error { return f.file.Close() }
