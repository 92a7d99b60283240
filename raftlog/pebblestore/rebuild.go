package pebblestore

import (
	"errors"

	"github.com/heliosdb/metadata/raftlog"
)

var errNoRebuild = errors.New("pebblestore: this build cannot rebuild a directory")

// Condemned implements raftlog.Storage.
func (s *Store) Condemned() string { return "" }

// Condemn implements raftlog.Storage.
func (s *Store) Condemn(string) error { return errNoRebuild }

// Promise implements raftlog.Storage.
func (s *Store) Promise(g raftlog.GroupID) (raftlog.Promise, bool) {
	s.writing.Lock()
	defer s.writing.Unlock()
	if s.floor == nil {
		return raftlog.Promise{}, false
	}
	p, ok := s.floor.promises[g]
	return raftlog.Promise{Last: p.last, Term: p.term, Vote: p.vote}, ok
}

// BeginRebuild implements raftlog.Storage.
func (s *Store) BeginRebuild(raftlog.Identity, []raftlog.GroupID, []uint64) error {
	return errNoRebuild
}

// EndRebuild implements raftlog.Storage.
func (s *Store) EndRebuild() error { return errNoRebuild }
