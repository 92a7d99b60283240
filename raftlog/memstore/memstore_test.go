package memstore_test

import (
	"errors"
	"testing"

	"github.com/heliosdb/metadata/raftlog"
	"github.com/heliosdb/metadata/raftlog/memstore"
	"github.com/heliosdb/metadata/raftlog/storagetest"
)

type disk struct{ s *memstore.Store }

func (d disk) Open(*testing.T) raftlog.Storage { return d.s }
func (d disk) Crash(*testing.T)                { d.s.Crash(0) }

func (d disk) Damage(_ *testing.T, what storagetest.Damaged, at uint64) {
	switch what {
	case storagetest.DamagedEntry:
		d.s.DamageEntry(storagetest.A, at)
	case storagetest.DamagedRecord:
		d.s.DamageRecord(storagetest.A, at)
	case storagetest.DamagedMarks:
		d.s.DamageMarks(storagetest.A, at)
	}
}

func TestContract(t *testing.T) {
	storagetest.Run(t, func(*testing.T) storagetest.Disk { return disk{memstore.New("disk")} })
}

// TestCrashKeepsPrefix checks that a crash can leave any first part of what was not
// synced, and nothing else.
func TestCrashKeepsPrefix(t *testing.T) {
	for keep := range 4 {
		s := memstore.New("disk")
		storagetest.Fresh(t, disk{s})
		storagetest.Must(t, s.Write([]*raftlog.Write{storagetest.Append(storagetest.A, 2, 1, 1, 1)}))
		for seq := uint64(1); seq <= 3; seq++ {
			storagetest.Must(t, s.Write([]*raftlog.Write{{Group: storagetest.A, History: []raftlog.Record{storagetest.Record(seq, seq, seq+1)}}}))
		}
		if s.Unsynced() != 3 {
			t.Fatalf("%d writes are unsynced, want 3", s.Unsynced())
		}
		s.Crash(keep)
		if _, last, _ := s.HistoryBounds(storagetest.A); last != uint64(keep) {
			t.Fatalf("history ends at %d after a crash that kept %d writes", last, keep)
		}
	}
}

// TestCrashKeepsFills checks that a crash loses fills, trims and marks in reverse order.
func TestCrashKeepsFills(t *testing.T) {
	for keep, first := range []uint64{191, 171, 171, 191} {
		s := memstore.New("disk")
		storagetest.Fresh(t, disk{s})
		w, err := s.CreateCheckpoint(storagetest.A, storagetest.Descriptor(storagetest.A, 20, 1))
		cp := storagetest.WriteCheckpoint(t, w, err, []byte("x"))
		storagetest.Must(t, s.Write([]*raftlog.Write{{Group: storagetest.A, Install: &cp}}))
		fill := func(r raftlog.Record) {
			storagetest.Must(t, s.FillHistory(storagetest.A, []raftlog.Past{storagetest.Past(r, 1)}))
		}
		fill(storagetest.Record(191, 200, 19))
		storagetest.Must(t, s.Write([]*raftlog.Write{{Group: storagetest.A, Sync: true}}))
		fill(storagetest.Record(171, 190, 18))
		storagetest.Must(t, s.PutMarks(storagetest.A, 0, nil))
		storagetest.Must(t, s.TrimHistory(storagetest.A, 191))
		if s.Unsynced() != 3 {
			t.Fatalf("%d calls are unsynced, want 3", s.Unsynced())
		}
		s.Crash(keep)
		_, complete, _ := s.ReadMarks(storagetest.A, 0, 7)
		if got, _, _ := s.HistoryBounds(storagetest.A); got != first || complete != (keep > 1) {
			t.Fatalf("a crash that kept %d calls: history begins at %d, want %d; marks are complete: %t", keep, got, first, complete)
		}
	}
}

func TestLostTail(t *testing.T) {
	s := memstore.New("disk")
	storagetest.Fresh(t, disk{s})
	storagetest.Must(t, s.Write([]*raftlog.Write{storagetest.Append(storagetest.A, 2, 1, 1, 1)}))
	s.LoseTail(storagetest.A, 1)
	var short *raftlog.ShortError
	if _, err := s.Load(storagetest.A); !errors.As(err, &short) || short.Have != 3 || short.Floor != 4 {
		t.Fatalf("load of a log that lost its tail: %v", err)
	}
}
