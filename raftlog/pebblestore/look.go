package pebblestore

import (
	"errors"
	"maps"
	"slices"

	"github.com/cockroachdb/errors/oserror"
	"github.com/cockroachdb/pebble/v2"
	"github.com/heliosdb/metadata/raftlog"
)

// look reads all that a start needs and compares it with the floor, without changing a
// byte. It returns the groups with their logs. LOCK is held from before it until Close, so
// that what is opened to be written to afterwards is what was looked at.
func (s *Store) look(f *floor) (map[raftlog.GroupID]*groupState, error) {
	if _, err := s.opts.FS.Stat(s.dbDir); oserror.IsNotExist(err) {
		if f.lived() {
			return nil, &raftlog.DamageError{Path: s.dbDir, Detail: "its database is gone"}
		}
		return nil, s.expectNoFiles()
	}
	r := &Store{opts: s.opts, dir: s.dir, dbDir: s.dbDir, cpDir: s.cpDir, readOnly: true, groups: map[raftlog.GroupID]*groupState{}}
	r.filesFS = readOnlyFS{s.opts.FS}
	r.fs = r.filesFS
	err := r.lookAround(f)
	s.identity = r.identity // what is condemned has to say whose it is
	if err := r.releaseDB(); err != nil {
		s.opts.Logger.Warn("closing what was read", "directory", s.dbDir, "error", brief(err))
	}
	if errors.Is(err, errNoDatabase) {
		return nil, s.expectNoFiles()
	}
	return r.groups, err
}

// errNoDatabase says that a database was not made, or not to its end.
var errNoDatabase = errors.New("pebblestore: no database")

func (s *Store) lookAround(f *floor) error {
	if err := s.openDB(true); err != nil {
		if !f.lived() && errors.Is(err, pebble.ErrDBDoesNotExist) {
			return errNoDatabase
		}
		return err
	}
	if err := s.loadIdentity(); err != nil {
		return err
	}
	if err := s.checkFloor(f); err != nil || s.identity == nil {
		return err
	}
	s.floor = f
	defer func() { s.floor = nil }()
	if err := s.loadGroups(); err != nil {
		return err
	}
	for _, g := range slices.Sorted(maps.Keys(s.groups)) {
		st := s.groups[g]
		if st.short != nil {
			return st.short
		}
		var err error
		if st.loaded, err = s.loadLog(g, st); err != nil {
			return err
		}
	}
	return nil
}

// adopt keeps the logs that look has read, so that Load need not read them again. What is
// found now that the database is open to be written to must not be less.
func (s *Store) adopt(seen map[raftlog.GroupID]*groupState) error {
	for _, g := range slices.Sorted(maps.Keys(s.groups)) {
		st := s.groups[g]
		if st.short != nil {
			return st.short
		}
		if was := seen[g]; was != nil && was.start == st.start && was.last == st.last && was.hard == st.hard {
			st.loaded = was.loaded
		}
	}
	return nil
}
