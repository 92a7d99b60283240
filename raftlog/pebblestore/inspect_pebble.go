package pebblestore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/cockroachdb/errors/oserror"
	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/record"
)

// inspectReserve looks for the ballast. Its size on the disk is not the file's.
func (s *Store) inspectReserve() Part {
	p := Part{Name: "reserve", Holds: "room for a full disk"}
	_, err := s.fs.Stat(s.fs.PathJoin(s.dir, reserveName))
	switch {
	case oserror.IsNotExist(err):
		p.Holds = "nothing: there was no room for it, or it was given back to a full disk"
	case err != nil:
		p.Err = fmt.Errorf("pebblestore: %w", err)
	}
	return p
}

// inspectManifest reads the list of tables to its end: what belongs to no record there Pebble
// passes over.
func (s *Store) inspectManifest() Part {
	p := Part{Name: "manifest"}
	desc, err := pebble.Peek(s.dbDir, s.fs)
	if err != nil {
		p.Err = s.openError(err)
		return p
	}
	end, err := s.readRecords(desc.ManifestFilename, 0)
	if err != nil {
		p.Err = err
		return p
	}
	p.Holds = fmt.Sprintf("%s, %d records, format %d", s.fs.PathBase(desc.ManifestFilename), end.records, desc.FormatMajorVersion)
	p.Warning = end.warning()
	return p
}

// ignoredOptions differ between machines.
var ignoredOptions = []string{"file_cache_shards", "table_cache_shards"}

// inspectOptions compares the file with what this build writes. Pebble reads no more of it
// than a few names.
func (s *Store) inspectOptions() Part {
	p := Part{Name: "options"}
	desc, err := pebble.Peek(s.dbDir, s.fs)
	if err != nil {
		p.Err = s.openError(err)
		return p
	}
	if desc.OptionsFilename == "" {
		p.Holds, p.Warning = "nothing", "there is no OPTIONS file: a start does not need one, and Pebble writes one anew"
		return p
	}
	have, err := s.readAll(desc.OptionsFilename)
	if err != nil {
		p.Err = err
		return p
	}
	opts := s.pebbleOptions(false)
	opts.EnsureDefaults()
	name := s.fs.PathBase(desc.OptionsFilename)
	if p.Holds = name; !slices.Equal(optionLines(string(have)), optionLines(opts.String())) {
		p.Warning = name + " is not what this build writes: another build wrote it, or it is damaged; a start replaces it"
	}
	return p
}

// optionLines are the lines that should be the same everywhere.
func optionLines(text string) []string {
	return slices.DeleteFunc(strings.Split(text, "\n"), func(line string) bool {
		key, _, _ := strings.Cut(strings.TrimSpace(line), "=")
		return slices.Contains(ignoredOptions, key)
	})
}

func (s *Store) readAll(path string) ([]byte, error) {
	f, err := s.fs.Open(path)
	if err != nil {
		return nil, s.openError(err)
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		return nil, s.openError(err)
	}
	return b, nil
}

// inspectLogs reads the write-ahead logs to their ends. Damage before the last record kept
// the database from being opened.
func (s *Store) inspectLogs() Part {
	p := Part{Name: "write-ahead log"}
	names, err := s.fs.List(s.dbDir)
	if err != nil {
		p.Err = fmt.Errorf("pebblestore: %w", err)
		return p
	}
	slices.Sort(names)
	files, records := 0, 0
	var warnings []string
	for _, name := range names {
		digits, isLog := strings.CutSuffix(name, ".log")
		number, err := strconv.ParseUint(digits, 10, 64)
		if !isLog || err != nil {
			continue
		}
		end, err := s.readRecords(s.fs.PathJoin(s.dbDir, name), uint32(number))
		if err != nil {
			p.Err = errors.Join(p.Err, err)
			continue
		}
		files, records = files+1, records+end.records
		if w := end.warning(); w != "" {
			warnings = append(warnings, w)
		} else if !end.closed {
			warnings = append(warnings, name+" has no end mark: the process did not stop cleanly, and what it wrote behind the floor's last index cannot be told from what is missing")
		}
	}
	p.Holds, p.Warning = fmt.Sprintf("%d files, %d records", files, records), strings.Join(warnings, "; ")
	return p
}

// logEnd is how a file of records ends.
type logEnd struct {
	name    string
	records int
	closed  bool  // by an end mark
	rest    int64 // bytes behind the last record that belong to none
}

func (e logEnd) warning() string {
	if e.rest == 0 {
		return ""
	}
	return fmt.Sprintf("%d bytes at the end of %s belong to no record: a write that was under way at a crash, or damage", e.rest, e.name)
}

// Chunks of a log that can be recycled: checksum u32, length u16, type u8, log u32, little endian.
const (
	chunkHead       = 4 + 2 + 1 + 4
	firstRecyclable = 5
	lastChunkType   = 12
)

// readRecords reads a file of records up to the last good one.
func (s *Store) readRecords(path string, number uint32) (logEnd, error) {
	end := logEnd{name: s.fs.PathBase(path)}
	f, err := s.fs.Open(path)
	if err != nil {
		return end, s.openError(err)
	}
	defer f.Close()
	rr := newReader(record.NewReader, f, number)
	for ; ; end.records++ {
		at := rr.Offset()
		r, err := rr.Next()
		if err == nil {
			_, err = io.Copy(io.Discard, r)
		}
		if err == nil {
			continue
		}
		if !errors.Is(err, io.EOF) && !isInvalidRecord(err) {
			return end, s.openError(err)
		}
		info, statErr := f.Stat()
		if statErr != nil {
			return end, s.openError(statErr)
		}
		rest := make([]byte, max(0, info.Size()-at))
		if err := readAt(f, rest, at); err != nil && !errors.Is(err, io.EOF) {
			return end, s.openError(err)
		}
		end.closed = errors.Is(err, io.EOF) && len(rest) >= chunkHead
		if !end.closed && !padding(rest, number) {
			end.rest = int64(len(rest))
		}
		return end, nil
	}
}

// newReader gives a log's number the type that Pebble does not export.
func newReader[N ~uint64](of func(io.Reader, N) *record.Reader, f io.Reader, number uint32) *record.Reader {
	return of(f, N(number))
}

// isInvalidRecord knows the errors of package record behind details too.
func isInvalidRecord(err error) bool {
	return errors.Is(err, record.ErrInvalidChunk) || errors.Is(err, record.ErrZeroedChunk) || errors.Is(err, record.ErrUnexpectedEOF)
}

// padding reports whether bytes behind the last record are what was there before anything was
// written: zeros, or chunks of the log that the file was before.
func padding(rest []byte, number uint32) bool {
	if len(rest) >= chunkHead && rest[6] >= firstRecyclable && rest[6] <= lastChunkType {
		return binary.LittleEndian.Uint32(rest[7:]) != number
	}
	return !slices.ContainsFunc(rest, func(b byte) bool { return b != 0 })
}
