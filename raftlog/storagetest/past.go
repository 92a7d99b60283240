package storagetest

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/heliosdb/metadata/raftlog"
	pb "go.etcd.io/raft/v3/raftpb"
)

// joined is a disk whose group A began with a checkpoint at entry 20, of sequence seq.
func joined(t *testing.T, d Disk, seq uint64) raftlog.Storage {
	t.Helper()
	s := Fresh(t, d)
	install(t, s, 20, seq)
	return s
}

func install(t *testing.T, s raftlog.Storage, index, seq uint64) {
	t.Helper()
	desc := Descriptor(A, index, 2)
	desc.Seq = seq
	cp := create(t, s, desc, []byte("installed"))
	Must(t, s.Write([]*raftlog.Write{{Group: A, Install: &cp, HardState: &raftlog.HardState{Term: 2, Vote: 1, Commit: index}, Sync: true}}))
}

// sync makes everything durable.
func sync(t *testing.T, s raftlog.Storage) {
	t.Helper()
	Must(t, s.Write([]*raftlog.Write{{Group: B, Sync: true}}))
}

func expectBefore(t *testing.T, s raftlog.Storage, below uint64, maxBytes int, want ...raftlog.Past) {
	t.Helper()
	got, err := s.ReadHistoryBefore(A, below, maxBytes)
	Must(t, err)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("history before %d, %d bytes (-want +got):\n%s", below, maxBytes, diff)
	}
}

func expectGap(t *testing.T, s raftlog.Storage, below, first, last uint64) {
	t.Helper()
	if f, l, err := s.HistoryGap(A, below); f != first || l != last || err != nil {
		t.Fatalf("before %d history lacks %d to %d, %v, want %d to %d", below, f, l, err, first, last)
	}
}

func testHistoryBefore(t *testing.T, d Disk) {
	s := Fresh(t, d)
	expectBefore(t, s, 100, 1000)
	expectGap(t, s, 100, 1, 99)
	Must(t, s.Write([]*raftlog.Write{Append(A, 2, 1, 1, 1, 1, 1, 1)}))
	one, two, three, four := Record(4, 6, 2), Record(7, 7, 3), Record(8, 9, 5), Record(20, 21, 6)
	Must(t, s.Write([]*raftlog.Write{{Group: A, History: []raftlog.Record{one, two, three, four}}}))
	size := len(Past(one, 1).Content)
	expectBefore(t, s, 10, 1000, Past(one, 1), Past(two, 1), Past(three, 1))
	expectBefore(t, s, 10, 2*size, Past(two, 1), Past(three, 1))
	expectBefore(t, s, 10, 2*size-1, Past(three, 1))
	expectBefore(t, s, 10, 1, Past(three, 1))
	expectBefore(t, s, 8, 1000, Past(one, 1), Past(two, 1))
	expectBefore(t, s, 22, 1000, Past(four, 1)) // stops behind the hole
	for _, below := range []uint64{0, 1, 3, 4} {
		expectBefore(t, s, below, 1000)
	}
	for below, last := range map[uint64]uint64{5: 6, 9: 9, 21: 21} {
		var split *raftlog.SplitError
		if ps, err := s.ReadHistoryBefore(A, below, 1000); !errors.As(err, &split) || split.Last != last || split.Seq != below {
			t.Fatalf("read before %d, inside of a record: %v, %v", below, ps, err)
		}
	}
	for _, below := range []uint64{11, 20, 23, 100} {
		var gap *raftlog.GapError
		if ps, err := s.ReadHistoryBefore(A, below, 1000); !errors.As(err, &gap) || gap.Seq != below-1 || gap.First != 4 || gap.Last != 21 {
			t.Fatalf("read before %d, which is missing: %v, %v", below, ps, err)
		}
	}
	for below, gap := range map[uint64][2]uint64{
		0: {}, 1: {}, 2: {1, 1}, 4: {1, 3}, 6: {1, 3}, 10: {1, 3}, 11: {10, 10}, 20: {10, 19}, 22: {10, 19}, 23: {22, 22}, 100: {22, 99},
	} {
		expectGap(t, s, below, gap[0], gap[1])
	}
	Must(t, s.Write([]*raftlog.Write{{Group: A, History: []raftlog.Record{Record(1, 3, 2)}}}))
	expectGap(t, s, 10, 0, 0)
	Must(t, s.TrimHistory(A, 7))
	expectBefore(t, s, 10, 1000, Past(two, 1), Past(three, 1))
	expectBefore(t, s, 7, 1000)
	Must(t, s.Close())
}

