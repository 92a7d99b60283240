package pebblestore_test

import (
	"sync"
	"testing"

	"github.com/heliosdb/metadata/raftlog"
	"github.com/heliosdb/metadata/raftlog/storagetest"
)

// TestReadersBesideClose checks that who reads while the store is closed gets an
// error at worst.
func TestReadersBesideClose(t *testing.T) {
	for range 8 {
		d := newDisk(t)
		s := storagetest.Fresh(t, d)
		w := &raftlog.Write{Group: storagetest.A, Sync: true}
		for seq := range uint64(200) {
			w.Entries = append(w.Entries, storagetest.Entries(seq+2, 1)...)
			w.History = append(w.History, storagetest.Record(seq+1, seq+1, seq+2))
		}
		storagetest.Must(t, s.Write([]*raftlog.Write{w}))
		var readers sync.WaitGroup
		var started sync.WaitGroup
		for range 4 {
			started.Add(1)
			readers.Go(func() {
				for n := 0; ; n++ {
					if _, err := s.ReadHistory(storagetest.A, 1, 1<<20); err != nil {
						return
					}
					if n == 0 {
						started.Done()
					}
				}
			})
		}
		started.Wait()
		storagetest.Must(t, s.Close())
		readers.Wait()
	}
}
