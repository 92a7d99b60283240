package export

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// Create creates a file that write fills. It has another name until it is complete and
// synced, so that a crash or an error leaves no half of it under path. It replaces
// nothing: a file of that name is an error, also one that appears meanwhile, where the file system has links. Only its owner may read it, as a history says
// more than what is true now.
func Create(path string, write func(io.Writer) error) error {
	switch _, err := os.Lstat(path); {
	case err == nil:
		return exists(path)
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.tmp")
	if err != nil {
		return err
	}
	err = fill(f, write)
	if closing := f.Close(); err == nil {
		err = closing
	}
	if err == nil {
		err = place(f.Name(), path)
	}
	if removing := os.Remove(f.Name()); !errors.Is(removing, fs.ErrNotExist) {
		err = errors.Join(err, removing)
	}
	if err != nil {
		return err
	}
	return syncDirectory(filepath.Dir(path))
}

// place gives a file its name beside or instead of the one that it has. A link replaces nothing, but not
// every file system has links.
func place(from, path string) error {
	switch err := os.Link(from, path); {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrExist):
		return exists(path)
	}
	return os.Rename(from, path)
}

func exists(path string) error {
	return fmt.Errorf("cannot create %s: there is such a file; remove it or choose another name", path)
}

// fill writes a file and makes its content durable.
func fill(f *os.File, write func(io.Writer) error) error {
	buffered := bufio.NewWriterSize(f, BlockBytes)
	if err := write(buffered); err != nil {
		return err
	}
	if err := buffered.Flush(); err != nil {
		return err
	}
	return f.Sync()
}

// syncDirectory makes names durable where a system has that.
func syncDirectory(path string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Open opens the export in a file, as [Read] does.
func Open(path string) (*File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is no regular file", path)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	opened, err := Read(f, info.Size())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), f.Close())
	}
	opened.close = f.Close
	return opened, nil
}
