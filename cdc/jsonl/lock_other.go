//go:build !unix

package jsonl

import "os"

// lock does nothing: on this system, that no two processes have one file is up to the
// operator.
func lock(*os.File) error { return nil }
