package jsonl

import (
	"errors"
	"fmt"
	"os"
)

// OpenLocked opens a file, creates it if there is none, and locks it until it is closed or
// the process has ended. It fails if another process has it.
func OpenLocked(name string, flags int) (*os.File, error) {
	file, err := os.OpenFile(name, flags|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := lock(file); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: another process has it, or it cannot be locked: %w", name, err), file.Close())
	}
	return file, nil
}
