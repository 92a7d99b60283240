package fleet

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// sleeper runs a process that does nothing for longer than a test takes.
func sleeper(t *testing.T) *Process {
	t.Helper()
	binary, err := exec.LookPath("sleep")
	if err != nil {
		t.Fatal(err)
	}
	p, err := Run(Command{Binary: binary, Args: []string{"600"}, Log: filepath.Join(t.TempDir(), "log")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Kill() })
	return p
}

func TestProcessIsKilledEvenIfPaused(t *testing.T) {
	p := sleeper(t)
	if p.Ended() {
		t.Fatal("it has ended before it was killed")
	}
	if err := p.Pause(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(50 * time.Millisecond) // until it hears nothing any more
	if err := p.Stop(50 * time.Millisecond); err == nil {
		t.Error("a paused process heard that it should stop")
	}
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	if !p.Ended() {
		t.Error("it lives after it was killed")
	}
	if err := p.Kill(); err != nil {
		t.Errorf("killed twice: %v", err)
	}
}

func TestStopAndLog(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	p, err := Run(Command{Binary: "/bin/sh", Name: "other", Args: []string{"-c", "echo said by $0; sleep 600 & wait"}, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Kill() })
	for deadline := time.Now().Add(5 * time.Second); p.Said() == "" && time.Now().Before(deadline); {
		time.Sleep(5 * time.Millisecond)
	}
	if p.Said() != "said by other" {
		t.Errorf("it said %q", p.Said())
	}
	if err := p.Stop(5 * time.Second); err != nil {
		t.Error(err)
	}
}

func TestBinaryThatIsNotThere(t *testing.T) {
	dir := t.TempDir()
	_, err := Start(t.Context(), Options{Binary: filepath.Join(dir, "nothing"), Members: 1, Dir: dir})
	if err == nil || !strings.Contains(err.Error(), "starting member 1") {
		t.Errorf("error %v, want one that says which member does not start", err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestMemberThatEndsByItself(t *testing.T) {
	dir := t.TempDir()
	binary := filepath.Join(dir, "broken")
	if err := os.WriteFile(binary, []byte("#!/bin/sh\necho no disk >&2\nexit 3\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	home := t.TempDir()
	_, err := Start(t.Context(), Options{Binary: binary, Members: 1, Dir: home})
	if err == nil || !strings.Contains(err.Error(), "no disk") || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("error %v, want how it ended and what it said", err)
	}
	if left, _ := os.ReadDir(home); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestMembersDoNotInheritSettings(t *testing.T) {
	t.Setenv("HELIOSMETA_TLS_CERT", "x")
	for _, text := range ownEnvironment() {
		if strings.HasPrefix(text, "HELIOSMETA_") {
			t.Errorf("members get %s", text)
		}
	}
}
