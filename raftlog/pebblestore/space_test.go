package pebblestore_test

import (
	"errors"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/heliosdb/metadata/raftlog"
	"github.com/heliosdb/metadata/raftlog/pebblestore"
	"github.com/heliosdb/metadata/raftlog/storagetest"
)

// smallFS is a disk with an end. Only preallocated room and what others take counts;
// writes need at least a byte to be free.
type smallFS struct {
	vfs.FS
	mu       sync.Mutex
	free     int64
	reserved map[string]int64
	failSync error
	full     error

	checkpoint int64 // what the deletion of a replaced or archived one gives back
}

func newSmallFS(free int64) *smallFS {
	return &smallFS{FS: vfs.NewMem(), free: free, reserved: map[string]int64{}, full: syscall.ENOSPC}
}

// set makes others leave that much.
func (fs *smallFS) set(free int64) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.free = free
}

func (fs *smallFS) room() error {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if fs.free <= 0 {
		return fs.full
	}
	return nil
}

func (fs *smallFS) GetDiskUsage(string) (vfs.DiskUsage, error) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	return vfs.DiskUsage{AvailBytes: uint64(max(fs.free, 0)), TotalBytes: 1 << 30}, nil
}

func (fs *smallFS) wrap(name string, f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return smallFile{File: f, fs: fs, name: name}, nil
}

func (fs *smallFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if err := fs.room(); err != nil {
		return nil, err
	}
	f, err := fs.FS.Create(name, c)
	return fs.wrap(name, f, err)
}

func (fs *smallFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	f, err := fs.FS.OpenReadWrite(name, c, opts...)
	return fs.wrap(name, f, err)
}

func (fs *smallFS) Remove(name string) error {
	err := fs.FS.Remove(name)
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.free += fs.reserved[name]
	delete(fs.reserved, name)
	if strings.HasSuffix(name, ".checkpoint.tmp") {
		fs.free += fs.checkpoint
	}
	return err
}

type smallFile struct {
	vfs.File
	fs   *smallFS
	name string
}

func (f smallFile) Write(b []byte) (int, error) {
	if err := f.fs.room(); err != nil {
		return 0, err
	}
	return f.File.Write(b)
}

func (f smallFile) Preallocate(_, n int64) error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if !strings.HasSuffix(f.name, "RESERVE") {
		return nil
	}
	if f.fs.free < n {
		return f.fs.full
	}
	f.fs.free -= n - f.fs.reserved[f.name]
	f.fs.reserved[f.name] = n
	return nil
}

func (f smallFile) SyncData() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.fs.failSync != nil && strings.HasSuffix(f.name, ".log") {
		err := f.fs.failSync
		f.fs.failSync = nil // once: a second try would succeed
		return err
	}
	return f.File.SyncData()
}

func TestSpace(t *testing.T) {
	s, err := pebblestore.Open(t.TempDir(), pebblestore.Options{ReserveBytes: 1 << 20})
	storagetest.Must(t, err)
	free, used, err := s.Space()
	if err != nil || free == 0 || used == 0 {
		t.Fatalf("space: %d free, %d used, %v", free, used, err)
	}
	storagetest.Must(t, s.Close())
	for reserve, want := range map[uint64]uint64{4 << 20: 6 << 20, 11 << 20: 0} {
		for range 2 { // the second time the ballast is there
			fs := newSmallFS(10 << 20)
			s, err := pebblestore.Open(dir, pebblestore.Options{FS: fs, ReserveBytes: reserve})
			storagetest.Must(t, err)
			if free, _, err := s.Space(); err != nil || free != want {
				t.Fatalf("%d bytes are free above a reserve of %d, want %d (%v)", free, reserve, want, err)
			}
			storagetest.Must(t, s.Close())
		}
	}
}

// TestFullDisk fills a disk to its last byte: what a group stores lives on the reserve,
// checkpoints are refused, reads go on, and all is well once there is room. A quota that is
// used up is the same.
func TestFullDisk(t *testing.T) {
	for _, full := range []error{syscall.ENOSPC, &os.PathError{Op: "write", Path: "a file", Err: syscall.EDQUOT}} {
		t.Run(full.Error(), func(t *testing.T) { fillDisk(t, full) })
	}
}

