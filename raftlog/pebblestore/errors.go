package pebblestore

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"syscall"

	cockroach "github.com/cockroachdb/errors"
	"github.com/cockroachdb/errors/oserror"
	"github.com/cockroachdb/pebble/v2"
	"github.com/heliosdb/metadata/raftlog"
)

// maxCause bounds what is repeated of an error of Pebble, in bytes.
const maxCause = 200

// surroundings returns an error of the operating system as one that says nothing about the
// contents of the directory, or nil. A missing file is not one: it was there. Only what
// this returns nil for can be damage.
func surroundings(path string, err error) error {
	number, ok := errors.AsType[syscall.Errno](err)
	if !ok || number == syscall.ENOENT {
		return nil
	}
	what, advice := "cannot be used", "see what is wrong there, and start again"
	switch number {
	case syscall.EIO:
		what, advice = "cannot be read", "the disk fails: see the system's log, replace it or repair its file system"
	case syscall.ENOSPC, syscall.EDQUOT:
		what, advice = "has no room", "make room on the disk or raise the quota, and start again"
	case syscall.EACCES, syscall.EPERM:
		what, advice = "may not be used", "give the files to the user that the member runs as, and start again"
	case syscall.EROFS:
		what, advice = "cannot be written to", "mount its file system for writing, and start again"
	case syscall.EMFILE, syscall.ENFILE:
		what, advice = "cannot be opened", "raise the limit of open files, and start again"
	case syscall.ENOMEM:
		what, advice = "cannot be opened", "give the process more memory, and start again"
	}
	return &surroundingsError{text: fmt.Sprintf("pebblestore: %s %s: %s: %s", path, what, brief(err), advice), number: number}
}

// surroundingsError has no damage in its chain, whoever took the error for some before.
type surroundingsError struct {
	text   string
	number syscall.Errno
}

func (e *surroundingsError) Error() string { return e.text }
func (e *surroundingsError) Unwrap() error { return e.number }

// readError passes on what was found by reading, unless the operating system is to blame.
func (s *Store) readError(err error) error {
	if other := surroundings(s.dir, err); other != nil {
		return other
	}
	return err
}

// unmarked are texts of Pebble's errors about contents that have no mark and no type.
var unmarked = []string{"object size mismatch", "invalid marker filename", "comparer name from file", "merger name from file"}

// corrupt reports whether an error is known to come from what is in the files, or from
// one that is not there.
func corrupt(err error) bool {
	return pebble.IsCorruptionError(err) || oserror.IsNotExist(err) ||
		errors.Is(err, pebble.ErrDBDoesNotExist) || errors.Is(err, pebble.ErrDBNotPristine) ||
		slices.ContainsFunc(unmarked, func(text string) bool { return strings.Contains(err.Error(), text) })
}

// openError tells a damaged store from surroundings in which none can be opened: a disk
// that cannot be read, files that belong to somebody else, a newer Pebble's store. Damage
// is only what is known as such.
func (s *Store) openError(err error) error {
	if other := surroundings(s.dir, err); other != nil {
		return other
	}
	if strings.Contains(err.Error(), "unknown format major version") { // it has no type
		return fmt.Errorf("pebblestore: %s was written by a newer build: upgrade this member: %w", s.dbDir, corruption{err})
	}
	detail := "it cannot be read"
	switch {
	case errors.Is(err, pebble.ErrDBDoesNotExist):
		detail = "its database is gone"
	case oserror.IsNotExist(err):
		detail = "it is missing"
	case !corrupt(err):
		return fmt.Errorf("pebblestore: %s cannot be opened: %w", s.dbDir, corruption{err})
	}
	return &raftlog.DamageError{Path: s.blamed(err), Detail: detail, Err: corruption{err}}
}

var (
	walNumber   = regexp.MustCompile(`replaying wal (\d+)`)
	manifest    = regexp.MustCompile(`MANIFEST-\d+`)
	tableNumber = regexp.MustCompile(`\b(?:file|table|L\d:) (\d{6,})\b`)
	ofOptions   = regexp.MustCompile(`invalid key=value|(?:comparer|merger) name from file|unknown option`)
)

// blamed returns the path of the file that an error of Pebble is about; that of the database
// if it does not tell.
func (s *Store) blamed(err error) string {
	var name string
	text := err.Error()
	details := strings.Join(cockroach.GetAllDetails(err), " ")
	switch {
	case walNumber.MatchString(details):
		name = number(walNumber.FindStringSubmatch(details)[1]) + ".log"
	case manifest.MatchString(text) && !strings.Contains(text, "(MANIFEST)"):
		name = manifest.FindString(text)
	case tableNumber.MatchString(text):
		name = tableNumber.FindStringSubmatch(text)[1] + ".sst"
	case ofOptions.MatchString(text):
		name = "OPTIONS"
	default:
		return s.dbDir
	}
	return s.fs.PathJoin(s.dbDir, name)
}

// number is as it stands in the name of a file.
func number(digits string) string { return fmt.Sprintf("%06s", digits) }

// wrap gives Pebble's errors their type.
func (s *Store) wrap(err error) error {
	if err == nil {
		return nil
	}
	if other := surroundings(s.dir, err); other != nil {
		return other
	}
	if pebble.IsCorruptionError(err) {
		return &raftlog.DamageError{Path: s.blamed(err), Detail: "it cannot be read", Err: corruption{err}}
	}
	return fmt.Errorf("pebblestore: %s: %w", s.dbDir, err)
}

// corruption is an error of Pebble on one short line, without what is not for people.
type corruption struct{ error }

func (e corruption) Error() string { return brief(e.error) }
func (e corruption) Unwrap() error { return e.error }

// brief is an error on one line of at most maxCause bytes.
func brief(err error) string {
	s := strings.Join(strings.Fields(strings.ReplaceAll(err.Error(), "<corruption detail carrier>", "")), " ")
	if len(s) <= maxCause {
		return s
	}
	return strings.ToValidUTF8(s[:maxCause-len("...")], "") + "..."
}

func (s *Store) damage(format string, args ...any) error {
	return &raftlog.DamageError{Path: s.dbDir, Detail: fmt.Sprintf(format, args...)}
}
