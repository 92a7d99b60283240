package pebblestore_test

import (
	"bytes"
	"errors"
	"log/slog"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/heliosdb/metadata/raftlog"
	"github.com/heliosdb/metadata/raftlog/pebblestore"
	"github.com/heliosdb/metadata/raftlog/storagetest"
)

const floorHalf = 8 << 10

// voteIn votes in a term of group A.
func voteIn(term, vote uint64) *raftlog.Write {
	return &raftlog.Write{Group: storagetest.A, Sync: true, HardState: &raftlog.HardState{Term: term, Vote: vote, Commit: raftlog.GenesisIndex}}
}

// promiseWithout opens a copy of a disk that has lost its database and one half of its
// floor, and returns what is left of the promise for group A.
func promiseWithout(t *testing.T, fs *vfs.MemFS, half int) (raftlog.Promise, bool) {
	t.Helper()
	d := &disk{fs: fs.CrashClone(vfs.CrashCloneCfg{}), ticks: make(chan time.Time)}
	b := readFile(t, d.fs, "/data/FLOOR")
	b[half*floorHalf+20] ^= 1
	writeFile(t, d.fs, "/data/FLOOR", b)
	storagetest.Must(t, d.fs.RemoveAll("/data/db"))
	opts := d.options()
	opts.Quarantine = true
	s, err := pebblestore.Open(dir, opts)
	storagetest.Must(t, err)
	defer func() { storagetest.Must(t, s.Close()) }()
	if s.Condemned() == "" {
		t.Fatal("a directory without a database is not condemned")
	}
	return s.Promise(storagetest.A)
}

// TestALostHalfOfTheFloorLosesNoVote damages either half of the floor and loses all else,
// after each of several votes.
func TestALostHalfOfTheFloorLosesNoVote(t *testing.T) {
	d := newDisk(t)
	s := storagetest.Fresh(t, d)
	for i, w := range []*raftlog.Write{voteIn(2, 1), voteIn(3, 0), voteIn(3, 2), voteIn(7, 3), storagetest.Append(storagetest.A, 2, 7)} {
		storagetest.Must(t, s.Write([]*raftlog.Write{w}))
		for half := range 2 {
			p, known := promiseWithout(t, d.fs, half)
			if p.Term != w.HardState.Term || p.Vote != w.HardState.Vote || !known {
				t.Fatalf("write %d, without half %d: promise %+v, known: %t, want %+v", i, half, p, known, *w.HardState)
			}
		}
		d.tick() // the last index may go into one half only
	}
}

// TestACrashInsideAVoteLosesNoVote cuts the power before each operation on the disk
// inside a vote. The next start may find it: then it votes that way again, at once, and
// the vote has to survive a lost half of the floor all the same.
func TestACrashInsideAVoteLosesNoVote(t *testing.T) {
	d := newDisk(t)
	s := storagetest.Fresh(t, d)
	storagetest.Must(t, s.Write([]*raftlog.Write{voteIn(2, 1)}))
	d.close()
	rec := &recorder{fs: d.fs, rng: rand.New(rand.NewPCG(3, 4))}
	opts := d.options()
	opts.FS = errorfs.Wrap(d.fs, rec)
	store, err := pebblestore.Open(dir, opts)
	storagetest.Must(t, err)
	rec.left = nil
	storagetest.Must(t, store.Write([]*raftlog.Write{voteIn(9, 3)}))
	left := rec.left
	storagetest.Must(t, store.Close())
	before, after := 0, 0
	for _, l := range left {
		d := &disk{fs: l.fs, ticks: make(chan time.Time)}
		loaded, err := d.Open(t).Load(storagetest.A)
		storagetest.Must(t, err)
		if loaded.HardState.Term == 9 {
			after++
		} else {
			before++
		}
		for half := range 2 {
			p, known := promiseWithout(t, d.fs, half)
			if p.Term != loaded.HardState.Term || p.Vote != loaded.HardState.Vote || !known {
				t.Fatalf("before %s, without half %d: promise %+v, known: %t, loaded %+v", l.after, half, p, known, loaded.HardState)
			}
		}
		d.close()
	}
	if before == 0 || after < 3 {
		t.Fatalf("%d crashes before the vote was stored, %d after it", before, after)
	}
}

// TestABadHalfOfTheFloorIsRepairedAloud damages either half: a look at the directory warns of it,
// a start repairs it and says so, the next one finds nothing.
func TestABadHalfOfTheFloorIsRepairedAloud(t *testing.T) {
	d := newDisk(t)
	s := storagetest.Fresh(t, d)
	storagetest.Must(t, s.Write([]*raftlog.Write{voteIn(2, 1)}))
	d.close()
	whole := readFile(t, d.fs, "/data/FLOOR")
	for half := range 2 {
		b := bytes.Clone(whole)
		b[half*floorHalf+20] ^= 1
		writeFile(t, d.fs, "/data/FLOOR", b)
		looked, err := pebblestore.OpenReadOnly(dir, d.options())
		storagetest.Must(t, err)
		part := looked.Inspect()[0]
		storagetest.Must(t, looked.Close())
		if part.Name != "floor" || part.Err != nil || !strings.Contains(part.Warning, "one of its two slots is bad: a start takes the other") {
			t.Fatalf("half %d: %+v", half, part)
		}
		for start, warnings := range []int{1, 0} {
			var log bytes.Buffer
			opts := d.options()
			opts.Logger = slog.New(slog.NewTextHandler(&log, nil))
			s, err := pebblestore.Open(dir, opts)
			storagetest.Must(t, err)
			storagetest.Must(t, s.Close())
			if strings.Count(log.String(), "level=WARN msg=\"one of the two slots of the floor was bad") != warnings {
				t.Fatalf("half %d, start %d, want %d warnings: %s", half, start, warnings, log.String())
			}
		}
	}
}

// TestTheMarkSaysWhatIsKnownOfVotes reads marks that do not say it, and one of a newer build.
func TestTheMarkSaysWhatIsKnownOfVotes(t *testing.T) {
	d := newDisk(t)
	s := storagetest.Fresh(t, d)
	storagetest.Must(t, s.Write([]*raftlog.Write{voteIn(2, 1)}))
	storagetest.Must(t, s.Condemn("damaged", raftlog.VotesKnown))
	d.close()
	text := string(readFile(t, d.fs, "/data/QUARANTINE"))
	for _, test := range []struct {
		text  string
		known bool
	}{
		{text, true},
		{strings.Replace(text, "votes: known\n", "", 1), false},
		{strings.Replace(text, "votes: known", "votes: knowm", 1), false},
		{strings.Replace(text, "votes: known", "votes: unknown", 1), false},
		{strings.Replace(text, "format: 1\n", "", 1), true},
		{strings.Replace(text, "format: 1", "format: x", 1), true},
		{"", false},
	} {
		writeFile(t, d.fs, "/data/QUARANTINE", []byte(test.text))
		s := d.Open(t)
		if p, known := s.Promise(storagetest.A); p.Term != 2 || known != test.known {
			t.Errorf("with the mark %q: promise %+v, known: %t", test.text, p, known)
		}
		d.close()
	}
	writeFile(t, d.fs, "/data/QUARANTINE", []byte(strings.Replace(text, "format: 1", "format: 2", 1)))
	var newer *raftlog.FormatError
	if err := d.try(); !errors.As(err, &newer) || newer.Have != 2 {
		t.Fatalf("a mark of a newer build: %v", err)
	}
}
