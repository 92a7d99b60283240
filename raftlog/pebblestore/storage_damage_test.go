package pebblestore_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/heliosdb/metadata/raftlog"
	"github.com/heliosdb/metadata/raftlog/pebblestore"
	"github.com/heliosdb/metadata/raftlog/storagetest"
	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

const block = 4 << 10

// lazyFS is the real file system without its syncs: the power stays on in these tests.
type lazyFS struct{ vfs.FS }

func (fs lazyFS) wrap(f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return lazyFile{f}, nil
}

func (fs lazyFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return fs.wrap(fs.FS.Create(name, c))
}

func (fs lazyFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	return fs.wrap(fs.FS.OpenReadWrite(name, c, opts...))
}

func (fs lazyFS) OpenDir(name string) (vfs.File, error) { return fs.wrap(fs.FS.OpenDir(name)) }

func (fs lazyFS) ReuseForWrite(a, b string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return fs.wrap(fs.FS.ReuseForWrite(a, b, c))
}

type lazyFile struct{ vfs.File }

func (lazyFile) Sync() error                { return nil }
func (lazyFile) SyncData() error            { return nil }
func (lazyFile) SyncTo(int64) (bool, error) { return false, nil }

// acknowledged is what a store has said it holds of a group.
type acknowledged struct {
	loaded *raftlog.Loaded
	past   []raftlog.Past
	chunks map[uint64][][]byte
}

// live builds a directory that has seen restarts, checkpoints and cuts, and returns what
// it holds, and the store, which is still open.
func live(t *testing.T, path string) (*pebblestore.Store, map[raftlog.GroupID]*acknowledged) {
	t.Helper()
	ticks := make(chan time.Time)
	open := func() *pebblestore.Store {
		s, err := pebblestore.Open(path, pebblestore.Options{FS: lazyFS{vfs.Default}, FloorTicks: ticks, ReserveBytes: 1})
		storagetest.Must(t, err)
		return s
	}
	s := open()
	storagetest.Must(t, s.Bootstrap(storagetest.Identity(), []raftlog.GroupID{storagetest.A, storagetest.B}, storagetest.Voters))
	want := map[raftlog.GroupID]*acknowledged{storagetest.A: {chunks: map[uint64][][]byte{}}, storagetest.B: {chunks: map[uint64][][]byte{}}}
	for i := range uint64(350) {
		if i == 120 || i == 240 {
			storagetest.Must(t, s.Close())
			s = open()
		}
		var ws []*raftlog.Write
		for g, a := range want {
			if i > 0 {
				r := raftlog.Record{First: 2*i - 1, Last: 2 * i, Entry: 1 + i, Data: fmt.Appendf(nil, "record %d of group %d %s", i, g, strings.Repeat("r", 100))}
				a.past = append(a.past, raftlog.Past{Record: r, Term: 1, Content: storagetest.Past(r, 1).Content})
				ws = append(ws, &raftlog.Write{Group: g, History: []raftlog.Record{r}})
			}
			if i%100 == 99 {
				chunks := [][]byte{bytes.Repeat([]byte{byte(i)}, 9000), []byte("end")}
				d := storagetest.Descriptor(g, 2+i-60, 1)
				w, err := s.CreateCheckpoint(g, d)
				d = storagetest.WriteCheckpoint(t, w, err, chunks...)
				a.chunks[d.Index] = chunks
				ws = append(ws, &raftlog.Write{Group: g, Checkpoint: &d, CutTo: d.Index - min(d.Index-1, 150)})
			}
			ws = append(ws, storagetest.Append(g, 2+i, 1))
		}
		storagetest.Must(t, s.Write(ws))
	}
	ticks <- time.Time{}
	ticks <- time.Time{}
	for g, a := range want {
		var err error
		a.loaded, err = s.Load(g)
		storagetest.Must(t, err)
	}
	return s, want
}

// copyDir copies a directory as it is on the disk, but for its reserve.
func copyDir(t *testing.T, from, to string) {
	t.Helper()
	storagetest.Must(t, os.RemoveAll(to))
	storagetest.Must(t, filepath.WalkDir(from, func(path string, e os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		storagetest.Must(t, err)
		switch {
		case e.IsDir():
			return os.MkdirAll(filepath.Join(to, rel), 0o755)
		case rel == "RESERVE":
			return nil
		}
		b, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) {
			return nil // no longer needed, and deleted in the background
		}
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, rel), b, 0o644)
	}))
}

// harm is one way to damage a file.
type harm struct {
	what    string
	content []byte // nil: the file is deleted
}

