package fleet

import (
	"os/exec"
	"syscall"
)

// tieToParent makes a process that has not started yet end when this one is killed, and
// deaf to the terminal.
func tieToParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}
