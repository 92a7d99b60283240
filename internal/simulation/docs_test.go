package simulation

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// docs is where readers are told what was injected, and how often.
const docs = "../../docs/correctness.md"

// The table of faults that readers are shown has all of them, and no other.
func TestDocsNameEveryFault(t *testing.T) {
	text, err := os.ReadFile(docs)
	if err != nil {
		t.Fatal(err)
	}
	var told []string
	_, table, found := strings.Cut(string(text), "| fault | injected")
	table, _, _ = strings.Cut(table, "\n\n")
	lines := strings.Split(table, "\n")
	for _, line := range lines[min(2, len(lines)):] {
		cells := strings.Split(strings.Trim(line, "| "), "|")
		for i := 0; i < len(cells); i += 2 { // two to a line
			if name := strings.TrimSpace(cells[i]); name != "" {
				told = append(told, name)
			}
		}
	}
	slices.Sort(told)
	if want := faultConstants(t); !found || !slices.Equal(told, want) {
		t.Errorf("docs/correctness.md lists the faults\n%q, want\n%q", told, want)
	}
}

// faultConstants returns the names of all faults: the texts of the constants called fault....
func faultConstants(t *testing.T) (names []string) {
	t.Helper()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok || len(spec.Values) != 1 || !strings.HasPrefix(spec.Names[0].Name, "fault") {
				return true
			}
			if text, ok := spec.Values[0].(*ast.BasicLit); ok && text.Kind == token.STRING && spec.Names[0].Name != "faultCount" {
				name, err := strconv.Unquote(text.Value)
				if err != nil {
					t.Fatal(err)
				}
				names = append(names, name)
			}
			return true
		})
	}
	slices.Sort(names)
	return names
}
