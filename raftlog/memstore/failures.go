package memstore

import (
	"errors"
	"fmt"

	"github.com/heliosdb/metadata/raftlog"
)

// ErrSync is what a failed sync returns, and everything after it until Crash.
var ErrSync = errors.New("the disk did not take a sync")

func (s *Store) syncError() error { return fmt.Errorf("memstore: %s: %w", s.name, ErrSync) }

// FailNextSync makes the next sync fail. From then on every Write and every other sync
// fails, Close included, and Crash decides what of the unsynced Write calls, the failed one
// among them, is there: the member has to end, as a real process does.
func (s *Store) FailNextSync() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failSync = true
}

// trySync fails if a sync fails now or has failed.
func (s *Store) trySync() error {
	if s.failSync {
		s.failSync, s.broken = false, true
	}
	if s.broken {
		return s.syncError()
	}
	return nil
}

// SetFree sets what Space reports as free. At 0 the reserve is reached: Writes are still
// taken, checkpoint files are not (raftlog.ErrFull), but for that of a base.
func (s *Store) SetFree(bytes uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.free = bytes
}

// SetFull fills the disk to its last byte, reserve included, or makes room again. While
// it is full Write stores nothing and fails with raftlog.ErrFull; nothing stored before is
// lost. The member has to end, as a real process does.
func (s *Store) SetFull(full bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.full = full
}

// room refuses checkpoint files on a full disk.
func (s *Store) room() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.full || s.free == 0 {
		return fmt.Errorf("memstore: %s: %w", s.name, raftlog.ErrFull)
	}
	return nil
}

// reserved refuses what may use the reserve when that is used up too.
func (s *Store) reserved() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.full {
		return fmt.Errorf("memstore: %s: %w", s.name, raftlog.ErrFull)
	}
	return nil
}

// LagFloor makes the floor as lazy as a real one's: term and vote are in it when Write
// returns, the last durable index follows with RaiseFloor, Condemn and Close only. By default
// it follows with each sync.
func (s *Store) LagFloor(lag bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lag = lag
}

// RaiseFloor lets a lagging floor follow, as a real one does within
// pebblestore.FloorInterval.
func (s *Store) RaiseFloor() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.broken {
		s.raiseFloor()
	}
}

func (s *Store) raiseFloor() {
	if s.condemned != "" {
		return
	}
	for id, g := range s.durable {
		if !s.short[id] {
			s.floors[id] = raftlog.Promise{Last: g.last(), Term: g.hard.Term, Vote: g.hard.Vote}
		}
	}
	s.torn = false
}

// floorWrite is what a crash leaves of a write of the floor.
type floorWrite uint8

const (
	wholeFloor floorWrite = iota
	noFloor
	tornFloor
)

// CrashBeforeFloor has the next synced Write end, as by a crash, when its data is durable and
// the floor that goes with it is not; torn: half of it. Nobody may hear of that Write. A torn
// floor says what it said before, but nobody can know whether that was all (Promise), until
// RaiseFloor, which a start calls, has written it anew.
func (s *Store) CrashBeforeFloor(torn bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cutShort = noFloor
	if torn {
		s.cutShort = tornFloor
	}
}

// crashInFloor reports whether the floor does not follow this time.
func (s *Store) crashInFloor() bool {
	cut := s.cutShort
	s.cutShort = wholeFloor
	s.torn = s.torn || cut == tornFloor
	return cut != wholeFloor
}
