package storagetest

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/heliosdb/metadata/raftlog"
	pb "go.etcd.io/raft/v3/raftpb"
)

// filled is a disk whose group A began with a checkpoint at entry 20, of sequence 200, and has all
// of the history before it, of these records, and one behind it.
func filled(t *testing.T, d Disk) (raftlog.Storage, []raftlog.Past) {
	t.Helper()
	s := joined(t, d, 200)
	past := []raftlog.Past{
		Past(Record(1, 50, 7), 1), Past(Record(51, 60, 8), 1), Past(Record(61, 61, 9), 1), Past(Record(62, 90, 10), 1),
		Past(Record(91, 120, 15), 1), Past(Record(121, 199, 18), 1), Past(Record(200, 200, 20), 2),
	}
	Must(t, s.FillHistory(A, past))
	Must(t, s.Write([]*raftlog.Write{Append(A, 21, 2)}))
	Must(t, s.Write([]*raftlog.Write{{Group: A, History: []raftlog.Record{Record(201, 203, 21)}}}))
	return s, append(past, Past(Record(201, 203, 21), 2))
}

func expectDamage(t *testing.T, s raftlog.Storage, want ...raftlog.Span) {
	t.Helper()
	got, err := s.HistoryDamage(A)
	Must(t, err)
	if diff := cmp.Diff(want, append([]raftlog.Span(nil), got...)); diff != "" {
		t.Fatalf("damage of the history (-want +got):\n%s", diff)
	}
}

// expectUnreadable reads at a sequence that is damaged, in both directions.
func expectUnreadable(t *testing.T, s raftlog.Storage, seq, below uint64) {
	t.Helper()
	var damage *raftlog.DamageError
	if past, err := s.ReadHistory(A, seq, 1<<20); !errors.As(err, &damage) {
		t.Fatalf("damaged history from %d on: %v, %v", seq, past, err)
	}
	if past, err := s.ReadHistoryBefore(A, below, 1<<20); !errors.As(err, &damage) {
		t.Fatalf("damaged history before %d: %v, %v", below, past, err)
	}
}

// testHistoryDamage checks that damage takes away nothing but the records that it is in, that
// it is known once it was read, and that others can be put in their place.
func testHistoryDamage(t *testing.T, d Disk) {
	s, past := filled(t, d)
	d.Damage(t, DamagedRecord, 61)
	d.Damage(t, DamagedEntry, 15)
	expectDamage(t, s)
	size := len(past[0].Content)
	for range 2 {
		expectHistory(t, s, A, 1, 1<<20, past[:2]...)
		expectHistory(t, s, A, 1, size, past[:1]...)
		expectBefore(t, s, 91, 1<<20, past[3])
		expectHistory(t, s, A, 70, 1<<20, past[3])
		expectHistory(t, s, A, 121, 1<<20, past[5:]...)
		expectBefore(t, s, 204, 1<<20, past[5:]...)
	}
	expectDamage(t, s)
	expectUnreadable(t, s, 61, 62)
	expectUnreadable(t, s, 100, 121)
	expectDamage(t, s, raftlog.Span{First: 61, Last: 61}, raftlog.Span{First: 91, Last: 120})
	expectBounds(t, s, A, 1, 203)
	expectGap(t, s, 204, 0, 0)
	if _, err := s.HistoryBytes(A, 61); err != nil {
		t.Fatalf("the size of damaged history: %v", err)
	}
	sync(t, s)
	d.Crash(t)
	s = d.Open(t)
	expectBounds(t, s, A, 1, 203)
	expectDamage(t, s) // until it is read again
	expectUnreadable(t, s, 61, 62)
	Must(t, s.FillHistory(A, past[2:3]))
	expectDamage(t, s)
	expectUnreadable(t, s, 91, 121)
	if err := s.FillHistory(A, past[3:5]); err == nil {
		t.Fatal("a record that is sound was replaced")
	}
	Must(t, s.FillHistory(A, past[4:5]))
	for range 2 {
		expectDamage(t, s)
		expectHistory(t, s, A, 1, 1<<20, past...)
		expectBefore(t, s, 204, 1<<20, past...)
		sync(t, s)
		d.Crash(t)
		s = d.Open(t)
	}
	Must(t, s.Close())
}

