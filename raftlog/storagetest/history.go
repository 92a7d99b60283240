package storagetest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/heliosdb/metadata/raftlog"
	pb "go.etcd.io/raft/v3/raftpb"
)

// Record makes a history record.
func Record(first, last, entry uint64) raftlog.Record {
	return raftlog.Record{First: first, Last: last, Entry: entry, Data: fmt.Appendf(nil, "%d to %d", first, last)}
}

// Past is what is read of a record whose entry Entries made.
func Past(r raftlog.Record, term uint64) raftlog.Past {
	return raftlog.Past{Record: r, Term: term, Content: Entries(r.Entry, term)[0].GetData()}
}

func expectHistory(t *testing.T, s raftlog.Storage, g raftlog.GroupID, from uint64, maxBytes int, want ...raftlog.Past) {
	t.Helper()
	got, err := s.ReadHistory(g, from, maxBytes)
	Must(t, err)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("history of group %d from %d, %d bytes (-want +got):\n%s", g, from, maxBytes, diff)
	}
}

func expectBounds(t *testing.T, s raftlog.Storage, g raftlog.GroupID, first, last uint64) {
	t.Helper()
	if f, l, err := s.HistoryBounds(g); f != first || l != last || err != nil {
		t.Fatalf("bounds of the history of group %d: %d to %d, %v, want %d to %d", g, f, l, err, first, last)
	}
}

func testHistory(t *testing.T, d Disk) {
	s := Fresh(t, d)
	expectBounds(t, s, A, 0, 0)
	expectHistory(t, s, A, 1, 100)
	Must(t, s.Write([]*raftlog.Write{Append(A, 2, 1, 1, 1, 1, 1, 1), Append(B, 2, 1)}))
	one, two, three, four := Record(1, 3, 2), Record(4, 4, 3), Record(5, 9, 5), Record(10, 11, 6)
	for _, r := range []raftlog.Record{one, two, three, four} {
		Must(t, s.Write([]*raftlog.Write{{Group: A, History: []raftlog.Record{r}}}))
	}
	Must(t, s.Write([]*raftlog.Write{{Group: B, History: []raftlog.Record{Record(100, 100, 2)}}}))
	expectBounds(t, s, A, 1, 11)
	expectBounds(t, s, B, 100, 100)
	size := len(Past(one, 1).Content)
	expectHistory(t, s, A, 1, 1, Past(one, 1))
	expectHistory(t, s, A, 3, 2*size, Past(one, 1), Past(two, 1))
	expectHistory(t, s, A, 3, 2*size-1, Past(one, 1))
	expectHistory(t, s, A, 7, 1000, Past(three, 1), Past(four, 1))
	expectHistory(t, s, A, 11, 1000, Past(four, 1))
	expectHistory(t, s, A, 12, 1000)
	Must(t, s.TrimHistory(A, 4))
	expectBounds(t, s, A, 4, 11)
	Must(t, s.TrimHistory(A, 6)) // 5 is in one record with 6
	expectBounds(t, s, A, 5, 11)
	expectHistory(t, s, A, 6, 1, Past(three, 1))
	var gap *raftlog.GapError
	if _, err := s.ReadHistory(A, 4, 100); !errors.As(err, &gap) || gap.First != 5 || gap.Last != 11 {
		t.Fatalf("read below the first record: %v", err)
	}
	expectLog(t, s, A, Entries(2, 1, 1, 1, 1, 1, 1)...) // the log has what it needs for itself
	behind := Record(20, 20, 7)
	Must(t, s.Write([]*raftlog.Write{{Group: A, History: []raftlog.Record{behind}}}))
	expectHistory(t, s, A, 10, 1000, Past(four, 1)) // stops before the hole
	if _, err := s.ReadHistory(A, 12, 100); !errors.As(err, &gap) {
		t.Fatalf("read inside a hole: %v", err)
	}
	expectHistory(t, s, A, 20, 1000, Past(behind, 1))
	Must(t, s.Close())
	s = d.Open(t)
	if _, last, err := s.HistoryBounds(A); last != 20 || err != nil {
		t.Fatalf("a clean stop lost history: it ends at %d, %v", last, err)
	}
	Must(t, s.TrimHistory(A, 50))
	expectBounds(t, s, A, 0, 0)
	expectLog(t, s, A, Entries(2, 1, 1, 1, 1, 1, 1)...)
	Must(t, s.Close())
}

