//go:build linux

package chaos

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"unsafe"
)

// EXT4_IOC_SHUTDOWN and its flag to forget what is not on the device, the journal's end
// included.
const (
	ioctlShutdown  = 0x8004587d
	withoutJournal = 2
)

// shutDown makes a file system drop what was not synced and refuse everything until it is
// mounted again.
func shutDown(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	flag := uint32(withoutJournal)
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, dir.Fd(), ioctlShutdown, uintptr(unsafe.Pointer(&flag))); errno != 0 {
		return fmt.Errorf("shutting down the file system %s: %w", path, errno)
	}
	return nil
}

// dieWithParent makes a process that has not started yet end when this one is killed.
func dieWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
