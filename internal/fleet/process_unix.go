//go:build unix

package fleet

import "syscall"

func (p *Process) freeze(stop bool) error {
	if stop {
		return p.signal(syscall.SIGSTOP)
	}
	return p.signal(syscall.SIGCONT)
}
