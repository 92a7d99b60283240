package pebblestore

import (
	"errors"
	"fmt"
	"math"
	"sync"
	"syscall"

	"github.com/cockroachdb/errors/oserror"
	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/heliosdb/metadata/raftlog"
)

const (
	reserveName = "RESERVE"
	// maxBallast limits the part of the reserve that really takes room on the disk.
	maxBallast = 64 << 20
	// reserveShare of a disk is the largest default reserve: small disks exist.
	reserveShare = 4
	// baseShare of the reserve stays when a checkpoint is written behind which history is to be trimmed.
	// It is no less than the ballast.
	baseShare = 2
)

// ballast is a file that takes room for nothing, so that there is some when the disk is
// full: the first write that finds none deletes it and goes on. Whoever waits for that
// write waits for the deletion of one file and no longer.
type ballast struct {
	fs   vfs.FS // the one below everything else
	path string
	size uint64

	mu   sync.Mutex
	held uint64
}

// hold makes the file, or finds it. Not to have one is no error: the reserve is then
// what others leave of it.
func (b *ballast) hold() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.held != 0 || b.size == 0 {
		return
	}
	f, err := b.fs.OpenReadWrite(b.path, writeCategory)
	if err != nil {
		return
	}
	if err = f.Preallocate(0, int64(b.size)); errors.Is(err, syscall.EOPNOTSUPP) || errors.Is(err, syscall.ENOSYS) {
		err = fill(f, b.size)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		_ = b.fs.Remove(b.path) // what could not be had is not kept
		return
	}
	b.held = b.size
}

// fill writes zeros where room cannot be asked for.
func fill(f vfs.File, size uint64) error {
	block := make([]byte, 1<<20)
	for size > 0 {
		n, err := f.Write(block[:min(size, uint64(len(block)))])
		if err != nil {
			return err
		}
		size -= uint64(n)
	}
	return nil
}

// release gives the room back.
func (b *ballast) release() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.held != 0 && b.fs.Remove(b.path) == nil {
		b.held = 0
	}
}

func (b *ballast) bytes() uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.held
}

// openReserve settles how large the reserve is and takes hold of its ballast.
func (s *Store) openReserve() {
	usage, err := s.opts.FS.GetDiskUsage(s.dir)
	if s.opts.ReserveBytes == 0 {
		s.opts.ReserveBytes = DefaultReserveBytes
		if err == nil {
			s.opts.ReserveBytes = min(s.opts.ReserveBytes, usage.TotalBytes/reserveShare)
		}
	}
	s.ballast.path = s.opts.FS.PathJoin(s.dir, reserveName)
	s.ballast.size = min(s.opts.ReserveBytes/baseShare, maxBallast)
	_, missing := s.opts.FS.Stat(s.ballast.path)
	if missing == nil || err == nil && usage.AvailBytes > s.opts.ReserveBytes {
		s.ballast.hold()
	}
}

// room returns the bytes that are free above the reserve, and takes hold of the ballast
// again when the disk has room for it.
func (s *Store) room() (uint64, error) {
	free, err := s.roomAbove(s.opts.ReserveBytes)
	if err == nil && free > 0 && free < math.MaxUint64 && s.ballast.bytes() == 0 {
		s.ballast.hold()
	}
	return free, err
}

// roomAbove returns how much more than these bytes is free; math.MaxUint64 where nobody can tell.
func (s *Store) roomAbove(bytes uint64) (uint64, error) {
	usage, err := s.opts.FS.GetDiskUsage(s.dir)
	switch {
	case errors.Is(err, vfs.ErrUnsupported):
		return math.MaxUint64, nil
	case err != nil:
		return 0, fmt.Errorf("pebblestore: %w", err)
	}
	free := usage.AvailBytes + s.ballast.bytes()
	return free - min(free, bytes), nil
}

// needRoom refuses what is not worth the reserve.
func (s *Store) needRoom() error {
	if free, err := s.room(); err == nil && free == 0 {
		return s.fullError()
	}
	return nil
}

func (s *Store) fullError() error {
	return fmt.Errorf("pebblestore: %s: %w%s", s.dir, raftlog.ErrFull, s.sayAside())
}

