package pebblestore_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/heliosdb/metadata/raftlog"
	"github.com/heliosdb/metadata/raftlog/pebblestore"
	"github.com/heliosdb/metadata/raftlog/storagetest"
)

// readFile returns a file's bytes.
func readFile(t *testing.T, fs vfs.FS, path string) []byte {
	t.Helper()
	f, err := fs.Open(path)
	storagetest.Must(t, err)
	defer f.Close()
	b, err := io.ReadAll(f)
	storagetest.Must(t, err)
	return b
}

func writeFile(t *testing.T, fs vfs.FS, path string, b []byte) {
	t.Helper()
	f, err := fs.Create(path, vfs.WriteCategoryUnspecified)
	storagetest.Must(t, err)
	_, err = f.Write(append([]byte(nil), b...)) // a file may change what it is given
	storagetest.Must(t, err)
	storagetest.Must(t, f.Sync())
	storagetest.Must(t, f.Close())
	d, err := fs.OpenDir(fs.PathDir(path))
	storagetest.Must(t, err)
	storagetest.Must(t, d.Sync())
	storagetest.Must(t, d.Close())
}

// findFile returns the largest file with a suffix under a directory of the store.
func findFile(t *testing.T, fs vfs.FS, sub, suffix string) string {
	t.Helper()
	names, err := fs.List(fs.PathJoin(dir, sub))
	storagetest.Must(t, err)
	best, size := "", int64(-1)
	for _, n := range names {
		path := fs.PathJoin(dir, sub, n)
		if info, err := fs.Stat(path); err == nil && strings.HasSuffix(n, suffix) && info.Size() > size {
			best, size = path, info.Size()
		}
	}
	if best == "" {
		t.Fatalf("no %s file in %s: %v", suffix, sub, names)
	}
	return best
}

// flipInFile flips a bit at a part of the largest file with a suffix.
func flipInFile(t *testing.T, fs vfs.FS, sub, suffix string, at float64) {
	t.Helper()
	path := findFile(t, fs, sub, suffix)
	b := readFile(t, fs, path)
	b[int(at*float64(len(b)-1))] ^= 0x10
	writeFile(t, fs, path, b)
}

// contents returns the bytes of each file of the store, by path.
func contents(t *testing.T, fs vfs.FS, path string) map[string]string {
	t.Helper()
	found := map[string]string{}
	names, err := fs.List(path)
	storagetest.Must(t, err)
	for _, name := range names {
		at := fs.PathJoin(path, name)
		info, err := fs.Stat(at)
		storagetest.Must(t, err)
		if info.IsDir() {
			maps.Copy(found, contents(t, fs, at))
		} else if name != "LOCK" {
			found[at] = string(readFile(t, fs, at))
		}
	}
	return found
}

// differences names the files that are not as they were.
func differences(before, after map[string]string) (names []string) {
	for name, was := range before {
		if is, there := after[name]; !there {
			names = append(names, name+" is gone")
		} else if is != was {
			names = append(names, fmt.Sprintf("%s of %d bytes has %d, other ones", name, len(was), len(is)))
		}
	}
	for name := range after {
		if _, there := before[name]; !there {
			names = append(names, name+" is new")
		}
	}
	slices.Sort(names)
	return names
}