// harms lists what is done to a file of these bytes.
func harms(b []byte) []harm {
	out := []harm{{"deleted", nil}}
	spots := []int{0, len(b) - 1}
	for at := 17; at < len(b); at += block {
		spots = append(spots, at)
	}
	for at := 64; at < len(b) && len(b) < block; at += 256 { // small files are most of their kind
		spots = append(spots, at)
	}
	for _, at := range spots {
		if at >= 0 && at < len(b) {
			c := bytes.Clone(b)
			c[at] ^= 0x20
			out = append(out, harm{fmt.Sprintf("byte %d flipped", at), c})
		}
	}
	for _, n := range []int{0, 1, len(b) / 3, len(b) / 2, len(b) / block * block, len(b) - 1} {
		if n >= 0 && n < len(b) {
			out = append(out, harm{fmt.Sprintf("cut to %d of %d bytes", n, len(b)), slices.Clip(append([]byte{}, b[:n]...))})
		}
	}
	last := len(b)/block - 1
	for _, pair := range [][2]int{{0, 1}, {0, last}, {last / 2, last}, {last - 1, last}} {
		i, j := pair[0], pair[1]
		if i < 0 || j <= i || j > last || bytes.Equal(b[i*block:(i+1)*block], b[j*block:(j+1)*block]) {
			continue
		}
		c := bytes.Clone(b)
		copy(c[i*block:(i+1)*block], b[j*block:])
		copy(c[j*block:(j+1)*block], b[i*block:(i+1)*block])
		out = append(out, harm{fmt.Sprintf("blocks %d and %d swapped", i, j), c})
	}
	return out
}

// ended is thrown where a process would end.
type ended struct{ err error }

// read opens a directory and reads all that was acknowledged. It returns the first error
// that a member would see, and fails the test when something else is read.
func read(t *testing.T, path, what string, want map[raftlog.GroupID]*acknowledged) (err error) {
	t.Helper()
	defer func() {
		if e, ok := recover().(ended); ok {
			err = e.err
		}
	}()
	opts := pebblestore.Options{
		FS: lazyFS{vfs.Default}, FloorTicks: make(chan time.Time), ReserveBytes: 1, Fatal: func(err error) { panic(ended{err}) },
	}
	before := contents(t, vfs.Default, path)
	s, err := pebblestore.Open(path, opts)
	if err != nil {
		if changed := differences(before, contents(t, vfs.Default, path)); changed != nil {
			t.Errorf("%s: refused with %v, but it has changed files: %v", what, err, changed)
		}
		opts.Quarantine = true
		if s, err := pebblestore.Open(path, opts); err != nil {
			t.Errorf("%s: not even in quarantine: %v", what, err)
		} else {
			if s.Condemned() == "" {
				t.Errorf("%s: sound at the second look", what)
			}
			s.Close()
		}
		return err
	}
	defer s.Close()
	if why := s.Condemned(); why != "" {
		return &raftlog.CondemnedError{Path: path, Why: why}
	}
	if id, err := s.Identity(); err != nil || id == nil {
		t.Errorf("%s: identity %v, %v", what, id, err)
	}
	for _, g := range []raftlog.GroupID{storagetest.A, storagetest.B} {
		err = errors.Join(err, readGroup(t, s, g, what, want[g]))
	}
	return err
}

func readGroup(t *testing.T, s raftlog.Storage, g raftlog.GroupID, what string, want *acknowledged) error {
	t.Helper()
	l, loadErr := s.Load(g)
	if loadErr == nil {
		hard := l.HardState
		hard.Commit = want.loaded.HardState.Commit // nobody counts on it
		if l.LastIndex() != want.loaded.LastIndex() || hard != want.loaded.HardState {
			t.Errorf("%s: group %d ends at %d with %+v, want %d with %+v", what, g, l.LastIndex(), l.HardState, want.loaded.LastIndex(), want.loaded.HardState)
		}
		if !slices.EqualFunc(want.loaded.Entries, l.Entries, func(a, b *pb.Entry) bool { return proto.Equal(a, b) }) {
			t.Errorf("%s: group %d has other entries", what, g)
		}
		if l.Start != want.loaded.Start {
			t.Errorf("%s: log of group %d starts at %+v, want %+v", what, g, l.Start, want.loaded.Start)
		}
	}
	past, historyErr := s.ReadHistory(g, 1, 1<<30)
	if historyErr == nil && len(past) < len(want.past) { // what could not be read ends it
		_, historyErr = s.ReadHistory(g, past[len(past)-1].Last+1, 1<<30)
	}
	if historyErr == nil && loadErr == nil {
		if !reflect.DeepEqual(want.past, past) {
			t.Errorf("%s: group %d has another history", what, g)
		}
	}
	err := errors.Join(loadErr, historyErr)
	for index, chunks := range want.chunks {
		err = errors.Join(err, readChunks(t, s, g, index, what, chunks))
	}
	return err
}

