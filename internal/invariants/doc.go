// Package invariants switches on checks that are too dear, or too blunt, for a
// running service. They are compiled in with the build tag "invariants":
//
//	go test -tags invariants ./...
//
// Without the tag Enabled is a false constant and the compiler removes what it
// guards. The package holds no state and may be used from any goroutine. It is
// not for errors that can happen: those are returned.
package invariants

import "fmt"

// Assert panics with the message unless cond holds or checks are off. Guard it
// with Enabled where computing cond or the arguments costs something.
func Assert(cond bool, format string, args ...any) {
	if Enabled && !cond {
		panic("invariant broken: " + fmt.Sprintf(format, args...))
	}
}