func fillDisk(t *testing.T, full error) {
	const reserve, plenty = 32 << 20, 100 << 20
	fs := newSmallFS(plenty)
	fs.full = full
	s, err := pebblestore.Open(dir, pebblestore.Options{FS: fs, ReserveBytes: reserve, Fatal: func(err error) { panic(err) }})
	storagetest.Must(t, err)
	storagetest.Must(t, s.Bootstrap(storagetest.Identity(), []raftlog.GroupID{storagetest.A}, storagetest.Voters))
	storagetest.Must(t, s.Write([]*raftlog.Write{storagetest.Append(storagetest.A, 2, 1)}))
	expect := func(what string, want uint64, ballast bool) {
		t.Helper()
		free, _, err := s.Space()
		_, missing := fs.Stat("/data/RESERVE")
		if err != nil || free != want || ballast != (missing == nil) {
			t.Fatalf("%s: %d bytes are free, want %d (%v), ballast: %t, want %t", what, free, want, err, missing == nil, ballast)
		}
	}
	expect("at first", plenty-reserve, true)
	w, err := s.CreateCheckpoint(storagetest.A, storagetest.Descriptor(storagetest.A, 2, 1))
	storagetest.Must(t, err)
	storagetest.Must(t, w.WriteChunk([]byte("a chunk")))
	fs.set(0)
	expect("full", 0, true)
	if err := w.WriteChunk([]byte("another")); !errors.Is(err, raftlog.ErrFull) {
		t.Fatalf("chunk on a full disk: %v", err)
	}
	if names, _ := fs.List("/data/checkpoints"); len(names) != 0 {
		t.Fatalf("the file that found no room is still there: %v", names)
	}
	if _, err := s.CreateCheckpoint(storagetest.A, storagetest.Descriptor(storagetest.A, 2, 1)); !errors.Is(err, raftlog.ErrFull) {
		t.Fatalf("checkpoint on a full disk: %v", err)
	}
	if err := s.FillHistory(storagetest.A, []raftlog.Past{storagetest.Past(storagetest.Record(1, 1, 2), 1)}); !errors.Is(err, raftlog.ErrFull) {
		t.Fatalf("older history on a full disk: %v", err)
	}
	if err := s.PutMarks(storagetest.A, 0, nil); !errors.Is(err, raftlog.ErrFull) {
		t.Fatalf("marks on a full disk: %v", err)
	}
	expect("after a checkpoint found no room", 0, true) // not worth the ballast
	for i := range uint64(100) {
		storagetest.Must(t, s.Write([]*raftlog.Write{storagetest.Append(storagetest.A, 3+i, 1), {
			Group: storagetest.A, History: []raftlog.Record{storagetest.Record(1+i, 1+i, 3+i)},
		}}))
	}
	expect("living on the ballast", 0, false)
	if rs, err := s.ReadHistory(storagetest.A, 1, 1<<20); len(rs) != 100 || err != nil {
		t.Fatalf("history on a full disk: %d records, %v", len(rs), err)
	}
	fs.set(reserve)
	expect("as much as the reserve", 0, false)
	fs.set(plenty)
	expect("room again", plenty-reserve, true)
	w, err = s.CreateCheckpoint(storagetest.A, storagetest.Descriptor(storagetest.A, 2, 1))
	storagetest.WriteCheckpoint(t, w, err, []byte("a chunk"))
	storagetest.Must(t, s.Close())
	s, err = pebblestore.Open(dir, pebblestore.Options{FS: fs, ReserveBytes: reserve})
	storagetest.Must(t, err)
	expect("after a restart", plenty-reserve, true)
	l, err := s.Load(storagetest.A)
	if err != nil || l.LastIndex() != 102 {
		t.Fatalf("load: %+v, %v", l, err)
	}
	storagetest.Must(t, s.Close())
}

