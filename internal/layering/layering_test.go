package layering

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// root is the module's directory as seen from this package.
const root = "../.."

// TestLaw holds the whole module against every rule.
func TestLaw(t *testing.T) {
	sources, err := load(root)
	if err != nil {
		t.Fatal(err)
	}
	if len(sources) == 0 {
		t.Fatalf("no Go files under %s", root)
	}
	rules := []struct {
		name  string
		check func() []string
	}{
		{"imports follow the table", func() []string { return checkImports(Law, sources) }},
		{"blind packages stay blind", func() []string { return checkBlind(Blind, sources) }},
		{"the core is deterministic", func() []string { return checkPurity(core, impure, sources) }},
		{"files are short", func() []string { return checkFileLength(maxFileLines, sources) }},
		{"functions are short", func() []string { return checkFunctionLength(maxFunctionLines, longFunctions, sources) }},
		{"packages say what they are for", func() []string { return checkPackageDocs(sources) }},
		{"packages have telling names", func() []string { return checkPackageNames(vagueNames, sources) }},
		{"nothing is left undone", func() []string { return checkFinished(unfinished, sources) }},
	}
	for _, rule := range rules {
		t.Run(rule.name, func(t *testing.T) {
			for _, violation := range rule.check() {
				t.Error(violation)
			}
		})
	}
}

// TestArchitectureShowsTheLaw keeps the readers' table and the executable one the same.
func TestArchitectureShowsTheLaw(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "ARCHITECTURE.md"))
	if err != nil {
		t.Fatal(err)
	}
	broken := checkTable(Law, string(text))
	for _, violation := range broken {
		t.Error(violation)
	}
	if len(broken) > 0 {
		t.Logf("the table has to be:\n%s\n| --- | --- |\n%s", tableHead, strings.Join(table(Law), "\n"))
	}
}

// TestModulePath guards the constant that every import is compared with.
func TestModulePath(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	if want := "module " + Module + "\n"; !strings.HasPrefix(string(text), want) {
		t.Errorf("go.mod does not begin with %q", want)
	}
}
