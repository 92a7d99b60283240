package storagetest

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/heliosdb/metadata/raftlog"
)

// expectCondemned checks that nothing but a rebuild can be had of a directory.
func expectCondemned(t *testing.T, s raftlog.Storage, why string) {
	t.Helper()
	if got := s.Condemned(); got != why {
		t.Fatalf("condemned because %q, want %q", got, why)
	}
	_, load := s.Load(A)
	_, _, bounds := s.HistoryBounds(A)
	_, read := s.ReadHistory(A, 1, 100)
	_, open := s.OpenCheckpoint(A, raftlog.GenesisIndex)
	_, list := s.Checkpoints(A)
	_, create := s.CreateCheckpoint(A, Descriptor(A, 9, 9))
	_, before := s.ReadHistoryBefore(A, 100, 100)
	_, _, gap := s.HistoryGap(A, 100)
	_, _, marks := s.ReadMarks(A, 0, 1)
	_, archived := s.Archived(A)
	_, openOld := s.OpenArchived(A, 2)
	_, createOld := s.CreateArchived(A, Descriptor(A, 2, 1))
	_, createBase := s.CreateBase(A, Descriptor(A, 2, 1))
	_, stage := s.StageCheckpoint(A, Descriptor(A, 9, 9))
	for what, err := range map[string]error{
		"load": load, "bounds": bounds, "read": read, "open": open, "list": list, "create": create, "stage": stage,
		"read before": before, "gap": gap, "marks": marks, "archived": archived, "open archived": openOld, "create archived": createOld, "create base": createBase, "drop archived": s.DropArchived(A, 2),
		"fill":      s.FillHistory(A, []raftlog.Past{Past(Record(1, 1, 2), 1)}),
		"put marks": s.PutMarks(A, 0, nil),
		"write":     s.Write([]*raftlog.Write{Append(A, 2, 1)}),
		"trim":      s.TrimHistory(A, 1),
		"bootstrap": s.Bootstrap(Identity(), []raftlog.GroupID{A}, Voters),
	} {
		var condemned *raftlog.CondemnedError
		id, _ := s.Identity()
		if what == "bootstrap" && id != nil {
			if err == nil {
				t.Fatal("a condemned directory was bootstrapped")
			}
			continue // it is not blank either
		}
		if !errors.As(err, &condemned) || condemned.Why != why {
			t.Fatalf("%s of a condemned directory: %v", what, err)
		}
	}
	if err := s.EndRebuild(); err == nil {
		t.Fatal("a rebuild ended that had not begun")
	}
	if _, _, err := s.Space(); err != nil {
		t.Fatal(err)
	}
}

func expectPromise(t *testing.T, s raftlog.Storage, g raftlog.GroupID, want raftlog.Promise) {
	t.Helper()
	got, known := s.Promise(g)
	if diff := cmp.Diff(want, got); diff != "" || !known {
		t.Fatalf("promise of group %d, known: %t (-want +got):\n%s", g, known, diff)
	}
}

// Rebuild fills both groups of a condemned disk, as a member that is brought back from
// others does: A from a checkpoint at 4 with entries 5 and 6 of term 3, B with entry 2.
func Rebuild(t *testing.T, s raftlog.Storage) raftlog.Descriptor {
	t.Helper()
	Must(t, s.BeginRebuild(Identity(), []raftlog.GroupID{A, B}, Voters))
	return Fill(t, s)
}

// Fill is Rebuild after BeginRebuild.
func Fill(t *testing.T, s raftlog.Storage) raftlog.Descriptor {
	t.Helper()
	cp := checkpointOf(t, Descriptor(A, 4, 2), Chunks()...)
	w, err := s.StageCheckpoint(A, cp)
	if got := WriteCheckpoint(t, w, err, Chunks()...); !got.Equal(cp) {
		t.Fatalf("staged as %+v", got)
	}
	Must(t, s.Write([]*raftlog.Write{
		{Group: A, Install: &cp, Entries: Entries(5, 3, 3), HardState: &raftlog.HardState{Term: 3, Vote: 3, Commit: 4}},
		{Group: A, History: []raftlog.Record{Record(41, 42, 5)}},
		Append(B, 2, 3),
	}))
	return cp
}