// testFill fills in what came before a checkpoint, newest part first, while the log goes on.
func testFill(t *testing.T, d Disk) {
	s := joined(t, d, 200)
	one, two, three, four := Past(Record(1, 50, 7), 1), Past(Record(51, 180, 8), 1), Past(Record(181, 190, 18), 1), Past(Record(191, 200, 20), 2)
	Must(t, s.FillHistory(A, nil))
	Must(t, s.FillHistory(A, []raftlog.Past{three, four}))
	expectBounds(t, s, A, 181, 200)
	expectHistory(t, s, A, 185, 1000, three, four)
	Must(t, s.Write([]*raftlog.Write{Append(A, 21, 2, 2)}))
	Must(t, s.Write([]*raftlog.Write{{Group: A, History: []raftlog.Record{Record(201, 201, 21)}}}))
	Must(t, s.FillHistory(A, []raftlog.Past{two}))
	Must(t, s.FillHistory(A, []raftlog.Past{one}))
	five := Past(Record(201, 201, 21), 2)
	for range 2 {
		expectHistory(t, s, A, 1, 1000, one, two, three, four, five)
		expectBefore(t, s, 201, 1000, one, two, three, four)
		expectGap(t, s, 202, 0, 0)
		if l := expectLog(t, s, A, Entries(21, 2, 2)...); l.Start.Index != 20 || len(l.Checkpoints) != 1 {
			t.Fatalf("the log has become %+v", l)
		}
		expectBounds(t, s, B, 0, 0)
		sync(t, s)
		d.Crash(t)
		s = d.Open(t)
	}
	install(t, s, 40, 300) // what was filled in stays, and the hole behind it can be filled
	six := Past(Record(202, 300, 39), 2)
	Must(t, s.FillHistory(A, []raftlog.Past{six}))
	install(t, s, 60, 300)
	expectHistory(t, s, A, 1, 1000, one, two, three, four, five, six)
	Must(t, s.TrimHistory(A, 185))
	expectHistory(t, s, A, 181, 1000, three, four, five, six)
	Must(t, s.Close())
	s = d.Open(t)
	expectHistory(t, s, A, 202, 1000, six)
	Must(t, s.Close())
}

// testFillKept checks that an installed checkpoint does not take what was filled in where
// there was no history.
func testFillKept(t *testing.T, d Disk) {
	s := joined(t, d, 200)
	past := Past(Record(191, 200, 20), 2)
	Must(t, s.FillHistory(A, []raftlog.Past{past}))
	install(t, s, 40, 300)
	for range 2 {
		expectHistory(t, s, A, 191, 1000, past)
		expectGap(t, s, 301, 201, 300)
		d.Crash(t)
		s = d.Open(t)
	}
	Must(t, s.Close())
}

func testFillMisfits(t *testing.T, d Disk) {
	s := joined(t, d, 200)
	refused := func(what string, past ...raftlog.Past) {
		t.Helper()
		if err := s.FillHistory(A, past); err == nil {
			t.Errorf("%s was filled in", what)
		}
	}
	refused("what ends before the checkpoint", Past(Record(191, 199, 19), 1))
	refused("what ends behind the checkpoint", Past(Record(191, 201, 19), 1))
	refused("an entry of the log", Past(Record(191, 200, 21), 1))
	refused("a gap", Past(Record(180, 188, 15), 1), Past(Record(190, 200, 19), 1))
	expectBounds(t, s, A, 0, 0)
	Must(t, s.FillHistory(A, []raftlog.Past{Past(Record(191, 200, 15), 1)}))
	refused("what is there", Past(Record(191, 200, 15), 1))
	refused("what ends before what is there", Past(Record(181, 189, 14), 1))
	refused("the entry of what is there", Past(Record(181, 190, 15), 1))
	refused("entries backwards", Past(Record(180, 188, 14), 1), Past(Record(189, 190, 13), 1))
	refused("no term", Past(Record(181, 190, 14), 0))
	expectHistory(t, s, A, 191, 1000, Past(Record(191, 200, 15), 1))
	expectBounds(t, s, A, 191, 200)
	if err := s.FillHistory(77, []raftlog.Past{Past(Record(1, 200, 19), 1)}); err == nil {
		t.Error("a group that is not there was filled")
	}
	if err := s.Write([]*raftlog.Write{{Group: A, Entries: []*pb.Entry{Entries(20, 2)[0]}, Sync: true}}); err == nil {
		t.Error("an entry that history names was replaced")
	}
	Must(t, s.Close())
}

// testFillCrash checks that a crash loses the last fills at most, and leaves no hole.
func testFillCrash(t *testing.T, d Disk) {
	s := joined(t, d, 200)
	Must(t, s.FillHistory(A, []raftlog.Past{Past(Record(191, 200, 19), 1)}))
	sync(t, s)
	Must(t, s.FillHistory(A, []raftlog.Past{Past(Record(171, 190, 18), 1)}))
	Must(t, s.FillHistory(A, []raftlog.Past{Past(Record(1, 170, 7), 1)}))
	d.Crash(t)
	s = d.Open(t)
	first, last, err := s.HistoryBounds(A)
	Must(t, err)
	if first != 191 && first != 171 && first != 1 || last != 200 {
		t.Fatalf("after a crash history is %d to %d", first, last)
	}
	ps, err := s.ReadHistory(A, first, 1<<20)
	Must(t, err)
	if ps[len(ps)-1].Last != 200 {
		t.Fatalf("after a crash history has a hole: %v", ps)
	}
	expectLog(t, s, A)
	Must(t, s.Close())
}

