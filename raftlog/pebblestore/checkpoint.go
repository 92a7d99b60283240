package pebblestore

import (
	"errors"
	"fmt"
	"math"
	"sync"

	"github.com/cockroachdb/errors/oserror"
	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/heliosdb/metadata/raftlog"
)

const (
	checkpointSuffix = ".checkpoint"
	tempSuffix       = ".tmp"

	// stepBytes of a file are handed to the disk at a time. All of a large one at its end
	// would have the log's syncs wait behind it.
	stepBytes = 1 << 20
)

func checkpointName(g raftlog.GroupID, index uint64) string {
	return fmt.Sprintf("%d-%d%s", g, index, checkpointSuffix)
}

func (s *Store) checkpointPath(g raftlog.GroupID, index uint64) string {
	return s.fs.PathJoin(s.cpDir, checkpointName(g, index))
}

// CreateCheckpoint implements raftlog.Storage.
func (s *Store) CreateCheckpoint(g raftlog.GroupID, d raftlog.Descriptor) (raftlog.CheckpointWriter, error) {
	if err := s.usable(); err != nil {
		return nil, err
	}
	return asWriter(s.newWriter(g, d, &writer{}))
}

// StageCheckpoint implements raftlog.Storage.
func (s *Store) StageCheckpoint(g raftlog.GroupID, d raftlog.Descriptor) (raftlog.CheckpointWriter, error) {
	return asWriter(s.newWriter(g, d, &writer{want: &d}))
}

// asWriter keeps an interface nil beside an error.
func asWriter(w *writer, err error) (raftlog.CheckpointWriter, error) {
	if err != nil {
		return nil, err
	}
	return w, nil
}