// needRoomForBase is needRoom for what is worth a part of the reserve, as more is free afterwards.
func (s *Store) needRoomForBase() error {
	if _, err := s.roomWithoutPast(); err != nil {
		return err
	}
	if free, err := s.roomAbove(s.opts.ReserveBytes / baseShare); err == nil && free == 0 {
		return s.fullError()
	}
	return nil
}

// needRoomForLog is needRoom for what is worth more than archived checkpoints.
func (s *Store) needRoomForLog() error {
	if _, err := s.roomWithoutPast(); err != nil {
		return err
	}
	return s.needRoom()
}

// roomWithoutPast is room, once archived checkpoints have made some if that is needed.
func (s *Store) roomWithoutPast() (uint64, error) {
	for {
		free, err := s.room()
		if err != nil || free > 0 {
			return free, err
		}
		if dropped, err := s.thinArchives(); err != nil || !dropped {
			return 0, err
		}
	}
}

// thinArchives deletes an archived checkpoint of each group, as far as there are some that may
// go, and reports whether there were.
func (s *Store) thinArchives() (bool, error) {
	if s.available() != nil {
		return false, nil
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	if s.available() != nil {
		return false, nil
	}
	b := s.db.NewBatch()
	defer b.Close()
	changed := map[raftlog.GroupID]*groupState{}
	var dropped []raftlog.Descriptor
	for g, st := range s.groups {
		after := *st
		var of []raftlog.Descriptor
		if after.archived, of = raftlog.ThinArchive(st.archived, st.base); len(of) > 0 {
			_ = b.Delete(indexKey(g, kindArchived, of[0].Index), nil)
			changed[g], dropped = &after, append(dropped, of...)
		}
	}
	if len(dropped) == 0 {
		return false, nil
	}
	if err := s.db.Apply(b, pebble.Sync); err != nil {
		return false, s.wrap(err)
	}
	for g, st := range changed {
		s.setGroup(g, st)
	}
	s.opts.Logger.Warn("the disk is full up to its reserve: archived checkpoints are deleted, and reads of the past take longer", "deleted", len(dropped))
	return true, s.prune(dropped)
}

// sayAside names what could be deleted.
func (s *Store) sayAside() string {
	bytes, err := s.SetAside()
	if err != nil || bytes == 0 {
		return ""
	}
	return fmt.Sprintf(" (%s holds %d MiB that the last rebuild has set aside: they can be deleted)", s.fs.PathJoin(s.dir, damagedName), (bytes+1<<20-1)>>20)
}

// SetAside returns the bytes of what the last rebuild has set aside.
func (s *Store) SetAside() (uint64, error) {
	damaged := s.fs.PathJoin(s.dir, damagedName)
	used, err := s.bytesOf(s.fs.PathJoin(damaged, s.fs.PathBase(s.dbDir)), s.fs.PathJoin(damaged, s.fs.PathBase(s.cpDir)))
	if err != nil {
		return 0, fmt.Errorf("pebblestore: %w", err)
	}
	return used, nil
}

// full gives errors of a full disk their type.
func full(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return errors.Join(raftlog.ErrFull, err)
	}
	return err
}

// Space implements raftlog.Storage.
func (s *Store) Space() (free, used uint64, err error) {
	if free, err = s.roomWithoutPast(); err != nil {
		return 0, 0, err
	}
	if used, err = s.usedBytes(); err != nil {
		return 0, 0, fmt.Errorf("pebblestore: %w", err)
	}
	return free, used, nil
}

// usedBytes adds up the files of the directory.
func (s *Store) usedBytes() (uint64, error) {
	aside, err := s.SetAside()
	if err != nil {
		return 0, err
	}
	used, err := s.bytesOf(s.dir, s.dbDir, s.cpDir)
	return used + aside, err
}

// bytesOf adds up the files in these directories, but for the ballast.
func (s *Store) bytesOf(dirs ...string) (uint64, error) {
	var used uint64
	for _, dir := range dirs {
		names, err := s.fs.List(dir)
		if oserror.IsNotExist(err) {
			continue
		}
		if err != nil {
			return 0, err
		}
		for _, name := range names {
			info, err := s.fs.Stat(s.fs.PathJoin(dir, name))
			if oserror.IsNotExist(err) {
				continue // deleted since
			}
			if err != nil {
				return 0, err
			}
			if !info.IsDir() && name != reserveName {
				used += uint64(info.Size())
			}
		}
	}
	return used, nil
}
