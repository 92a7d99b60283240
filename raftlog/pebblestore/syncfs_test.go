package pebblestore_test

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/heliosdb/metadata/raftlog"
	"github.com/heliosdb/metadata/raftlog/pebblestore"
	"github.com/heliosdb/metadata/raftlog/storagetest"
)

var errBroken = errors.New("the disk is broken")

// brokenSync fails syncs of whatever has a part of a name, once armed.
type brokenSync struct {
	part  string
	armed atomic.Bool
}

func (b *brokenSync) String() string { return "broken sync" }

func (b *brokenSync) MaybeError(op errorfs.Op) error {
	switch op.Kind {
	case errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo:
		if b.armed.Load() && strings.Contains(op.Path, b.part) {
			return errBroken
		}
	}
	return nil
}

// TestSyncFailureIsFatal checks for every file and directory that a failed sync ends the
// process with a message that names it, and that nothing is acknowledged after it.
func TestSyncFailureIsFatal(t *testing.T) {
	vote := func(s *pebblestore.Store) error {
		return s.Write([]*raftlog.Write{storagetest.Append(storagetest.A, 2, 7)})
	}
	checkpoint := func(s *pebblestore.Store) error {
		w, err := s.CreateCheckpoint(storagetest.A, storagetest.Descriptor(storagetest.A, 2, 1))
		if err == nil {
			_, err = w.Commit()
		}
		return err
	}
	rebuild := func(s *pebblestore.Store) error {
		return s.BeginRebuild(storagetest.Identity(), []raftlog.GroupID{storagetest.A}, storagetest.Voters)
	}
	for _, test := range []struct {
		part string
		do   func(s *pebblestore.Store) error
	}{
		{".log", vote},
		{"FLOOR", vote},
		{"MANIFEST", rebuild},
		{"/data/db", rebuild},
		{".checkpoint.", checkpoint},
		{"/data/checkpoints", checkpoint},
		{"QUARANTINE", func(s *pebblestore.Store) error { return s.Condemn("again", raftlog.VotesKnown) }},
	} {
		t.Run(test.part, func(t *testing.T) {
			broken := &brokenSync{part: test.part}
			fatal := make(chan error, 64)
			s, err := pebblestore.Open(dir, pebblestore.Options{FS: errorfs.Wrap(vfs.NewMem(), broken), FloorTicks: make(chan time.Time), Fatal: func(err error) {
				fatal <- err
				<-t.Context().Done() // a process would be gone
			}})
			storagetest.Must(t, err)
			storagetest.Must(t, s.Bootstrap(storagetest.Identity(), []raftlog.GroupID{storagetest.A}, storagetest.Voters))
			_, _, err = s.HistoryBounds(storagetest.A)
			storagetest.Must(t, err)
			done := make(chan error, 1)
			if test.part == "MANIFEST" || test.part == "/data/db" {
				storagetest.Must(t, s.Condemn("damaged", raftlog.VotesKnown))
			}
			broken.armed.Store(true)
			go func() { done <- test.do(s) }()
			select {
			case err := <-fatal:
				if !errors.Is(err, errBroken) || !strings.Contains(err.Error(), test.part) || !strings.Contains(err.Error(), "sync of") {
					t.Fatalf("fatal error: %v", err)
				}
				// The one who writes hangs in its sync; readers do not wait for it.
				if s.Condemned() == "" {
					_, _, err = s.HistoryBounds(storagetest.A)
					storagetest.Must(t, err)
				}
			case err := <-done:
				t.Fatalf("%v was returned after a failed sync", err)
			}
		})
	}
}
