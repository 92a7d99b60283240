package pebblestore

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// syncFS calls fatal on every failed sync of whatever file or directory. Pebble
// retries some of them, and a second sync that succeeds says nothing about the data
// of the first one. A quota that is used up is a full disk to whoever stands above.
type syncFS struct {
	vfs.FS
	fatal func(error)
}

func (fs syncFS) wrap(name string, f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, quota(err)
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

func (fs syncFS) Link(oldname, newname string) error { return quota(fs.FS.Link(oldname, newname)) }
func (fs syncFS) Rename(oldname, newname string) error {
	return quota(fs.FS.Rename(oldname, newname))
}

func (fs syncFS) MkdirAll(name string, mode os.FileMode) error {
	return quota(fs.FS.MkdirAll(name, mode))
}

// quota makes ENOSPC of EDQUOT: Pebble and what lives on the ballast know only that.
func quota(err error) error {
	if errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w, as by the quota: %s", syscall.ENOSPC, err.Error()) // Pebble follows one chain only
	}
	return err
}

func (fs syncFS) Unwrap() vfs.FS { return fs.FS }

type syncFile struct {
	vfs.File
	name  string
	fatal func(error)
}

func (f syncFile) Write(b []byte) (int, error) {
	n, err := f.File.Write(b)
	return n, quota(err)
}

func (f syncFile) WriteAt(b []byte, at int64) (int, error) {
	n, err := f.File.WriteAt(b, at)
	return n, quota(err)
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
