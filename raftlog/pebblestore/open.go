package pebblestore

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/cockroachdb/errors/oserror"
	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/heliosdb/metadata/raftlog"
)

// Settings that matter to the promises of the package, and defaults.
const (
	// FloorInterval is how long the last durable index in the floor may lag.
	FloorInterval = 100 * time.Millisecond
	// DefaultReserveBytes is kept free, on a disk of at least four times that, for what
	// has to be written to get out of trouble: Pebble ends the process when the disk is
	// full. A part of it is there for sure, see the file RESERVE.
	DefaultReserveBytes = 256 << 20
	// ExitSync is the exit code of the process after a failed sync.
	ExitSync = 70

	// Without cgo both are memory of the heap, and Pebble keeps two memtables: one that is
	// written to and one to use again. What is written is hardly ever read back, so that
	// larger ones win nothing.
	memTableBytes = 8 << 20
	cacheBytes    = 8 << 20
)

// Options of a Store. Zero values stand for the real file system, clock and process.
type Options struct {
	FS     vfs.FS
	Logger *slog.Logger
	// Name says what people call a group, "the schema stream"; by default "group 1".
	Name func(raftlog.GroupID) string
	// ReserveBytes is at which room on the disk Space says that none is free; 0 is
	// DefaultReserveBytes.
	ReserveBytes uint64
	// Quarantine opens a damaged directory condemned instead of refusing it: the caller
	// can have it rebuilt from other members.
	Quarantine bool
	// FloorTicks drives the floor instead of a timer of FloorInterval.
	FloorTicks <-chan time.Time
	// Fatal is called when a sync failed or Pebble gives up. It must not return; by
	// default it logs and ends the process with ExitSync.
	Fatal func(error)
}

// Store is a raftlog.Storage in a directory.
type Store struct {
	dir, dbDir, cpDir string
	opts              Options
	fs                vfs.FS // lives on the ballast when the disk is full
	filesFS           vfs.FS // for checkpoint files: they may not
	ballast           ballast
	lock              io.Closer
	db                *pebble.DB
	cache             *pebble.Cache

	// writing is held by what writes, through its syncs; mu for moments only, so that
	// readers never wait for a disk. What is below mu changes under both.
	writing  sync.Mutex
	next     map[raftlog.GroupID]*groupState // of prepare, made once; under writing alone
	floor    *floor
	mu       sync.Mutex
	mark     *mark // not nil: the directory is condemned
	filling  bool  // between BeginRebuild and EndRebuild
	identity *raftlog.Identity
	groups   map[raftlog.GroupID]*groupState // replaced, never changed but for durable
	closed   bool
	readOnly bool // opened by OpenReadOnly
	temps    int  // unfinished checkpoint files so far; under mu alone
	own      own

	reading sync.RWMutex   // shared by what reads history, so that Close can wait for it
	pruning sync.WaitGroup // deletions of replaced checkpoints; begun under writing

	stop chan struct{}
	done sync.WaitGroup
}

var _ raftlog.Storage = (*Store)(nil)

// Open opens a directory, which it creates if there is none. It returns a
// *raftlog.InUseError when another process has it open, a *raftlog.FormatError when a
// newer build wrote it, a *raftlog.DamageError when it cannot be trusted and a
// *raftlog.ShortError when it holds less than was promised: then no file of it was
// changed. With Options.Quarantine damage and loss condemn it instead; one that is
// condemned is opened so. Any other error says nothing about the contents: the disk
// cannot be read, is full, belongs to somebody else.
func Open(dir string, opts Options) (*Store, error) {
	opts = opts.withDefaults()
	s := &Store{opts: opts, ballast: ballast{fs: opts.FS}, groups: map[raftlog.GroupID]*groupState{}, stop: make(chan struct{}),
		next: map[raftlog.GroupID]*groupState{}}
	// A failed sync must not be tried again, so what tries again stands above.
	s.filesFS = syncFS{FS: opts.FS, fatal: opts.Fatal}
	s.fs = vfs.OnDiskFull(s.filesFS, s.ballast.release)
	s.dir, s.dbDir, s.cpDir = dir, opts.FS.PathJoin(dir, "db"), opts.FS.PathJoin(dir, "checkpoints")
	if err := s.open(); err != nil {
		_ = s.release() // the first error says why
		return nil, err
	}
	s.done.Go(s.raiseFloor)
	return s, nil
}

