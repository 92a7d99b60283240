// Package storagetest is the contract of raftlog.Storage as one suite of tests. Every
// implementation runs it; what it does not check, no caller may rely on.
package storagetest

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/heliosdb/metadata/raftlog"
	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/testing/protocmp"
)

// Disk is what one member's storage lives on.
type Disk interface {
	// Open opens the storage, as a new process would.
	Open(t *testing.T) raftlog.Storage
	// Crash cuts the power: the open storage is gone, and all that was not synced.
	Crash(t *testing.T)
	// Damage changes bytes of what the open storage holds of group A: of one entry, the record
	// of history that begins with a sequence, or all marks of a segment.
	Damage(t *testing.T, what Damaged, at uint64)
}

// Damaged is what Disk.Damage damages.
type Damaged uint8

// Values of Damaged.
const (
	DamagedEntry Damaged = iota
	DamagedRecord
	DamagedMarks
)

// Groups of the storages under test.
const (
	A raftlog.GroupID = 1
	B raftlog.GroupID = 2
)

// Voters of both groups.
var Voters = []uint64{1, 2, 3}

// Identity is the one the suite bootstraps with.
func Identity() raftlog.Identity {
	peers := []raftlog.Peer{{ID: 1, Addr: "one:5000"}, {ID: 2, Addr: "two:5000"}, {ID: 3, Addr: "three:5000"}}
	return raftlog.Identity{
		Format: raftlog.IdentityFormat, ClusterID: raftlog.ClusterID("suite", peers), ClusterName: "suite", Member: 2, Peers: peers,
	}
}

// Run runs the suite; newDisk returns a blank one.
func Run(t *testing.T, newDisk func(t *testing.T) Disk) {
	for _, test := range []struct {
		name string
		run  func(t *testing.T, d Disk)
	}{
		{"Blank", testBlank},
		{"Bootstrap", testBootstrap},
		{"AppendAndReload", testAppendAndReload},
		{"Overwrite", testOverwrite},
		{"Misfits", testMisfits},
		{"CrashLosesOnlyUnsynced", testCrash},
		{"BatchIsAtomic", testAtomic},
		{"History", testHistory},
		{"HistoryMisfits", testHistoryMisfits},
		{"HistorySurvivesCut", testHistoryAndCut},
		{"HistorySurvivesInstall", testHistoryAndInstall},
		{"HistoryBefore", testHistoryBefore},
		{"HistoryBytes", testHistoryBytes},
		{"HistoryDamage", testHistoryDamage},
		{"HistoryDamageAtTheEnds", testHistoryDamageAtTheEnds},
		{"HistoryDamageInTheLog", testHistoryDamageInTheLog},
		{"HistoryDamageBesideHoles", testHistoryDamageBesideHoles},
		{"HistoryDamageTrimmed", testHistoryDamageTrimmed},
		{"HistoryDamageBounded", testHistoryDamageBounded},
		{"MarksDamage", testMarksDamage},
		{"Fill", testFill},
		{"FillIsKept", testFillKept},
		{"FillMisfits", testFillMisfits},
		{"FillCrash", testFillCrash},
		{"Marks", testMarks},
		{"MarksAndFill", testMarksAndFill},
		{"Checkpoint", testCheckpoint},
		{"CheckpointLimits", testCheckpointLimits},
		{"CheckpointsKept", testCheckpointsKept},
		{"CheckpointMadeAgain", testCheckpointMadeAgain},
		{"CheckpointOvertaken", testCheckpointOvertaken},
		{"Archived", testArchived},
		{"ArchivedByInstall", testArchivedByInstall},
		{"ArchivedTrim", testArchivedTrim},
		{"CreateArchived", testCreateArchived},
		{"DropArchived", testDropArchived},
		{"Stage", testStage},
		{"Install", testInstall},
		{"InstallNeedsFile", testInstallNeedsFile},
		{"Unrecorded", testUnrecorded},
		{"Condemn", testCondemn},
		{"CondemnBlank", testCondemnBlank},
		{"CondemnWithoutVotes", testCondemnWithoutVotes},
		{"Rebuild", testRebuild},
		{"RebuildInterrupted", testRebuildInterrupted},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, newDisk(t)) })
	}
}

// Fresh opens a disk and bootstraps it.
func Fresh(t *testing.T, d Disk) raftlog.Storage {
	t.Helper()
	s := d.Open(t)
	Must(t, s.Bootstrap(Identity(), []raftlog.GroupID{A, B}, Voters))
	return s
}

