//go:build !linux

package fleet

import "errors"

var errNotLinux = errors.New("fleet: only Linux tells what a process uses in a way that is read here")

// ReadUsage is for Linux only.
func ReadUsage(int) (Usage, error) { return Usage{}, errNotLinux }

// DiskBytes is for Linux only.
func DiskBytes(string) (int64, error) { return 0, errNotLinux }