// TestLogCutShort cuts the end off the write-ahead log, which Pebble cannot see. The
// directory is refused, as often as one tries, and no file of it changes.
func TestLogCutShort(t *testing.T) {
	d := newDisk(t)
	s := storagetest.Fresh(t, d)
	for i := range uint64(100) {
		storagetest.Must(t, s.Write([]*raftlog.Write{storagetest.Append(storagetest.A, 2+i, 1)}))
	}
	d.tick()
	d.Crash(t)
	path := findFile(t, d.fs, "db", ".log")
	whole := readFile(t, d.fs, path)
	for _, part := range []float64{0.3, 0.6, 0.9} {
		writeFile(t, d.fs, path, whole[:int(part*float64(len(whole)))])
		cut := &disk{fs: d.fs.CrashClone(vfs.CrashCloneCfg{}), ticks: d.ticks}
		before := contents(t, cut.fs, dir)
		for _, start := range []string{"first", "second"} {
			err := cut.try()
			var short *raftlog.ShortError
			if !errors.As(err, &short) || short.What != "last index" || short.Floor != 101 || short.Have >= 101 {
				t.Fatalf("%s start with a log cut to %.1f: %v", start, part, err)
			}
			if changed := differences(before, contents(t, cut.fs, dir)); changed != nil {
				t.Fatalf("%s start with a log cut to %.1f has changed files: %v", start, part, changed)
			}
		}
		opts := cut.options()
		opts.Quarantine = true
		s, err := pebblestore.Open(dir, opts)
		storagetest.Must(t, err)
		if why := s.Condemned(); !strings.Contains(why, "last index") {
			t.Fatalf("with others to be rebuilt from, it is condemned because %q", why)
		}
		storagetest.Must(t, s.Close())
		if changed := differences(before, contents(t, cut.fs, dir)); !slices.Equal(changed, []string{"/data/QUARANTINE is new"}) {
			t.Fatalf("quarantine has changed files: %v", changed)
		}
	}
}

// TestVoteBehindFloor puts an old store back under a newer floor.
func TestVoteBehindFloor(t *testing.T) {
	for what, next := range map[string]raftlog.HardState{"term": {Term: 6}, "vote": {Term: 5, Vote: 3}} {
		d := newDisk(t)
		s := storagetest.Fresh(t, d)
		storagetest.Must(t, s.Write([]*raftlog.Write{{Group: storagetest.A, HardState: &raftlog.HardState{Term: 5}, Sync: true}}))
		old := d.fs.CrashClone(vfs.CrashCloneCfg{})
		storagetest.Must(t, s.Write([]*raftlog.Write{{Group: storagetest.A, HardState: &next, Sync: true}}))
		// In the floor when Write returns: no tick needed.
		newer := d.fs.CrashClone(vfs.CrashCloneCfg{})
		d.close()
		d.fs = old
		writeFile(t, d.fs, "/data/FLOOR", readFile(t, newer, "/data/FLOOR"))
		var short *raftlog.ShortError
		if err := d.loadError(); !errors.As(err, &short) || short.What != what {
			t.Fatalf("load of a store whose %s is behind the floor: %v", what, err)
		}
	}
}

func TestFloorDamage(t *testing.T) {
	d := newDisk(t)
	s := storagetest.Fresh(t, d)
	storagetest.Must(t, s.Write([]*raftlog.Write{storagetest.Append(storagetest.A, 2, 3)}))
	d.close()
	good := readFile(t, d.fs, "/data/FLOOR")
	var damage *raftlog.DamageError
	check := func(what string, b []byte, bad bool) {
		t.Helper()
		writeFile(t, d.fs, "/data/FLOOR", b)
		if err := d.loadError(); errors.As(err, &damage) != bad || (err != nil) != bad {
			t.Fatalf("%s: %v", what, err)
		}
	}
	half := len(good) / 2
	flip := func(at ...int) []byte {
		b := append([]byte(nil), good...)
		for _, i := range at {
			b[i] ^= 1
		}
		return b
	}
	check("first slot torn", flip(20), false)
	check("second slot torn", flip(half+20), false)
	check("both slots bad", flip(20, half+20), true)
	check("empty", nil, true)
	check("cut inside the first slot", good[:10], true)
	storagetest.Must(t, d.fs.Remove("/data/FLOOR"))
	if err := d.loadError(); !errors.As(err, &damage) || damage.Path != "/data/FLOOR" {
		t.Fatalf("missing floor: %v", err)
	}
}

