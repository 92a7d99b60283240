package pebblestore

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/cockroachdb/errors/oserror"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/heliosdb/metadata/raftlog"
)

// The file QUARANTINE condemns the directory by being there, whatever is in it. It is
// text, for people:
//
//	format: 1
//	why: <one line>
//	state: condemned | rebuilding
//	votes: known | unknown
//	identity: <hex of raftlog.Identity's stored form>; left out when not known
//
// From "rebuilding" on, what the directory held is in damaged/, or on its way there.
// Votes are unknown unless the file says in so many words that they are known.
const (
	markName   = "QUARANTINE"
	markFormat = 1
	maxMark    = 64 << 10
	maxMarkWhy = 4 << 10

	stateCondemned  = "condemned"
	stateRebuilding = "rebuilding"
	votesKnown      = "known"
	votesUnknown    = "unknown"
)

// mark is the content of the file. It is immutable.
type mark struct {
	why        string
	rebuilding bool
	votes      raftlog.Votes
	identity   *raftlog.Identity
}

// holds is the mark in words: that it can be read says nothing of what it is about.
func (m *mark) holds() string {
	state := stateCondemned
	if m.rebuilding {
		state = stateRebuilding
	}
	return fmt.Sprintf("it can be read; it says that the directory is %s, because: %s", state, m.why)
}

func (s *Store) markPath() string { return s.fs.PathJoin(s.dir, markName) }

// readMark returns nil when the directory is not condemned. What it cannot make out in
// the file it leaves out; a *raftlog.FormatError if a newer build wrote it.
func (s *Store) readMark() (*mark, error) {
	f, err := s.fs.Open(s.markPath())
	if oserror.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("pebblestore: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxMark))
	if err != nil {
		s.opts.Logger.Error("file cannot be read", "path", s.markPath(), "error", err)
	}
	m := &mark{}
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(strings.TrimRight(line, "\n"), ": ")
		switch key {
		case "format":
			if n, err := strconv.ParseUint(value, 10, 32); err == nil && n > markFormat {
				return nil, &raftlog.FormatError{What: markName + " file", Have: uint32(n), Know: markFormat}
			}
		case "why":
			m.why = value
		case "state":
			m.rebuilding = value == stateRebuilding
		case "votes":
			if value == votesKnown {
				m.votes = raftlog.VotesKnown
			}
		case "identity":
			id := &raftlog.Identity{}
			if b, err := hex.DecodeString(value); err == nil && id.UnmarshalBinary(b) == nil {
				m.identity = id
			}
		}
	}
	if m.why == "" {
		m.why = "its file " + markName + " does not say why"
	}
	return m, nil
}

// writeMark condemns the directory, durably.
func (s *Store) writeMark(m *mark) error {
	why := strings.Join(strings.Fields(m.why), " ")
	m.why = strings.ToValidUTF8(why[:min(len(why), maxMarkWhy)], "")
	state, votes := stateCondemned, votesUnknown
	if m.rebuilding {
		state = stateRebuilding
	}
	if m.votes == raftlog.VotesKnown {
		votes = votesKnown
	}
	text := fmt.Sprintf("format: %d\nwhy: %s\nstate: %s\nvotes: %s\n", markFormat, m.why, state, votes)
	if m.identity != nil {
		b, err := m.identity.MarshalBinary()
		if err != nil {
			return err
		}
		text += "identity: " + hex.EncodeToString(b) + "\n"
	}
	if err := replaceFile(s.fs, s.markPath(), []byte(text)); err != nil {
		return fmt.Errorf("pebblestore: %s: %w", s.markPath(), err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mark = m
	return nil
}

// replaceFile gives a file new content in one durable step.
func replaceFile(fs vfs.FS, path string, content []byte) error {
	temp := path + tempSuffix
	f, err := fs.Create(temp, writeCategory)
	if err != nil {
		return err
	}
	if _, err := f.Write(content); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := fs.Rename(temp, path); err != nil {
		return err
	}
	return syncDir(fs, fs.PathDir(path))
}