func expectMarks(t *testing.T, s raftlog.Storage, segment, tag uint64, complete bool, want ...uint64) {
	t.Helper()
	got, whole, err := s.ReadMarks(A, segment, tag)
	Must(t, err)
	if diff := cmp.Diff(want, got); diff != "" || whole != complete {
		t.Fatalf("marks of segment %d with tag %d, complete: %t, want %t (-want +got):\n%s", segment, tag, whole, complete, diff)
	}
}

func testMarks(t *testing.T, d Disk) {
	const end = raftlog.MarkSegment
	s := Fresh(t, d)
	expectMarks(t, s, 0, 7, false)
	Must(t, s.PutMarks(A, 0, []raftlog.Mark{{Tag: 7, Seq: 9}, {Tag: 7, Seq: 3}, {Tag: 9, Seq: 3}, {Tag: 7, Seq: 9}, {Tag: 0, Seq: 1}, {Tag: 1<<64 - 1, Seq: end - 1}}))
	Must(t, s.PutMarks(A, 1, []raftlog.Mark{{Tag: 7, Seq: end}, {Tag: 7, Seq: 2*end - 1}}))
	Must(t, s.PutMarks(A, 2, nil))
	Must(t, s.PutMarks(A, (1<<64-1)/end, []raftlog.Mark{{Tag: 7, Seq: 1<<64 - 1}}))
	if err := s.PutMarks(A, 3, []raftlog.Mark{{Tag: 7, Seq: 3 * end}, {Tag: 7, Seq: 4 * end}}); err == nil {
		t.Fatal("a mark of another segment was taken")
	}
	if err := s.PutMarks(77, 0, nil); err == nil {
		t.Fatal("marks of a group that is not there were taken")
	}
	sync(t, s)
	for range 2 {
		expectMarks(t, s, 0, 7, true, 3, 9)
		expectMarks(t, s, 0, 8, true)
		expectMarks(t, s, 0, 9, true, 3)
		expectMarks(t, s, 0, 0, true, 1)
		expectMarks(t, s, 0, 1<<64-1, true, end-1)
		expectMarks(t, s, 1, 7, true, end, 2*end-1)
		expectMarks(t, s, 2, 7, true)
		expectMarks(t, s, 3, 7, false)
		expectMarks(t, s, (1<<64-1)/end, 7, true, 1<<64-1)
		if _, complete, err := s.ReadMarks(B, 0, 7); complete || err != nil {
			t.Fatalf("marks of another group, complete: %t, %v", complete, err)
		}
		d.Crash(t)
		s = d.Open(t)
	}
	Must(t, s.PutMarks(A, 0, []raftlog.Mark{{Tag: 8, Seq: 2}})) // in place of the others
	expectMarks(t, s, 0, 7, true)
	expectMarks(t, s, 0, 8, true, 2)
	Must(t, s.TrimHistory(A, end-1))
	expectMarks(t, s, 0, 8, true, 2)
	Must(t, s.TrimHistory(A, 2*end-1))
	expectMarks(t, s, 0, 8, false)
	expectMarks(t, s, 1, 7, true, end, 2*end-1)
	Must(t, s.TrimHistory(A, 2*end))
	expectMarks(t, s, 1, 7, false)
	expectMarks(t, s, 2, 7, true)
	Must(t, s.Close())
}

// testMarksAndFill checks that no segment is called complete to which history was added.
func testMarksAndFill(t *testing.T, d Disk) {
	const end = raftlog.MarkSegment
	s := joined(t, d, 2*end+5)
	for segment := range uint64(4) {
		Must(t, s.PutMarks(A, segment, []raftlog.Mark{{Tag: 7, Seq: segment * end}}))
	}
	Must(t, s.FillHistory(A, []raftlog.Past{Past(Record(2*end, 2*end+5, 19), 1)}))
	for range 2 {
		for segment := range uint64(4) {
			if segment == 2 {
				expectMarks(t, s, 2, 7, false)
			} else {
				expectMarks(t, s, segment, 7, true, segment*end)
			}
		}
		sync(t, s)
		d.Crash(t)
		s = d.Open(t)
	}
	Must(t, s.PutMarks(A, 2, []raftlog.Mark{{Tag: 7, Seq: 2*end + 1}}))
	Must(t, s.FillHistory(A, []raftlog.Past{Past(Record(end-1, 2*end-1, 18), 1)})) // the end of one, all of another
	expectMarks(t, s, 0, 7, false)
	expectMarks(t, s, 1, 7, false)
	expectMarks(t, s, 2, 7, true, 2*end+1)
	Must(t, s.Close())
}
