// Package jsonl is a file of JSON lines that a crash leaves readable: what was appended is
// on the disk when Append returns, and what a crash cut off is gone after the next Open.
//
// A File belongs to one goroutine, and the file to one process at a time.
package jsonl

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

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

// Open opens a file for appending, and creates it if there is none. Lines at its end that
// a crash has left without their end, or damaged, are cut off. A file that holds something
// else than JSON objects is refused and stays as it is.
func Open(name string) (*File, error) {
	file, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	f := &File{name: name, file: file}
	if err := f.repair(file); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	if err := SyncDir(filepath.Dir(name)); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return f, nil
}

// repair finds the end of the last line up to which all are whole, and cuts off the rest.
func (f *File) repair(file *os.File) error {
	info, err := file.Stat()
	if err != nil {
		return err
	}
	lines := bufio.NewReaderSize(file, 1<<20)
	// A crash may leave zeros where lines have not come to the disk.
	if first, err := lines.Peek(1); err == nil && first[0] != '{' && first[0] != 0 {
		return fmt.Errorf("%s is not a file of JSON lines: it begins with %q; name another file", f.name, first)
	}
	for {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) || err == nil && !json.Valid(line) {
			break
		}
		if err != nil {
			return err
		}
		f.size += int64(len(line))
	}
	if f.size == info.Size() {
		return nil
	}
	if err := file.Truncate(f.size); err != nil {
		return err
	}
	return file.Sync()
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

// Append appends text that is one or several whole lines, and syncs it. After an error
// the text is not in the file, unless the error is [ErrBroken].
func (f *File) Append(text []byte) error {
	if f.broken != nil {
		return f.broken
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
