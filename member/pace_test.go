package member

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/heliosdb/metadata/raftlog"
)

// slowStore takes its time for each chunk.
type slowStore struct {
	raftlog.Storage
	raftlog.CheckpointWriter
	took time.Duration
	err  error
}

func (s slowStore) CreateCheckpoint(raftlog.GroupID, raftlog.Descriptor) (raftlog.CheckpointWriter, error) {
	return s, s.err
}

func (s slowStore) CreateArchived(raftlog.GroupID, raftlog.Descriptor) (raftlog.CheckpointWriter, error) {
	return s, s.err
}

func (s slowStore) CreateBase(raftlog.GroupID, raftlog.Descriptor) (raftlog.CheckpointWriter, error) {
	return s, s.err
}

func (s slowStore) WriteChunk([]byte) error {
	time.Sleep(s.took)
	return s.err
}

func TestAfterEachChunkACheckpointRests(t *testing.T) {
	for took, want := range map[time.Duration]time.Duration{
		0:                      0,
		500 * time.Microsecond: 2500 * time.Microsecond,
		time.Millisecond:       5 * time.Millisecond,
		time.Second:            time.Second + maxPause, // on a busy machine
	} {
		synctest.Test(t, func(t *testing.T) {
			s := pacedStore{slowStore{took: took}, t.Context()}
			for what, create := range map[string]creator{"own": s.CreateCheckpoint, "of the past": s.CreateArchived, "base": s.CreateBase} {
				w, err := create(1, raftlog.Descriptor{})
				if err != nil {
					t.Fatal(err)
				}
				for range 3 {
					began := time.Now()
					if err := w.WriteChunk(nil); err != nil || time.Since(began) != want {
						t.Errorf("a chunk of %v, %s: %v, after %v, want %v", took, what, err, time.Since(began), want)
					}
				}
			}
		})
	}
}

func TestPausesOfACheckpointEndWithItsStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		w, err := pacedStore{slowStore{took: time.Second}, ctx}.CreateCheckpoint(1, raftlog.Descriptor{})
		if err != nil {
			t.Fatal(err)
		}
		cancel()
		began := time.Now()
		if err := w.WriteChunk(nil); err != nil || time.Since(began) != time.Second {
			t.Errorf("%v, after %v", err, time.Since(began))
		}
	})
}

func TestAFailedChunkOfACheckpointIsReported(t *testing.T) {
	broken := errors.New("broken")
	if _, err := (pacedStore{slowStore{err: broken}, t.Context()}).CreateCheckpoint(1, raftlog.Descriptor{}); !errors.Is(err, broken) {
		t.Errorf("created: %v", err)
	}
	if err := (&pacedWriter{slowStore{err: broken}, t.Context(), time.Now()}).WriteChunk(nil); !errors.Is(err, broken) {
		t.Errorf("written: %v", err)
	}
}
