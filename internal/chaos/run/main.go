// Command run runs the chaos test against a freshly built binary; see `make chaos`.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/heliosdb/metadata/internal/chaos"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := execute(ctx)
	stop()
	os.Exit(code)
}

// settings are what the command line says.
type settings struct {
	seed     uint64
	duration time.Duration
	binary   string
	faults   string
	json     string
	keep     bool
}

func execute(ctx context.Context) int {
	var s settings
	flag.Uint64Var(&s.seed, "seed", 0, "seed of faults and load; 0: a fresh one")
	flag.DurationVar(&s.duration, "duration", time.Minute, "for how long faults are applied")
	flag.StringVar(&s.binary, "binary", "", "program of the service; empty: built from this checkout")
	flag.StringVar(&s.faults, "faults", "", "faults to choose from, separated by commas: "+strings.Join(chaos.Kinds(), ", ")+"; empty: all")
	flag.StringVar(&s.json, "json", "", "file to write the report to as JSON")
	flag.BoolVar(&s.keep, "keep", false, "keep logs and data also if nothing was found")
	flag.Parse()
	for s.seed == 0 {
		s.seed = rand.Uint64N(1_000_000)
	}
	found, err := run(ctx, &s)
	if err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
	}
	if err != nil || found {
		fmt.Fprintf(os.Stderr, "run it again: make chaos DURATION=%v SEED=%d\n", s.duration, s.seed)
		return 1
	}
	return 0
}

// run reports whether something was found.
func run(ctx context.Context, s *settings) (found bool, err error) {
	dir, err := os.MkdirTemp("", "chaos-")
	if err != nil {
		return false, err
	}
	defer func() {
		if found || err != nil || s.keep {
			fmt.Fprintf(os.Stderr, "logs are in %s\n", dir)
			return
		}
		err = errors.Join(err, os.RemoveAll(dir))
	}()
	if s.binary == "" {
		s.binary = filepath.Join(dir, "heliosmeta")
		build := exec.CommandContext(ctx, "go", "build", "-o", s.binary, "github.com/heliosdb/metadata/cmd/heliosmeta")
		if out, err := build.CombinedOutput(); err != nil {
			return false, fmt.Errorf("go build: %w\n%s", err, out)
		}
	}
	opts := chaos.Options{Binary: s.binary, Dir: dir, Duration: s.duration, Seed: s.seed, Log: os.Stderr}
	if s.faults != "" {
		opts.Kinds = strings.Split(s.faults, ",")
	}
	fmt.Fprintf(os.Stderr, "seed %d, %v, in %s\n", s.seed, s.duration, dir)
	report, err := chaos.Run(ctx, opts)
	if report == nil {
		return false, err
	}
	found = len(report.Violations) > 0
	err = errors.Join(err, report.Print(os.Stdout))
	if s.json != "" {
		text, jErr := json.MarshalIndent(report, "", "  ")
		err = errors.Join(err, jErr, os.WriteFile(s.json, append(text, '\n'), 0o644))
	}
	return found, err
}
