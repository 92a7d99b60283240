package memstore_test

import (
	"errors"
	"testing"

	"github.com/heliosdb/metadata/raftlog"
	"github.com/heliosdb/metadata/raftlog/memstore"
	"github.com/heliosdb/metadata/raftlog/storagetest"
)

const a = storagetest.A

// lived returns a store with entries 2 to 6 of terms 1 to 3, a vote in term 4, three
// records and a checkpoint at 4.
func lived(t *testing.T) *memstore.Store {
	t.Helper()
	s := memstore.New("disk")
	storagetest.Fresh(t, disk{s})
	storagetest.Must(t, s.Write([]*raftlog.Write{storagetest.Append(a, 2, 1, 1, 2, 3, 3)}))
	storagetest.Must(t, s.Write([]*raftlog.Write{{Group: a, HardState: &raftlog.HardState{Term: 4, Vote: 2}}}))
	w, err := s.CreateCheckpoint(a, storagetest.Descriptor(a, 4, 2))
	cp := storagetest.WriteCheckpoint(t, w, err, []byte("x"))
	storagetest.Must(t, s.Write([]*raftlog.Write{{
		Group: a, Checkpoint: &cp, CutTo: 2, History: []raftlog.Record{storagetest.Record(1, 1, 2), storagetest.Record(2, 2, 3), storagetest.Record(3, 3, 4)},
	}}))
	return s
}

// TestLosses checks how each loss shows, at once and after the clean stop of a process
// that did not see it.
func TestLosses(t *testing.T) {
	for _, test := range []struct {
		name  string
		lose  func(s *memstore.Store)
		short string // what Load finds short; "" for a *DamageError
	}{
		{"tail", func(s *memstore.Store) { s.LoseTail(a, 2) }, "last index"},
		{"tail below the checkpoint", func(s *memstore.Store) { s.LoseTail(a, 3) }, "last index"},
		{"vote", func(s *memstore.Store) { s.LoseVote(a) }, "term"},
		{"entry", func(s *memstore.Store) { s.DamageEntry(a, 5) }, ""},
	} {
		s := lived(t)
		test.lose(s)
		for range 2 {
			_, err := s.Load(a)
			var short *raftlog.ShortError
			var damage *raftlog.DamageError
			if test.short != "" && (!errors.As(err, &short) || short.What != test.short) || test.short == "" && !errors.As(err, &damage) {
				t.Fatalf("%s: %v", test.name, err)
			}
			if _, err := s.Load(storagetest.B); err != nil {
				t.Fatalf("%s of the other group: %v", test.name, err)
			}
			storagetest.Must(t, s.Close())
		}
		if p, known := s.Promise(a); p != (raftlog.Promise{Last: 6, Term: 4, Vote: 2}) || !known {
			t.Fatalf("%s: promise %+v, known: %t", test.name, p, known)
		}
	}
}

func TestDamagedReads(t *testing.T) {
	s := lived(t)
	s.DamageRecord(a, 2)
	s.DamageCheckpoint(a, 4)
	var damage *raftlog.DamageError
	if rs, err := s.ReadHistory(a, 1, 100); len(rs) != 1 || err != nil {
		t.Fatalf("history before the damage: %v, %v", rs, err)
	}
	if _, err := s.ReadHistory(a, 2, 100); !errors.As(err, &damage) {
		t.Fatalf("damaged history: %v", err)
	}
	r, err := s.OpenCheckpoint(a, 4)
	storagetest.Must(t, err)
	if _, err := r.ReadChunk(0); !errors.As(err, &damage) {
		t.Fatalf("damaged checkpoint: %v", err)
	}
	storagetest.Must(t, s.Condemn("damaged", raftlog.VotesKnown))
	storagetest.Must(t, s.BeginRebuild(storagetest.Identity(), []raftlog.GroupID{a}, storagetest.Voters))
	storagetest.Must(t, s.Write([]*raftlog.Write{storagetest.Append(a, 2, 1), {Group: a, History: []raftlog.Record{storagetest.Record(2, 2, 2)}}}))
	if rs, err := s.ReadHistory(a, 2, 100); len(rs) != 1 || err != nil {
		t.Fatalf("history after a rebuild: %v, %v", rs, err)
	}
}