// Must fails the test on an error.
func Must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Entries makes entries from index first on, one for each term.
func Entries(first uint64, terms ...uint64) []*pb.Entry {
	var es []*pb.Entry
	for i, term := range terms {
		index := first + uint64(i)
		es = append(es, &pb.Entry{Index: new(index), Term: new(term), Data: fmt.Appendf(nil, "entry %d of term %d", index, term)})
	}
	return es
}

// Append makes a synced Write of entries with a hard state of their last term.
func Append(g raftlog.GroupID, first uint64, terms ...uint64) *raftlog.Write {
	return &raftlog.Write{Group: g, Entries: Entries(first, terms...), Sync: true,
		HardState: &raftlog.HardState{Term: slices.Max(terms), Vote: 1, Commit: first - 1}}
}

// expectLog compares a group's log, loaded anew, with entries from index first on.
func expectLog(t *testing.T, s raftlog.Storage, g raftlog.GroupID, want ...*pb.Entry) *raftlog.Loaded {
	t.Helper()
	l, err := s.Load(g)
	Must(t, err)
	if diff := cmp.Diff(want, l.Entries, protocmp.Transform()); diff != "" {
		t.Fatalf("entries of group %d (-want +got):\n%s", g, diff)
	}
	return l
}

func testBlank(t *testing.T, d Disk) {
	s := d.Open(t)
	if id, err := s.Identity(); id != nil || err != nil {
		t.Fatalf("identity of a blank directory: %v, %v", id, err)
	}
	if _, err := s.Load(A); err == nil {
		t.Fatal("a group was loaded from a blank directory")
	}
	if err := s.Write([]*raftlog.Write{Append(A, 2, 1)}); err == nil {
		t.Fatal("a blank directory took entries")
	}
	Must(t, s.Close())
}

func testBootstrap(t *testing.T, d Disk) {
	Fresh(t, d)
	d.Crash(t) // durable without any Write
	s := d.Open(t)
	id, err := s.Identity()
	Must(t, err)
	want := Identity()
	if diff := cmp.Diff(&want, id); diff != "" {
		t.Fatalf("identity (-want +got):\n%s", diff)
	}
	if err := s.Bootstrap(want, []raftlog.GroupID{A}, Voters); err == nil {
		t.Fatal("bootstrapped twice")
	}
	l := expectLog(t, s, B)
	if l.HardState != (raftlog.HardState{Term: 1, Commit: 1}) || l.Start != (raftlog.LogStart{Index: 1, Term: 1}) {
		t.Fatalf("genesis is %+v, %+v", l.HardState, l.Start)
	}
	if len(l.Checkpoints) != 1 || !l.Newest().Equal(raftlog.GenesisDescriptor(B, Voters)) {
		t.Fatalf("checkpoints at genesis: %+v", l.Checkpoints)
	}
	if raftlog.StateOf(l) != raftlog.StateGenesis {
		t.Fatalf("a member at genesis claims %s", raftlog.StateOf(l))
	}
	r, err := s.OpenCheckpoint(B, raftlog.GenesisIndex)
	Must(t, err)
	if r.Descriptor().Chunks != 0 {
		t.Fatalf("genesis has %d chunks", r.Descriptor().Chunks)
	}
	Must(t, r.Close())
	if _, _, err := s.Space(); err != nil {
		t.Fatal(err)
	}
	Must(t, s.Close())
}

func testAppendAndReload(t *testing.T, d Disk) {
	s := Fresh(t, d)
	Must(t, s.Write([]*raftlog.Write{Append(A, 2, 1, 1, 3), Append(B, 2, 2)}))
	conf := &pb.Entry{Index: new(uint64(5)), Term: new(uint64(3)), Type: pb.EntryConfChangeV2.Enum(), Data: []byte("conf")}
	empty := &pb.Entry{Index: new(uint64(6)), Term: new(uint64(4))}
	Must(t, s.Write([]*raftlog.Write{{Group: A, Entries: []*pb.Entry{conf, empty}, Sync: true}}))
	Must(t, s.Close())
	s = d.Open(t)
	l := expectLog(t, s, A, append(Entries(2, 1, 1, 3), conf, empty)...)
	if l.HardState != (raftlog.HardState{Term: 3, Vote: 1, Commit: 1}) || l.LastIndex() != 6 || l.LastTerm() != 4 {
		t.Fatalf("hard state %+v, last %d of term %d", l.HardState, l.LastIndex(), l.LastTerm())
	}
	expectLog(t, s, B, Entries(2, 2)...)
	if raftlog.StateOf(l) != raftlog.StateLived {
		t.Fatalf("a member with entries claims %s", raftlog.StateOf(l))
	}
	Must(t, s.Close())
}

