package member

import (
	"context"
	"time"

	"github.com/heliosdb/metadata/raftlog"
)

// Writing a checkpoint of a large model is seconds of work beside the writes that clients
// wait for. After each chunk it rests for pauseFactor times as long as the chunk took, so
// that it has a fifth of one core at most; a chunk that took long because the machine is
// busy does not make it rest longer than maxPause, or it would never end.
const (
	pauseFactor = 4
	maxPause    = 8 * time.Millisecond
)

// pacedStore writes its checkpoints slowly.
type pacedStore struct {
	raftlog.Storage
	ctx context.Context // ends the pauses
}

func (s pacedStore) CreateCheckpoint(g raftlog.GroupID, d raftlog.Descriptor) (raftlog.CheckpointWriter, error) {
	return s.paced(s.Storage.CreateCheckpoint)(g, d)
}

func (s pacedStore) CreateArchived(g raftlog.GroupID, d raftlog.Descriptor) (raftlog.CheckpointWriter, error) {
	return s.paced(s.Storage.CreateArchived)(g, d)
}

func (s pacedStore) CreateBase(g raftlog.GroupID, d raftlog.Descriptor) (raftlog.CheckpointWriter, error) {
	return s.paced(s.Storage.CreateBase)(g, d)
}

// creator starts the file of a checkpoint.
type creator func(raftlog.GroupID, raftlog.Descriptor) (raftlog.CheckpointWriter, error)

func (s pacedStore) paced(create creator) creator {
	return func(g raftlog.GroupID, d raftlog.Descriptor) (raftlog.CheckpointWriter, error) {
		began := time.Now()
		w, err := create(g, d)
		if err != nil {
			return nil, err
		}
		return &pacedWriter{w, s.ctx, began}, nil
	}
}

type pacedWriter struct {
	raftlog.CheckpointWriter
	ctx   context.Context
	began time.Time // work on the next chunk
}

// WriteChunk returns when the pause is over: what is exported next is work too.
func (w *pacedWriter) WriteChunk(data []byte) error {
	if err := w.CheckpointWriter.WriteChunk(data); err != nil {
		return err
	}
	select {
	case <-time.After(min(pauseFactor*time.Since(w.began), maxPause)):
	case <-w.ctx.Done():
	}
	w.began = time.Now()
	return nil
}
