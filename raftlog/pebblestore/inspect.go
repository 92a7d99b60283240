package pebblestore

import (
	"context"
	"errors"
	"fmt"
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
		case kindHard, kindStart:
			if len(key) == 2 {
				return nil
			}
		case kindCheckpoint, kindEntry, kindHistory:
			if len(key) == 10 {
				return nil
			}
		}
	}
	return s.damage("record %x is of no known kind or group", key)
}

// inspectFiles looks for checkpoint files that nothing points to. They are harmless: a
// start deletes them.
func (s *Store) inspectFiles() Part {
	p := Part{Name: "files"}
	names, err := s.fs.List(s.cpDir)
	if err != nil {
		p.Err = fmt.Errorf("pebblestore: %w", err)
		return p
	}
	current := map[string]bool{}
	for g, st := range s.groups {
		for _, d := range st.checkpoints {
			current[checkpointName(g, d.Index)] = true
		}
	}
	used, left := 0, 0
	for _, name := range names {
		if current[name] {
			used++
		} else {
			left++
		}
	}
	p.Holds = fmt.Sprintf("%d checkpoints, %d left over", used, left)
	return p
}
