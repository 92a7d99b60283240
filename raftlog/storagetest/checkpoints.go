package storagetest

import (
	"bytes"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/heliosdb/metadata/raftlog"
	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/testing/protocmp"
)

// Descriptor describes a checkpoint at an index, without its bytes.
func Descriptor(g raftlog.GroupID, index, term uint64) raftlog.Descriptor {
	return raftlog.Descriptor{
		Format: raftlog.DescriptorFormat, Group: g, Index: index, Term: term, Seq: index * 10,
		ConfState: &pb.ConfState{Voters: Voters}, Meta: []byte("meta"),
	}
}

// Chunks of the checkpoints the suite writes; the last one is a full one.
func Chunks() [][]byte {
	return [][]byte{[]byte("first"), {0}, bytes.Repeat([]byte("0123456789abcdef"), raftlog.MaxChunkBytes/16)}
}

// WriteCheckpoint writes chunks through a writer and commits it.
func WriteCheckpoint(t *testing.T, w raftlog.CheckpointWriter, err error, chunks ...[]byte) raftlog.Descriptor {
	t.Helper()
	Must(t, err)
	for _, c := range chunks {
		Must(t, w.WriteChunk(c))
	}
	d, err := w.Commit()
	Must(t, err)
	return d
}

// create makes a finished own checkpoint.
func create(t *testing.T, s raftlog.Storage, d raftlog.Descriptor, chunks ...[]byte) raftlog.Descriptor {
	t.Helper()
	w, err := s.CreateCheckpoint(d.Group, d)
	return WriteCheckpoint(t, w, err, chunks...)
}

func expectChunks(t *testing.T, s raftlog.Storage, d raftlog.Descriptor, chunks ...[]byte) {
	t.Helper()
	r, err := s.OpenCheckpoint(d.Group, d.Index)
	Must(t, err)
	if !r.Descriptor().Equal(d) {
		t.Fatalf("descriptor (-want +got):\n%s", cmp.Diff(d, r.Descriptor(), protocmp.Transform()))
	}
	for i := len(chunks) - 1; i >= 0; i-- {
		got, err := r.ReadChunk(uint32(i))
		Must(t, err)
		if !bytes.Equal(got, chunks[i]) {
			t.Fatalf("chunk %d has other bytes", i)
		}
	}
	if _, err := r.ReadChunk(d.Chunks); err == nil {
		t.Fatal("a chunk after the last one was read")
	}
	Must(t, r.Close())
}

func expectCheckpoints(t *testing.T, s raftlog.Storage, g raftlog.GroupID, want ...uint64) {
	t.Helper()
	ds, err := s.Checkpoints(g)
	Must(t, err)
	var got []uint64
	for _, d := range ds {
		got = append(got, d.Index)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("checkpoints (-want +got):\n%s", diff)
	}
}

func expectNoCheckpoint(t *testing.T, s raftlog.Storage, g raftlog.GroupID, index uint64) {
	t.Helper()
	if r, err := s.OpenCheckpoint(g, index); !errors.Is(err, raftlog.ErrNoCheckpoint) {
		if r != nil {
			_ = r.Close()
		}
		t.Fatalf("open checkpoint %d: %v, want ErrNoCheckpoint", index, err)
	}
}

func testCheckpoint(t *testing.T, d Disk) {
	s := Fresh(t, d)
	Must(t, s.Write([]*raftlog.Write{Append(A, 2, 1, 1, 1, 2, 2)}))
	cp := create(t, s, Descriptor(A, 4, 1), Chunks()...)
	if cp.Chunks != 3 || cp.Bytes != 6+raftlog.MaxChunkBytes || cp.Hash == [32]byte{} {
		t.Fatalf("finished descriptor: %+v", cp)
	}
	expectCheckpoints(t, s, A, 1) // not current yet
	expectChunks(t, s, cp, Chunks()...)
	Must(t, s.Write([]*raftlog.Write{{Group: A, Checkpoint: &cp, CutTo: 3, Sync: true}}))
	d.Crash(t)
	s = d.Open(t)
	l := expectLog(t, s, A, Entries(4, 1, 2, 2)...)
	if l.Start != (raftlog.LogStart{Index: 3, Term: 1}) || len(l.Checkpoints) != 1 || !l.Newest().Equal(cp) || l.HardState.Commit != 4 {
		t.Fatalf("after the cut: start %+v, hard state %+v, checkpoints %+v", l.Start, l.HardState, l.Checkpoints)
	}
	expectChunks(t, s, cp, Chunks()...)
	// The same content has the same hash, wherever it was cut and written.
	again := create(t, s, Descriptor(A, 4, 1), Chunks()...)
	if again.Hash != cp.Hash {
		t.Fatalf("two checkpoints of the same content have hashes %x and %x", cp.Hash, again.Hash)
	}
	// Cut everything: the log is empty behind the checkpoint, and goes on.
	cp6 := create(t, s, Descriptor(A, 6, 2), []byte("six"))
	Must(t, s.Write([]*raftlog.Write{{Group: A, Checkpoint: &cp6, CutTo: 6, Sync: true}, Append(A, 7, 3)}))
	l = expectLog(t, s, A, Entries(7, 3)...)
	if l.Start != (raftlog.LogStart{Index: 6, Term: 2}) {
		t.Fatalf("start after cutting all is %+v", l.Start)
	}
	Must(t, s.Close())
}

