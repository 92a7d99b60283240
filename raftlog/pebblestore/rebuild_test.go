package pebblestore_test

import (
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/heliosdb/metadata/raftlog"
	"github.com/heliosdb/metadata/raftlog/pebblestore"
	"github.com/heliosdb/metadata/raftlog/storagetest"
)

// phase is how far a rebuild has come, for what may be found after a crash.
type phase int

const (
	sound      phase = iota // not condemned yet
	condemning              // inside Condemn
	condemned               // from there to EndRebuild
	ending                  // inside EndRebuild
	rebuilt
)

// remains is a file system as the power left it.
type remains struct {
	fs    *vfs.MemFS
	phase phase
	after string // the operation before which the power failed
}

// recorder takes a copy of the disk before each operation that changes it.
type recorder struct {
	mu    sync.Mutex
	fs    *vfs.MemFS
	rng   *rand.Rand
	phase phase
	ops   int
	left  []remains
}

func (r *recorder) String() string { return "recorder" }

func (r *recorder) MaybeError(op errorfs.Op) error {
	if op.Kind.ReadOrWrite() == errorfs.OpIsWrite && op.Kind != errorfs.OpFileClose && op.Kind != errorfs.OpLock {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.ops++; r.phase == condemned && r.ops%5 != 0 {
			return nil // there are many in that one
		}
		for _, percent := range []int{0, 60}[r.ops%2:] {
			r.left = append(r.left, remains{fs: r.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: r.rng}), phase: r.phase, after: op.Path})
		}
	}
	return nil
}

func (r *recorder) enter(p phase) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.phase = p; p == condemning {
		r.left = nil // what the open has left to be done in the background comes later
	}
}

// TestCrashDuringRebuild cuts the power before each operation on the disk between
// Condemn and the end of EndRebuild, twice over: inside a second rebuild as well.
func TestCrashDuringRebuild(t *testing.T) {
	d := newDisk(t)
	s := storagetest.Fresh(t, d)
	storagetest.Must(t, s.Write([]*raftlog.Write{storagetest.Append(storagetest.A, 2, 1, 2, 2), storagetest.Append(storagetest.B, 2, 3)}))
	d.close()
	rec := &recorder{fs: d.fs, rng: rand.New(rand.NewPCG(1, 2))}
	opts := d.options()
	opts.FS = errorfs.Wrap(d.fs, rec)
	s, err := pebblestore.Open(dir, opts)
	storagetest.Must(t, err)
	rec.enter(condemning)
	storagetest.Must(t, s.Condemn("damaged", raftlog.VotesKnown))
	rec.enter(condemned)
	storagetest.Rebuild(t, s)
	cp := storagetest.Rebuild(t, s)
	rec.enter(ending)
	storagetest.Must(t, s.EndRebuild())
	rec.enter(rebuilt)
	storagetest.ExpectRebuilt(t, s, cp)
	storagetest.Must(t, s.Close())
	seen := map[phase]int{}
	for _, left := range rec.left {
		seen[left.phase]++
		left.check(t, cp)
	}
	for p := condemning; p <= rebuilt; p++ {
		if seen[p] == 0 {
			t.Errorf("no crash in phase %d: %v", p, seen)
		}
	}
	t.Logf("crashes by phase: %v", seen)
}

// check opens what was left and finishes what was begun.
func (left remains) check(t *testing.T, cp raftlog.Descriptor) {
	t.Helper()
	d := &disk{fs: left.fs, ticks: make(chan time.Time)}
	defer d.close()
	s := d.Open(t)
	why := s.Condemned()
	switch {
	case why == "" && left.phase == condemning:
		for g, last := range map[raftlog.GroupID]uint64{storagetest.A: 4, storagetest.B: 2} {
			l, err := s.Load(g)
			storagetest.Must(t, err)
			if l.LastIndex() != last {
				t.Fatalf("before %s: group %d ends at %d, want %d", left.after, g, l.LastIndex(), last)
			}
		}
		return
	case why == "" && left.phase >= ending:
		storagetest.ExpectRebuilt(t, s, cp)
		return
	case why != "damaged" || left.phase == rebuilt:
		t.Fatalf("before %s, in phase %d: condemned because %q", left.after, left.phase, why)
	}
	var c *raftlog.CondemnedError
	if _, err := s.Load(storagetest.A); !errors.As(err, &c) {
		t.Fatalf("before %s: load of a condemned group: %v", left.after, err)
	}
	p, known := s.Promise(storagetest.A)
	if !known || p.Last < 4 || p.Term < 2 || p.Vote == 0 {
		t.Fatalf("before %s: promise %+v, known: %t", left.after, p, known)
	}
	storagetest.Rebuild(t, s)
	storagetest.Must(t, s.EndRebuild())
	storagetest.ExpectRebuilt(t, s, cp)
	d.close()
	storagetest.ExpectRebuilt(t, d.Open(t), cp)
}

