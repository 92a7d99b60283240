package memstore

import (
	"fmt"
	"maps"
	"slices"

	"github.com/heliosdb/metadata/raftlog"
)

func (s *Store) condemnedError() error {
	return &raftlog.CondemnedError{Path: s.name, Why: s.condemned}
}

// Condemned implements raftlog.Storage.
func (s *Store) Condemned() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.condemned
}

// Condemn implements raftlog.Storage.
func (s *Store) Condemn(why string, votes raftlog.Votes) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if why == "" {
		return fmt.Errorf("memstore: %s: nothing is condemned without a reason", s.name)
	}
	if s.condemned != "" {
		s.votes = min(s.votes, votes)
		return nil
	}
	if err := s.trySync(); err != nil {
		return err
	}
	s.raiseFloor()
	s.condemned, s.votes = why, votes
	return nil
}

// Promise implements raftlog.Storage.
func (s *Store) Promise(g raftlog.GroupID) (raftlog.Promise, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, ok := s.floors[g]
	if !ok || s.floorLost {
		return raftlog.Promise{}, false
	}
	return p, !s.torn && (s.condemned == "" || s.votes == raftlog.VotesKnown)
}

// BeginRebuild implements raftlog.Storage.
func (s *Store) BeginRebuild(id raftlog.Identity, groups []raftlog.GroupID, voters []uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.condemned == "" {
		return fmt.Errorf("memstore: %s is not condemned: nothing has to be rebuilt", s.name)
	}
	if err := id.Validate(); err != nil {
		return err
	}
	if err := s.trySync(); err != nil {
		return err
	}
	s.empty()
	if err := s.genesis(groups, voters); err != nil {
		return err
	}
	s.identity, s.rebuilding = &id, true
	return nil
}

// EndRebuild implements raftlog.Storage.
func (s *Store) EndRebuild() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.rebuilding {
		return fmt.Errorf("memstore: %s is not being rebuilt: call BeginRebuild first", s.name)
	}
	for _, id := range slices.Sorted(maps.Keys(s.floors)) {
		if g := s.now[id]; g != nil && !s.floorLost {
			if err := s.floors[id].Covered(s.name, id, g.hard); err != nil {
				return err
			}
		}
	}
	if err := s.trySync(); err != nil {
		return err
	}
	s.condemned, s.rebuilding, s.floorLost, s.torn = "", false, false, false
	clear(s.floors) // a lagging one does not lag here
	s.sync()
	return nil
}