// TestDamagedPast damages what is there for the past alone, and fills a disk.
func TestDamagedPast(t *testing.T) {
	s := lived(t)
	for index := uint64(5); index <= 6; index++ {
		w, err := s.CreateCheckpoint(a, storagetest.Descriptor(a, index, 3))
		cp := storagetest.WriteCheckpoint(t, w, err, []byte("x"))
		storagetest.Must(t, s.Write([]*raftlog.Write{{Group: a, Checkpoint: &cp}}))
	}
	s.DamageCheckpoint(a, 4)
	s.DamageRecord(a, 2)
	var damage *raftlog.DamageError
	r, err := s.OpenArchived(a, 4)
	storagetest.Must(t, err)
	if _, err := r.ReadChunk(0); !errors.As(err, &damage) {
		t.Fatalf("damaged archived checkpoint: %v", err)
	}
	if rs, err := s.ReadHistoryBefore(a, 4, 100); len(rs) != 1 || err != nil {
		t.Fatalf("history behind the damage: %v, %v", rs, err)
	}
	if _, err := s.ReadHistoryBefore(a, 3, 100); !errors.As(err, &damage) {
		t.Fatalf("damaged history: %v", err)
	}
	s.SetFree(0)
	_, create := s.CreateArchived(a, storagetest.Descriptor(a, 2, 1))
	for what, err := range map[string]error{
		"fill": s.FillHistory(a, []raftlog.Past{storagetest.Past(storagetest.Record(1, 1, 2), 1)}), "marks": s.PutMarks(a, 0, nil), "create": create,
	} {
		if !errors.Is(err, raftlog.ErrFull) {
			t.Errorf("%s on a full disk: %v", what, err)
		}
	}
	s.Crash(0)
	if ds, err := s.Archived(a); len(ds) != 0 || err != nil {
		t.Errorf("after a start the damaged one is still there: %v, %v", ds, err)
	}
	if _, err := s.Load(a); err != nil {
		t.Error(err)
	}
}

// TestLostDirectories loses the database, the floor and everything.
func TestLostDirectories(t *testing.T) {
	s := lived(t)
	s.LoseDatabase()
	if _, known := s.Promise(a); s.Condemned() == "" || !known {
		t.Fatalf("without a database: condemned because %q, promise known: %t", s.Condemned(), known)
	}
	cp := storagetest.Rebuild(t, s)
	var short *raftlog.ShortError
	if err := s.EndRebuild(); !errors.As(err, &short) || short.What != "term" {
		t.Fatalf("end of a rebuild below the floor: %v", err)
	}
	s.LoseFloor()
	if _, known := s.Promise(a); known {
		t.Fatal("a lost floor is known")
	}
	storagetest.Must(t, s.EndRebuild())
	storagetest.ExpectRebuilt(t, s, cp)
	s.Wipe()
	if id, _ := s.Identity(); id != nil || s.Condemned() != "" {
		t.Fatalf("a wiped directory holds %v, condemned because %q", id, s.Condemned())
	}
	storagetest.Fresh(t, disk{s})
}

// TestLaggingFloor checks that the last index of a lagging floor waits, and nothing else.
func TestLaggingFloor(t *testing.T) {
	s := lived(t)
	s.LagFloor(true)
	promise := func(want raftlog.Promise) {
		t.Helper()
		if p, known := s.Promise(a); p != want || !known {
			t.Fatalf("promise %+v, known: %t, want %+v", p, known, want)
		}
	}
	storagetest.Must(t, s.Write([]*raftlog.Write{storagetest.Append(a, 7, 5, 5)}))
	promise(raftlog.Promise{Last: 6, Term: 5, Vote: 1})
	s.LoseTail(a, 1)
	if l, err := s.Load(a); err != nil || l.LastIndex() != 7 {
		t.Fatalf("load above a lagging floor: %v", err)
	}
	s.RaiseFloor()
	promise(raftlog.Promise{Last: 7, Term: 5, Vote: 1})
	storagetest.Must(t, s.Write([]*raftlog.Write{storagetest.Append(a, 6, 6)})) // replaced: lower at once
	promise(raftlog.Promise{Last: 5, Term: 6, Vote: 1})
	storagetest.Must(t, s.Close())
	promise(raftlog.Promise{Last: 6, Term: 6, Vote: 1})
}