func testOverwrite(t *testing.T, d Disk) {
	s := Fresh(t, d)
	Must(t, s.Write([]*raftlog.Write{Append(A, 2, 1, 1, 1, 1, 1)}))
	// Entries of an older term can replace newer ones, and the log may get shorter.
	Must(t, s.Write([]*raftlog.Write{Append(A, 4, 2), Append(A, 4, 3, 3)}))
	Must(t, s.Write([]*raftlog.Write{Append(A, 3, 2)}))
	for range 2 {
		expectLog(t, s, A, Entries(2, 1, 2)...)
		d.Crash(t)
		s = d.Open(t)
	}
	Must(t, s.Write([]*raftlog.Write{Append(A, 4, 4)}))
	expectLog(t, s, A, Entries(2, 1, 2, 4)...)
	Must(t, s.Close())
}

func testMisfits(t *testing.T, d Disk) {
	for name, w := range map[string]*raftlog.Write{
		"gap":         Append(A, 3, 1),
		"at start":    Append(A, 1, 1),
		"hole inside": {Group: A, Entries: []*pb.Entry{Entries(2, 1)[0], Entries(4, 1)[0]}, Sync: true},
		"cut too far": {Group: A, CutTo: 9},
		"no group":    {Group: 77, Sync: true},
		"no file":     {Group: A, Checkpoint: &raftlog.Descriptor{Format: raftlog.DescriptorFormat, Group: A, Index: 1, Term: 1}, Sync: true},
	} {
		s := d.Open(t)
		if id, _ := s.Identity(); id == nil {
			Must(t, s.Bootstrap(Identity(), []raftlog.GroupID{A, B}, Voters))
		}
		if err := s.Write([]*raftlog.Write{w}); err == nil {
			t.Errorf("%s: a write that does not fit was taken", name)
		}
		d.Crash(t)
	}
	expectLog(t, d.Open(t), A)
}

func testCrash(t *testing.T, d Disk) {
	s := Fresh(t, d)
	Must(t, s.Write([]*raftlog.Write{Append(A, 2, 1)}))
	Must(t, s.Write([]*raftlog.Write{{Group: A, HardState: &raftlog.HardState{Term: 1, Vote: 1, Commit: 2}}}))
	Must(t, s.Write([]*raftlog.Write{{Group: A, History: []raftlog.Record{Record(1, 1, 2)}}}))
	d.Crash(t)
	s = d.Open(t)
	l := expectLog(t, s, A, Entries(2, 1)...)
	if l.HardState.Term != 1 || l.HardState.Vote != 1 || l.HardState.Commit > 2 {
		t.Fatalf("hard state after the crash: %+v", l.HardState)
	}
	// A synced Write makes everything before it durable.
	Must(t, s.Write([]*raftlog.Write{{Group: A, History: []raftlog.Record{Record(1, 1, 2)}}}))
	Must(t, s.Write([]*raftlog.Write{{Group: A, HardState: &raftlog.HardState{Term: 1, Vote: 1, Commit: 2}}}))
	Must(t, s.Write([]*raftlog.Write{Append(B, 2, 5)}))
	d.Crash(t)
	s = d.Open(t)
	if l := expectLog(t, s, A, Entries(2, 1)...); l.HardState.Commit != 2 {
		t.Fatalf("commit before a synced write is %d after the crash, want 2", l.HardState.Commit)
	}
	if _, last, err := s.HistoryBounds(A); last != 1 || err != nil {
		t.Fatalf("history before a synced write ends at %d (%v) after the crash, want 1", last, err)
	}
	Must(t, s.Close())
}

func testAtomic(t *testing.T, d Disk) {
	s := Fresh(t, d)
	// The second part does not fit: nothing of the first may stay.
	if err := s.Write([]*raftlog.Write{Append(A, 2, 1), Append(B, 9, 1)}); err == nil {
		t.Fatal("a write that does not fit was taken")
	}
	d.Crash(t)
	expectLog(t, d.Open(t), A)
}