// TestDatabaseGone removes the store but not the floor: not blank.
func TestDatabaseGone(t *testing.T) {
	d := newDisk(t)
	s := storagetest.Fresh(t, d)
	storagetest.Must(t, s.Write([]*raftlog.Write{storagetest.Append(storagetest.A, 2, 3)}))
	d.close()
	storagetest.Must(t, d.fs.RemoveAll("/data/db"))
	var damage *raftlog.DamageError
	if err := d.loadError(); !errors.As(err, &damage) {
		t.Fatalf("open without the database: %v", err)
	}
}

// TestTableDamage flips a bit in each part of a table file.
func TestTableDamage(t *testing.T) {
	d := newDisk(t)
	s := storagetest.Fresh(t, d)
	for i := range uint64(200) {
		storagetest.Must(t, s.Write([]*raftlog.Write{storagetest.Append(storagetest.A, 2+i, 1)}))
	}
	d.close()
	storagetest.Must(t, d.try()) // the replayed log becomes a table
	d.close()
	path := findFile(t, d.fs, "db", ".sst")
	whole := readFile(t, d.fs, path)
	seen := 0
	for at := 0; at < len(whole); at += len(whole)/40 + 1 {
		b := append([]byte(nil), whole...)
		b[at] ^= 0x04
		writeFile(t, d.fs, path, b)
		err := d.loadError()
		if err != nil && !isDamageOrShort(err) {
			t.Fatalf("bit at %d of %d: %v", at, len(whole), err)
		}
		if err != nil {
			seen++
		}
	}
	if seen < 20 {
		t.Fatalf("only %d of 40 flipped bits were noticed", seen)
	}
	writeFile(t, d.fs, path, whole)
	storagetest.Must(t, d.loadError())
}

// TestACauseIsSaidOnce damages a table of many blocks, so that iterators find it, too.
func TestACauseIsSaidOnce(t *testing.T) {
	d := newDisk(t)
	s := storagetest.Fresh(t, d)
	for i := range uint64(100) {
		w := storagetest.Append(storagetest.A, 2+i, 1)
		w.Entries[0].Data = bytes.Repeat([]byte{byte(i), byte(i * 7)}, 500)
		storagetest.Must(t, s.Write([]*raftlog.Write{w}))
	}
	d.close()
	storagetest.Must(t, d.try()) // the replayed log becomes a table
	d.close()
	path := findFile(t, d.fs, "db", ".sst")
	whole := readFile(t, d.fs, path)
	seen := 0
	for at := 50; at < len(whole); at += len(whole) / 20 {
		b := bytes.Clone(whole)
		b[at] ^= 0x04
		writeFile(t, d.fs, path, b)
		err := d.loadError()
		if err == nil {
			continue
		}
		seen++
		if strings.Count(err.Error(), "checksum mismatch") != 1 {
			t.Errorf("bit at %d of %d: %v", at, len(whole), err)
		}
	}
	if seen < 10 {
		t.Fatalf("only %d of 20 flipped bits were noticed", seen)
	}
}