func (o Options) withDefaults() Options {
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Name == nil {
		o.Name = func(g raftlog.GroupID) string { return fmt.Sprintf("group %d", g) }
	}
	if o.Fatal == nil {
		o.Fatal = func(err error) {
			o.Logger.Error("storage cannot go on", "error", err)
			os.Exit(ExitSync)
		}
	}
	return o
}

func (s *Store) open() error {
	if err := makeDir(s.fs, s.dir); err != nil {
		return fmt.Errorf("pebblestore: %w", err)
	}
	if err := s.takeLock(); err != nil {
		return err
	}
	var err error
	if s.mark, err = s.readMark(); err != nil {
		return err
	}
	if s.mark != nil {
		s.identity = s.mark.identity
		s.openReserve()
		return s.openFloor()
	}
	err = s.openSound()
	_, damaged := errors.AsType[*raftlog.DamageError](err)
	_, short := errors.AsType[*raftlog.ShortError](err)
	if !damaged && !short || !s.opts.Quarantine {
		return err
	}
	s.opts.Logger.Error("the directory is damaged and goes into quarantine", "directory", s.dir, "error", raftlog.Why(err))
	_ = s.releaseDB() // it is damaged
	s.openReserve()
	s.groups = map[raftlog.GroupID]*groupState{}
	if floorErr := s.openFloor(); floorErr != nil {
		return floorErr
	}
	return s.writeMark(&mark{why: raftlog.Why(err), votes: s.votes(raftlog.VotesKnown), identity: s.identity})
}

// openSound opens a directory that is not condemned. It changes nothing before the logs, the
// floor, the entries and the ends of the checkpoint files were read and found sound: opening a database to write to it flushes what lies
// before a damaged place of its log and deletes what lies behind.
func (s *Store) openSound() error {
	floor, err := readFloor(s.fs, s.floorPath())
	if err != nil {
		return s.readError(err)
	}
	seen, err := s.look(floor)
	if err != nil {
		return err
	}
	s.openReserve()
	if err := s.openDirs(floor.lived()); err != nil {
		return err
	}
	if err := s.loadIdentity(); err != nil {
		return err
	}
	if err := s.matchFloor(floor); err != nil {
		return err
	}
	if err := s.loadGroups(); err != nil {
		return err
	}
	if err := s.adopt(seen); err != nil {
		return err
	}
	if err := s.promiseLoaded(); err != nil {
		return err
	}
	if err := s.dropUnreadable(); err != nil {
		return err
	}
	return s.removeOrphans()
}

// openDirs opens the database and makes what is not there yet; it makes no database
// where one has been.
func (s *Store) openDirs(lived bool) error {
	for _, dir := range []string{s.cpDir, s.dbDir} {
		if err := makeDir(s.fs, dir); err != nil {
			return fmt.Errorf("pebblestore: %w", err)
		}
	}
	return s.openDB(lived)
}

// makeDir creates a directory and those above it so that they survive a crash.
func makeDir(fs vfs.FS, path string) error {
	var changed []string // get a new entry
	for at := path; ; at = fs.PathDir(at) {
		if _, err := fs.Stat(at); err == nil || fs.PathDir(at) == at {
			break
		}
		changed = append(changed, fs.PathDir(at))
	}
	if err := fs.MkdirAll(path, 0o755); err != nil {
		return err
	}
	for _, dir := range changed {
		if err := syncDir(fs, dir); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) floorPath() string { return s.fs.PathJoin(s.dir, "FLOOR") }

// takeLock tells a lock that is held from a file that cannot be opened.
func (s *Store) takeLock() (err error) {
	s.lock, err = s.fs.Lock(s.fs.PathJoin(s.dir, "LOCK"))
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*fs.PathError](err); ok {
		return fmt.Errorf("pebblestore: %w", err)
	}
	return &raftlog.InUseError{Path: s.dir, Err: err}
}

// pebbleOptions is how the database is opened.
func (s *Store) pebbleOptions(lived bool) *pebble.Options {
	opts := &pebble.Options{
		FS: s.fs, Cache: s.cache, FormatMajorVersion: pebble.FormatNewest, MemTableSize: memTableBytes, ErrorIfNotExists: lived,
		ReadOnly: s.readOnly,
		Logger:   pebbleLogger{l: s.opts.Logger, fatal: s.opts.Fatal},
		// By default Pebble ends the process on damage; here the read that finds it fails.
		EventListener: &pebble.EventListener{DataCorruption: func(i pebble.DataCorruptionInfo) {
			s.opts.Logger.Error("damage found", "path", i.Path, "error", brief(i.Details))
		}},
	}
	opts.Experimental.SpanPolicyFunc = kindsApart
	return opts
}

