package memstore

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/heliosdb/metadata/raftlog"
)

type fileKey struct {
	group raftlog.GroupID
	index uint64
}

// file is a finished checkpoint; it is immutable.
type file struct {
	desc   raftlog.Descriptor
	chunks [][]byte
}

// needed reports whether a Write that survives a crash has made the file current, or it is
// archived.
func (s *Store) needed(key fileKey) bool {
	there := func(d raftlog.Descriptor) bool { return d.Index == key.index }
	for _, m := range []map[raftlog.GroupID]*group{s.now, s.durable} {
		if g := m[key.group]; g != nil && (slices.ContainsFunc(g.checkpoints, there) || slices.ContainsFunc(g.archived, there)) {
			return true
		}
	}
	return false
}

// prune deletes finished files that newer ones have replaced since the start: a damaged
// one of before that was passed over replaces nothing.
func (s *Store) prune() {
	for key := range s.files {
		if key.index < s.now[key.group].replaced && !s.needed(key) {
			delete(s.files, key)
		}
	}
}

// CreateCheckpoint implements raftlog.Storage.
func (s *Store) CreateCheckpoint(g raftlog.GroupID, d raftlog.Descriptor) (raftlog.CheckpointWriter, error) {
	if s.Condemned() != "" {
		return nil, s.condemnedError()
	}
	return s.create(g, d, new(writer))
}

// StageCheckpoint implements raftlog.Storage.
func (s *Store) StageCheckpoint(g raftlog.GroupID, d raftlog.Descriptor) (raftlog.CheckpointWriter, error) {
	return s.create(g, d, &writer{want: &d})
}

func (s *Store) create(g raftlog.GroupID, d raftlog.Descriptor, w *writer) (raftlog.CheckpointWriter, error) {
	if err := s.begin(g, d, w); err != nil {
		return nil, err
	}
	return w, nil
}

// begin begins a file; w says what it is to become.
func (s *Store) begin(g raftlog.GroupID, d raftlog.Descriptor, w *writer) (err error) {
	w.s = s
	if err := w.room(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := s.group(g); err != nil {
		return err
	}
	if d.Group != g {
		return fmt.Errorf("memstore: a checkpoint of group %d is not for group %d", d.Group, g)
	}
	if w.enc, err = raftlog.NewFileEncoder(d); err != nil {
		return err
	}
	w.enc.Header()
	return nil
}

type writer struct {
	s      *Store
	enc    *raftlog.FileEncoder
	want   *raftlog.Descriptor
	past   bool // it becomes an archived one
	base   bool // history is to be trimmed behind it
	chunks [][]byte
	ended  bool
}

// room refuses a file on a full disk: a base has the reserve.
func (w *writer) room() error {
	if w.base {
		return w.s.reserved()
	}
	return w.s.room()
}

func (w *writer) WriteChunk(data []byte) error {
	if w.ended {
		return raftlog.ErrTransferDone
	}
	if err := w.room(); err != nil {
		return err
	}
	if _, err := w.enc.Frame(data); err != nil {
		return err
	}
	w.chunks = append(w.chunks, bytes.Clone(data))
	return nil
}

func (w *writer) Commit() (raftlog.Descriptor, error) {
	if w.ended {
		return raftlog.Descriptor{}, raftlog.ErrTransferDone
	}
	w.ended = true
	_, d := w.enc.Trailer()
	if w.want != nil && !w.want.Equal(d) {
		return d, &raftlog.DamageError{
			Path:   fmt.Sprintf("%s/checkpoint-%d-%d", w.s.name, d.Group, d.Index),
			Detail: fmt.Sprintf("%d bytes with hash %x were announced, %d with %x came", w.want.Bytes, w.want.Hash, d.Bytes, d.Hash),
		}
	}
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	if w.past {
		return d, w.archive(d)
	}
	if w.want != nil && d.Index <= w.s.own[d.Group] {
		return d, raftlog.ErrOvertaken
	}
	if err := w.s.trySync(); err != nil {
		return d, err
	}
	if w.want == nil {
		w.s.own[d.Group] = max(w.s.own[d.Group], d.Index)
	}
	delete(w.s.damaged, spot{checkpointSpot, d.Group, d.Index})
	w.s.files[fileKey{d.Group, d.Index}] = &file{desc: d, chunks: w.chunks}
	return d, nil
}

func (w *writer) Abort() error {
	w.ended, w.chunks = true, nil
	return nil
}

// OpenCheckpoint implements raftlog.Storage.
func (s *Store) OpenCheckpoint(g raftlog.GroupID, index uint64) (raftlog.CheckpointReader, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	gr, err := s.group(g)
	if err != nil {
		return nil, err
	}
	if f := s.files[fileKey{g, index}]; f != nil && !gr.isArchived(index) {
		return reader{f: f, s: s}, nil
	}
	if d := gr.checkpoints[0]; index == raftlog.GenesisIndex && d.Index == index {
		return reader{f: &file{desc: d}, s: s}, nil
	}
	return nil, fmt.Errorf("memstore: %s: group %d, index %d: %w", s.name, g, index, raftlog.ErrNoCheckpoint)
}

// reader keeps its file alive by itself.
type reader struct {
	f *file
	s *Store
}

func (r reader) Descriptor() raftlog.Descriptor { return r.f.desc }

func (r reader) ReadChunk(i uint32) ([]byte, error) {
	if i >= r.f.desc.Chunks {
		return nil, fmt.Errorf("memstore: checkpoint %d has %d chunks, there is no chunk %d", r.f.desc.Index, r.f.desc.Chunks, i)
	}
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	if err := r.s.damageAt(spot{checkpointSpot, r.f.desc.Group, r.f.desc.Index}); err != nil {
		return nil, err
	}
	return bytes.Clone(r.f.chunks[i]), nil
}

func (r reader) Close() error { return nil }

// Checkpoints implements raftlog.Storage.
func (s *Store) Checkpoints(id raftlog.GroupID) ([]raftlog.Descriptor, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g, err := s.group(id)
	if err != nil {
		return nil, err
	}
	return append([]raftlog.Descriptor(nil), g.checkpoints...), nil
}