// testHistoryDamageAtTheEnds damages the first and the last records, and some side by side.
func testHistoryDamageAtTheEnds(t *testing.T, d Disk) {
	s, past := filled(t, d)
	d.Damage(t, DamagedRecord, 1)
	d.Damage(t, DamagedEntry, 8)
	d.Damage(t, DamagedRecord, 61)
	expectUnreadable(t, s, 55, 62)
	expectDamage(t, s, raftlog.Span{First: 1, Last: 61})
	Must(t, s.FillHistory(A, past[1:3])) // the newest part first: the rest is missing then
	for range 2 {
		expectDamage(t, s)
		expectBounds(t, s, A, 51, 203)
		expectGap(t, s, 204, 1, 50)
		expectHistory(t, s, A, 51, 1<<20, past[1:]...)
		sync(t, s)
		d.Crash(t)
		s = d.Open(t)
	}
	Must(t, s.FillHistory(A, past[:1]))
	expectHistory(t, s, A, 1, 1<<20, past...)
	d.Damage(t, DamagedRecord, 201)
	expectUnreadable(t, s, 203, 204)
	expectDamage(t, s, raftlog.Span{First: 201, Last: 203})
	expectBounds(t, s, A, 1, 203)
	Must(t, s.Write([]*raftlog.Write{{Group: A, History: []raftlog.Record{Record(201, 203, 21)}}})) // as after a restart
	expectDamage(t, s)
	expectHistory(t, s, A, 1, 1<<20, past...)
	// What lies beside a place and turns out to be damaged is filled in with it.
	d.Damage(t, DamagedEntry, 9)
	expectUnreadable(t, s, 61, 62)
	d.Damage(t, DamagedRecord, 51)
	d.Damage(t, DamagedRecord, 62)
	var damage *raftlog.DamageError
	if err := s.FillHistory(A, past[2:3]); !errors.As(err, &damage) {
		t.Fatalf("filled in between damaged records: %v", err)
	}
	expectDamage(t, s, raftlog.Span{First: 51, Last: 90})
	Must(t, s.FillHistory(A, past[3:4]))
	for range 2 {
		expectDamage(t, s)
		expectGap(t, s, 204, 51, 61)
		expectHistory(t, s, A, 1, 1<<20, past[0])
		expectHistory(t, s, A, 62, 1<<20, past[3:]...)
		sync(t, s)
		d.Crash(t)
		s = d.Open(t)
	}
	Must(t, s.FillHistory(A, past[1:3]))
	expectGap(t, s, 204, 0, 0)
	expectHistory(t, s, A, 1, 1<<20, past...)
	Must(t, s.Close())
}

// testHistoryDamageInTheLog fills in records of entries that the log still has.
func testHistoryDamageInTheLog(t *testing.T, d Disk) {
	s, past := filled(t, d)
	Must(t, s.Write([]*raftlog.Write{Append(A, 22, 2)}))
	Must(t, s.Write([]*raftlog.Write{{Group: A, History: []raftlog.Record{Record(204, 204, 22)}}}))
	d.Damage(t, DamagedRecord, 201)
	expectUnreadable(t, s, 201, 204)
	other := past[7]
	other.Content = append([]byte("not "), other.Content...)
	newer := past[7]
	newer.Term++
	for _, p := range []raftlog.Past{other, newer} {
		if err := s.FillHistory(A, []raftlog.Past{p}); err == nil {
			t.Fatalf("another entry than the log's was filled in: %v", p)
		}
	}
	Must(t, s.FillHistory(A, past[7:]))
	expectDamage(t, s)
	expectHistory(t, s, A, 1, 1<<20, append(past, Past(Record(204, 204, 22), 2))...)
	sync(t, s)
	d.Crash(t)
	s = d.Open(t)
	expectLog(t, s, A, Entries(21, 2, 2)...)
	Must(t, s.Close())
}

