package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/heliosdb/metadata/internal/simulation"
)

// print says what a seed came to, if it is worth saying.
func (r *result) print(out io.Writer, whole bool) {
	if r.Violation == "" {
		fmt.Fprintf(out, "seed %d: no violation, trace %s\n", r.Seed, r.Hash)
		return
	}
	fmt.Fprintf(out, "VIOLATION seed %d: %s\n", r.Seed, r.Violation)
	fmt.Fprintf(out, "  see it again with: make simulate SEED=%d\n", r.Seed)
	if !whole {
		return
	}
	if r.Stack != "" {
		fmt.Fprintf(out, "%s\n", strings.TrimSpace(r.Stack))
	}
	for _, line := range r.Trace {
		fmt.Fprintln(out, line)
	}
}

// summary is what all seeds went through.
type summary struct {
	seeds, violations int
	simulated         time.Duration
	counts            map[string]uint64
}

func (s *summary) add(r *result) {
	if s.counts == nil {
		s.counts = make(map[string]uint64)
	}
	s.seeds++
	if r.Violation != "" {
		s.violations++
	}
	s.simulated += r.Simulated
	for name, n := range r.Counts {
		s.counts[name] += n
	}
}

func (s *summary) print(out io.Writer, took time.Duration) {
	var faults, work []string
	for _, name := range slices.Sorted(maps.Keys(s.counts)) {
		if short, ok := strings.CutPrefix(name, simulation.FaultPrefix); ok {
			faults = append(faults, fmt.Sprintf("  %-34s %12d", short, s.counts[name]))
		} else {
			work = append(work, fmt.Sprintf("  %-34s %12d", name, s.counts[name]))
		}
	}
	fmt.Fprintf(out, "\nfaults injected\n%s\n", strings.Join(faults, "\n"))
	fmt.Fprintf(out, "\nwork done\n%s\n", strings.Join(work, "\n"))
	fmt.Fprintf(out, "\n%d seeds, %d violations, %.2f simulated hours, in %v\n", s.seeds, s.violations, s.simulated.Hours(), took.Round(100*time.Millisecond))
}
