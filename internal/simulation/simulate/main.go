// Command simulate runs simulations of the service, one for each seed, and says what
// was wrong, how to see it again, and what all of them together went through.
//
//	simulate -seeds 1000        seeds 1 to 1000
//	simulate -for 60s           fresh seeds for a minute
//	simulate -seed 7 -v         one seed, with its whole trace
//
// raft's source of randomness belongs to the process, so simulations run in processes
// of their own, one for each processor: the command starts itself. It ends with status
// 1 when it found a violation, after the first one unless told to go on.
package main

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/heliosdb/metadata/internal/simulation"
)

func main() {
	var o options
	one := flag.Int64("seed", -1, "run only this seed")
	flag.IntVar(&o.seeds, "seeds", 100, "how many seeds to run")
	flag.Uint64Var(&o.from, "from", 1, "the first one")
	flag.DurationVar(&o.lasting, "for", 0, "run fresh seeds for so long instead")
	flag.IntVar(&o.workers, "workers", runtime.NumCPU(), "how many processes run simulations")
	flag.BoolVar(&o.goOn, "go-on", false, "do not end with the first violation")
	verbose := flag.Bool("v", false, "with -seed: print the whole trace, single messages included")
	worker := flag.Bool("worker", false, "be such a process: read seeds from stdin, write results to stdout")
	flag.Parse()
	debug.SetGCPercent(gcPercent) // a seed needs little memory, and much of it for a short time
	switch {
	case *worker:
		exit(work(os.Stdin, os.Stdout))
	case *one >= 0:
		exit(runOne(uint64(*one), *verbose))
	}
	if o.lasting > 0 {
		o.from, o.seeds = rand.Uint64N(1<<40), 1<<30
		fmt.Printf("fresh seeds for %v, from %d on\n", o.lasting, o.from)
	}
	exit(o.run())
}

const gcPercent = 400

// exit ends the command: 1 for a violation, 2 when it could not do its work.
func exit(violations int, err error) {
	switch {
	case err != nil:
		fmt.Fprintln(os.Stderr, "simulate:", err)
		os.Exit(2)
	case violations > 0:
		os.Exit(1)
	}
	os.Exit(0)
}

// runOne runs one seed in this process.
func runOne(seed uint64, verbose bool) (int, error) {
	var total summary
	start := time.Now()
	r := result{Seed: seed}
	if verbose {
		r.take(simulation.Run(seed, os.Stdout))
	} else {
		r.take(simulation.Run(seed, nil))
	}
	total.add(&r)
	r.print(os.Stdout, true)
	total.print(os.Stdout, time.Since(start))
	return total.violations, nil
}
