package pebblestore_test

import (
	"bytes"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/heliosdb/metadata/raftlog"
	"github.com/heliosdb/metadata/raftlog/pebblestore"
	"github.com/heliosdb/metadata/raftlog/storagetest"
)

// nthRead fails the reading operation of that number, once.
type nthRead struct {
	mu    sync.Mutex
	left  int
	fails error
}

func (n *nthRead) String() string { return "nth read" }

func (n *nthRead) MaybeError(op errorfs.Op) error {
	switch op.Kind {
	case errorfs.OpOpen, errorfs.OpFileRead, errorfs.OpFileReadAt, errorfs.OpFileStat:
	default:
		return nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.left--; n.left != 0 {
		return nil
	}
	return &fs.PathError{Op: "read", Path: op.Path, Err: n.fails}
}

// TestUnreadableIsNotDamaged fails each read of a start in turn: what the operating system
// refuses says nothing about the contents, so nothing is condemned and the next start is
// as if nothing had been.
func TestUnreadableIsNotDamaged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "data")
	s, want := live(t, path)
	storagetest.Must(t, s.Close())
	refused := 0
	numbers := []syscall.Errno{syscall.EIO, syscall.EMFILE, syscall.EACCES, syscall.ENOMEM, syscall.EROFS, syscall.EDQUOT}
	for n := 1; ; n++ {
		number := numbers[n%len(numbers)]
		fault := &nthRead{left: n, fails: number}
		s, err := pebblestore.Open(path, pebblestore.Options{
			FS: errorfs.Wrap(lazyFS{vfs.Default}, fault), FloorTicks: make(chan time.Time), ReserveBytes: 1, Quarantine: true,
			Fatal: func(err error) { panic(err) },
		})
		if err == nil {
			if why := s.Condemned(); why != "" {
				t.Fatalf("%v in read %d: condemned because %s", number, n, why)
			}
			storagetest.Must(t, s.Close())
			if fault.left > 0 {
				break
			}
			continue
		}
		refused++
		full := number == syscall.EDQUOT && errors.Is(err, syscall.ENOSPC) // which is what a quota is called
		if isDamageOrShort(err) || !errors.Is(err, number) && !full {
			t.Fatalf("%v in read %d: %v", number, n, err)
		}
	}
	if refused < 20 {
		t.Fatalf("only %d reads of a start were refused", refused)
	}
	for _, a := range want { // as long as there are only two
		for index := range a.chunks {
			if index < a.loaded.Checkpoints[0].Index {
				delete(a.chunks, index)
			}
		}
	}
	storagetest.Must(t, read(t, path, "nothing", want))
}

// brokenReads fails all reads while it is armed.
type brokenReads struct{ armed atomic.Bool }

func (b *brokenReads) String() string { return "broken reads" }

func (b *brokenReads) MaybeError(op errorfs.Op) error {
	switch op.Kind {
	case errorfs.OpOpen, errorfs.OpFileRead, errorfs.OpFileReadAt:
		if b.armed.Load() {
			return &fs.PathError{Op: "read", Path: op.Path, Err: syscall.EIO}
		}
	}
	return nil
}

// TestReadsFailAtRunTime takes the disk away from a store that is open, to be read: who reads
// hears of it, nothing is called damaged, and writes and what is read later go on.
func TestReadsFailAtRunTime(t *testing.T) {
	path := filepath.Join(t.TempDir(), "data")
	s, want := live(t, path)
	storagetest.Must(t, s.Close())
	broken := &brokenReads{}
	s, err := pebblestore.Open(path, pebblestore.Options{
		FS: errorfs.Wrap(lazyFS{vfs.Default}, broken), FloorTicks: make(chan time.Time), ReserveBytes: 1, Fatal: func(err error) { panic(err) },
	})
	storagetest.Must(t, err)
	newest := want[storagetest.A].loaded.Newest().Index
	r, err := s.OpenCheckpoint(storagetest.A, newest)
	storagetest.Must(t, err)
	broken.armed.Store(true)
	_, openErr := s.OpenCheckpoint(storagetest.A, newest)
	_, chunkErr := r.ReadChunk(0)
	_, historyErr := s.ReadHistory(storagetest.A, 1, 1<<30)
	for what, err := range map[string]error{"opening a checkpoint": openErr, "a chunk": chunkErr, "history": historyErr} {
		if !errors.Is(err, syscall.EIO) || isDamageOrShort(err) || !strings.Contains(err.Error(), "cannot be read") {
			t.Errorf("%s: %v", what, err)
		}
	}
	last := want[storagetest.A].loaded.LastIndex()
	storagetest.Must(t, s.Write([]*raftlog.Write{storagetest.Append(storagetest.A, last+1, 1)}))
	broken.armed.Store(false)
	storagetest.Must(t, r.Close())
	if past, err := s.ReadHistory(storagetest.A, 1, 1<<30); err != nil || len(past) != len(want[storagetest.A].past) {
		t.Errorf("%d records of history after it, %v", len(past), err)
	}
	if why := s.Condemned(); why != "" {
		t.Errorf("condemned because %s", why)
	}
	storagetest.Must(t, s.Close())
}

