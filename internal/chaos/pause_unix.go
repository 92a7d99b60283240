//go:build unix

package chaos

import "syscall"

func pauseProcess(p *process, stop bool) error {
	if stop {
		return p.signal(syscall.SIGSTOP)
	}
	return p.signal(syscall.SIGCONT)
}
