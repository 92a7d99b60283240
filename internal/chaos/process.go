package chaos

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"time"
)

const (
	stopWait = 25 * time.Second // for a process that was asked to stop
	killWait = 30 * time.Second // for one that was killed; a disk may have to answer first
	logTail  = 2 << 10          // bytes of a log that go into an error
)

// process is one run of the binary.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
	err  error         // how; after done
}

// startProcess runs the binary; what it prints is appended to a file.
func startProcess(binary, logFile string, args ...string) (*process, error) {
	f, err := os.OpenFile(logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer f.Close() // the process has its own
	p := &process{cmd: exec.Command(binary, args...), done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = f, f
	dieWithParent(p.cmd)
	started := make(chan error)
	go func() {
		// The parent that a child dies with is the thread that started it.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			p.err = p.cmd.Wait()
			close(p.done)
		}
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

func (p *process) wait(limit time.Duration) error {
	select {
	case <-p.done:
		return nil
	case <-time.After(limit):
		return fmt.Errorf("process %d does not end within %v", p.cmd.Process.Pid, limit)
	}
}

// signal sends a signal, unless the process has ended.
func (p *process) signal(s os.Signal) error {
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}

// member is a place in the cluster, whatever process fills it.
type member struct {
	index     int
	api, raft string
	disk      *disk
	logFile   string

	mu     sync.Mutex
	now    *process // nil before the first start
	doomed bool     // it may end by itself
	paused bool
}

// process returns the run of now; nil before the first start.
func (m *member) process() *process {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.now
}

// answers reports whether the process is there and not stopped.
func (m *member) answers() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.now != nil && !m.now.ended() && !m.paused
}

// kill ends the process as kill -9 does.
func (m *member) kill() error {
	p := m.process()
	if p == nil || p.ended() {
		return nil
	}
	m.doom(true)
	if err := p.signal(os.Kill); err != nil {
		return err
	}
	return p.wait(killWait)
}

// doom says whether the process may end from now on.
func (m *member) doom(doomed bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.doomed = doomed
}

// pause stops the process in its tracks, or lets it go on.
func (m *member) pause(stop bool) error {
	p := m.process()
	if p == nil || p.ended() {
		return nil
	}
	m.mu.Lock()
	m.paused = stop
	m.mu.Unlock()
	return pauseProcess(p, stop)
}

// lost returns how the process ended if it was not meant to; nil if all is well.
func (m *member) lost() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.now == nil || m.doomed || !m.now.ended() {
		return nil
	}
	return fmt.Errorf("member %d ended by itself (%v); its log ends with:\n%s", m.index+1, m.now.cmd.ProcessState, tail(m.logFile, logTail))
}

// tail returns the end of a file.
func tail(name string, limit int) string {
	b, err := os.ReadFile(name)
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(b[max(0, len(b)-limit):]))
}

// said returns what the member logged since the file had a size.
func (m *member) said(since int64) string {
	b, err := os.ReadFile(m.logFile)
	if err != nil || int64(len(b)) < since {
		return ""
	}
	return string(b[since:])
}

// logSize is the size of the log now.
func (m *member) logSize() int64 {
	info, err := os.Stat(m.logFile)
	if err != nil {
		return 0
	}
	return info.Size()
}
