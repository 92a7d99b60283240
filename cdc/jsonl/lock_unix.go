//go:build unix

package jsonl

import (
	"os"
	"syscall"
)

// lock locks a file until it is closed, or its process has ended.
func lock(file *os.File) error {
	return syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
}