// testHistoryDamageBesideHoles damages what lies before and behind what is missing: first what is
// behind is replaced, then the hole is filled in, then what is before it.
func testHistoryDamageBesideHoles(t *testing.T, d Disk) {
	s := Fresh(t, d)
	old := []raftlog.Past{Past(Record(1, 3, 2), 1), Past(Record(4, 4, 3), 1)}
	Must(t, s.Write([]*raftlog.Write{Append(A, 2, 1, 1)}))
	Must(t, s.Write([]*raftlog.Write{{Group: A, History: []raftlog.Record{old[0].Record, old[1].Record}}}))
	install(t, s, 20, 200)
	missing := []raftlog.Past{Past(Record(5, 50, 7), 1), Past(Record(51, 120, 8), 1)}
	newer := []raftlog.Past{Past(Record(121, 199, 18), 1), Past(Record(200, 200, 20), 2)}
	Must(t, s.FillHistory(A, newer))
	d.Damage(t, DamagedRecord, 4)
	d.Damage(t, DamagedRecord, 121)
	var damage *raftlog.DamageError
	fills := func(past ...raftlog.Past) {
		t.Helper()
		err := s.FillHistory(A, past)
		if errors.As(err, &damage) { // now it is known
			err = s.FillHistory(A, past)
		}
		Must(t, err)
	}
	for range 2 {
		if err := s.FillHistory(A, missing); err == nil {
			t.Fatal("filled in before what cannot be read")
		}
	}
	expectUnreadable(t, s, 150, 200)
	fills(newer[0])
	expectGap(t, s, 201, 4, 120) // all up to the sound record before it is taken for damaged
	fills(missing[1])
	expectGap(t, s, 201, 4, 50)
	fills(missing[0])
	for range 2 {
		expectDamage(t, s)
		expectGap(t, s, 201, 4, 4)
		sync(t, s)
		d.Crash(t)
		s = d.Open(t)
	}
	fills(old[1])
	expectHistory(t, s, A, 1, 1<<20, append(append(old, missing...), newer...)...)
	Must(t, s.Close())
}

// testHistoryDamageTrimmed trims before, inside of and behind damage.
func testHistoryDamageTrimmed(t *testing.T, d Disk) {
	s, past := filled(t, d)
	d.Damage(t, DamagedRecord, 51)
	d.Damage(t, DamagedEntry, 15)
	expectUnreadable(t, s, 51, 61)
	expectUnreadable(t, s, 91, 121)
	Must(t, s.TrimHistory(A, 55)) // the record that holds it is deleted too: it cannot be read
	expectBounds(t, s, A, 61, 203)
	expectDamage(t, s, raftlog.Span{First: 91, Last: 120})
	expectGap(t, s, 204, 1, 60)
	Must(t, s.FillHistory(A, past[1:2]))
	Must(t, s.TrimHistory(A, 121))
	expectDamage(t, s)
	expectHistory(t, s, A, 121, 1<<20, past[5:]...)
	d.Damage(t, DamagedRecord, 201)
	expectUnreadable(t, s, 201, 204)
	Must(t, s.TrimHistory(A, 202))
	expectBounds(t, s, A, 0, 0)
	expectDamage(t, s)
	Must(t, s.Write([]*raftlog.Write{Append(A, 22, 2)}))
	Must(t, s.Write([]*raftlog.Write{{Group: A, History: []raftlog.Record{Record(204, 204, 22)}}}))
	expectBounds(t, s, A, 204, 204)
	Must(t, s.Close())
}

// testHistoryDamageBounded damages more than is remembered at a time.
func testHistoryDamageBounded(t *testing.T, d Disk) {
	const n = 2*raftlog.MaxKnownDamage + 5
	s := Fresh(t, d)
	var entries []*pb.Entry
	var records []raftlog.Record
	for i := range uint64(n) {
		entries = append(entries, Entries(i+2, 1)...)
		records = append(records, Record(i+1, i+1, i+2))
	}
	Must(t, s.Write([]*raftlog.Write{{Group: A, Entries: entries, History: records, Sync: true}}))
	for seq := uint64(2); seq < n; seq += 2 {
		d.Damage(t, DamagedRecord, seq)
		expectUnreadable(t, s, seq, seq+1)
	}
	known, err := s.HistoryDamage(A)
	Must(t, err)
	if len(known) != raftlog.MaxKnownDamage {
		t.Fatalf("%d damaged runs are remembered, want MaxKnownDamage", len(known))
	}
	Must(t, s.FillHistory(A, []raftlog.Past{Past(Record(2, 2, 3), 1)}))
	expectUnreadable(t, s, n-1, n)
	known, err = s.HistoryDamage(A)
	Must(t, err)
	if len(known) != raftlog.MaxKnownDamage || known[len(known)-1] != (raftlog.Span{First: n - 1, Last: n - 1}) {
		t.Fatalf("with room again %v is remembered", known)
	}
	Must(t, s.Close())
}

// testMarksDamage checks that damaged marks can be made again.
func testMarksDamage(t *testing.T, d Disk) {
	s := Fresh(t, d)
	marks := []raftlog.Mark{{Tag: 7, Seq: 3}, {Tag: 7, Seq: 9}}
	Must(t, s.PutMarks(A, 0, marks))
	d.Damage(t, DamagedMarks, 0)
	expectMarks(t, s, 0, 7, false)
	Must(t, s.PutMarks(A, 0, marks))
	expectMarks(t, s, 0, 7, true, 3, 9)
	Must(t, s.Close())
}
