package simulation

import (
	"fmt"
	"time"
)

// Violation is something that must not happen.
type Violation struct {
	Seed  uint64
	At    time.Duration // virtual time
	Kind  string        // short and stable
	Text  string
	Stack string // of a panic
}

func (v *Violation) Error() string {
	return fmt.Sprintf("at %.3f s: %s: %s", v.At.Seconds(), v.Kind, v.Text)
}

// counts says how often what happened.
type counts map[string]uint64

func (c counts) add(name string, n uint64) { c[name] += n }
