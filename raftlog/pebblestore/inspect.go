package pebblestore

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/heliosdb/metadata/raftlog"
)

// inspectTables reads each block of each table that is in use.
func (s *Store) inspectTables() Part {
	p := Part{Name: "tables"}
	levels, err := s.db.SSTables()
	if err != nil {
		p.Err = s.wrap(err)
		return p
	}
	files, bytes := 0, uint64(0)
	var errs []error
	for _, level := range levels {
		for _, table := range level {
			files++
			bytes += table.Size
			path := s.fs.PathJoin(s.dbDir, fmt.Sprintf("%06d.sst", table.FileNum))
			if err := s.inspectTable(path); err != nil {
				errs = append(errs, &raftlog.DamageError{Path: path, Detail: "a block cannot be read", Err: corruption{err}})
			}
		}
	}
	p.Holds, p.Err = fmt.Sprintf("%d files, %d bytes", files, bytes), errors.Join(errs...)
	return p
}

func (s *Store) inspectTable(path string) error {
	f, err := s.fs.Open(path)
	if err != nil {
		return err
	}
	readable, err := sstable.NewSimpleReadable(f)
	if err != nil {
		return errors.Join(err, f.Close())
	}
	opts := (&pebble.Options{FS: s.fs}).MakeReaderOptions()
	r, err := sstable.NewReader(context.Background(), readable, opts)
	if err != nil {
		return errors.Join(err, readable.Close())
	}
	return errors.Join(r.ValidateBlockChecksums(), r.Close())
}

// inspectRecords reads each record of the store, whosever it is.
func (s *Store) inspectRecords() Part {
	p := Part{Name: "records"}
	count, bytes := 0, 0
	p.Err = func() error {
		it, err := s.db.NewIter(nil)
		if err != nil {
			return s.wrap(err)
		}
		defer it.Close()
		for more := it.First(); more; more = it.Next() {
			value, err := it.ValueAndErr()
			if err != nil {
				return s.wrap(err)
			}
			if _, err := unseal(it.Key(), value); err != nil {
				return s.damage("%v", err)
			}
			if err := s.knownKey(it.Key()); err != nil {
				return err
			}
			count++
			bytes += len(value)
		}
		return s.wrap(it.Error())
	}()
	p.Holds = fmt.Sprintf("%d records, %d bytes", count, bytes)
	return p
}

// knownKey refuses keys that no code of this package writes.
func (s *Store) knownKey(key []byte) error {
	if len(key) == 2 && key[0] == 0 && strings.IndexByte(string([]byte{kindMarker, kindIdentity, kindRebuild}), key[1]) >= 0 {
		return nil
	}
	if len(key) >= 2 && s.groups[raftlog.GroupID(key[0])] != nil {
		switch key[1] {
		case kindHard, kindStart, kindHoles:
			if len(key) == 2 {
				return nil
			}
		case kindCheckpoint, kindArchived, kindEntry, kindHistory:
			if len(key) == 10 {
				return nil
			}
		case kindMark:
			if len(key) == 10 || len(key) == 18 {
				return nil
			}
		}
	}
	return s.damage("record %x is of no known kind or group", key)
}

// inspectFiles reads the archived checkpoints and looks for files that nothing points to.
// None of them is worth more than a warning: a start deletes what it cannot use.
func (s *Store) inspectFiles() Part {
	p := Part{Name: "files"}
	names, err := s.fs.List(s.cpDir)
	if err != nil {
		p.Err = fmt.Errorf("pebblestore: %w", err)
		return p
	}
	var warnings []string
	for _, g := range slices.Sorted(maps.Keys(s.groups)) {
		for _, d := range s.groups[g].archived {
			if err := s.inspectArchived(d); err != nil {
				warnings = append(warnings, brief(errors.New(raftlog.Why(err)))+"; no start needs this archived checkpoint, and reads of the past take longer without it: it can be deleted")
			}
		}
	}
	needed := s.neededFiles()
	current, archived, left := 0, 0, 0
	for _, name := range names {
		switch use, ok := needed[name]; {
		case !ok:
			left++
		case use == useArchived:
			archived++
		default:
			current++
		}
	}
	p.Holds = fmt.Sprintf("%d checkpoints, %d archived, %d left over", current, archived, left)
	p.Warning = strings.Join(warnings, "; ")
	return p
}

// inspectArchived reads every chunk of an archived checkpoint.
func (s *Store) inspectArchived(d raftlog.Descriptor) (err error) {
	r, err := s.OpenArchived(d.Group, d.Index)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	for i := range d.Chunks {
		if _, err := r.ReadChunk(i); err != nil {
			return err
		}
	}
	return nil
}
