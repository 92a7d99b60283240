package storagetest

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/heliosdb/metadata/raftlog"
)

// MakeCurrent writes an own checkpoint of two chunks, the second of which has its index, and
// makes it current.
func MakeCurrent(t *testing.T, s raftlog.Storage, index uint64) raftlog.Descriptor {
	t.Helper()
	cp := create(t, s, Descriptor(A, index, 1), []byte("of"), []byte{byte(index)})
	Must(t, s.Write([]*raftlog.Write{{Group: A, Checkpoint: &cp, Sync: true}}))
	return cp
}

// archiveOne makes a checkpoint of the past.
func archiveOne(t *testing.T, s raftlog.Storage, index uint64) {
	t.Helper()
	w, err := s.CreateArchived(A, Descriptor(A, index, 1))
	WriteCheckpoint(t, w, err, []byte("of"), []byte{byte(index)})
}

// expectArchived compares the archived checkpoints, each of which has its index in its
// second chunk.
func expectArchived(t *testing.T, s raftlog.Storage, want ...uint64) {
	t.Helper()
	ds, err := s.Archived(A)
	Must(t, err)
	var got []uint64
	for _, d := range ds {
		got = append(got, d.Index)
		r, err := s.OpenArchived(A, d.Index)
		Must(t, err)
		if chunk, err := r.ReadChunk(1); err != nil || chunk[0] != byte(d.Index) || !r.Descriptor().Equal(d) {
			t.Fatalf("the archived checkpoint at %d reads %d, %v", d.Index, chunk, err)
		}
		Must(t, r.Close())
		expectNoCheckpoint(t, s, A, d.Index)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("archived (-want +got):\n%s", diff)
	}
}

func expectNotArchived(t *testing.T, s raftlog.Storage, index uint64) {
	t.Helper()
	if r, err := s.OpenArchived(A, index); !errors.Is(err, raftlog.ErrNoCheckpoint) {
		if r != nil {
			_ = r.Close()
		}
		t.Fatalf("open archived checkpoint %d: %v, want ErrNoCheckpoint", index, err)
	}
}

// testArchived replaces checkpoints until the archived ones are thinned.
func testArchived(t *testing.T, d Disk) {
	s := Fresh(t, d)
	Must(t, s.Write([]*raftlog.Write{Append(A, 2, make29()...)}))
	expectArchived(t, s)
	var all []raftlog.Descriptor
	for index := uint64(2); index <= 30; index++ {
		all = append(all, MakeCurrent(t, s, index))
	}
	var archived []raftlog.Descriptor
	for _, cp := range all[:len(all)-raftlog.KeepCheckpoints] {
		archived, _ = raftlog.Archive(archived, cp)
	}
	var want []uint64
	for _, cp := range archived {
		want = append(want, cp.Index)
	}
	for range 3 {
		expectArchived(t, s, want...)
		expectCheckpoints(t, s, A, 29, 30)
		if l := expectLog(t, s, A, Entries(2, make29()...)...); len(l.Checkpoints) != 2 || l.Checkpoints[0].Index != 29 {
			t.Fatalf("a restart may begin from %+v", l.Checkpoints)
		}
		for _, index := range []uint64{1, 3, 29, 30, 31} {
			expectNotArchived(t, s, index)
		}
		if ds, err := s.Archived(B); len(ds) > 0 || err != nil {
			t.Fatalf("archived of another group: %v, %v", ds, err)
		}
		d.Crash(t)
		s = d.Open(t)
	}
	Must(t, s.Close())
}

// make29 returns the terms of entries 2 to 30.
func make29() []uint64 {
	terms := make([]uint64, 29)
	for i := range terms {
		terms[i] = 1
	}
	return terms
}

// testArchivedByInstall checks that what an installed checkpoint replaces is archived too, and
// the installed one in its turn.
func testArchivedByInstall(t *testing.T, d Disk) {
	s := Fresh(t, d)
	Must(t, s.Write([]*raftlog.Write{Append(A, 2, make29()...)}))
	for _, index := range []uint64{4, 6} {
		MakeCurrent(t, s, index)
	}
	theirs := checkpointOf(t, Descriptor(A, 40, 9), []byte("of"), []byte{40})
	w, err := s.StageCheckpoint(A, theirs)
	WriteCheckpoint(t, w, err, []byte("of"), []byte{40})
	Must(t, s.Write([]*raftlog.Write{{Group: A, Install: &theirs}}))
	for range 2 {
		expectArchived(t, s, 4, 6)
		d.Crash(t)
		s = d.Open(t)
	}
	Must(t, s.Write([]*raftlog.Write{Append(A, 41, 9, 9)}))
	for _, index := range []uint64{41, 42} {
		MakeCurrent(t, s, index)
	}
	for range 2 {
		expectArchived(t, s, 4, 6, 40)
		d.Crash(t)
		s = d.Open(t)
	}
	Must(t, s.Close())
}