// TestArchivedMakeRoom fills a disk on which there are archived checkpoints: as many of them go as
// are needed before anything is refused, but not the first one, and not for another one.
func TestArchivedMakeRoom(t *testing.T) {
	const reserve, plenty = 32 << 20, 100 << 20 // half of the reserve is ballast
	fs := newSmallFS(plenty)
	s, err := pebblestore.Open(dir, pebblestore.Options{FS: fs, ReserveBytes: reserve, Fatal: func(err error) { panic(err) }})
	storagetest.Must(t, err)
	storagetest.Must(t, s.Bootstrap(storagetest.Identity(), []raftlog.GroupID{storagetest.A, storagetest.B}, storagetest.Voters))
	archive(t, s, 12)
	storagetest.Must(t, s.Close()) // what was replaced is deleted then
	s, err = pebblestore.Open(dir, pebblestore.Options{FS: fs, ReserveBytes: reserve, Fatal: func(err error) { panic(err) }})
	storagetest.Must(t, err)
	expect := func(want ...uint64) {
		t.Helper()
		if got := archivedAt(t, s); !slices.Equal(got, want) {
			t.Fatalf("archived are %d, want %d", got, want)
		}
	}
	before := archivedAt(t, s)
	if len(before) != raftlog.KeepArchived {
		t.Fatalf("archived are %d", before)
	}
	fs.checkpoint = 10 << 20
	fs.set(0)
	between := before[0] + 1
	for slices.Contains(before, between) {
		between++
	}
	if _, err := s.CreateArchived(storagetest.A, storagetest.Descriptor(storagetest.A, between, 1)); !errors.Is(err, raftlog.ErrFull) {
		t.Fatalf("a checkpoint of the past on a full disk: %v", err)
	}
	if err := s.PutMarks(storagetest.A, 0, nil); !errors.Is(err, raftlog.ErrFull) {
		t.Fatalf("marks on a full disk: %v", err)
	}
	expect(before...)
	if free, _, err := s.Space(); free != 4<<20 || err != nil {
		t.Fatalf("when two are deleted %d bytes are free, %v", free, err)
	}
	if left := archivedAt(t, s); len(left) != len(before)-2 || left[0] != before[0] {
		t.Fatalf("of %d are left %d", before, left)
	}
	fs.set(0)
	w, err := s.CreateCheckpoint(storagetest.A, storagetest.Descriptor(storagetest.A, 13, 1))
	storagetest.WriteCheckpoint(t, w, err, []byte("x"))
	if left := archivedAt(t, s); len(left) != len(before)-4 {
		t.Fatalf("a checkpoint has left %d of %d", left, before)
	}
	fs.checkpoint = 0
	fs.set(0)
	if free, _, err := s.Space(); free != 0 || err != nil {
		t.Fatalf("%d bytes are free, %v", free, err)
	}
	expect(before[0])
	if _, err := s.CreateCheckpoint(storagetest.A, storagetest.Descriptor(storagetest.A, 14, 1)); !errors.Is(err, raftlog.ErrFull) {
		t.Fatalf("a checkpoint on a full disk: %v", err)
	}
	fs.set(plenty)
	storagetest.Must(t, s.Close())
	s, err = pebblestore.Open(dir, pebblestore.Options{FS: fs, ReserveBytes: reserve})
	storagetest.Must(t, err)
	expect(before[0])
	storagetest.Must(t, s.Close())
}

