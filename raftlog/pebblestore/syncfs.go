package pebblestore

import (
	"fmt"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// syncFS calls fatal on every failed sync of whatever file or directory. Pebble
// retries some of them, and a second sync that succeeds says nothing about the data
// of the first one.
type syncFS struct {
	vfs.FS
	fatal func(error)
}

func (fs syncFS) wrap(name string, f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return syncFile{File: f, name: name, fatal: fs.fatal}, nil
}

func (fs syncFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := fs.FS.Create(name, c)
	return fs.wrap(name, f, err)
}

func (fs syncFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	f, err := fs.FS.OpenReadWrite(name, c, opts...)
	return fs.wrap(name, f, err)
}

func (fs syncFS) OpenDir(name string) (vfs.File, error) {
	f, err := fs.FS.OpenDir(name)
	return fs.wrap(name, f, err)
}

func (fs syncFS) ReuseForWrite(oldname, newname string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := fs.FS.ReuseForWrite(oldname, newname, c)
	return fs.wrap(newname, f, err)
}

func (fs syncFS) Unwrap() vfs.FS { return fs.FS }

type syncFile struct {
	vfs.File
	name  string
	fatal func(error)
}

func (f syncFile) check(err error) error {
	if err != nil {
		err = fmt.Errorf("pebblestore: sync of %s failed, what was written since the last one may be lost: %w", f.name, err)
		f.fatal(err)
	}
	return err
}

func (f syncFile) Sync() error     { return f.check(f.File.Sync()) }
func (f syncFile) SyncData() error { return f.check(f.File.SyncData()) }

func (f syncFile) SyncTo(length int64) (bool, error) {
	full, err := f.File.SyncTo(length)
	return full, f.check(err)
}
