package layering

import (
	"fmt"
	"go/ast"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
)

// checkFileLength finds files that have outgrown their idea.
func checkFileLength(limit int, sources []source) []string {
	var broken []string
	for _, src := range sources {
		if lines := strings.Count(src.text, "\n"); src.written() && lines > limit {
			broken = append(broken, fmt.Sprintf("%s: %d lines, at most %d: split it by idea", src.path, lines, limit))
		}
	}
	return broken
}

// checkFunctionLength finds functions that do not fit a screen, and exceptions that nothing needs.
func checkFunctionLength(limit int, exceptions map[string]string, sources []source) []string {
	var broken []string
	unused := maps.Clone(exceptions)
	for _, src := range sources {
		if !src.written() {
			continue
		}
		for _, decl := range src.file.Decls {
			function, ok := decl.(*ast.FuncDecl)
			if !ok {
				continue
			}
			lines := src.fset.Position(function.End()).Line - src.fset.Position(function.Pos()).Line + 1
			if lines <= limit {
				continue
			}
			name := src.dir() + "." + functionName(function)
			if _, excepted := exceptions[name]; excepted {
				delete(unused, name)
				continue
			}
			broken = append(broken, fmt.Sprintf("%s: %s has %d lines, at most %d: split it into steps", src.at(function.Pos()), name, lines, limit))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(unused)) {
		broken = append(broken, fmt.Sprintf("the exception for %s is not needed any more: delete it", name))
	}
	return broken
}

// functionName is Name, or (Type).Name for a method.
func functionName(function *ast.FuncDecl) string {
	if function.Recv == nil || len(function.Recv.List) == 0 {
		return function.Name.Name
	}
	receiver := function.Recv.List[0].Type
	for {
		switch t := receiver.(type) {
		case *ast.StarExpr:
			receiver = t.X
		case *ast.IndexExpr:
			receiver = t.X
		case *ast.IndexListExpr:
			receiver = t.X
		case *ast.Ident:
			return "(" + t.Name + ")." + function.Name.Name
		default:
			return function.Name.Name
		}
	}
}

// checkPackageDocs finds packages that do not say what they are for. Packages that hold nothing but
// generated files or tests are described by their source.
func checkPackageDocs(sources []source) []string {
	names := make(map[string]string)
	documented := make(map[string]bool)
	for _, src := range sources {
		if !src.written() {
			continue
		}
		names[src.dir()] = src.file.Name.Name
		opening := "Package " + src.file.Name.Name + " "
		if src.file.Name.Name == "main" {
			opening = "Command " + path.Base(src.dir()) + " "
		}
		if strings.HasPrefix(src.file.Doc.Text(), opening) {
			documented[src.dir()] = true
		}
	}
	var broken []string
	for _, dir := range slices.Sorted(maps.Keys(names)) {
		if !documented[dir] {
			broken = append(broken, fmt.Sprintf("%s: package %s has no comment that begins with its name", dir, names[dir]))
		}
	}
	return broken
}

// checkPackageNames finds packages whose name says nothing.
func checkPackageNames(vague []string, sources []source) []string {
	bad := make(map[string]bool)
	for _, src := range sources {
		for _, name := range []string{path.Base(src.dir()), strings.TrimSuffix(src.file.Name.Name, "_test")} {
			if slices.Contains(vague, name) {
				bad[fmt.Sprintf("%s: %q says nothing about what the package is", src.dir(), name)] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(bad))
}

// checkFinished finds marks of unfinished work, in code, comments and strings, tests included.
func checkFinished(marks []string, sources []source) []string {
	pattern := regexp.MustCompile(`\b(` + strings.Join(marks, "|") + `)\b`)
	var broken []string
	for _, src := range sources {
		if src.generated {
			continue
		}
		for i, line := range strings.Split(src.text, "\n") {
			if mark := pattern.FindString(line); mark != "" {
				broken = append(broken, fmt.Sprintf("%s:%d: %s: finish it, or leave it out", src.path, i+1, mark))
			}
		}
	}
	return broken
}
