package simulation

import (
	"io"
	"time"
)

// Result is what a run came to.
type Result struct {
	Seed      uint64
	Violation *Violation // nil: none
	Trace     []string   // the last lines
	Hash      string     // of the whole trace
	Simulated time.Duration
	Counts    map[string]uint64 // faults begin with FaultPrefix
}

// FaultPrefix begins the names of faults in Result.Counts.
const FaultPrefix = faultCount

// Run runs the simulation of a seed to its end. out gets the whole trace, single
// messages included; nil: nobody reads it. It replaces crypto/rand.Reader: only one run
// at a time is possible in a process.
func Run(seed uint64, out io.Writer) Result {
	w := newWorld(seed, out)
	w.run()
	r := Result{
		Seed: seed, Violation: w.failed, Hash: w.trace.sum(), Simulated: w.now, Counts: w.counts,
	}
	if w.failed != nil {
		r.Trace = append(w.trace.last(), w.scene()...)
	}
	return r
}