// ExpectRebuilt checks for what Fill has stored.
func ExpectRebuilt(t *testing.T, s raftlog.Storage, cp raftlog.Descriptor) {
	t.Helper()
	if why := s.Condemned(); why != "" {
		t.Fatalf("still condemned: %s", why)
	}
	l := expectLog(t, s, A, Entries(5, 3, 3)...)
	if l.HardState != (raftlog.HardState{Term: 3, Vote: 3, Commit: 4}) || !l.Newest().Equal(cp) || len(l.Checkpoints) != 1 {
		t.Fatalf("rebuilt: %+v", l)
	}
	expectLog(t, s, B, Entries(2, 3)...)
	expectChunks(t, s, cp, Chunks()...)
	expectHistory(t, s, A, 41, 100, Past(Record(41, 42, 5), 3))
	expectPromise(t, s, A, raftlog.Promise{Last: 6, Term: 3, Vote: 3})
	expectPromise(t, s, B, raftlog.Promise{Last: 2, Term: 3, Vote: 1})
}

// checkpointOf computes the descriptor of a checkpoint that another member has.
func checkpointOf(t *testing.T, d raftlog.Descriptor, chunks ...[]byte) raftlog.Descriptor {
	t.Helper()
	enc, err := raftlog.NewFileEncoder(d)
	Must(t, err)
	enc.Header()
	for _, c := range chunks {
		_, err := enc.Frame(c)
		Must(t, err)
	}
	_, d = enc.Trailer()
	return d
}

func testCondemn(t *testing.T, d Disk) {
	s := Fresh(t, d)
	if why := s.Condemned(); why != "" {
		t.Fatalf("a sound directory is condemned: %s", why)
	}
	if err := s.BeginRebuild(Identity(), []raftlog.GroupID{A, B}, Voters); err == nil {
		t.Fatal("a sound directory was rebuilt")
	}
	if err := s.Condemn("", raftlog.VotesKnown); err == nil {
		t.Fatal("condemned without a reason")
	}
	Must(t, s.Write([]*raftlog.Write{Append(A, 2, 1, 2, 2), Append(B, 2, 3)}))
	Must(t, s.Condemn("entry 3 is damaged", raftlog.VotesKnown))
	Must(t, s.Condemn("it was wiped", raftlog.VotesKnown))
	for range 2 {
		expectCondemned(t, s, "entry 3 is damaged")
		expectPromise(t, s, A, raftlog.Promise{Last: 4, Term: 2, Vote: 1})
		expectPromise(t, s, B, raftlog.Promise{Last: 2, Term: 3, Vote: 1})
		if _, known := s.Promise(77); known {
			t.Fatal("something was promised for a group that is not there")
		}
		id, err := s.Identity()
		Must(t, err)
		want := Identity()
		if diff := cmp.Diff(&want, id); diff != "" {
			t.Fatalf("identity of a condemned directory (-want +got):\n%s", diff)
		}
		d.Crash(t)
		s = d.Open(t)
	}
	Must(t, s.Close())
}

// testCondemnWithoutVotes checks that votes that are not known stay so until the end of
// a rebuild, whoever condemns for what other reason.
func testCondemnWithoutVotes(t *testing.T, d Disk) {
	s := Fresh(t, d)
	Must(t, s.Write([]*raftlog.Write{Append(A, 2, 1, 2, 2), Append(B, 2, 3)}))
	Must(t, s.Condemn("an entry is damaged", raftlog.VotesKnown))
	expectPromise(t, s, A, raftlog.Promise{Last: 4, Term: 2, Vote: 1})
	Must(t, s.Condemn("it is an old copy", raftlog.VotesUnknown))
	Must(t, s.Condemn("an entry is damaged", raftlog.VotesKnown))
	for range 3 {
		if p, known := s.Promise(A); known || p != (raftlog.Promise{Last: 4, Term: 2, Vote: 1}) {
			t.Fatalf("promise %+v, known: %t", p, known)
		}
		if why := s.Condemned(); why != "an entry is damaged" {
			t.Fatalf("condemned because %q", why)
		}
		d.Crash(t)
		s = d.Open(t)
		Must(t, s.BeginRebuild(Identity(), []raftlog.GroupID{A, B}, Voters))
	}
	Rebuild(t, s)
	Must(t, s.EndRebuild())
	expectPromise(t, s, A, raftlog.Promise{Last: 6, Term: 3, Vote: 3})
	Must(t, s.Close())
}

func testCondemnBlank(t *testing.T, d Disk) {
	s := d.Open(t)
	Must(t, s.Condemn("blank in a cluster that has lived", raftlog.VotesKnown))
	for range 2 {
		expectCondemned(t, s, "blank in a cluster that has lived")
		if _, known := s.Promise(A); known {
			t.Fatal("a blank directory knows what it has promised")
		}
		d.Crash(t)
		s = d.Open(t)
	}
	cp := Rebuild(t, s)
	Must(t, s.EndRebuild())
	for range 2 {
		ExpectRebuilt(t, s, cp)
		d.Crash(t)
		s = d.Open(t)
	}
	Must(t, s.Close())
}

