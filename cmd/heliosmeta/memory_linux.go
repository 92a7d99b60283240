package main

import "syscall"

// tmpfsMagic is the type of a file system in memory.
const tmpfsMagic = 0x01021994

// inMemory reports whether a directory's file system is in memory.
func inMemory(dir string) bool {
	var stat syscall.Statfs_t
	return syscall.Statfs(dir, &stat) == nil && int64(stat.Type) == tmpfsMagic //nolint:unconvert // the type differs by architecture
}
