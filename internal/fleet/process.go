package fleet

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"
)

const (
	killWait = 30 * time.Second // for a process that was killed
	logTail  = 2 << 10          // bytes of a log that go into an error
)

// Process is one run of a program.
type Process struct {
	cmd  *exec.Cmd
	log  string
	done chan struct{} // closed when it has ended
}

// Command is what to run.
type Command struct {
	Binary string
	// Name is what the program is told that it is called; "": the binary.
	Name string
	Args []string
	Env  []string // nil: that of this process
	Log  string   // file to which its output is appended
}

// Run starts a program.
func Run(c Command) (*Process, error) {
	f, err := os.OpenFile(c.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer f.Close() // the process has its own
	p := &Process{cmd: exec.Command(c.Binary, c.Args...), log: c.Log, done: make(chan struct{})}
	if c.Name != "" {
		p.cmd.Args[0] = c.Name
	}
	p.cmd.Env, p.cmd.Stdout, p.cmd.Stderr = c.Env, f, f
	tieToParent(p.cmd)
	started := make(chan error)
	go func() {
		// The parent that a child dies with is the thread that started it.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			_ = p.cmd.Wait() // how it ended is in its state
			close(p.done)
		}
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

// PID is the process's id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Ended reports whether the process is over.
func (p *Process) Ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// Kill ends the process as kill -9 does. When it returns, the process is dead and its
// ports are closed.
func (p *Process) Kill() error {
	if p.Ended() {
		return nil
	}
	if err := p.signal(os.Kill); err != nil {
		return err
	}
	return p.wait(killWait)
}

// Stop asks the process to end, and waits until it has.
func (p *Process) Stop(limit time.Duration) error {
	if p.Ended() {
		return nil
	}
	if err := p.signal(os.Interrupt); err != nil {
		return err
	}
	return p.wait(limit)
}

// Pause stops the process in its tracks.
func (p *Process) Pause() error { return p.freeze(true) }

// Resume lets a paused process go on.
func (p *Process) Resume() error { return p.freeze(false) }

func (p *Process) wait(limit time.Duration) error {
	select {
	case <-p.done:
		return nil
	case <-time.After(limit):
		return fmt.Errorf("process %d does not end within %v", p.PID(), limit)
	}
}

// signal sends a signal, unless the process has ended.
func (p *Process) signal(s os.Signal) error {
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}

// Said is the end of what the process has printed.
func (p *Process) Said() string {
	b, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(b[max(0, len(b)-logTail):]))
}
