package past

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/history"
	"github.com/heliosdb/metadata/history/export"
)

// archiveName is the name of the file in the directory of an imported history.
const archiveName = "history.export"

// OpenData opens a directory: that of a stopped member, or one that Import has made.
func OpenData(path string) (Past, error) {
	name := filepath.Join(path, archiveName)
	switch _, err := os.Stat(name); {
	case err == nil:
		return OpenFile(name)
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	return OpenDirectory(path)
}

// Import verifies a file and puts its history into a directory, which has to be empty or not
// there: the file itself, for OpenData, and for each stream the changes as lines of JSON, for
// other programs. It is no member's directory. Errors are those of Verify; then there is
// nothing in the directory.
func Import(ctx context.Context, f *File, path string, progress export.Progress) (files []string, err error) {
	if err := makeEmpty(path); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			for _, name := range files {
				err = errors.Join(err, os.Remove(name))
			}
			files = nil
		}
	}()
	if _, err := f.export.Verify(ctx, progress); err != nil {
		return nil, err
	}
	write := func(base string, fill func(io.Writer) error) error {
		name := filepath.Join(path, base)
		if err := export.Create(name, fill); err != nil {
			return err
		}
		files = append(files, name)
		return nil
	}
	for _, source := range f.export.Sources() {
		base := events.StreamName(source.Origin().Stream) + ".jsonl"
		err := write(base, func(to io.Writer) error { return export.WriteJSON(ctx, to, []history.Source{source}, progress) })
		if err != nil {
			return files, err
		}
	}
	return files, write(archiveName, func(to io.Writer) error { return copyFile(to, f.name) })
}

// makeEmpty makes a directory, or sees to it that one is empty.
func makeEmpty(path string) error {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return err
	}
	found, err := os.ReadDir(path)
	if err == nil && len(found) > 0 {
		err = fmt.Errorf("%s is not empty (it has %s): name another directory", path, found[0].Name())
	}
	return err
}

func copyFile(to io.Writer, name string) error {
	from, err := os.Open(name)
	if err != nil {
		return err
	}
	_, err = io.Copy(to, from)
	return errors.Join(err, from.Close())
}
