package pebblestore_test

import (
	"testing"

	"github.com/heliosdb/metadata/raftlog"
	"github.com/heliosdb/metadata/raftlog/storagetest"
)

// TestLoadIsOfNow loads a log that Open has read, once as it was, and after writes as it is.
func TestLoadIsOfNow(t *testing.T) {
	d := newDisk(t)
	s := storagetest.Fresh(t, d)
	storagetest.Must(t, s.Write([]*raftlog.Write{storagetest.Append(storagetest.A, 2, 1, 1, 1)}))
	for _, written := range []bool{false, true} {
		d.close()
		storagetest.Must(t, d.try())
		last := uint64(4)
		if written {
			storagetest.Must(t, d.store.Write([]*raftlog.Write{storagetest.Append(storagetest.A, 3, 2)}))
			last = 3
		}
		for range 2 {
			l, err := d.store.Load(storagetest.A)
			storagetest.Must(t, err)
			if l.LastIndex() != last || len(l.Entries) != int(last-1) {
				t.Fatalf("written to: %t, the log ends at %d with %d entries, want %d", written, l.LastIndex(), len(l.Entries), last)
			}
			l.Entries = nil // it is the caller's
		}
	}
}
