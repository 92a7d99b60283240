package chaos

import (
	"context"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A short run of what needs no root, so that the long one does not rot.
func TestAShortRunFindsNothing(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "heliosmeta")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "github.com/heliosdb/metadata/cmd/heliosmeta")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	dir := t.TempDir()
	var told strings.Builder
	// The context has to outlive t.Context, which ends before what is cleaned up.
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	report, err := Run(ctx, Options{
		Binary: binary, Dir: dir, Duration: 5 * time.Second, Seed: 1, Lease: 2 * time.Second, Log: &told,
		Kinds: []string{"kill-leader", "restart-leader", "link-cut", "flaps"},
	})
	if err != nil {
		t.Fatalf("%v\n%s", err, &told)
	}
	if len(report.Violations) > 0 {
		for i := range members {
			t.Logf("member %d said:\n%s", i+1, tail(filepath.Join(dir, "member-"+string(rune('1'+i))+".log"), 4*logTail))
		}
		t.Fatalf("%d violations:\n%s", len(report.Violations), &told)
	}
	if report.Operations < 300 || report.Changes < 100 || report.Frames < 50 || report.CachedReads < 50 || len(report.Checked) < 2 {
		t.Errorf("judged too little: %+v\n%s", report, &told)
	}
	if len(report.Faults) < 3 {
		t.Errorf("only %d faults:\n%s", len(report.Faults), &told)
	}
	for _, u := range report.Kinds {
		if u.AnyWorst <= 0 || u.ClientWorst <= 0 {
			t.Errorf("%s: no probe was measured: %+v", u.Kind, u)
		}
	}
}

func TestUnknownFaultsAreRefused(t *testing.T) {
	if _, err := Run(t.Context(), Options{Kinds: []string{"kill-leader", "meteor"}}); err == nil || !strings.Contains(err.Error(), "meteor") {
		t.Errorf("got %v", err)
	}
}

func TestLongestGap(t *testing.T) {
	ms := func(list ...int) (all []time.Duration) {
		for _, n := range list {
			all = append(all, time.Duration(n)*time.Millisecond)
		}
		return all
	}
	for _, c := range []struct {
		times []time.Duration
		want  int
	}{
		{ms(), 100},
		{ms(90, 110, 120, 200, 210), 80},
		{ms(50, 150, 160, 170, 180, 190, 200), 100}, // began before the fault
		{ms(100, 110, 195, 300), 105},               // ended after it
		{ms(100, 120, 140, 160, 180, 200, 900), 20}, // behind it
		{ms(200, 140, 100, 120), 60},                // in any order
		{ms(110, 120), 80},                          // none until the end
	} {
		if got := longestGap(c.times, 100*time.Millisecond, 200*time.Millisecond); got != time.Duration(c.want)*time.Millisecond {
			t.Errorf("%v: got %v, want %d ms", c.times, got, c.want)
		}
	}
}

func TestReportSumsUp(t *testing.T) {
	r := &Report{Seed: 7, Violations: []string{"lost a write"}, LeftOut: []LeftOut{{"disk-full", "not root"}}}
	for _, gap := range []time.Duration{30 * time.Millisecond, 10 * time.Millisecond, 20 * time.Millisecond} {
		r.Faults = append(r.Faults, Occurrence{Kind: "kill-all", Any: gap, Client: 2 * gap})
	}
	r.summarize()
	want := Unavailability{"kill-all", 3, 20 * time.Millisecond, 30 * time.Millisecond, 40 * time.Millisecond, 60 * time.Millisecond}
	if len(r.Kinds) != 1 || r.Kinds[0] != want {
		t.Errorf("got %+v, want %+v", r.Kinds, want)
	}
	var b strings.Builder
	if err := r.Print(&b); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"LEFT OUT: disk-full: not root", "VIOLATION: lost a write", "seed 7: 3 faults, 1 violations"} {
		if !strings.Contains(b.String(), part) {
			t.Errorf("%q is not in:\n%s", part, &b)
		}
	}
}
