package pebblestore_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"
	"github.com/heliosdb/metadata/raftlog"
	"github.com/heliosdb/metadata/raftlog/storagetest"
)

// joined is a disk whose group A began with a checkpoint at entry 1001, of sequence 2000.
func joined(t *testing.T, d *disk) raftlog.Storage {
	t.Helper()
	s := storagetest.Fresh(t, d)
	giveCheckpoint(t, s)
	return s
}

// giveCheckpoint installs a checkpoint at entry 1001, of sequence 2000.
func giveCheckpoint(t *testing.T, s raftlog.Storage) {
	t.Helper()
	desc := storagetest.Descriptor(storagetest.A, 1001, 1)
	desc.Seq = 2000
	w, err := s.CreateCheckpoint(storagetest.A, desc)
	cp := storagetest.WriteCheckpoint(t, w, err, []byte("x"))
	storagetest.Must(t, s.Write([]*raftlog.Write{{Group: storagetest.A, Install: &cp}}))
}

// pastBefore returns records of two sequences and one entry each, up to one that ends at a
// sequence.
func pastBefore(last uint64, n int) (past []raftlog.Past) {
	for i := range uint64(n) {
		end := last - 2*(uint64(n)-1-i)
		past = append(past, storagetest.Past(storagetest.Record(end-1, end, 1+end/2), 1))
	}
	return past
}

// TestFillCrashes cuts the power again and again while history is filled in and the log goes
// on: what is there is always dense, and no less than what a synced Write has made durable.
func TestFillCrashes(t *testing.T) {
	for seed := range uint64(8) {
		rng := rand.New(rand.NewPCG(seed, 11))
		d := newDisk(t)
		s := joined(t, d)
		last, durable := uint64(1001), uint64(2001)
		for durable > 1 {
			for range rng.IntN(8) {
				first, _, err := s.HistoryBounds(storagetest.A)
				storagetest.Must(t, err)
				if first == 0 {
					first = 2001
				}
				switch n := rng.IntN(4); {
				case n == 0:
					last++
					storagetest.Must(t, s.Write([]*raftlog.Write{storagetest.Append(storagetest.A, last, 1)}))
					durable = min(durable, first)
				case n == 1:
					storagetest.Must(t, s.PutMarks(storagetest.A, 0, []raftlog.Mark{{Tag: 1, Seq: first}}))
				case first > 1:
					storagetest.Must(t, s.FillHistory(storagetest.A, pastBefore(first-1, min(1+rng.IntN(100), int(first/2)))))
				}
			}
			d.crash(vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(101), RNG: rng})
			s = d.Open(t)
			l, err := s.Load(storagetest.A)
			storagetest.Must(t, err)
			first, end, err := s.HistoryBounds(storagetest.A)
			storagetest.Must(t, err)
			if l.LastIndex() != last || first > durable || first != 0 && end != 2000 {
				t.Fatalf("seed %d: the log ends at %d, want %d; history is %d to %d, %d was durable", seed, l.LastIndex(), last, first, end, durable)
			}
			if first == 0 {
				continue
			}
			past, err := s.ReadHistory(storagetest.A, first, 1<<30)
			storagetest.Must(t, err)
			if want := pastBefore(2000, int(2001-first)/2); !reflect.DeepEqual(want, past) { // cmp takes most of the test's time
				t.Fatalf("seed %d: history (-want +got):\n%s", seed, cmp.Diff(want, past))
			}
			// Marks that say that they are complete were put behind the last fill.
			if seqs, complete, err := s.ReadMarks(storagetest.A, 0, 1); err != nil || complete && (len(seqs) != 1 || seqs[0] != first) {
				t.Fatalf("seed %d: history begins at %d, marks say %d, %v", seed, first, seqs, err)
			}
		}
		d.close()
	}
}

// TestFillBesideWrites fills, writes, trims and reads at the same time.
func TestFillBesideWrites(t *testing.T) {
	d := newDisk(t)
	s := storagetest.Fresh(t, d)
	const old = 100 // what the member had before it was given a checkpoint, and is trimmed meanwhile
	before := &raftlog.Write{Group: storagetest.A, Sync: true, Entries: storagetest.Entries(2, slices.Repeat([]uint64{1}, old)...)}
	for seq := uint64(1); seq <= old; seq++ {
		before.History = append(before.History, storagetest.Record(seq, seq, seq+1))
	}
	storagetest.Must(t, s.Write([]*raftlog.Write{before}))
	giveCheckpoint(t, s)
	var wg sync.WaitGroup
	errs := make(chan error, 100)
	const writes = 150
	wg.Go(func() {
		for i := range uint64(writes) {
			index := 1002 + i
			ws := []*raftlog.Write{storagetest.Append(storagetest.A, index, 1), {Group: storagetest.A, History: []raftlog.Record{storagetest.Record(999+index, 999+index, index)}}}
			if err := s.Write(ws); err != nil {
				errs <- fmt.Errorf("write %d: %w", i, err)
				return
			}
		}
	})
	wg.Go(func() {
		for last := uint64(2000); last > 1000; last -= 20 {
			if err := s.FillHistory(storagetest.A, pastBefore(last, 10)); err != nil {
				errs <- fmt.Errorf("fill up to %d: %w", last, err)
				return
			}
		}
	})
	wg.Go(func() {
		for below := uint64(1); below <= old+1; below++ {
			if err := s.TrimHistory(storagetest.A, below); err != nil {
				errs <- fmt.Errorf("trim below %d: %w", below, err)
				return
			}
			if first, _, err := s.HistoryBounds(storagetest.A); first < below && first != 0 || err != nil {
				errs <- errors.Join(fmt.Errorf("trimmed below %d history begins at %d", below, first), err)
				return
			}
		}
	})
	wg.Go(func() {
		for range writes {
			first, last, err := s.HistoryBounds(storagetest.A)
			if err == nil && first > 0 {
				_, err = s.ReadHistoryBefore(storagetest.A, last+1, 1000)
			}
			if err != nil {
				errs <- fmt.Errorf("read before %d: %w", last+1, err)
				return
			}
		}
	})
	wg.Wait()
	close(errs)
	for err := range errs {
		t.Error(err)
	}
	if first, last, err := s.HistoryGap(storagetest.A, 2001+writes); first != 1 || last != 1000 || err != nil {
		t.Errorf("history lacks %d to %d, %v", first, last, err)
	}
	past, err := s.ReadHistory(storagetest.A, 1001, 1<<30)
	if want := 500 + writes; len(past) != want || err != nil {
		t.Errorf("%d records are there, want %d (%v)", len(past), want, err)
	}
	storagetest.Must(t, s.Close())
}
