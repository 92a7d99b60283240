package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// patience bounds one mutant's build and its seeds: some make a member spin.
const patience = 10 * time.Minute

// bench builds and runs mutants.
type bench struct {
	root  string // of the module
	dir   string // for what it makes
	seeds int
}

// outcome is what became of a mutant.
type outcome struct {
	caught bool
	seed   string
	by     string // the violation
	took   time.Duration
}

// try builds the simulator with a mutant in it and runs seeds until one fails.
func (b *bench) try(ctx context.Context, m mutant) (outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	binary, err := b.build(ctx, m)
	if err != nil {
		return outcome{}, err
	}
	start := time.Now()
	command := exec.CommandContext(ctx, binary, "-seeds", strconv.Itoa(b.seeds))
	var out bytes.Buffer
	command.Stdout, command.Stderr = &out, &out
	err = command.Run()
	took := time.Since(start)
	if err == nil {
		return outcome{seed: "-", by: "nothing", took: took}, nil
	}
	if _, failed := errors.AsType[*exec.ExitError](err); !failed || ctx.Err() != nil {
		return outcome{}, fmt.Errorf("running the simulator: %w", errors.Join(err, context.Cause(ctx)))
	}
	seed, by, ok := violation(out.String())
	if !ok {
		return outcome{}, fmt.Errorf("the simulator failed without naming a violation:\n%s", tail(out.String()))
	}
	return outcome{caught: true, seed: seed, by: by, took: took}, nil
}

// verdict is the simulator's line for a seed that failed.
var verdict = regexp.MustCompile(`(?m)^VIOLATION seed (\d+): (.*)$`)

func violation(out string) (seed, by string, ok bool) {
	found := verdict.FindStringSubmatch(out)
	if found == nil {
		return "", "", false
	}
	return found[1], shortened(found[2]), true
}

// shortened keeps a line of the table readable.
func shortened(text string) string {
	const width = 100
	if len(text) <= width {
		return text
	}
	return text[:width] + "..."
}

func tail(out string) string {
	lines := strings.Split(strings.TrimSpace(out), "\n")
	return strings.Join(lines[max(0, len(lines)-20):], "\n")
}

// build returns the path of the simulator's binary with a mutant in it.
func (b *bench) build(ctx context.Context, m mutant) (string, error) {
	dir := filepath.Join(b.dir, m.name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	overlay, err := b.overlay(dir, m)
	if err != nil {
		return "", err
	}
	binary := filepath.Join(b.dir, "simulate")
	command := exec.CommandContext(ctx, "go", "build", "-tags", "invariants", "-overlay", overlay, "-o", binary, "./internal/simulation/simulate")
	command.Dir = b.root
	if out, err := command.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building the simulator: %w\n%s", err, out)
	}
	return binary, nil
}

// overlay writes the changed files and what tells the compiler of them.
func (b *bench) overlay(dir string, m mutant) (string, error) {
	changed, err := m.apply(b.root)
	if err != nil {
		return "", err
	}
	replace := make(map[string]string)
	for file, text := range changed {
		path := filepath.Join(dir, strings.ReplaceAll(file, "/", "_"))
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return "", err
		}
		replace[filepath.Join(b.root, file)] = path
	}
	encoded, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "overlay.json")
	return path, os.WriteFile(path, encoded, 0o644)
}

// apply returns the changed files by their path from the module's root.
func (m mutant) apply(root string) (map[string]string, error) {
	changed := make(map[string]string)
	for _, e := range m.edits {
		text, ok := changed[e.file]
		if !ok {
			read, err := os.ReadFile(filepath.Join(root, e.file))
			if err != nil {
				return nil, err
			}
			text = string(read)
		}
		if n := strings.Count(text, e.old); n != 1 {
			return nil, fmt.Errorf("%s contains the text to be changed %d times, not once: adapt catalogue.go:\n%s", e.file, n, e.old)
		}
		changed[e.file] = strings.Replace(text, e.old, e.new, 1)
	}
	return changed, nil
}