// newWriter begins a file; w says what it is to become.
func (s *Store) newWriter(g raftlog.GroupID, d raftlog.Descriptor, w *writer) (*writer, error) {
	if err := s.available(); err != nil {
		return nil, err
	}
	if _, err := s.group(g); err != nil {
		return nil, err
	}
	if d.Group != g {
		return nil, fmt.Errorf("pebblestore: a checkpoint of group %d is not for group %d", d.Group, g)
	}
	var err error
	if w.enc, err = raftlog.NewFileEncoder(d); err != nil {
		return nil, err
	}
	w.s = s
	if err := w.needRoom(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.temps++
	w.temp = fmt.Sprintf("%s.%d%s", s.checkpointPath(g, d.Index), s.temps, tempSuffix)
	s.mu.Unlock()
	f, err := s.filesFS.Create(w.temp, writeCategory)
	if err != nil {
		return nil, fmt.Errorf("pebblestore: %w", full(err))
	}
	w.file = vfs.NewSyncingFile(f, vfs.SyncingFileOptions{BytesPerSync: stepBytes, NoSyncOnClose: true})
	if err := w.write(w.enc.Header()); err != nil {
		return nil, err
	}
	return w, nil
}

// writer writes a checkpoint to a temporary name.
type writer struct {
	s    *Store
	enc  *raftlog.FileEncoder
	want *raftlog.Descriptor // what it has to become; nil for an own checkpoint
	past bool                // it becomes an archived one
	base bool                // history is to be trimmed behind it
	file vfs.File            // nil when ended
	temp string
	buf  []byte // of the chunk that is written, to be used again
}

// needRoom refuses a file on a full disk. Archived checkpoints make room for those of the log, and for
// one that lets history go.
func (w *writer) needRoom() error {
	switch {
	case w.base:
		return w.s.needRoomForBase()
	case w.past:
		return w.s.needRoom()
	}
	return w.s.needRoomForLog()
}

// write gives up on an error. It owns b: a file may change what it is given.
func (w *writer) write(b []byte) error {
	if _, err := w.file.Write(b); err != nil {
		return errors.Join(fmt.Errorf("pebblestore: write %s: %w", w.temp, full(err)), w.Abort())
	}
	return nil
}

func (w *writer) WriteChunk(data []byte) error {
	if w.file == nil {
		return raftlog.ErrTransferDone
	}
	if err := w.needRoom(); err != nil {
		return errors.Join(err, w.Abort())
	}
	frame, err := w.enc.Frame(data)
	if err != nil {
		return err
	}
	w.buf = append(append(w.buf[:0], frame[:]...), data...)
	return w.write(w.buf)
}

func (w *writer) Commit() (raftlog.Descriptor, error) {
	if w.file == nil {
		return raftlog.Descriptor{}, raftlog.ErrTransferDone
	}
	trailer, d := w.enc.Trailer()
	final := w.s.checkpointPath(d.Group, d.Index)
	if w.want != nil && !w.want.Equal(d) {
		err := &raftlog.DamageError{
			Path:   final,
			Detail: fmt.Sprintf("%d bytes with hash %x were announced, %d with %x came", w.want.Bytes, w.want.Hash, d.Bytes, d.Hash),
		}
		return d, errors.Join(err, w.Abort())
	}
	if err := w.write(trailer); err != nil {
		return d, err
	}
	err := errors.Join(w.file.Sync(), w.file.Close())
	w.file = nil
	switch {
	case err != nil:
	case w.past:
		err = w.archive(d, final)
	default:
		err = w.name(d, final)
	}
	if err != nil {
		return d, errors.Join(fmt.Errorf("pebblestore: %s: %w", final, full(err)), w.s.filesFS.Remove(w.temp))
	}
	if err := syncDir(w.s.filesFS, w.s.cpDir); err != nil {
		return d, fmt.Errorf("pebblestore: %s: %w", final, err)
	}
	if w.past {
		return d, w.s.wrap(w.s.db.LogData(nil, pebble.Sync))
	}
	return d, nil
}

// name gives the finished file its name. An own one is never replaced by another member's:
// a Write may be about to say, or has said, that it is current.
func (w *writer) name(d raftlog.Descriptor, final string) error {
	own := &w.s.own
	own.Lock()
	defer own.Unlock()
	if w.want == nil {
		own.newest[d.Group] = max(own.newest[d.Group], d.Index)
	} else if d.Index <= own.newest[d.Group] {
		return raftlog.ErrOvertaken
	}
	return w.s.filesFS.Rename(w.temp, final)
}

// own knows the index of each group's newest own checkpoint that was finished in this life.
// Finished files get and lose their names under its lock.
type own struct {
	sync.Mutex
	newest [math.MaxUint8 + 1]uint64 // by group
}

func (o *own) forget() {
	o.Lock()
	defer o.Unlock()
	clear(o.newest[:])
}

func (w *writer) Abort() error {
	if w.file == nil {
		return nil
	}
	err := errors.Join(w.file.Close(), w.s.fs.Remove(w.temp))
	w.file = nil
	return err
}

// OpenCheckpoint implements raftlog.Storage.
func (s *Store) OpenCheckpoint(g raftlog.GroupID, index uint64) (raftlog.CheckpointReader, error) {
	st, err := s.group(g)
	if err != nil {
		return nil, err
	}
	if first := st.checkpoints[0]; index == raftlog.GenesisIndex && first.Index == index {
		return &reader{desc: first}, nil
	}
	if st.pruned(index) || st.isArchived(index) {
		return nil, fmt.Errorf("pebblestore: group %d, index %d: %w", g, index, raftlog.ErrNoCheckpoint)
	}
	r, err := openFile(s.fs, s.checkpointPath(g, index))
	if oserror.IsNotExist(err) {
		return nil, s.missing(g, index)
	}
	if err != nil {
		return nil, err
	}
	return r, nil
}

// Checkpoints implements raftlog.Storage.
func (s *Store) Checkpoints(g raftlog.GroupID) ([]raftlog.Descriptor, error) {
	st, err := s.group(g)
	if err != nil {
		return nil, err
	}
	return append([]raftlog.Descriptor(nil), st.checkpoints...), nil
}

// verifyFile checks that the file of a record is there and is the one meant.
func (s *Store) verifyFile(d raftlog.Descriptor) error {
	if d.Index == raftlog.GenesisIndex {
		return nil
	}
	path := s.checkpointPath(d.Group, d.Index)
	r, err := openFile(s.fs, path)
	if err != nil {
		return err
	}
	defer r.Close()
	if !r.desc.Equal(d) {
		return r.otherThan(d)
	}
	return nil
}

// checkFiles refuses a Write whose checkpoint has no finished file.
func (s *Store) checkFiles(w *raftlog.Write) error {
	for _, d := range []*raftlog.Descriptor{w.Install, w.Checkpoint} {
		if d == nil {
			continue
		}
		if err := s.verifyFile(*d); err != nil {
			return fmt.Errorf("pebblestore: group %d has no finished checkpoint file for %d: %w", w.Group, d.Index, errors.Join(raftlog.ErrNoCheckpoint, err))
		}
	}
	return nil
}

// usableCheckpoints returns those a restart can begin from. A damaged one is passed
// over when there is another.
func (s *Store) usableCheckpoints(g raftlog.GroupID, st *groupState) ([]raftlog.Descriptor, error) {
	var out []raftlog.Descriptor
	var errs []error
	for _, d := range st.checkpoints {
		if d.Index < st.start.Index {
			continue
		}
		err := s.verifyFile(d)
		if _, newer := errors.AsType[*raftlog.FormatError](err); newer {
			return nil, err // damage would have it set aside
		}
		if other := surroundings(s.checkpointPath(g, d.Index), err); other != nil {
			return nil, other
		}
		if err != nil {
			s.opts.Logger.Error("checkpoint cannot be used", "of", s.opts.Name(g), "index", d.Index, "error", brief(errors.New(raftlog.Why(err))))
			errs = append(errs, err)
			continue
		}
		out = append(out, d)
	}
	if len(out) == 0 {
		return nil, &raftlog.DamageError{Path: s.cpDir, Detail: fmt.Sprintf("no checkpoint of %s can be used", s.opts.Name(g)), Err: errors.Join(errs...)}
	}
	return out, nil
}
