package pebblestore

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"github.com/cockroachdb/errors/oserror"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/heliosdb/metadata/raftlog"
)

var errReadOnly = errors.New("pebblestore: the directory was opened to be read only")

// OpenReadOnly opens the directory of a stopped member to look at it. Nothing in the
// directory changes, not even what an unclean stop left undone; what would change it is
// refused. It returns a *raftlog.InUseError when another process has it open. A directory that
// is blank or not there has no identity. A condemned one is opened as Open does. Of a
// damaged floor it makes nothing: Inspect tells, and Load does not compare.
func OpenReadOnly(dir string, opts Options) (*Store, error) {
	opts = opts.withDefaults()
	s := &Store{opts: opts, readOnly: true, groups: map[raftlog.GroupID]*groupState{}, stop: make(chan struct{})}
	s.filesFS = readOnlyFS{opts.FS}
	s.fs = s.filesFS
	s.dir, s.dbDir, s.cpDir = dir, opts.FS.PathJoin(dir, "db"), opts.FS.PathJoin(dir, "checkpoints")
	if err := s.openReadOnly(); err != nil {
		_ = s.release() // the first error says why
		return nil, err
	}
	return s, nil
}

func (s *Store) openReadOnly() error {
	if _, err := s.fs.Stat(s.dir); oserror.IsNotExist(err) {
		return nil
	}
	if err := s.takeLock(); err != nil {
		return err
	}
	var err error
	if s.mark, err = s.readMark(); err != nil {
		return err
	}
	if err := s.openFloor(); err != nil {
		return err
	}
	if s.mark != nil {
		s.identity = s.mark.identity
		return nil
	}
	if _, err := s.fs.Stat(s.dbDir); oserror.IsNotExist(err) {
		if s.floor.lived() {
			return &raftlog.DamageError{Path: s.dbDir, Detail: "it is missing"}
		}
		return s.expectNoFiles()
	}
	if err := s.openDB(true); err != nil {
		return err
	}
	if err := s.loadIdentity(); err != nil {
		return err
	}
	if s.identity == nil {
		if s.floor.lived() {
			return s.damage("it is blank, but the floor file is not")
		}
		return s.expectNoFiles()
	}
	return s.findGroups()
}

// findGroups loads all groups that the store has, whatever the floor says.
func (s *Store) findGroups() error {
	for g := 1; g < 256; g++ {
		id := raftlog.GroupID(g)
		_, stored, err := s.get(groupKey(id, kindStart))
		if err != nil {
			return err
		}
		if s.floor != nil && !stored {
			_, stored = s.floor.promises[id]
		}
		if !stored {
			continue
		}
		if s.groups[id], err = s.loadGroup(id); err != nil {
			return err
		}
	}
	return nil
}

// readOnlyFS refuses what changes a file system.
type readOnlyFS struct{ vfs.FS }

func refuse(op, path string) error { return &os.PathError{Op: op, Path: path, Err: syscall.EROFS} }

func (fs readOnlyFS) Create(name string, _ vfs.DiskWriteCategory) (vfs.File, error) {
	return nil, refuse("create", name)
}

func (fs readOnlyFS) OpenReadWrite(name string, _ vfs.DiskWriteCategory, _ ...vfs.OpenOption) (vfs.File, error) {
	return nil, refuse("open", name)
}

func (fs readOnlyFS) ReuseForWrite(_, name string, _ vfs.DiskWriteCategory) (vfs.File, error) {
	return nil, refuse("reuse", name)
}

func (fs readOnlyFS) Link(_, name string) error   { return refuse("link", name) }
func (fs readOnlyFS) Remove(name string) error    { return refuse("remove", name) }
func (fs readOnlyFS) RemoveAll(name string) error { return refuse("remove", name) }
func (fs readOnlyFS) Rename(_, name string) error { return refuse("rename", name) }
func (fs readOnlyFS) Unwrap() vfs.FS              { return fs.FS }

func (fs readOnlyFS) MkdirAll(name string, _ os.FileMode) error {
	_, err := fs.Stat(name)
	return err
}

// Lock makes no file: without one nobody holds the directory.
func (fs readOnlyFS) Lock(name string) (io.Closer, error) {
	if _, err := fs.Stat(name); oserror.IsNotExist(err) {
		return io.NopCloser(nil), nil
	}
	return fs.FS.Lock(name)
}

// Part is one part of a directory, and what Inspect found there.
type Part struct {
	Name    string // "floor", "reserve", "mark", "manifest", "options", "write-ahead log", "tables", "records" or "files"
	Holds   string // for people
	Warning string // what cannot be told from damage, or keeps no start away
	Err     error  // nil: sound
}

// Inspect verifies what Load and the reads of history and checkpoints do not: the floor
// file, what Pebble's own files say and leave unsaid, every block of every table, every
// record's checksum and kind, and what lies in the directory of the checkpoints. It wants
// a Store of OpenReadOnly.
func (s *Store) Inspect() []Part {
	parts := []Part{s.inspectFloor(), s.inspectReserve()}
	if s.mark != nil {
		parts = append(parts, Part{Name: "mark", Holds: s.mark.holds()})
	}
	if s.db == nil {
		return parts
	}
	return append(parts, s.inspectManifest(), s.inspectOptions(), s.inspectLogs(), s.inspectTables(), s.inspectRecords(), s.inspectFiles())
}

func (s *Store) inspectFloor() Part {
	p := Part{Name: "floor"}
	f, err := readFloor(s.fs, s.floorPath())
	switch {
	case err != nil:
		p.Err = err
	case f == nil && s.identity != nil:
		p.Err = &raftlog.DamageError{Path: s.floorPath(), Detail: "it is missing"}
	case f == nil:
		p.Holds = "nothing"
	default:
		p.Holds = fmt.Sprintf("promises for %d groups", len(f.promises))
		if f.torn {
			p.Warning = tornFloor
		}
	}
	return p
}
