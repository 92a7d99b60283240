package pebblestore_test

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/heliosdb/metadata/raftlog"
	"github.com/heliosdb/metadata/raftlog/pebblestore"
	"github.com/heliosdb/metadata/raftlog/storagetest"
)

// archive makes checkpoints at 2 to 2+n-1.
func archive(t *testing.T, s raftlog.Storage, n int) {
	t.Helper()
	storagetest.Must(t, s.Write([]*raftlog.Write{storagetest.Append(storagetest.A, 2, slices.Repeat([]uint64{1}, n)...)}))
	for i := range n {
		storagetest.MakeCurrent(t, s, uint64(2+i))
	}
}

func archivedAt(t *testing.T, s raftlog.Storage) (indexes []uint64) {
	t.Helper()
	ds, err := s.Archived(storagetest.A)
	storagetest.Must(t, err)
	for _, d := range ds {
		indexes = append(indexes, d.Index)
	}
	return indexes
}

func (d *disk) checkpointFiles(t *testing.T) []string {
	t.Helper()
	names, err := d.fs.List(dir + "/checkpoints")
	storagetest.Must(t, err)
	return slices.Sorted(slices.Values(names))
}

// TestDroppedFilesAreDeleted checks that of checkpoints nothing stays on the disk but what is
// current or archived, whatever it was that dropped the others.
func TestDroppedFilesAreDeleted(t *testing.T) {
	d := newDisk(t)
	s := storagetest.Fresh(t, d)
	archive(t, s, 20)
	storagetest.Must(t, s.Close())
	if files := d.checkpointFiles(t); len(files) != raftlog.KeepArchived+raftlog.KeepCheckpoints {
		t.Fatalf("20 checkpoints have left %q", files)
	}
	s = d.Open(t) // replaced ones of earlier lives do not count
	before := archivedAt(t, s)
	w, err := s.CreateArchived(storagetest.A, storagetest.Descriptor(storagetest.A, before[len(before)-1]-1, 1))
	storagetest.WriteCheckpoint(t, w, err, []byte("x"))
	storagetest.Must(t, s.Close())
	if files := d.checkpointFiles(t); len(files) != raftlog.KeepArchived+raftlog.KeepCheckpoints {
		t.Fatalf("one more has left %q", files)
	}
	s = d.Open(t)
	storagetest.Must(t, s.TrimHistory(storagetest.A, 1000))
	storagetest.Must(t, s.Close())
	if files := d.checkpointFiles(t); len(files) != raftlog.KeepCheckpoints {
		t.Fatalf("a trim of everything has left %q", files)
	}
}

// change does something to the bytes of a checkpoint file; nil deletes it.
func (d *disk) change(t *testing.T, name string, do func([]byte) []byte) {
	t.Helper()
	path := dir + "/checkpoints/" + name
	f, err := d.fs.OpenReadWrite(path, vfs.WriteCategoryUnspecified)
	storagetest.Must(t, err)
	b, err := io.ReadAll(f)
	storagetest.Must(t, errors.Join(err, f.Close(), d.fs.Remove(path)))
	if b = do(b); b == nil {
		return
	}
	f, err = d.fs.Create(path, vfs.WriteCategoryUnspecified)
	storagetest.Must(t, err)
	_, err = f.Write(b)
	storagetest.Must(t, errors.Join(err, f.Sync(), f.Close()))
}

// TestDamagedArchive damages archived checkpoints: who reads one hears of it, a start deletes
// what it cannot read, and everything else is as it was.
func TestDamagedArchive(t *testing.T) {
	flip := func(at int) func([]byte) []byte {
		return func(b []byte) []byte { b[(at+len(b))%len(b)] ^= 1; return b }
	}
	for what, test := range map[string]struct {
		do     func([]byte) []byte
		stays  bool   // a start does not see it
		reads  string // what a check says
		number uint32 // of the chunk that cannot be read
	}{
		"header":  {do: flip(20), reads: "header"},
		"trailer": {do: flip(-10), reads: "trailer"},
		"chunk":   {do: flip(-raftlog.FileTrailerBytes - 1), stays: true, reads: "chunk 1 does not match its checksum", number: 1},
		"cut":     {do: func(b []byte) []byte { return b[:len(b)/2] }, reads: "header"},
		"empty":   {do: func([]byte) []byte { return []byte{} }, reads: "it cannot be read: EOF"},
		"gone":    {do: func([]byte) []byte { return nil }, reads: "it is missing"},
	} {
		d := newDisk(t)
		s := storagetest.Fresh(t, d)
		archive(t, s, 6)
		d.change(t, "1-3.checkpoint", test.do)
		r, err := s.OpenArchived(storagetest.A, 3)
		if err == nil {
			_, err = r.ReadChunk(test.number)
			storagetest.Must(t, r.Close())
		}
		if _, damaged := errors.AsType[*raftlog.DamageError](err); !damaged {
			t.Errorf("%s: read as %v", what, err)
		}
		storagetest.Must(t, s.Close())
		expectFiles(t, d, what, "2 checkpoints, ", test.reads)
		var log bytes.Buffer
		opts := d.options()
		opts.Quarantine, opts.Logger = true, slog.New(slog.NewTextHandler(&log, nil))
		d.store, err = pebblestore.Open(dir, opts)
		storagetest.Must(t, err)
		want := []uint64{2, 4, 5}
		if test.stays {
			want = []uint64{2, 3, 4, 5}
		}
		if got := archivedAt(t, d.store); !slices.Equal(got, want) || d.store.Condemned() != "" || strings.Contains(log.String(), "is deleted") == test.stays {
			t.Errorf("%s: after a start there are %d, condemned: %q, log: %s", what, got, d.store.Condemned(), &log)
		}
		if l, err := d.store.Load(storagetest.A); err != nil || len(l.Checkpoints) != 2 {
			t.Errorf("%s: the log cannot be read: %v", what, err)
		}
		storagetest.Must(t, d.store.Close())
		if !test.stays {
			expectFiles(t, d, what, "2 checkpoints, 3 archived, 0 left over", "")
		}
	}
}

func expectFiles(t *testing.T, d *disk, what, holds, warning string) {
	t.Helper()
	s, err := pebblestore.OpenReadOnly(dir, d.options())
	storagetest.Must(t, err)
	defer s.Close()
	for _, p := range s.Inspect() {
		switch {
		case p.Err != nil:
			t.Errorf("%s: %s: %v", what, p.Name, p.Err)
		case p.Name != "files":
		case !strings.HasPrefix(p.Holds, holds) || !strings.Contains(p.Warning, warning) || (p.Warning == "") != (warning == ""):
			t.Errorf("%s: a check says %q and warns %q", what, p.Holds, p.Warning)
		}
	}
}

// TestUnreadableArchiveStays checks that a start deletes no archived checkpoint that the
// operating system just does not let it read.
func TestUnreadableArchiveStays(t *testing.T) {
	d := newDisk(t)
	s := storagetest.Fresh(t, d)
	archive(t, s, 6)
	storagetest.Must(t, s.Close())
	opts := d.options()
	opts.FS = errorfs.Wrap(d.fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpOpen && strings.HasSuffix(op.Path, "1-3.checkpoint") {
			return syscall.EMFILE
		}
		return nil
	}))
	if _, err := pebblestore.Open(dir, opts); !errors.Is(err, syscall.EMFILE) {
		t.Fatalf("opened with %v", err)
	}
	s = d.Open(t)
	if got := archivedAt(t, s); !slices.Equal(got, []uint64{2, 3, 4, 5}) {
		t.Fatalf("after it there are %d", got)
	}
	storagetest.Must(t, s.Close())
}