// testHistoryBytes checks that the size of history is known as far as decisions need it.
func testHistoryBytes(t *testing.T, d Disk) {
	const n, size = 24, 1 << 20
	s := Fresh(t, d)
	rng := rand.NewChaCha8([32]byte{1}) // what does not compress
	for i := range uint64(n) {
		e := Entries(i+2, 1)[0]
		e.Data = make([]byte, size)
		_, _ = rng.Read(e.Data) // it never fails
		r := Record(2*i+1, 2*i+2, i+2)
		Must(t, s.Write([]*raftlog.Write{{Group: A, Entries: []*pb.Entry{e}, History: []raftlog.Record{r}, Sync: true}}))
	}
	d.Crash(t)
	s = d.Open(t)
	about := func(from, want uint64) {
		t.Helper()
		got, err := s.HistoryBytes(A, from)
		Must(t, err)
		if got < want*size-want*size/4-size || got > want*size+want*size/4+size {
			t.Errorf("history from %d on has %d bytes, want about %d MiB", from, got, want)
		}
	}
	about(1, n)
	about(n+1, n/2)
	about(n+2, n/2) // the same record
	if got, err := s.HistoryBytes(A, 2*n+1); got != 0 || err != nil {
		t.Errorf("behind its end history has %d bytes, %v", got, err)
	}
	Must(t, s.TrimHistory(A, n+1))
	about(1, n/2)
	if got, err := s.HistoryBytes(B, 1); got != 0 || err != nil {
		t.Errorf("an empty history has %d bytes, %v", got, err)
	}
	if _, err := s.HistoryBytes(77, 1); err == nil {
		t.Error("a group that is not there has a size")
	}
	Must(t, s.Close())
}

// testHistoryMisfits checks that history names only what is there and stays.
func testHistoryMisfits(t *testing.T, d Disk) {
	s := Fresh(t, d)
	Must(t, s.Write([]*raftlog.Write{Append(A, 2, 1, 1, 1)}))
	Must(t, s.Write([]*raftlog.Write{{Group: A, History: []raftlog.Record{Record(1, 2, 3)}, Sync: true}}))
	Must(t, s.Write([]*raftlog.Write{{Group: A, History: []raftlog.Record{Record(1, 2, 3)}}})) // again, as after a restart
	for name, w := range map[string]*raftlog.Write{
		"an entry that is not there": {Group: A, History: []raftlog.Record{Record(3, 3, 5)}},
		"genesis":                    {Group: A, History: []raftlog.Record{Record(3, 3, 1)}},
		"no sequence":                {Group: A, History: []raftlog.Record{Record(0, 3, 4)}},
		"a sequence backwards":       {Group: A, History: []raftlog.Record{Record(4, 3, 4)}},
		"a named entry replaced":     {Group: A, Entries: []*pb.Entry{Entries(3, 2)[0]}, Sync: true},
		"a named entry cut off":      {Group: A, Entries: []*pb.Entry{Entries(2, 2)[0]}, Sync: true},
	} {
		for range 2 {
			if err := s.Write([]*raftlog.Write{w}); err == nil {
				t.Errorf("%s: a write that does not fit was taken", name)
			}
			d.Crash(t)
			s = d.Open(t)
		}
	}
	Must(t, s.Write([]*raftlog.Write{Append(A, 4, 2)}))
	expectLog(t, s, A, Entries(2, 1, 1, 2)...)
	expectHistory(t, s, A, 2, 1, Past(Record(1, 2, 3), 1))
	Must(t, s.Close())
}
