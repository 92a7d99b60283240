package layering

import (
	"fmt"
	"go/ast"
	"path"
	"slices"
	"strings"
)

// inCore reports whether a file has to be deterministic.
func inCore(areas []coreArea, src source) bool {
	if !src.written() {
		return false
	}
	return slices.ContainsFunc(areas, func(area coreArea) bool {
		if src.dir() != area.dir && (!area.deep || !within(src.dir(), area.dir)) {
			return false
		}
		return area.driverPrefix == "" || !strings.HasPrefix(path.Base(src.path), area.driverPrefix)
	})
}

// checkPurity finds uses of clocks, randomness, files and sockets in the core.
func checkPurity(areas []coreArea, forbidden map[string][]string, sources []source) []string {
	var broken []string
	for _, src := range sources {
		if !inCore(areas, src) {
			continue
		}
		watched := make(map[string][]string) // local name -> forbidden names
		imported := make(map[string]string)  // local name -> import path
		for target, name := range src.imports() {
			names, listed := forbidden[target]
			if !listed {
				continue
			}
			if name == "." || slices.Contains(names, "*") {
				broken = append(broken, fmt.Sprintf("%s: the core may not import %q: hand in what it needs", src.path, target))
				continue
			}
			watched[name], imported[name] = names, target
		}
		ast.Inspect(src.file, func(node ast.Node) bool {
			selector, ok := node.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			from, ok := selector.X.(*ast.Ident)
			if ok && matches(watched[from.Name], selector.Sel.Name) {
				broken = append(broken, fmt.Sprintf("%s: the core may not use %s.%s: hand in what it needs",
					src.at(selector.Pos()), imported[from.Name], selector.Sel.Name))
			}
			return true
		})
	}
	slices.Sort(broken)
	return broken
}

// matches reports whether name is one of patterns, each a name or a prefix that ends in "*".
func matches(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		if prefix, ok := strings.CutSuffix(pattern, "*"); ok {
			return strings.HasPrefix(name, prefix)
		}
		return name == pattern
	})
}
