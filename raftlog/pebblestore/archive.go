package pebblestore

import (
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/errors/oserror"
	"github.com/cockroachdb/pebble/v2"
	"github.com/heliosdb/metadata/raftlog"
)

// archive puts a checkpoint that was replaced, or was made of the past, among the archived
// ones, and returns those that are kept no more. Its file keeps its name.
func archive(b *pebble.Batch, st *groupState, d *raftlog.Descriptor) (dropped []raftlog.Descriptor, err error) {
	content, err := d.MarshalBinary()
	if err != nil {
		return nil, err
	}
	if st.archived, dropped = raftlog.Archive(st.archived, *d); st.isArchived(d.Index) {
		put(b, indexKey(d.Group, kindArchived, d.Index), content)
	}
	for _, o := range dropped {
		_ = b.Delete(indexKey(d.Group, kindArchived, o.Index), nil)
	}
	return dropped, nil
}

func (st *groupState) isArchived(index uint64) bool {
	return slices.ContainsFunc(st.archived, func(d raftlog.Descriptor) bool { return d.Index == index })
}

// Archived implements raftlog.Storage.
func (s *Store) Archived(g raftlog.GroupID) ([]raftlog.Descriptor, error) {
	st, err := s.group(g)
	if err != nil {
		return nil, err
	}
	return slices.Clone(st.archived), nil
}

// OpenArchived implements raftlog.Storage.
func (s *Store) OpenArchived(g raftlog.GroupID, index uint64) (raftlog.CheckpointReader, error) {
	st, err := s.group(g)
	if err != nil {
		return nil, err
	}
	at := slices.IndexFunc(st.archived, func(d raftlog.Descriptor) bool { return d.Index == index })
	if at < 0 {
		return nil, fmt.Errorf("pebblestore: group %d, index %d: %w", g, index, raftlog.ErrNoCheckpoint)
	}
	r, err := openFile(s.fs, s.checkpointPath(g, index))
	if oserror.IsNotExist(err) {
		return nil, s.missing(g, index)
	}
	if err != nil {
		return nil, err
	}
	if d := st.archived[at]; !r.desc.Equal(d) {
		return nil, errors.Join(r.otherThan(d), r.Close())
	}
	return r, nil
}

// missing says of a file that there should be that it is not there: it is damage, unless it
// was dropped just now.
func (s *Store) missing(g raftlog.GroupID, index uint64) error {
	if st, err := s.group(g); err != nil || !st.current(index) && !st.isArchived(index) {
		return errors.Join(err, fmt.Errorf("pebblestore: group %d, index %d: %w", g, index, raftlog.ErrNoCheckpoint))
	}
	return &raftlog.DamageError{Path: s.checkpointPath(g, index), Detail: "it is missing"}
}

// CreateArchived implements raftlog.Storage.
func (s *Store) CreateArchived(g raftlog.GroupID, d raftlog.Descriptor) (raftlog.CheckpointWriter, error) {
	return s.createArchived(g, d, &writer{past: true})
}

// CreateBase implements raftlog.Storage.
func (s *Store) CreateBase(g raftlog.GroupID, d raftlog.Descriptor) (raftlog.CheckpointWriter, error) {
	return s.createArchived(g, d, &writer{past: true, base: true})
}

func (s *Store) createArchived(g raftlog.GroupID, d raftlog.Descriptor, w *writer) (raftlog.CheckpointWriter, error) {
	if err := s.usable(); err != nil {
		return nil, err
	}
	st, err := s.group(g)
	if err != nil {
		return nil, err
	}
	if err := raftlog.FitArchived(d, st.checkpoints, st.archived); err != nil {
		return nil, err
	}
	return asWriter(s.newWriter(g, d, w))
}

// archive gives a finished file its name and makes it an archived one, in one step for what
// deletes files. Its record is durable when Commit has synced it; where one is dropped for it, at
// once: no crash may bring back the record of a file that is deleted.
func (w *writer) archive(d raftlog.Descriptor, final string) error {
	s := w.s
	s.writing.Lock()
	defer s.writing.Unlock()
	if err := s.usable(); err != nil {
		return err
	}
	st, err := s.group(d.Group)
	if err != nil {
		return err
	}
	if err := raftlog.FitArchived(d, st.checkpoints, st.archived); err != nil {
		return err
	}
	b := s.db.NewBatch()
	defer b.Close()
	after := *st
	dropped, err := archive(b, &after, &d)
	if err != nil {
		return err
	}
	if w.base {
		after.base = d.Index
	}
	s.own.Lock()
	defer s.own.Unlock()
	if err := s.filesFS.Rename(w.temp, final); err != nil {
		return err
	}
	how := pebble.NoSync
	if len(dropped) > 0 {
		how = pebble.Sync
	}
	if err := s.db.Apply(b, how); err != nil {
		return s.wrap(err)
	}
	s.setGroup(d.Group, &after)
	s.pruneCheckpoints(dropped...)
	return nil
}

// DropArchived implements raftlog.Storage.
func (s *Store) DropArchived(g raftlog.GroupID, index uint64) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	if err := s.usable(); err != nil {
		return err
	}
	st, err := s.group(g)
	if err != nil {
		return err
	}
	at := slices.IndexFunc(st.archived, func(d raftlog.Descriptor) bool { return d.Index == index })
	if at < 0 {
		return nil
	}
	if err := s.db.Delete(indexKey(g, kindArchived, index), pebble.Sync); err != nil {
		return s.wrap(err)
	}
	dropped, after := st.archived[at], *st
	after.archived = slices.Delete(slices.Clone(st.archived), at, at+1)
	s.setGroup(g, &after)
	s.pruneCheckpoints(dropped)
	return nil
}

// dropUnreadable deletes, at a start, the records of archived checkpoints whose files are
// damaged or gone: nothing but reads of the past needs them.
func (s *Store) dropUnreadable() error {
	for g, st := range s.groups {
		for _, d := range slices.Clone(st.archived) {
			err := s.verifyEnds(d)
			_, damaged := errors.AsType[*raftlog.DamageError](err)
			if err == nil {
				continue
			}
			if !damaged && !oserror.IsNotExist(err) {
				return err
			}
			s.opts.Logger.Warn("an archived checkpoint cannot be read and is deleted; reads of the past take longer without it",
				"of", s.opts.Name(g), "index", d.Index, "error", brief(errors.New(raftlog.Why(err))))
			if err := s.db.Delete(indexKey(g, kindArchived, d.Index), pebble.NoSync); err != nil {
				return s.wrap(err)
			}
			st.archived = slices.DeleteFunc(slices.Clone(st.archived), func(o raftlog.Descriptor) bool { return o.Index == d.Index })
		}
	}
	return nil
}

// verifyEnds checks that head and end of a file are there and are those of the one meant.
func (s *Store) verifyEnds(d raftlog.Descriptor) error {
	r, _, _, err := openEnds(s.fs, s.checkpointPath(d.Group, d.Index))
	if err != nil {
		return err
	}
	defer r.Close()
	if !r.desc.Equal(d) {
		return r.otherThan(d)
	}
	return nil
}