func testCheckpointLimits(t *testing.T, d Disk) {
	s := Fresh(t, d)
	w, err := s.CreateCheckpoint(A, Descriptor(A, 2, 1))
	Must(t, err)
	if err := w.WriteChunk(nil); err == nil {
		t.Fatal("an empty chunk was taken")
	}
	var large *raftlog.TooLargeError
	if err := w.WriteChunk(make([]byte, raftlog.MaxChunkBytes+1)); !errors.As(err, &large) {
		t.Fatalf("a chunk over the limit: %v", err)
	}
	Must(t, w.WriteChunk([]byte("x")))
	Must(t, w.Abort())
	expectNoCheckpoint(t, s, A, 2)
	bad := Descriptor(A, 2, 1)
	bad.ConfState = &pb.ConfState{}
	if _, err := s.CreateCheckpoint(A, bad); err == nil {
		t.Fatal("a checkpoint without voters was taken")
	}
	if _, err := s.CreateCheckpoint(B, Descriptor(A, 2, 1)); err == nil {
		t.Fatal("a checkpoint of another group was taken")
	}
	Must(t, s.Close())
}

func testCheckpointsKept(t *testing.T, d Disk) {
	s := Fresh(t, d)
	Must(t, s.Write([]*raftlog.Write{Append(A, 2, 1, 1, 1, 1, 1)}))
	var pinned raftlog.CheckpointReader
	for index := uint64(2); index <= 5; index++ {
		cp := create(t, s, Descriptor(A, index, 1), []byte("one"), []byte("two"))
		Must(t, s.Write([]*raftlog.Write{{Group: A, Checkpoint: &cp, Sync: true}}))
		if index == 2 {
			r, err := s.OpenCheckpoint(A, 2)
			Must(t, err)
			pinned = r
		}
	}
	expectCheckpoints(t, s, A, 4, 5)
	expectNoCheckpoint(t, s, A, 3)
	if got, err := pinned.ReadChunk(1); string(got) != "two" || err != nil {
		t.Fatalf("a pinned checkpoint reads %q, %v", got, err)
	}
	Must(t, pinned.Close())
	l := expectLog(t, s, A, Entries(2, 1, 1, 1, 1, 1)...)
	if len(l.Checkpoints) != 2 || l.Checkpoints[0].Index != 4 {
		t.Fatalf("loaded checkpoints: %+v", l.Checkpoints)
	}
	Must(t, s.Write([]*raftlog.Write{{Group: A, CutTo: 5}}))
	if l := expectLog(t, s, A, Entries(6, 1)...); len(l.Checkpoints) != 1 || l.Newest().Index != 5 {
		t.Fatalf("a checkpoint before the start of the log was loaded: %+v", l.Checkpoints)
	}
	Must(t, s.Close())
}

// testCheckpointMadeAgain makes checkpoints at the index of a current one and below it, as a member does that
// began from an older one because these were damaged.
func testCheckpointMadeAgain(t *testing.T, d Disk) {
	s := Fresh(t, d)
	Must(t, s.Write([]*raftlog.Write{Append(A, 2, 1, 1, 1, 1, 1)}))
	add := func(index uint64, chunk string) raftlog.Descriptor {
		cp := create(t, s, Descriptor(A, index, 1), []byte(chunk), []byte{byte(index)})
		Must(t, s.Write([]*raftlog.Write{{Group: A, Checkpoint: &cp, Sync: true}}))
		return cp
	}
	restart := func() {
		d.Crash(t)
		s = d.Open(t)
		_, err := s.Load(A)
		Must(t, err)
	}
	add(2, "good")
	add(4, "damaged")
	restart()
	again := add(4, "made again")
	expectCheckpoints(t, s, A, 2, 4)
	newest := add(6, "damaged too")
	for range 2 {
		expectCheckpoints(t, s, A, 4, 6)
		expectChunks(t, s, again, []byte("made again"), []byte{4})
		expectChunks(t, s, newest, []byte("damaged too"), []byte{6})
		expectArchived(t, s, 2)
		restart()
	}
	between := add(5, "made instead")
	for range 2 {
		expectCheckpoints(t, s, A, 4, 5)
		expectChunks(t, s, again, []byte("made again"), []byte{4})
		expectChunks(t, s, between, []byte("made instead"), []byte{5})
		expectArchived(t, s, 2)
		restart()
	}
	Must(t, s.Close())
}