// TestFailedSync checks that nothing is taken after a failed sync, and that any first part
// of what it left can be there after the crash.
func TestFailedSync(t *testing.T) {
	for keep, want := range []uint64{6, 7, 8} {
		s := lived(t)
		storagetest.Must(t, s.Write([]*raftlog.Write{{Group: a, Entries: storagetest.Entries(7, 4)}}))
		s.FailNextSync()
		if err := s.Write([]*raftlog.Write{{Group: a, Entries: storagetest.Entries(8, 4), Sync: true}}); !errors.Is(err, memstore.ErrSync) {
			t.Fatalf("failed sync: %v", err)
		}
		if err := s.Write([]*raftlog.Write{{Group: a}}); !errors.Is(err, memstore.ErrSync) {
			t.Fatalf("write after a failed sync: %v", err)
		}
		if err := s.Close(); !errors.Is(err, memstore.ErrSync) {
			t.Fatalf("close after a failed sync: %v", err)
		}
		s.Crash(keep)
		l, err := s.Load(a)
		storagetest.Must(t, err)
		if l.LastIndex() != want {
			t.Fatalf("log ends at %d after a failed sync and a crash that kept %d writes, want %d", l.LastIndex(), keep, want)
		}
		storagetest.Must(t, s.Write([]*raftlog.Write{{Group: a, HardState: &raftlog.HardState{Term: 5}, Sync: true}}))
	}
}

// TestFullDisk checks what a disk takes that is full up to its reserve, and to its end.
func TestFullDisk(t *testing.T) {
	s := lived(t)
	s.SetFree(0)
	if _, err := s.CreateCheckpoint(a, storagetest.Descriptor(a, 5, 3)); !errors.Is(err, raftlog.ErrFull) {
		t.Fatalf("checkpoint on a full disk: %v", err)
	}
	w, err := s.CreateBase(a, storagetest.Descriptor(a, 2, 1))
	storagetest.Must(t, err)
	storagetest.Must(t, w.WriteChunk([]byte("x")))
	storagetest.Must(t, s.Write([]*raftlog.Write{storagetest.Append(a, 7, 4)}))
	s.SetFull(true)
	if err := w.WriteChunk([]byte("y")); !errors.Is(err, raftlog.ErrFull) {
		t.Fatalf("base on a disk that is full to its end: %v", err)
	}
	if err := s.Write([]*raftlog.Write{storagetest.Append(a, 8, 4)}); !errors.Is(err, raftlog.ErrFull) {
		t.Fatalf("write on a full disk: %v", err)
	}
	s.SetFull(false)
	s.SetFree(1 << 20)
	if l, err := s.Load(a); err != nil || l.LastIndex() != 7 {
		t.Fatalf("load after a full disk: %+v, %v", l, err)
	}
	w, err = s.CreateCheckpoint(a, storagetest.Descriptor(a, 5, 3))
	storagetest.WriteCheckpoint(t, w, err, []byte("x"))
}

// TestPutBack exchanges a directory for an old copy: nothing shows what was written since,
// and the copy stays as it is.
func TestPutBack(t *testing.T) {
	s := lived(t)
	old := s.Copy()
	for range 2 {
		storagetest.Must(t, s.Write([]*raftlog.Write{storagetest.Append(a, 7, 5)}))
		s.PutBack(old)
		l, err := s.Load(a)
		storagetest.Must(t, err)
		if p, known := s.Promise(a); l.LastIndex() != 6 || l.Newest().Index != 4 || !known || p.Last != 6 {
			t.Fatalf("the log ends at %d, the floor is at %+v", l.LastIndex(), p)
		}
	}
}

// TestCrashBeforeFloor checks what a crash leaves between the data and the floor.
func TestCrashBeforeFloor(t *testing.T) {
	for _, torn := range []bool{false, true} {
		s := lived(t)
		before, _ := s.Promise(a)
		s.CrashBeforeFloor(torn)
		storagetest.Must(t, s.Write([]*raftlog.Write{{Group: a, HardState: &raftlog.HardState{Term: 9, Vote: 3}, Sync: true}}))
		s.Crash(0)
		if p, known := s.Promise(a); p != before || known == torn {
			t.Errorf("torn %v: promise %+v, known %v; before it was %+v", torn, p, known, before)
		}
		if l, err := s.Load(a); err != nil || l.HardState.Term != 9 {
			t.Errorf("torn %v: %+v, %v", torn, l, err)
		}
		s.RaiseFloor()
		if p, known := s.Promise(a); p.Term != 9 || p.Vote != 3 || !known {
			t.Errorf("torn %v: after a start the promise is %+v, known %v", torn, p, known)
		}
	}
}
