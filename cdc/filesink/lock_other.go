//go:build !unix

package filesink

import "os"

// lockFile only creates the file: on this system, that no two processes have one directory
// is up to the operator.
func lockFile(name string) (*os.File, error) {
	return os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
}