// testCheckpointOvertaken checks that what was pulled from a member that cuts its chunks in
// another way never replaces an own file, whose hash a Write has named or is about to.
func testCheckpointOvertaken(t *testing.T, d Disk) {
	s := Fresh(t, d)
	Must(t, s.Write([]*raftlog.Write{Append(A, 2, 1, 1, 1)}))
	theirs, err := raftlog.NewFileEncoder(Descriptor(A, 4, 1))
	Must(t, err)
	theirs.Header()
	for _, c := range []string{"o", "ne"} {
		_, err := theirs.Frame([]byte(c))
		Must(t, err)
	}
	_, want := theirs.Trailer()
	staged, err := s.StageCheckpoint(A, want)
	Must(t, err)
	Must(t, staged.WriteChunk([]byte("o")))
	Must(t, staged.WriteChunk([]byte("ne")))
	own := create(t, s, Descriptor(A, 4, 1), []byte("one"))
	if _, err := staged.Commit(); !errors.Is(err, raftlog.ErrOvertaken) {
		t.Fatalf("a staged checkpoint replaced an own one: %v, want ErrOvertaken", err)
	}
	expectChunks(t, s, own, []byte("one"))
	Must(t, s.Write([]*raftlog.Write{{Group: A, Checkpoint: &own, CutTo: 3, Sync: true}}))
	d.Crash(t)
	s = d.Open(t)
	expectLog(t, s, A, Entries(4, 1)...)
	expectChunks(t, s, own, []byte("one"))
	// In another life the own one may have turned out to be damaged.
	again, err := s.StageCheckpoint(A, want)
	WriteCheckpoint(t, again, err, []byte("o"), []byte("ne"))
	Must(t, s.Close())
}

// testHistoryAndCut checks that entries stay for history where the log begins behind them.
func testHistoryAndCut(t *testing.T, d Disk) {
	s := Fresh(t, d)
	Must(t, s.Write([]*raftlog.Write{Append(A, 2, 1, 1, 2)}))
	cp := create(t, s, Descriptor(A, 4, 2), []byte("x"))
	Must(t, s.Write([]*raftlog.Write{
		{Group: A, History: []raftlog.Record{Record(1, 2, 2)}},
		{Group: A, History: []raftlog.Record{Record(3, 3, 4)}, Checkpoint: &cp, CutTo: 4, Sync: true},
	}))
	for range 2 {
		expectLog(t, s, A)
		expectHistory(t, s, A, 1, 100, Past(Record(1, 2, 2), 1), Past(Record(3, 3, 4), 2))
		d.Crash(t)
		s = d.Open(t)
	}
	// The log goes on, and is cut again.
	Must(t, s.Write([]*raftlog.Write{Append(A, 5, 2, 3)}))
	cp = create(t, s, Descriptor(A, 5, 2), []byte("y"))
	Must(t, s.Write([]*raftlog.Write{{Group: A, History: []raftlog.Record{Record(4, 9, 5)}, Checkpoint: &cp, CutTo: 5, Sync: true}}))
	for range 2 {
		expectLog(t, s, A, Entries(6, 3)...)
		expectHistory(t, s, A, 3, 100, Past(Record(3, 3, 4), 2), Past(Record(4, 9, 5), 2))
		Must(t, s.Close())
		s = d.Open(t)
	}
	Must(t, s.Close())
}

// testHistoryAndInstall checks what an installed checkpoint leaves of the log before it.
func testHistoryAndInstall(t *testing.T, d Disk) {
	s := Fresh(t, d)
	Must(t, s.Write([]*raftlog.Write{Append(A, 2, 1, 1, 1, 1, 1)}))
	Must(t, s.Write([]*raftlog.Write{{Group: A, History: []raftlog.Record{Record(1, 1, 2)}}}))
	behind := create(t, s, Descriptor(A, 3, 9), []byte("x"))
	if err := s.Write([]*raftlog.Write{{Group: A, History: []raftlog.Record{Record(2, 2, 4)}, Install: &behind}}); err == nil {
		t.Fatal("a checkpoint was installed before what history names")
	}
	other := create(t, s, Descriptor(A, 8, 9), []byte("installed"))
	// History that comes with it names entries of the log that it replaces.
	Must(t, s.Write([]*raftlog.Write{{Group: A, History: []raftlog.Record{Record(2, 2, 4)}, Install: &other}}))
	for range 2 {
		if l := expectLog(t, s, A); l.LastIndex() != 8 || l.LastTerm() != 9 {
			t.Fatalf("the log ends at %d of term %d", l.LastIndex(), l.LastTerm())
		}
		expectHistory(t, s, A, 1, 1000, Past(Record(1, 1, 2), 1), Past(Record(2, 2, 4), 1))
		d.Crash(t)
		s = d.Open(t)
	}
	Must(t, s.Write([]*raftlog.Write{Append(A, 9, 9), {Group: A, History: []raftlog.Record{Record(7, 7, 9)}, CutTo: 9, Sync: true}}))
	expectHistory(t, s, A, 7, 1000, Past(Record(7, 7, 9), 9))
	// What no record names is gone: a record that names it anyhow does not read something else.
	Must(t, s.Write([]*raftlog.Write{{Group: A, History: []raftlog.Record{Record(3, 6, 5)}}}))
	var damage *raftlog.DamageError
	if ps, err := s.ReadHistory(A, 3, 1000); !errors.As(err, &damage) {
		t.Fatalf("history of an entry that was replaced: %v, %v", ps, err)
	}
	Must(t, s.Close())
}

