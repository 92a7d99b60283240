package pebblestore

import (
	"errors"
	"fmt"
	"strings"
	"syscall"

	"github.com/cockroachdb/errors/oserror"
	"github.com/cockroachdb/pebble/v2"
	"github.com/heliosdb/metadata/raftlog"
)

// openError tells a damaged store from surroundings in which none can be opened: files
// that belong to somebody else, a full disk, no room for more open files, and a newer
// Pebble's store.
func (s *Store) openError(err error) error {
	for _, other := range []error{
		syscall.EACCES, syscall.EPERM, syscall.EROFS, syscall.ENOSPC, syscall.EDQUOT, syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM,
	} {
		if errors.Is(err, other) {
			return fmt.Errorf("pebblestore: %s: %w", s.dbDir, err)
		}
	}
	if strings.Contains(err.Error(), "unknown format major version") { // it has no type
		return fmt.Errorf("pebblestore: %s was written by a newer build: upgrade this member: %w", s.dbDir, err)
	}
	detail := "it cannot be opened"
	switch {
	case errors.Is(err, pebble.ErrDBDoesNotExist):
		detail = "its database is gone"
	case oserror.IsNotExist(err):
		detail = "a file is missing"
	}
	return &raftlog.DamageError{Path: s.dbDir, Detail: detail, Err: corruption{err}}
}

// wrap gives Pebble's errors their type.
func (s *Store) wrap(err error) error {
	switch {
	case err == nil:
		return nil
	case pebble.IsCorruptionError(err):
		return &raftlog.DamageError{Path: s.dbDir, Detail: "the store is corrupt", Err: corruption{err}}
	}
	return fmt.Errorf("pebblestore: %s: %w", s.dbDir, err)
}

// corruption is an error of Pebble on one line, without what is not for people.
type corruption struct{ error }

func (e corruption) Error() string {
	return strings.Join(strings.Fields(strings.ReplaceAll(e.error.Error(), "<corruption detail carrier>", "")), " ")
}

func (e corruption) Unwrap() error { return e.error }

func (s *Store) damage(format string, args ...any) error {
	return &raftlog.DamageError{Path: s.dbDir, Detail: fmt.Sprintf(format, args...)}
}