func testArchivedTrim(t *testing.T, d Disk) {
	s := Fresh(t, d)
	Must(t, s.Write([]*raftlog.Write{Append(A, 2, make29()...)}))
	for index := uint64(2); index <= 8; index++ {
		MakeCurrent(t, s, index)
	}
	expectArchived(t, s, 2, 3, 4, 5, 6)
	pinned, err := s.OpenArchived(A, 2)
	Must(t, err)
	Must(t, s.TrimHistory(A, 31)) // that at 3 is of sequence 30
	expectArchived(t, s, 3, 4, 5, 6)
	if chunk, err := pinned.ReadChunk(1); err != nil || chunk[0] != 2 {
		t.Fatalf("a pinned checkpoint reads %d, %v", chunk, err)
	}
	Must(t, pinned.Close())
	Must(t, s.TrimHistory(A, 50))
	for range 2 {
		expectArchived(t, s, 5, 6)
		for _, index := range []uint64{2, 3, 4} {
			expectNotArchived(t, s, index)
			expectNoCheckpoint(t, s, A, index)
		}
		expectCheckpoints(t, s, A, 7, 8)
		d.Crash(t)
		s = d.Open(t)
	}
	Must(t, s.TrimHistory(A, 1000))
	expectArchived(t, s)
	expectCheckpoints(t, s, A, 7, 8)
	Must(t, s.Close())
}

func testDropArchived(t *testing.T, d Disk) {
	s := Fresh(t, d)
	Must(t, s.Write([]*raftlog.Write{Append(A, 2, make29()...)}))
	for _, index := range []uint64{5, 10, 20, 30} {
		MakeCurrent(t, s, index)
	}
	for _, index := range []uint64{10, 7, 20} { // none is archived at 7, and 20 is current
		Must(t, s.DropArchived(A, index))
	}
	expectArchived(t, s, 5)
	expectNotArchived(t, s, 10)
	expectCheckpoints(t, s, A, 20, 30)
	if err := s.DropArchived(B+1, 5); err == nil {
		t.Error("one of a group that there is not was dropped")
	}
	archiveOne(t, s, 10)
	for range 2 {
		expectArchived(t, s, 5, 10)
		d.Crash(t)
		s = d.Open(t)
	}
	Must(t, s.Close())
}

func testCreateArchived(t *testing.T, d Disk) {
	s := Fresh(t, d)
	Must(t, s.Write([]*raftlog.Write{Append(A, 2, make29()...)}))
	if _, err := s.CreateArchived(A, Descriptor(A, 5, 1)); err == nil {
		t.Fatal("a checkpoint of the past was taken where there is none newer")
	}
	for _, index := range []uint64{10, 20, 30} {
		MakeCurrent(t, s, index)
	}
	archiveOne(t, s, 5)
	archiveOne(t, s, 25)
	for range 2 {
		expectArchived(t, s, 5, 10, 25)
		d.Crash(t) // durable with Commit
		s = d.Open(t)
	}
	for what, bad := range map[string]raftlog.Descriptor{
		"the newest": Descriptor(A, 30, 1), "the future": Descriptor(A, 31, 1), "genesis": Descriptor(A, 1, 1), "another group": Descriptor(B, 4, 1),
		"a sequence that does not fit": {Format: raftlog.DescriptorFormat, Group: A, Index: 4, Term: 1, Seq: 51, ConfState: Descriptor(A, 4, 1).ConfState},
	} {
		if _, err := s.CreateArchived(A, bad); err == nil {
			t.Errorf("%s was taken for a checkpoint of the past", what)
		}
	}
	for _, index := range []uint64{5, 10, 20} {
		if _, err := s.CreateArchived(A, Descriptor(A, index, 1)); !errors.Is(err, raftlog.ErrArchived) {
			t.Errorf("a second checkpoint at %d: %v, want ErrArchived", index, err)
		}
	}
	slow, err := s.CreateArchived(A, Descriptor(A, 7, 1))
	Must(t, err)
	Must(t, slow.WriteChunk([]byte("slow")))
	given, err := s.CreateArchived(A, Descriptor(A, 8, 1))
	Must(t, err)
	Must(t, given.WriteChunk([]byte("up")))
	Must(t, given.Abort())
	archiveOne(t, s, 7)
	if _, err := slow.Commit(); !errors.Is(err, raftlog.ErrArchived) {
		t.Fatalf("a second checkpoint at the same index was finished: %v", err)
	}
	expectArchived(t, s, 5, 7, 10, 25)
	expectCheckpoints(t, s, A, 20, 30)
	for _, index := range []uint64{12, 14, 16, 18} {
		archiveOne(t, s, index)
	}
	archiveOne(t, s, 17) // 16 is dropped for it
	for range 2 {
		expectArchived(t, s, 5, 7, 10, 12, 14, 17, 18, 25)
		expectNotArchived(t, s, 16)
		expectNotArchived(t, s, 8)
		d.Crash(t)
		s = d.Open(t)
	}
	Must(t, s.Close())
}