func testStage(t *testing.T, d Disk) {
	s := Fresh(t, d)
	cp := create(t, s, Descriptor(B, 9, 3), Chunks()...)
	want := cp
	want.Group = A
	w, err := s.StageCheckpoint(A, want)
	Must(t, err)
	for _, c := range Chunks() {
		Must(t, w.WriteChunk(c))
	}
	// The header names the group, so the hash is another one.
	var damage *raftlog.DamageError
	if _, err := w.Commit(); !errors.As(err, &damage) {
		t.Fatalf("staged bytes with another hash: %v", err)
	}
	expectNoCheckpoint(t, s, A, 9)
	w, err = s.StageCheckpoint(B, cp)
	Must(t, err)
	Must(t, w.WriteChunk(Chunks()[0]))
	if _, err := w.Commit(); !errors.As(err, &damage) {
		t.Fatalf("a staged checkpoint that ends early: %v", err)
	}
	d.Crash(t) // what was created before is an own one no more
	s = d.Open(t)
	w, err = s.StageCheckpoint(B, cp)
	if got := WriteCheckpoint(t, w, err, Chunks()...); !got.Equal(cp) {
		t.Fatalf("staged as %+v", got)
	}
	expectChunks(t, s, cp, Chunks()...)
	Must(t, s.Close())
}

func testInstall(t *testing.T, d Disk) {
	s := Fresh(t, d)
	Must(t, s.Write([]*raftlog.Write{
		Append(A, 2, 1, 1, 1, 1, 1, 1, 1), {Group: A, History: []raftlog.Record{Record(1, 1, 3)}}, Append(B, 2, 1),
	}))
	other := create(t, s, Descriptor(A, 5, 9), []byte("installed"))
	hs := &raftlog.HardState{Term: 9, Vote: 3, Commit: 5}
	// Index 5 is inside the own log, which ends in entries nobody else has.
	Must(t, s.Write([]*raftlog.Write{{Group: A, Install: &other, HardState: hs, Sync: true}}))
	for range 2 {
		l := expectLog(t, s, A)
		if l.Start != (raftlog.LogStart{Index: 5, Term: 9}) || l.HardState != *hs || !l.Newest().Equal(other) || len(l.Checkpoints) != 1 {
			t.Fatalf("installed: %+v", l)
		}
		expectCheckpoints(t, s, A, 5)
		expectChunks(t, s, other, []byte("installed"))
		expectLog(t, s, B, Entries(2, 1)...)
		d.Crash(t)
		s = d.Open(t)
	}
	if _, last, err := s.HistoryBounds(A); last != 1 || err != nil {
		t.Fatalf("history after an install ends at %d, %v", last, err)
	}
	Must(t, s.Write([]*raftlog.Write{Append(A, 6, 9)}))
	expectLog(t, s, A, Entries(6, 9)...)
	Must(t, s.Close())
}

func testInstallNeedsFile(t *testing.T, d Disk) {
	s := Fresh(t, d)
	cp := create(t, s, Descriptor(A, 5, 2), []byte("x"))
	cp.Hash[0]++
	err := s.Write([]*raftlog.Write{{Group: A, Install: &cp, Sync: true}})
	if !errors.Is(err, raftlog.ErrNoCheckpoint) {
		t.Fatalf("install of a checkpoint that is not there: %v", err)
	}
}

// testUnrecorded checks that files nothing points to are gone after a restart.
func testUnrecorded(t *testing.T, d Disk) {
	s := Fresh(t, d)
	create(t, s, Descriptor(A, 5, 2), []byte("x"))
	w, err := s.StageCheckpoint(A, Descriptor(A, 7, 2))
	Must(t, err)
	Must(t, w.WriteChunk([]byte("half")))
	d.Crash(t)
	s = d.Open(t)
	expectNoCheckpoint(t, s, A, 5)
	expectNoCheckpoint(t, s, A, 7)
	Must(t, s.Close())
}