// TestSetAside checks that what a directory held is kept through rebuilds that do not
// end, and given up for the next one's.
func TestSetAside(t *testing.T) {
	d := newDisk(t)
	s := storagetest.Fresh(t, d)
	old := storagetest.Descriptor(storagetest.A, 2, 1)
	storagetest.Must(t, s.Write([]*raftlog.Write{storagetest.Append(storagetest.A, 2, 1)}))
	w, err := s.CreateCheckpoint(storagetest.A, old)
	old = storagetest.WriteCheckpoint(t, w, err, []byte("evidence"))
	storagetest.Must(t, s.Write([]*raftlog.Write{{Group: storagetest.A, Checkpoint: &old, Sync: true}}))
	storagetest.Must(t, s.Condemn("first", raftlog.VotesKnown))
	storagetest.Rebuild(t, s)
	storagetest.Rebuild(t, s)
	d.Crash(t)
	s = d.Open(t)
	storagetest.Rebuild(t, s)
	storagetest.Must(t, s.EndRebuild())
	has := func(index string) bool {
		_, err := d.fs.Stat("/data/damaged/checkpoints/1-" + index + ".checkpoint")
		return err == nil
	}
	if !has("2") || has("4") {
		t.Fatal("what was set aside first is gone")
	}
	storagetest.Must(t, s.Condemn("second", raftlog.VotesKnown))
	storagetest.Rebuild(t, s)
	if has("2") || !has("4") {
		t.Fatal("what was set aside last is not there")
	}
	storagetest.Must(t, s.Close())
}

// TestQuarantine opens damaged directories, with and without the wish for it.
func TestQuarantine(t *testing.T) {
	flip := func(fs vfs.FS, path string, at ...int) {
		b := readFile(t, fs, path)
		for _, i := range at {
			b[i] ^= 1
		}
		writeFile(t, fs, path, b)
	}
	for _, test := range []struct {
		name, says string
		known, id  bool
		damage     func(fs *vfs.MemFS)
	}{
		{"floor is gone", "FLOOR is damaged: it is missing", false, true, func(fs *vfs.MemFS) { storagetest.Must(t, fs.Remove("/data/FLOOR")) }},
		{"floor is damaged", "neither of its slots is good", false, false, func(fs *vfs.MemFS) { flip(fs, "/data/FLOOR", 20, 8<<10+20) }},
		{"database is gone", "its database is gone", true, false, func(fs *vfs.MemFS) { storagetest.Must(t, fs.RemoveAll("/data/db")) }},
		{"log is damaged", "is damaged", true, false, func(fs *vfs.MemFS) { flipInFile(t, fs, "db", ".log", 0.5) }},
		{"manifest is gone", "it is missing", true, false, func(fs *vfs.MemFS) { storagetest.Must(t, fs.Remove(findManifest(t, fs))) }},
		{"log is damaged and half the floor", "is damaged", true, false, func(fs *vfs.MemFS) {
			flip(fs, "/data/FLOOR", 20) // the votes are in the other half too
			flipInFile(t, fs, "db", ".log", 0.5)
		}},
		{"only checkpoints are left", "there is a checkpoint 1-2.checkpoint", false, false, func(fs *vfs.MemFS) {
			storagetest.Must(t, fs.RemoveAll("/data/db"))
			storagetest.Must(t, fs.Remove("/data/FLOOR"))
			writeFile(t, fs, "/data/checkpoints/1-2.checkpoint", []byte("x"))
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := newDisk(t)
			s := storagetest.Fresh(t, d)
			const last = 301 // more than a block of 32 KiB: Pebble cannot see damage in the last one
			for i := range uint64(last - 1) {
				storagetest.Must(t, s.Write([]*raftlog.Write{storagetest.Append(storagetest.A, 2+i, 1), storagetest.Append(storagetest.B, 2+i, 1)}))
			}
			d.tick()
			d.Crash(t)
			test.damage(d.fs)
			var damage *raftlog.DamageError
			if err := d.try(); !errors.As(err, &damage) || !strings.Contains(err.Error(), test.says) {
				t.Fatalf("open: %v", err)
			}
			opts := d.options()
			opts.Quarantine = true
			var err error
			d.store, err = pebblestore.Open(dir, opts)
			storagetest.Must(t, err)
			for range 2 { // the second time without asking for it
				if why := d.store.Condemned(); !strings.Contains(why, test.says) || strings.Contains(why, "backup") {
					t.Fatalf("condemned because %q", why)
				}
				p, known := d.store.Promise(storagetest.A)
				if known != test.known || known && p != (raftlog.Promise{Last: last, Term: 1, Vote: 1}) {
					t.Fatalf("promise %+v, known: %t", p, known)
				}
				if id, err := d.store.Identity(); err != nil || (id != nil) != test.id {
					t.Fatalf("identity %v, %v", id, err)
				}
				d.close()
				storagetest.Must(t, d.try())
			}
			storagetest.Must(t, d.store.BeginRebuild(storagetest.Identity(), []raftlog.GroupID{storagetest.A, storagetest.B}, storagetest.Voters))
			for i := range uint64(last - 1) {
				storagetest.Must(t, d.store.Write([]*raftlog.Write{storagetest.Append(storagetest.A, 2+i, 1), storagetest.Append(storagetest.B, 2+i, 1)}))
			}
			storagetest.Must(t, d.store.EndRebuild())
			d.close()
			storagetest.Must(t, d.loadError())
		})
	}
}

