package measure

import (
	"syscall"
	"time"
)

// nap sleeps with the kernel's own precision, some 60 microseconds.
func nap(d time.Duration) {
	left := syscall.NsecToTimespec(int64(d))
	_ = syscall.Nanosleep(&left, nil) // who is woken early looks at the clock and sleeps again
}