func TestUnreadableSaysWhatToDo(t *testing.T) {
	for number, says := range map[syscall.Errno]string{
		syscall.EIO: "cannot be read: .*the disk fails", syscall.EACCES: "may not be used", syscall.EMFILE: "raise the limit of open files",
		syscall.ENOSPC: "make room", syscall.EDQUOT: "raise the quota", syscall.EROFS: "mount its file system for writing", syscall.ENOMEM: "more memory",
	} {
		d := newDisk(t)
		storagetest.Fresh(t, d)
		d.close()
		opts := d.options()
		opts.FS = errorfs.Wrap(d.fs, &nthRead{left: 5, fails: number})
		_, err := pebblestore.Open(dir, opts)
		if err == nil || !matches(says, err.Error()) || !strings.Contains(err.Error(), dir) {
			t.Errorf("%v: %v", number, err)
		}
	}
}

// TestRefusalIsForPeople checks what is said of a damaged file of each kind, and that the log
// has it on one short line.
func TestRefusalIsForPeople(t *testing.T) {
	path, whole := filepath.Join(t.TempDir(), "data"), filepath.Join(t.TempDir(), "whole")
	s, _ := live(t, path)
	copyDir(t, path, whole)
	storagetest.Must(t, s.Close())
	newest := func(pattern string) string {
		files, err := filepath.Glob(filepath.Join(whole, pattern))
		storagetest.Must(t, err)
		if len(files) == 0 {
			t.Fatalf("no %s", pattern)
		}
		rel, err := filepath.Rel(whole, files[len(files)-1])
		storagetest.Must(t, err)
		return rel
	}
	table := tableThatIsRead(t, path, whole)
	flip := func(part float64) func([]byte) []byte {
		return func(b []byte) []byte { b[int(part*float64(len(b)-1))] ^= 0x20; return b }
	}
	gone := func([]byte) []byte { return nil }
	for _, test := range []struct {
		file string
		harm func([]byte) []byte
		says string
	}{
		{newest("db/*.log"), flip(0), "FILE is damaged: it cannot be read: .*invalid chunk"},
		{newest("db/*.log"), func(b []byte) []byte { return b[:len(b)/2] }, "the first stream: last index is [0-9]+ but the floor file says"},
		{table, flip(0), "FILE is damaged: .*checksum mismatch"},
		{table, func(b []byte) []byte { return b[:100] }, "FILE is damaged: .*size mismatch"},
		{table, gone, "FILE is damaged: it is missing"},
		{newest("db/MANIFEST-*"), flip(0), "FILE is damaged: .*malformed"},
		{newest("db/MANIFEST-*"), gone, "FILE is damaged: it is missing"},
		{newest("db/OPTIONS-*"), flip(0), "db/OPTIONS is damaged"},
		{"FLOOR", gone, "FILE is damaged: it is missing"},
	} {
		copyDir(t, whole, path)
		file := filepath.Join(path, test.file)
		b, err := os.ReadFile(file)
		storagetest.Must(t, err)
		storagetest.Must(t, os.Remove(file))
		if b = test.harm(b); b != nil {
			storagetest.Must(t, os.WriteFile(file, b, 0o644))
		}
		var log bytes.Buffer
		_, err = pebblestore.Open(path, pebblestore.Options{
			FS: lazyFS{vfs.Default}, FloorTicks: make(chan time.Time), ReserveBytes: 1, Logger: slog.New(slog.NewTextHandler(&log, nil)),
			Name: func(g raftlog.GroupID) string {
				return map[raftlog.GroupID]string{storagetest.A: "the first stream"}[g]
			},
		})
		if err == nil || !matches(strings.ReplaceAll(test.says, "FILE", file), err.Error()) ||
			!matches("rebuilt from the others.*lone member.*backup.*empty directory", err.Error()) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", test.file, err)
		}
		for line := range strings.Lines(log.String()) {
			if len(line) > 400 {
				t.Errorf("%s: a line of the log has %d bytes: %s", test.file, len(line), line)
			}
		}
		if strings.Contains(test.says, "checksum") && !strings.Contains(log.String(), file) {
			t.Errorf("%s: the log does not name it: %s", test.file, &log)
		}
	}
}

// tableThatIsRead returns a table that a start reads, as it does not with all of history.
func tableThatIsRead(t *testing.T, path, whole string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(whole, "db/*.sst"))
	storagetest.Must(t, err)
	for _, file := range files {
		copyDir(t, whole, path)
		name := filepath.Join("db", filepath.Base(file))
		storagetest.Must(t, os.Truncate(filepath.Join(path, name), 0))
		s, err := pebblestore.Open(path, pebblestore.Options{FloorTicks: make(chan time.Time), ReserveBytes: 1})
		if err != nil {
			return name
		}
		storagetest.Must(t, s.Close())
	}
	t.Fatal("no table is read")
	return ""
}

func matches(pattern, text string) bool {
	return regexp.MustCompile(pattern).MatchString(text)
}
