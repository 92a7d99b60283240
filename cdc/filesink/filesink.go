// Package filesink is the sink that writes records to files of a directory, as JSON lines:
// changes-00000001.jsonl, changes-00000002.jsonl and so on, in order. Each file but the
// newest is complete and never touched again: it can be moved away. What Send has taken is
// on the disk, with the names of all that leads there; what a crash has left of a line is
// gone after the next Open, and comes again from the service.
//
// Two processes cannot have one directory; a Sink belongs to one goroutine.
package filesink

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/heliosdb/metadata/cdc/jsonl"
	"github.com/heliosdb/metadata/cdc/record"
	"github.com/heliosdb/metadata/cdc/sink"
)

const (
	// DefaultMaxBytes is the size at which a file is complete.
	DefaultMaxBytes = 128 << 20
	// MinMaxBytes is the least that can be asked for.
	MinMaxBytes = 4 << 10

	lockName = "LOCK"
	pattern  = "changes-%08d.jsonl"
)

// Options configure a Sink.
type Options struct {
	// Dir is the directory; it is created if there is none.
	Dir string
	// MaxBytes is the size at which a file is complete: it is exceeded by no more than the
	// one record of a file that has a single one. 0: DefaultMaxBytes.
	MaxBytes int64
	// MaxAge is how long after it was opened a file is complete, when something is to be
	// written; 0: files have any age.
	MaxAge time.Duration
	// Now is the clock.
	Now func() time.Time
	// Log is told what a crash has left of a line; nil: nobody is.
	Log *slog.Logger
}

// Sink writes to a directory.
type Sink struct {
	options Options
	lock    *os.File
	number  uint64
	file    *jsonl.File
	opened  time.Time
}

// Open opens a directory to go on with its newest file.
func Open(o Options) (*Sink, error) {
	if o.MaxBytes == 0 {
		o.MaxBytes = DefaultMaxBytes
	}
	if o.MaxBytes < MinMaxBytes || o.MaxAge < 0 {
		return nil, sink.Usage("files of %d bytes and %v; use at least %d bytes and no negative age", o.MaxBytes, o.MaxAge, MinMaxBytes)
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if err := makeDir(o.Dir, jsonl.SyncDir); err != nil {
		return nil, err
	}
	lock, err := jsonl.OpenLocked(filepath.Join(o.Dir, lockName), os.O_RDWR)
	if err != nil {
		return nil, err
	}
	s := &Sink{options: o, lock: lock}
	if s.number, err = newest(o.Dir); err == nil {
		err = s.open(max(s.number, 1))
	}
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return s, nil
}

// makeDir creates a directory if there is none, with those above it that are missing, each
// synced into the one above it: else a power failure could take them, with all that is in
// them and was acknowledged.
func makeDir(dir string, syncDir func(string) error) error {
	dir = filepath.Clean(dir)
	above := filepath.Dir(dir)
	err := os.Mkdir(dir, 0o700)
	if errors.Is(err, fs.ErrNotExist) && above != dir {
		if err := makeDir(above, syncDir); err != nil {
			return err
		}
		err = os.Mkdir(dir, 0o700)
	}
	switch {
	case errors.Is(err, fs.ErrExist):
		return nil
	case err != nil:
		return err
	}
	return syncDir(above)
}

// newest returns the number of the newest file; 0: there is none.
func newest(dir string) (last uint64, err error) {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		var n uint64
		if _, bad := fmt.Sscanf(e.Name(), pattern, &n); bad == nil && e.Name() == fmt.Sprintf(pattern, n) {
			last = max(last, n)
		}
	}
	return last, err
}

func (s *Sink) open(number uint64) error {
	file, err := jsonl.Open(filepath.Join(s.options.Dir, fmt.Sprintf(pattern, number)), s.options.Log)
	if err != nil {
		return err
	}
	s.number, s.file, s.opened = number, file, s.options.Now()
	return nil
}

// Send implements [sink.Sink].
func (s *Sink) Send(_ context.Context, records []record.Record) (int, error) {
	size := int64(len(records[0].JSON)) + 1
	old := s.options.MaxAge > 0 && s.options.Now().Sub(s.opened) >= s.options.MaxAge
	if s.file.Size() > 0 && (old || s.file.Size()+size > s.options.MaxBytes) {
		full := s.file
		if err := s.open(s.number + 1); err != nil {
			return 0, err
		}
		_ = full.Close() // all of it is on the disk
	}
	text, n := s.fitting(records)
	if err := s.file.Append(text); err != nil {
		if errors.Is(err, jsonl.ErrBroken) {
			return 0, &sink.BrokenError{Err: err}
		}
		return 0, err
	}
	return n, nil
}

// fitting returns the lines that go into the file now, at least one, and how many.
func (s *Sink) fitting(records []record.Record) ([]byte, int) {
	room := min(s.options.MaxBytes-s.file.Size(), jsonl.MaxAppendBytes)
	var text bytes.Buffer
	for i, r := range records {
		if i > 0 && int64(text.Len()+len(r.JSON)+1) > room {
			return text.Bytes(), i
		}
		text.Write(r.JSON)
		text.WriteByte('\n')
	}
	return text.Bytes(), len(records)
}

// Close implements [sink.Sink].
func (s *Sink) Close() error { return errors.Join(s.file.Close(), s.lock.Close()) }