func (s *Store) openDB(lived bool) error {
	s.cache = pebble.NewCache(cacheBytes)
	db, err := pebble.Open(s.dbDir, s.pebbleOptions(lived))
	if err != nil {
		return s.openError(err)
	}
	s.db = db
	if s.readOnly {
		return nil
	}
	// The write-ahead log of the Open that creates a store does not notice damage in
	// its middle; the next one does.
	if _, ok, err := s.get(memberKey(kindMarker)); err != nil || ok {
		return err
	}
	if err := db.Set(memberKey(kindMarker), seal(memberKey(kindMarker), words(uint64(raftlog.IdentityFormat))), pebble.Sync); err != nil {
		return s.wrap(err)
	}
	return s.wrap(db.Flush())
}

// get returns the verified content of a key, a copy.
func (s *Store) get(key []byte) ([]byte, bool, error) {
	value, closer, err := s.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, s.wrap(err)
	}
	defer closer.Close()
	content, err := unseal(key, value)
	if err != nil {
		return nil, false, s.damage("%v", err)
	}
	return append([]byte(nil), content...), true, nil
}

func (s *Store) loadIdentity() error {
	content, ok, err := s.get(memberKey(kindIdentity))
	if err != nil || !ok {
		return err
	}
	id := &raftlog.Identity{}
	if err := id.UnmarshalBinary(content); err != nil {
		if _, newer := errors.AsType[*raftlog.FormatError](err); newer {
			return err
		}
		return &raftlog.DamageError{Path: s.dbDir, Detail: "the identity cannot be read", Err: err}
	}
	s.identity = id
	if _, ok, err := s.get(memberKey(kindRebuild)); err != nil || !ok {
		return err
	}
	return s.damage("it was being rebuilt, but the file %s is gone", markName)
}

// checkFloor compares what kind of directory the floor and the store say this is.
func (s *Store) checkFloor(f *floor) error {
	switch {
	case s.identity == nil && f.lived():
		return s.damage("it is blank, but the floor file is not")
	case s.identity == nil:
		// Blank, or a bootstrap that did not get to its end.
		return s.expectNoFiles()
	case f == nil:
		return &raftlog.DamageError{Path: s.floorPath(), Detail: "it is missing"}
	}
	return nil
}

// matchFloor takes over a floor that matches, to write to it.
func (s *Store) matchFloor(f *floor) error {
	if err := s.checkFloor(f); err != nil || s.identity == nil {
		return err
	}
	s.floor = f
	torn := f.torn
	if err := f.open(s.fs); err != nil || !f.uneven {
		return err
	}
	if err := f.write(f.promises); err != nil {
		return err
	}
	if torn {
		s.opts.Logger.Warn("one of the two slots of the floor was bad, after a crash or by damage; it was written anew from the other one", "path", f.path)
	}
	return nil
}

// expectNoFiles refuses a blank database beside finished checkpoints.
func (s *Store) expectNoFiles() error {
	names, err := s.fs.List(s.cpDir)
	if err != nil && !oserror.IsNotExist(err) {
		return fmt.Errorf("pebblestore: %w", err)
	}
	for _, name := range names {
		if strings.HasSuffix(name, checkpointSuffix) {
			return s.damage("it is blank, but there is a checkpoint %s", name)
		}
	}
	return nil
}

// release lets go of what a failed open holds, or Close ends.
func (s *Store) release() error {
	err := s.releaseDB()
	if s.lock != nil {
		err = errors.Join(err, s.lock.Close())
	}
	return err
}

// releaseDB closes the database and the floor.
func (s *Store) releaseDB() error {
	var errs []error
	if s.db != nil {
		errs = append(errs, s.db.Close())
	}
	if s.cache != nil {
		s.cache.Unref()
	}
	if s.floor != nil && s.floor.file != nil {
		errs = append(errs, s.floor.file.Close())
	}
	s.db, s.cache, s.floor = nil, nil, nil
	return errors.Join(errs...)
}
