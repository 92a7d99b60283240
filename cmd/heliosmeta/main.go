// Command heliosmeta is the HeliosDB Metadata Service: `serve` runs a member, all
// other commands talk to a running cluster.
//
// This package is wiring: flags, words and exit codes, one file for each noun. What
// commands mean is decided by the service; what can be thought about without one
// (settings, documents, plans, formats) is in the packages below internal.
//
// Data goes to stdout and everything else to stderr, so that pipes see data only.
package main

import (
	"context"
	"os"
)

func main() { os.Exit(run()) }

// run is the whole program, for tests too. It returns the exit code.
func run() int {
	s := newSession(os.Stdin, os.Stdout, os.Stderr, os.LookupEnv)
	return s.execute(context.Background(), os.Args[1:])
}