func readChunks(t *testing.T, s raftlog.Storage, g raftlog.GroupID, index uint64, what string, want [][]byte) error {
	t.Helper()
	r, err := s.OpenCheckpoint(g, index)
	if err != nil {
		return err
	}
	defer r.Close()
	if int(r.Descriptor().Chunks) != len(want) {
		t.Errorf("%s: checkpoint %d of group %d has %d chunks, want %d", what, index, g, r.Descriptor().Chunks, len(want))
		return nil
	}
	for i, w := range want {
		c, err := r.ReadChunk(uint32(i))
		if err != nil {
			return err
		}
		if !bytes.Equal(c, w) {
			t.Errorf("%s: chunk %d of checkpoint %d of group %d has other bytes", what, i, index, g)
		}
	}
	return nil
}

// TestStorageDamage damages each file of a directory in each way, after a clean and an
// unclean stop: a member gets an error, or exactly what was acknowledged.
func TestStorageDamage(t *testing.T) {
	began := time.Now()
	for _, stop := range []string{"clean", "unclean"} {
		path, whole := filepath.Join(t.TempDir(), "data"), filepath.Join(t.TempDir(), "whole")
		s, want := live(t, path)
		if stop == "clean" {
			storagetest.Must(t, s.Close())
			copyDir(t, path, whole)
		} else {
			copyDir(t, path, whole)
			storagetest.Must(t, s.Close())
		}
		for g := range want { // older ones were replaced
			cps := want[g].loaded.Checkpoints
			for index := range want[g].chunks {
				if !slices.ContainsFunc(cps, func(d raftlog.Descriptor) bool { return d.Index == index }) {
					delete(want[g].chunks, index)
				}
			}
			if len(want[g].chunks) != 2 {
				t.Fatalf("%d checkpoints are to be read", len(want[g].chunks))
			}
		}
		copyDir(t, whole, path)
		if err := read(t, path, "nothing", want); err != nil {
			t.Fatalf("%s stop, nothing damaged: %v", stop, err)
		}
		copyDir(t, whole, path)
		storagetest.Must(t, os.WriteFile(filepath.Join(whole, "QUARANTINE"), []byte("why: damaged\nstate: condemned\n"), 0o644))
		damageAll(t, stop, whole, path, want)
	}
	t.Logf("took %v", time.Since(began))
}

// withoutOldArchives leaves out of each group's checkpoints all but the newest three, the current
// ones and one that is archived: those before it are no others.
func withoutOldArchives(files []string) []string {
	indexes := make(map[raftlog.GroupID][]uint64)
	parse := func(name string) (g raftlog.GroupID, index uint64, ok bool) {
		n, err := fmt.Sscanf(name, "checkpoints/%d-%d.checkpoint", &g, &index)
		return g, index, n == 2 && err == nil
	}
	for _, name := range files {
		if g, index, ok := parse(name); ok {
			indexes[g] = append(indexes[g], index)
		}
	}
	return slices.DeleteFunc(files, func(name string) bool {
		g, index, ok := parse(name)
		if !ok {
			return false
		}
		newer := 0
		for _, other := range indexes[g] {
			if other > index {
				newer++
			}
		}
		return newer >= raftlog.KeepCheckpoints+1
	})
}

// damageAll goes through the files of a directory, each with each harm, alone.
func damageAll(t *testing.T, stop, whole, path string, want map[raftlog.GroupID]*acknowledged) {
	var files []string
	storagetest.Must(t, filepath.WalkDir(whole, func(path string, e os.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			rel, _ := filepath.Rel(whole, path)
			files = append(files, rel)
		}
		return err
	}))
	for _, name := range withoutOldArchives(files) {
		b, err := os.ReadFile(filepath.Join(whole, name))
		storagetest.Must(t, err)
		if stop == "unclean" && (strings.HasPrefix(name, "checkpoints") || strings.HasPrefix(name, "db/OPTIONS") || strings.HasSuffix(name, ".sst")) {
			continue // the same as after a clean one
		}
		refused, same := 0, 0
		for _, h := range harms(b) {
			what := fmt.Sprintf("%s stop, %s %s", stop, name, h.what)
			copyDir(t, whole, path)
			file := filepath.Join(path, name)
			storagetest.Must(t, os.Remove(file))
			if h.content != nil {
				storagetest.Must(t, os.WriteFile(file, h.content, 0o644))
			}
			if name != "QUARANTINE" {
				storagetest.Must(t, os.Remove(filepath.Join(path, "QUARANTINE")))
			}
			err := read(t, path, what, want)
			if err == nil {
				same++
				continue
			}
			refused++
			if name == "QUARANTINE" && h.content != nil {
				continue
			}
			if !isDamageOrShort(err) {
				t.Errorf("%s: %v", what, err)
			}
		}
		t.Logf("%s stop, %-28s %6d bytes: %3d harms refused, %3d without effect", stop, name, len(b), refused, same)
	}
}