// TestABaseUsesTheReserve archives, on a full disk, a checkpoint behind which history is to be trimmed:
// others go for it, it may have half of the reserve, and it stays until the trim.
func TestABaseUsesTheReserve(t *testing.T) {
	const reserve, ballast = 256 << 20, 64 << 20
	fs := newSmallFS(1 << 30)
	s, err := pebblestore.Open(dir, pebblestore.Options{FS: fs, ReserveBytes: reserve, Fatal: func(err error) { panic(err) }})
	storagetest.Must(t, err)
	defer s.Close()
	storagetest.Must(t, s.Bootstrap(storagetest.Identity(), []raftlog.GroupID{storagetest.A, storagetest.B}, storagetest.Voters))
	archive(t, s, 12)
	before := archivedAt(t, s)
	between := before[0] + 1
	for slices.Contains(before, between) {
		between++
	}
	base := storagetest.Descriptor(storagetest.A, between, 1)
	fs.set(reserve/2 - ballast)
	if _, err := s.CreateBase(storagetest.A, base); !errors.Is(err, raftlog.ErrFull) {
		t.Fatalf("a base on the other half of the reserve: %v", err)
	}
	fs.set(reserve/2 - ballast + 1)
	w, err := s.CreateBase(storagetest.A, base)
	storagetest.WriteCheckpoint(t, w, err, []byte("x"))
	for range 2 {
		if free, _, err := s.Space(); free != 0 || err != nil {
			t.Fatalf("%d bytes are free, %v", free, err)
		}
		if left := archivedAt(t, s); !slices.Equal(left, []uint64{before[0], between}) {
			t.Fatalf("archived are %d, want the first one and the base, %d", left, between)
		}
	}
	storagetest.Must(t, s.TrimHistory(storagetest.A, base.Seq+1))
	if left := archivedAt(t, s); !slices.Equal(left, []uint64{between}) {
		t.Fatalf("archived are %d, want the base, %d", left, between)
	}
}

// TestSetAsideIsNamed fills a disk on which a rebuild has set something aside.
func TestSetAsideIsNamed(t *testing.T) {
	fs := newSmallFS(100 << 20)
	s, err := pebblestore.Open(dir, pebblestore.Options{FS: fs, ReserveBytes: 32 << 20, Fatal: func(err error) { panic(err) }})
	storagetest.Must(t, err)
	defer s.Close()
	storagetest.Must(t, s.Bootstrap(storagetest.Identity(), []raftlog.GroupID{storagetest.A}, storagetest.Voters))
	storagetest.Must(t, s.Write([]*raftlog.Write{storagetest.Append(storagetest.A, 2, 1)}))
	full := func() string {
		fs.set(0)
		defer fs.set(100 << 20)
		_, err := s.CreateCheckpoint(storagetest.A, storagetest.Descriptor(storagetest.A, 2, 1))
		if !errors.Is(err, raftlog.ErrFull) {
			t.Fatalf("checkpoint on a full disk: %v", err)
		}
		return err.Error()
	}
	if bytes, err := s.SetAside(); err != nil || bytes != 0 || strings.Contains(full(), "damaged") {
		t.Fatalf("nothing was set aside, but %d bytes (%v): %s", bytes, err, full())
	}
	storagetest.Must(t, fs.MkdirAll("/data/damaged/db", 0o755))
	writeFile(t, fs, "/data/damaged/db/000001.sst", make([]byte, 3<<20))
	if bytes, err := s.SetAside(); err != nil || bytes != 3<<20 {
		t.Fatalf("%d bytes are set aside, %v", bytes, err)
	}
	if said := full(); !strings.Contains(said, "/data/damaged holds 3 MiB that the last rebuild has set aside") {
		t.Fatal(said)
	}
}

// TestFullSyncIsNotRetried checks that a sync that finds no room is a failed sync.
func TestFullSyncIsNotRetried(t *testing.T) {
	fs := newSmallFS(100 << 20)
	fatal := make(chan error, 16)
	s, err := pebblestore.Open(dir, pebblestore.Options{FS: fs, Fatal: func(err error) {
		fatal <- err
		<-t.Context().Done()
	}})
	storagetest.Must(t, err)
	storagetest.Must(t, s.Bootstrap(storagetest.Identity(), []raftlog.GroupID{storagetest.A}, storagetest.Voters))
	fs.mu.Lock()
	fs.failSync = syscall.ENOSPC
	fs.mu.Unlock()
	written := make(chan error, 1)
	go func() { written <- s.Write([]*raftlog.Write{storagetest.Append(storagetest.A, 2, 1)}) }()
	select {
	case err := <-fatal:
		if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "sync of /data/db/") {
			t.Fatalf("fatal error: %v", err)
		}
	case err := <-written:
		t.Fatalf("the write returned %v after a sync that found no room", err)
	}
}