// TestCheckpointDamage flips each region of a checkpoint file.
func TestCheckpointDamage(t *testing.T) {
	d := newDisk(t)
	s := storagetest.Fresh(t, d)
	storagetest.Must(t, s.Write([]*raftlog.Write{storagetest.Append(storagetest.A, 2, 1, 1)}))
	for index := uint64(2); index <= 3; index++ {
		w, err := s.CreateCheckpoint(storagetest.A, storagetest.Descriptor(storagetest.A, index, 1))
		cp := storagetest.WriteCheckpoint(t, w, err, []byte("some bytes"), []byte("more"))
		storagetest.Must(t, s.Write([]*raftlog.Write{{Group: storagetest.A, Checkpoint: &cp, Sync: true}}))
	}
	d.close()
	path := d.fs.PathJoin(dir, "checkpoints", "1-3.checkpoint")
	whole := readFile(t, d.fs, path)
	for at := range whole {
		b := append([]byte(nil), whole...)
		b[at] ^= 0x01
		writeFile(t, d.fs, path, b)
		storagetest.Must(t, d.try())
		if !checkpointFails(d.store, 3) {
			t.Fatalf("a flipped bit at byte %d of %d went unnoticed", at, len(whole))
		}
		l, err := d.store.Load(storagetest.A)
		storagetest.Must(t, err)
		if l.Checkpoints[0].Index != 2 {
			t.Fatalf("the older checkpoint is not offered: %+v", l.Checkpoints)
		}
		d.close()
	}
	for _, n := range []int{0, 10, len(whole) / 2, len(whole) - 1} {
		writeFile(t, d.fs, path, whole[:n])
		storagetest.Must(t, d.try())
		if !checkpointFails(d.store, 3) {
			t.Fatalf("a file cut to %d bytes went unnoticed", n)
		}
		d.close()
	}
	// Without any good checkpoint there is nothing to start from.
	storagetest.Must(t, d.fs.Remove(path))
	storagetest.Must(t, d.fs.Remove(d.fs.PathJoin(dir, "checkpoints", "1-2.checkpoint")))
	var damage *raftlog.DamageError
	if err := d.loadError(); !errors.As(err, &damage) || !strings.Contains(damage.Path, "checkpoints") {
		t.Fatalf("load without checkpoints: %v", err)
	}
}

// TestDamagedCheckpointKeepsNoOtherAway starts from the older of two checkpoints because the newer
// one is damaged, and writes one that lies between them: that it is older than the damaged one
// must not have it taken for one that has been replaced.
func TestDamagedCheckpointKeepsNoOtherAway(t *testing.T) {
	d := newDisk(t)
	s := storagetest.Fresh(t, d)
	storagetest.Must(t, s.Write([]*raftlog.Write{storagetest.Append(storagetest.A, 2, 1, 1, 1, 1), storagetest.Append(storagetest.B, 2, 1)}))
	finish := func(g raftlog.GroupID, index uint64) *raftlog.Write {
		w, err := d.store.CreateCheckpoint(g, storagetest.Descriptor(g, index, 1))
		cp := storagetest.WriteCheckpoint(t, w, err, []byte("some bytes"))
		return &raftlog.Write{Group: g, Checkpoint: &cp, Sync: true}
	}
	for _, index := range []uint64{2, 5} {
		storagetest.Must(t, s.Write([]*raftlog.Write{finish(storagetest.A, index)}))
	}
	d.close()
	path := d.fs.PathJoin(dir, "checkpoints", "1-5.checkpoint")
	writeFile(t, d.fs, path, readFile(t, d.fs, path)[:10])
	storagetest.Must(t, d.try())
	_, err := d.store.Load(storagetest.A)
	storagetest.Must(t, err)
	between := finish(storagetest.A, 3)
	storagetest.Must(t, d.store.Write([]*raftlog.Write{finish(storagetest.B, 2)})) // deletes what has been replaced
	storagetest.Must(t, d.store.Write([]*raftlog.Write{between}))
	d.close()
	storagetest.Must(t, d.try())
	l, err := d.store.Load(storagetest.A)
	storagetest.Must(t, err)
	if l.Newest().Index != 3 {
		t.Fatalf("a restart begins from %+v", l.Checkpoints)
	}
	d.close()
}

// checkpointFails reads a whole checkpoint and reports whether damage was noticed.
func checkpointFails(s raftlog.Storage, index uint64) bool {
	var damage *raftlog.DamageError
	r, err := s.OpenCheckpoint(storagetest.A, index)
	if err != nil {
		return errors.As(err, &damage)
	}
	defer r.Close()
	for i := range r.Descriptor().Chunks {
		if _, err := r.ReadChunk(i); errors.As(err, &damage) {
			return true
		}
	}
	return false
}
