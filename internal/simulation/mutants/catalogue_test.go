package main

import (
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestCatalogue keeps the mutants in step with the source: each can still be put in,
// changes something, and is still Go. Whether each is caught, `make mutants` shows.
func TestCatalogue(t *testing.T) {
	root, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	const least = 15
	if len(mutants) < least {
		t.Errorf("%d mutants, there should be %d at least", len(mutants), least)
	}
	seen := make(map[string]bool)
	for _, m := range mutants {
		if seen[m.name] {
			t.Errorf("%s: two mutants have this name", m.name)
		}
		seen[m.name] = true
		if len(m.edits) == 0 || m.about == "" {
			t.Errorf("%s: it changes nothing or does not say what", m.name)
		}
		changed, err := m.apply(root)
		if err != nil {
			t.Errorf("%s: %v", m.name, err)
			continue
		}
		for file, text := range changed {
			if _, err := parser.ParseFile(token.NewFileSet(), file, text, parser.SkipObjectResolution); err != nil {
				t.Errorf("%s: %v", m.name, err)
			}
			if strings.HasSuffix(file, "_test.go") || strings.HasPrefix(file, "internal/simulation/") {
				t.Errorf("%s changes %s: mutants change the service", m.name, file)
			}
		}
	}
}

// The table of mutants that readers are shown has all of them, in the order of the catalogue.
func TestDocsNameEveryMutant(t *testing.T) {
	root, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(root, "docs", "correctness.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, table, found := strings.Cut(string(text), "| mutant | caught in seed")
	table, _, _ = strings.Cut(table, "\n\n")
	var told, want []string
	for line := range strings.SplitSeq(table, "\n") {
		if name, _, ok := strings.Cut(strings.TrimPrefix(line, "| `"), "` |"); ok && strings.HasPrefix(line, "| `") {
			told = append(told, name)
		}
	}
	for _, m := range mutants {
		want = append(want, m.name)
	}
	if !found || !slices.Equal(told, want) {
		t.Errorf("docs/correctness.md lists the mutants\n%q, want\n%q", told, want)
	}
}

func TestViolation(t *testing.T) {
	out := "progress\nVIOLATION seed 17: two leaders in term 4\n\nmore"
	if seed, by, ok := violation(out); !ok || seed != "17" || by != "two leaders in term 4" {
		t.Errorf("%q, %q, %v", seed, by, ok)
	}
	if _, _, ok := violation("all 400 seeds passed"); ok {
		t.Error("no violation was named, yet one was found")
	}
}
