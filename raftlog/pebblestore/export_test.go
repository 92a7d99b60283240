package pebblestore

import (
	"context"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/heliosdb/metadata/raftlog"
	"github.com/heliosdb/metadata/raftlog/storagetest"
)

// Damage implements storagetest.Disk: it flips a bit of each record in question.
func Damage(t *testing.T, s *Store, what storagetest.Damaged, at uint64) {
	t.Helper()
	kind := map[storagetest.Damaged]byte{
		storagetest.DamagedEntry: kindEntry, storagetest.DamagedRecord: kindHistory, storagetest.DamagedMarks: kindMark,
	}[what]
	flip(t, s.db, storagetest.A, kind, at)
}

func flip(t *testing.T, db *pebble.DB, g raftlog.GroupID, kind byte, at uint64) {
	t.Helper()
	it, err := db.NewIter(&pebble.IterOptions{LowerBound: indexKey(g, kind, at), UpperBound: indexKey(g, kind, at+1)})
	storagetest.Must(t, err)
	defer func() { storagetest.Must(t, it.Close()) }()
	found := false
	for more := it.First(); more; more = it.Next() {
		value := append([]byte(nil), it.Value()...)
		value[len(value)-1] ^= 0x10
		storagetest.Must(t, db.Set(it.Key(), value, pebble.NoSync))
		found = true
	}
	if !found {
		t.Fatalf("there is nothing of kind %c at %d to be damaged", kind, at)
	}
}

// Compact has Pebble rewrite everything.
func Compact(s *Store) error {
	return s.db.Compact(context.Background(), []byte{0}, []byte{0xff}, false)
}
