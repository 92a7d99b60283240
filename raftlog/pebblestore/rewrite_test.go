package pebblestore

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/heliosdb/metadata/raftlog"
)

// TestTheLogIsRewrittenOnce holds Pebble to compacting each entry once, on its way out
// of level 0, however long the log gets.
func TestTheLogIsRewrittenOnce(t *testing.T) {
	s, index, data := benchStore(t), raftlog.GenesisIndex, make([]byte, 16<<10)
	_, _ = rand.NewChaCha8([32]byte{}).Read(data) // what does not compress
	for range 60 {
		for range 8 {
			index++
			if err := s.Write([]*raftlog.Write{typicalWrite(index, data)}); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.db.Flush(); err != nil {
			t.Fatal(err)
		}
		compacted(s.db)
	}
	m := s.db.Metrics()
	var flushed, rewritten uint64
	for _, level := range m.Levels {
		flushed += level.TableBytesFlushed
		rewritten += level.TableBytesCompacted
	}
	if m.Compact.Count == 0 || rewritten > flushed+flushed/4 {
		t.Errorf("%d bytes were flushed, and %d rewritten in %d compactions; about once was expected", flushed, rewritten, m.Compact.Count)
	}
}

// compacted returns when no compaction is under way.
func compacted(db *pebble.DB) {
	for db.Metrics().Compact.NumInProgress > 0 {
		time.Sleep(time.Millisecond)
	}
}