func findManifest(t *testing.T, fs vfs.FS) string {
	t.Helper()
	names, err := fs.List("/data/db")
	storagetest.Must(t, err)
	for _, n := range names {
		if strings.HasPrefix(n, "MANIFEST-") {
			return "/data/db/" + n
		}
	}
	t.Fatalf("no manifest in %v", names)
	return ""
}

// TestMarkGone removes the mark while the directory is being rebuilt, and before.
func TestMarkGone(t *testing.T) {
	d := newDisk(t)
	s := storagetest.Fresh(t, d)
	storagetest.Must(t, s.Condemn("damaged", raftlog.VotesKnown))
	storagetest.Rebuild(t, s)
	d.close()
	storagetest.Must(t, d.fs.Remove("/data/QUARANTINE"))
	var damage *raftlog.DamageError
	if err := d.try(); !errors.As(err, &damage) || !strings.Contains(err.Error(), "being rebuilt") {
		t.Fatalf("open of a half-built directory without its mark: %v", err)
	}
}

// TestNewerFormat checks that what a newer build wrote is refused, not condemned.
func TestNewerFormat(t *testing.T) {
	d := newDisk(t)
	storagetest.Fresh(t, d)
	d.close()
	b := readFile(t, d.fs, "/data/FLOOR")
	for _, slot := range []int{0, len(b) / 2} {
		b[slot+7]++
	}
	writeFile(t, d.fs, "/data/FLOOR", b)
	opts := d.options()
	opts.Quarantine = true
	var newer *raftlog.FormatError
	if _, err := pebblestore.Open(dir, opts); !errors.As(err, &newer) || newer.What != "floor" {
		t.Fatalf("open of a newer floor: %v", err)
	}
}

// TestInstallKeepsFloor checks that a log replaced by a longer one never lowers what
// was promised, and one replaced by a shorter one no further than it must.
func TestInstallKeepsFloor(t *testing.T) {
	for install, want := range map[uint64]uint64{4: 4, 9: 6} {
		d := newDisk(t)
		s := storagetest.Fresh(t, d)
		storagetest.Must(t, s.Write([]*raftlog.Write{storagetest.Append(storagetest.A, 2, 1, 1, 1, 1, 1)}))
		d.tick()
		w, err := s.CreateCheckpoint(storagetest.A, storagetest.Descriptor(storagetest.A, install, 2))
		cp := storagetest.WriteCheckpoint(t, w, err, []byte("x"))
		storagetest.Must(t, s.Write([]*raftlog.Write{{Group: storagetest.A, Install: &cp, Sync: true}}))
		if p, known := s.Promise(storagetest.A); p.Last != want || !known {
			t.Fatalf("an install at %d leaves a floor of %d, want %d", install, p.Last, want)
		}
		d.Crash(t)
		storagetest.Must(t, d.loadError())
	}
}
