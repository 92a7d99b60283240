package main

import (
	"fmt"
	"os"
	"sync"
	"time"
)

// options say which seeds to run, and how.
type options struct {
	seeds   int
	from    uint64
	lasting time.Duration // instead of seeds: fresh ones for so long
	workers int
	goOn    bool
}

// run runs the seeds in processes and prints what came of them. It returns how many
// violations there were.
func (o options) run() (int, error) {
	binary, err := os.Executable()
	if err != nil {
		return 0, err
	}
	start := time.Now()
	var (
		total summary
		mu    sync.Mutex
		next  = o.from
		over  bool
		broke error
	)
	take := func() (seed uint64, ok bool) {
		mu.Lock()
		defer mu.Unlock()
		if over || next == o.from+uint64(o.seeds) || (o.lasting > 0 && time.Since(start) > o.lasting) {
			return 0, false
		}
		next++
		return next - 1, true
	}
	done := func(r *result) {
		mu.Lock()
		defer mu.Unlock()
		total.add(r)
		if r.Violation != "" {
			r.print(os.Stdout, total.violations <= maxTraces)
			over = !o.goOn
		}
	}
	var workers sync.WaitGroup
	for range max(1, o.workers) {
		workers.Go(func() {
			if err := serve(binary, take, done); err != nil {
				mu.Lock()
				broke, over = err, true
				mu.Unlock()
			}
		})
	}
	workers.Wait()
	total.print(os.Stdout, time.Since(start))
	return total.violations, broke
}

// maxTraces is of how many violations the traces are printed.
const maxTraces = 3

// serve keeps one process busy.
func serve(binary string, take func() (uint64, bool), done func(*result)) error {
	var p *process
	defer func() {
		if p != nil {
			p.stop()
		}
	}()
	for {
		seed, ok := take()
		if !ok {
			return nil
		}
		if p == nil {
			var err error
			if p, err = startProcess(binary); err != nil {
				return fmt.Errorf("starting a worker: %w", err)
			}
		}
		r, dead := p.run(seed)
		if dead {
			p = nil
		}
		done(&r)
	}
}
