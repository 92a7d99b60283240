package progress

import (
	"strings"
	"testing"
	"time"
)

// clock goes on by a step each time that it is read.
type clock struct {
	at   time.Time
	step time.Duration
}

func (c *clock) now() time.Time {
	c.at = c.at.Add(c.step)
	return c.at
}

func TestLinesEverySoOften(t *testing.T) {
	var out strings.Builder
	b := New(&out, false, (&clock{step: time.Second}).now)
	for done := range uint64(12) {
		b.Tell("schema", done*100, 2400)
	}
	want := "schema 400 of 2400 (17%), 100/s\nschema 900 of 2400 (38%), 100/s\n"
	if out.String() != want {
		t.Errorf("it says %q, want %q", out.String(), want)
	}
	b.Clear()
	if out.String() != want {
		t.Errorf("it clears what is no bar: %q", out.String())
	}
}

func TestShortWorkSaysNothing(t *testing.T) {
	for _, terminal := range []bool{false, true} {
		var out strings.Builder
		b := New(&out, terminal, (&clock{step: time.Millisecond}).now)
		for done := range uint64(20) {
			b.Tell("schema", done, 20)
		}
		b.Clear()
		if out.Len() > 0 {
			t.Errorf("terminal %t: it says %q", terminal, out.String())
		}
	}
}

func TestBarIsDrawnInPlace(t *testing.T) {
	var out strings.Builder
	b := New(&out, true, (&clock{step: 200 * time.Millisecond}).now)
	b.Tell("topology", 0, 1000)
	b.Tell("topology", 500, 1000)
	b.Tell("schema", 1000, 1000)
	b.Tell("schema", 0, 0)
	zeroth := "\r[" + strings.Repeat(" ", 30) + "] topology 0 of 1000 (0%), 0/s"
	first := "\r[" + strings.Repeat("=", 15) + strings.Repeat(" ", 15) + "] topology 500 of 1000 (50%), 2500/s"
	second := "\r[" + strings.Repeat("=", 30) + "] schema 1000 of 1000 (100%), 0/s"
	if !strings.HasPrefix(out.String(), zeroth+first+second) {
		t.Errorf("it draws %q", out.String())
	}
	b.Clear()
	lines := strings.Split(out.String(), "\r")
	if last, before := lines[len(lines)-2], strings.TrimRight(lines[len(lines)-3], " "); strings.TrimSpace(last) != "" || len(last) != len(before) {
		t.Errorf("it leaves %q", lines)
	}
}

// What was trimmed away is not done: the share is that of what there is to do.
func TestShareOfWhatIsThere(t *testing.T) {
	var out strings.Builder
	b := New(&out, false, (&clock{step: 5 * time.Second}).now)
	b.Tell("schema", 900, 1000)
	b.Tell("schema", 950, 1000)
	b.Tell("schema", 1000, 1000)
	b.Tell("topology", 7, 7)
	want := []string{"schema 900 of 1000 (0%)", "schema 950 of 1000 (50%)", "schema 1000 of 1000 (100%)", "topology 7 of 7 (100%)"}
	for i, line := range strings.Split(strings.TrimSpace(out.String()), "\n") {
		if !strings.HasPrefix(line, want[i]) {
			t.Errorf("it says %q, want %q", line, want[i])
		}
	}
}
