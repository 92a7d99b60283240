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
