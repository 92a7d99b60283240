package pebblestore

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/cockroachdb/errors/oserror"
	"github.com/cockroachdb/pebble/v2"
	"github.com/heliosdb/metadata/raftlog"
)

// damagedName is the directory for what a rebuild sets aside.
const damagedName = "damaged"

// condemnedError needs mu or writing.
func (s *Store) condemnedError() error {
	return &raftlog.CondemnedError{Path: s.dir, Why: s.mark.why}
}

// available refuses what needs an open database.
func (s *Store) available() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return errClosed
	case s.readOnly:
		return errReadOnly
	case s.mark != nil && !s.filling:
		return s.condemnedError()
	}
	return nil
}

// usable refuses what needs a directory that is not condemned.
func (s *Store) usable() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return errClosed
	case s.mark != nil:
		return s.condemnedError()
	}
	return nil
}

// Condemned implements raftlog.Storage.
func (s *Store) Condemned() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mark == nil {
		return ""
	}
	return s.mark.why
}

// Condemn implements raftlog.Storage. The floor comes first: it has to know all that
// was promised before nothing else can be asked.
func (s *Store) Condemn(why string, votes raftlog.Votes) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	switch {
	case s.closed:
		return errClosed
	case s.readOnly:
		return errReadOnly
	case why == "":
		return errors.New("pebblestore: nothing is condemned without a reason")
	case s.mark != nil && s.mark.votes <= votes:
		return nil
	case s.mark != nil:
		m := *s.mark
		m.votes = votes
		return s.writeMark(&m)
	}
	if s.floor != nil {
		if err := s.writeDurable(); err != nil {
			return err
		}
	}
	return s.writeMark(&mark{why: why, votes: s.votes(votes), identity: s.identity})
}

// votes is what may be said of votes beside the floor as it is: without one they are
// unknown.
func (s *Store) votes(v raftlog.Votes) raftlog.Votes {
	if s.floor == nil {
		return raftlog.VotesUnknown
	}
	return v
}

// Promise implements raftlog.Storage.
func (s *Store) Promise(g raftlog.GroupID) (raftlog.Promise, bool) {
	s.writing.Lock()
	defer s.writing.Unlock()
	if s.floor == nil {
		return raftlog.Promise{}, false
	}
	p, known := s.floor.promises[g]
	return p, known && (s.mark == nil || s.mark.votes == raftlog.VotesKnown)
}

// openFloor takes from the floor of a condemned directory what can be trusted.
func (s *Store) openFloor() error {
	f, err := readFloor(s.fs, s.floorPath())
	if err != nil {
		if _, newer := errors.AsType[*raftlog.FormatError](err); newer {
			return err
		}
		s.opts.Logger.Error("what the member has promised is not known", "error", err)
	}
	s.floor = f
	return nil
}

// BeginRebuild implements raftlog.Storage. Each step can be repeated after a crash.
func (s *Store) BeginRebuild(id raftlog.Identity, groups []raftlog.GroupID, voters []uint64) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.reading.Lock()
	defer s.reading.Unlock()
	switch {
	case s.closed:
		return errClosed
	case s.readOnly:
		return errReadOnly
	case s.mark == nil:
		return fmt.Errorf("pebblestore: directory %s is not condemned: nothing has to be rebuilt", s.dir)
	}
	if err := id.Validate(); err != nil {
		return err
	}
	s.mu.Lock()
	s.filling, s.groups = false, map[raftlog.GroupID]*groupState{}
	s.mu.Unlock()
	s.own.forget()
	s.pruning.Wait()
	floor := s.floor // it stays as it is
	err := s.releaseDB()
	if floor != nil {
		floor.file = nil
	}
	s.floor = floor
	if err != nil {
		s.opts.Logger.Warn("damaged store closed", "directory", s.dbDir, "error", err)
	}
	if err := s.setAside(); err != nil {
		return fmt.Errorf("pebblestore: setting aside what is in %s: %w", s.dir, err)
	}
	return s.openEmpty(id, groups, voters)
}

// setAside moves what the directory held to damaged/, and deletes what an earlier
// rebuild that was not finished has written.
func (s *Store) setAside() error {
	damaged := s.fs.PathJoin(s.dir, damagedName)
	if !s.mark.rebuilding {
		if err := s.fs.RemoveAll(damaged); err != nil {
			return err
		}
		if err := makeDir(s.fs, damaged); err != nil {
			return err
		}
		m := *s.mark
		m.rebuilding = true
		if err := s.writeMark(&m); err != nil {
			return err
		}
	}
	for _, path := range []string{s.dbDir, s.cpDir} {
		if err := s.setDirAside(path, s.fs.PathJoin(damaged, s.fs.PathBase(path))); err != nil {
			return err
		}
	}
	return errors.Join(syncDir(s.fs, damaged), syncDir(s.fs, s.dir))
}

func (s *Store) setDirAside(from, to string) error {
	if _, err := s.fs.Stat(to); err == nil {
		return s.fs.RemoveAll(from)
	}
	if _, err := s.fs.Stat(from); oserror.IsNotExist(err) {
		return makeDir(s.fs, to)
	}
	if err := makeDir(s.fs, s.fs.PathDir(to)); err != nil {
		return err
	}
	return s.fs.Rename(from, to)
}

// openEmpty opens a new database with all groups at genesis.
func (s *Store) openEmpty(id raftlog.Identity, groups []raftlog.GroupID, voters []uint64) error {
	if err := s.openDirs(false); err != nil {
		return err
	}
	b := s.db.NewBatch()
	defer b.Close()
	states, err := genesis(b, id, groups, voters)
	if err != nil {
		return err
	}
	put(b, memberKey(kindRebuild), nil)
	if err := s.db.Apply(b, pebble.Sync); err != nil {
		return s.wrap(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.identity, s.groups, s.filling = &id, states, true
	return nil
}

// EndRebuild implements raftlog.Storage. The mark goes last.
func (s *Store) EndRebuild() error {
	s.writing.Lock()
	defer s.writing.Unlock()
	switch {
	case s.closed:
		return errClosed
	case !s.filling:
		return fmt.Errorf("pebblestore: directory %s is not being rebuilt: call BeginRebuild first", s.dir)
	}
	for _, g := range slices.Sorted(maps.Keys(s.groups)) {
		if s.floor == nil {
			break
		}
		if err := s.floor.promises[g].Covered(s.dir, g, s.groups[g].hard); err != nil {
			return err
		}
	}
	if err := s.db.Delete(memberKey(kindRebuild), pebble.Sync); err != nil {
		return s.wrap(err)
	}
	s.synced()
	promises := map[raftlog.GroupID]raftlog.Promise{}
	for g, st := range s.groups {
		promises[g] = st.durable
	}
	floor, err := createFloor(s.fs, s.floorPath(), promises)
	if err != nil {
		return err
	}
	s.floor = floor
	if err := errors.Join(s.fs.Remove(s.markPath()), syncDir(s.fs, s.dir)); err != nil {
		return fmt.Errorf("pebblestore: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mark, s.filling = nil, false
	return nil
}
