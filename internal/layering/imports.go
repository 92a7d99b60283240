package layering

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// rowFor finds the row that holds for a package's directory.
func rowFor(law []Row, dir string) (Row, bool) {
	var best Row
	found := false
	for _, row := range law {
		if within(dir, row.Package) && len(row.Package) >= len(best.Package) {
			best, found = row, true
		}
	}
	return best, found
}

// allows reports whether a package under the row may import target.
func (r Row) allows(target string) bool {
	if within(target, r.Package) || within(target, "internal") || slices.Contains(r.MayImport, everything) {
		return true
	}
	return slices.ContainsFunc(r.MayImport, func(allowed string) bool { return within(target, allowed) })
}

// checkImports compares what files outside tests import with the law.
func checkImports(law []Row, sources []source) []string {
	var broken []string
	for _, src := range sources {
		if src.isTest() {
			continue
		}
		row, found := rowFor(law, src.dir())
		if !found {
			broken = append(broken, fmt.Sprintf("%s: package %q has no row in the law: add one to internal/layering and ARCHITECTURE.md", src.path, src.dir()))
			continue
		}
		for _, target := range slices.Sorted(maps.Keys(src.imports())) {
			if dir, ok := ours(target); ok && !row.allows(dir) {
				broken = append(broken, fmt.Sprintf("%s: %q imports %q; it may import %s", src.path, src.dir(), dir, row.allowed()))
			}
		}
	}
	return broken
}

// checkBlind finds paths of imports, outside tests, from a package to one that it may not know.
// The longest matching entry holds.
func checkBlind(blind map[string][]string, sources []source) []string {
	graph := importGraph(sources)
	var broken []string
	for _, from := range slices.Sorted(maps.Keys(blind)) {
		for _, start := range slices.Sorted(maps.Keys(graph)) {
			if !within(start, from) || hasLonger(blind, start, from) {
				continue
			}
			for _, forbidden := range blind[from] {
				if route := reach(graph, start, forbidden); route != nil {
					broken = append(broken, fmt.Sprintf("%q may not know %q, but: %s", from, forbidden, strings.Join(route, " -> ")))
				}
			}
		}
	}
	return broken
}

// hasLonger reports whether an entry says more about a directory than one does.
func hasLonger(blind map[string][]string, dir, entry string) bool {
	for other := range blind {
		if len(other) > len(entry) && within(dir, other) {
			return true
		}
	}
	return false
}

// importGraph maps each directory to the directories of ours that it imports, sorted.
func importGraph(sources []source) map[string][]string {
	graph := make(map[string][]string)
	for _, src := range sources {
		if src.isTest() {
			continue
		}
		edges := graph[src.dir()]
		for target := range src.imports() {
			if dir, ok := ours(target); ok {
				edges = append(edges, dir)
			}
		}
		slices.Sort(edges)
		graph[src.dir()] = slices.Compact(edges)
	}
	return graph
}

// reach returns the shortest route from start to a package within goal, or nil.
func reach(graph map[string][]string, start, goal string) []string {
	routes := [][]string{{start}}
	seen := map[string]bool{start: true}
	for len(routes) > 0 {
		route := routes[0]
		routes = routes[1:]
		for _, next := range graph[route[len(route)-1]] {
			if seen[next] {
				continue
			}
			seen[next] = true
			longer := append(slices.Clone(route), next)
			if within(next, goal) {
				return longer
			}
			routes = append(routes, longer)
		}
	}
	return nil
}

// allowed renders MayImport as ARCHITECTURE.md shows it.
func (r Row) allowed() string {
	switch {
	case len(r.MayImport) == 0:
		return "-"
	case slices.Contains(r.MayImport, everything):
		return everything
	default:
		return "`" + strings.Join(r.MayImport, "`, `") + "`"
	}
}

// tableHead opens the law's table in ARCHITECTURE.md. More columns may follow the two.
const tableHead = "| package | may import |"

// table renders the law as ARCHITECTURE.md has to show it.
func table(law []Row) []string {
	lines := make([]string, 0, len(law))
	for _, row := range law {
		lines = append(lines, fmt.Sprintf("| `%s` | %s |", row.Package, row.allowed()))
	}
	return lines
}

// checkTable compares the table in a Markdown text with the law, row by row, in both directions.
func checkTable(law []Row, markdown string) []string {
	_, rest, found := strings.Cut(markdown, tableHead)
	if !found {
		return []string{fmt.Sprintf("no table that begins with %q", tableHead)}
	}
	var shown []string
	for _, line := range strings.Split(rest, "\n")[1:] {
		if !strings.HasPrefix(line, "|") {
			break
		}
		if cells := strings.SplitN(line, "|", 4); len(cells) == 4 && !strings.HasPrefix(strings.TrimSpace(cells[1]), "--") {
			shown = append(shown, fmt.Sprintf("| %s | %s |", strings.TrimSpace(cells[1]), strings.TrimSpace(cells[2])))
		}
	}
	want := table(law)
	var broken []string
	for _, line := range want {
		if !slices.Contains(shown, line) {
			broken = append(broken, "missing row: "+line)
		}
	}
	for _, line := range shown {
		if !slices.Contains(want, line) {
			broken = append(broken, "row that is not law: "+line)
		}
	}
	return broken
}