func testRebuild(t *testing.T, d Disk) {
	s := Fresh(t, d)
	Must(t, s.Write([]*raftlog.Write{Append(A, 2, 1, 1, 1, 3, 3), Append(B, 2, 3)}))
	Must(t, s.Write([]*raftlog.Write{{Group: A, History: []raftlog.Record{Record(1, 1, 2), Record(2, 2, 3)}, Sync: true}}))
	for index := uint64(2); index <= 4; index++ {
		MakeCurrent(t, s, index)
	}
	expectArchived(t, s, 2)
	Must(t, s.PutMarks(A, 0, []raftlog.Mark{{Tag: 7, Seq: 1}}))
	Must(t, s.Condemn("damaged", raftlog.VotesKnown))
	Must(t, s.BeginRebuild(Identity(), []raftlog.GroupID{A, B}, Voters))
	if _, err := s.Load(A); err == nil {
		t.Fatal("a half-built group was loaded")
	}
	if _, err := s.CreateCheckpoint(A, Descriptor(A, 3, 1)); err == nil {
		t.Fatal("a half-built group makes a checkpoint")
	}
	if _, err := s.CreateArchived(A, Descriptor(A, 3, 1)); err == nil {
		t.Fatal("a half-built group makes a checkpoint of the past")
	}
	expectArchived(t, s)
	expectNotArchived(t, s, 2)
	expectMarks(t, s, 0, 7, false)
	if _, last, err := s.HistoryBounds(A); last != 0 || err != nil {
		t.Fatalf("history of an empty group ends at %d, %v", last, err)
	}
	expectNoCheckpoint(t, s, A, 3)
	expectCheckpoints(t, s, A, raftlog.GenesisIndex)
	for _, step := range []struct {
		what  string
		write *raftlog.Write
	}{
		{"term", &raftlog.Write{Group: A, Entries: Entries(2, 3, 3, 3, 3, 3), HardState: &raftlog.HardState{Term: 2, Vote: 1}}},
		{"vote", &raftlog.Write{Group: A, HardState: &raftlog.HardState{Term: 3}}},
	} {
		Must(t, s.Write([]*raftlog.Write{step.write, {Group: B, Sync: true}}))
		var short *raftlog.ShortError
		if err := s.EndRebuild(); !errors.As(err, &short) || short.What != step.what || short.Group != A {
			t.Fatalf("end of a rebuild with too little (%s): %v", step.what, err)
		}
		if s.Condemned() == "" {
			t.Fatal("a refused end has ended the condemnation")
		}
	}
	cp := Rebuild(t, s) // once more, from the start
	Must(t, s.EndRebuild())
	if err := s.EndRebuild(); err == nil {
		t.Fatal("a rebuild ended twice")
	}
	for range 2 {
		ExpectRebuilt(t, s, cp)
		d.Crash(t)
		s = d.Open(t)
	}
	Must(t, s.Write([]*raftlog.Write{Append(A, 7, 4)}))
	expectLog(t, s, A, Entries(5, 3, 3, 4)...)
	Must(t, s.Condemn("again", raftlog.VotesKnown))
	expectPromise(t, s, A, raftlog.Promise{Last: 7, Term: 4, Vote: 1})
	Must(t, s.Close())
}

// testRebuildInterrupted checks that what a rebuild has written is void until its end.
func testRebuildInterrupted(t *testing.T, d Disk) {
	s := Fresh(t, d)
	Must(t, s.Write([]*raftlog.Write{Append(A, 2, 1, 1), Append(B, 2, 2)}))
	Must(t, s.Condemn("damaged", raftlog.VotesKnown))
	Rebuild(t, s)
	d.Crash(t)
	s = d.Open(t)
	for range 2 {
		expectCondemned(t, s, "damaged")
		expectPromise(t, s, A, raftlog.Promise{Last: 3, Term: 1, Vote: 1})
		Must(t, s.BeginRebuild(Identity(), []raftlog.GroupID{A, B}, Voters))
		expectNoCheckpoint(t, s, A, 4)
		if _, last, err := s.HistoryBounds(A); last != 0 || err != nil {
			t.Fatalf("history of a rebuild that begins again ends at %d, %v", last, err)
		}
		Fill(t, s)
		Must(t, s.Close()) // a clean stop does not end it either
		s = d.Open(t)
	}
	cp := Rebuild(t, s)
	Must(t, s.EndRebuild())
	d.Crash(t)
	s = d.Open(t)
	ExpectRebuilt(t, s, cp)
	Must(t, s.Close())
}
