package pebblestore_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/heliosdb/metadata/raftlog/pebblestore"
	"github.com/heliosdb/metadata/raftlog/storagetest"
)

// TestBallastIsReal checks that the reserve takes room on a real disk, and takes it once.
func TestBallastIsReal(t *testing.T) {
	path := t.TempDir()
	for range 2 {
		s, err := pebblestore.Open(path, pebblestore.Options{ReserveBytes: 8 << 20})
		storagetest.Must(t, err)
		info, err := os.Stat(filepath.Join(path, "RESERVE"))
		storagetest.Must(t, err)
		if taken := info.Sys().(*syscall.Stat_t).Blocks * 512; taken < 4<<20 || taken > 5<<20 {
			t.Fatalf("the ballast takes %d bytes, want %d", taken, 4<<20)
		}
		storagetest.Must(t, s.Close())
	}
}
