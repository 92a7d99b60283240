package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/heliosdb/metadata/internal/simulation"
)

// result is what a worker says of a seed.
type result struct {
	Seed      uint64
	Violation string `json:",omitempty"` // empty: none
	Stack     string `json:",omitempty"`
	Trace     []string
	Hash      string
	Simulated time.Duration
	Counts    map[string]uint64
}

func (r *result) take(from simulation.Result) {
	r.Hash, r.Simulated, r.Counts, r.Trace = from.Hash, from.Simulated, from.Counts, from.Trace
	if v := from.Violation; v != nil {
		r.Violation, r.Stack = v.Error(), v.Stack
	}
}

// work runs the seeds that come in, one a line.
func work(in io.Reader, out io.Writer) (int, error) {
	encode := json.NewEncoder(out)
	for lines := bufio.NewScanner(in); lines.Scan(); {
		seed, err := strconv.ParseUint(lines.Text(), 10, 64)
		if err != nil {
			return 0, err
		}
		r := result{Seed: seed}
		r.take(simulation.Run(seed, nil))
		if err := encode.Encode(&r); err != nil {
			return 0, err
		}
	}
	return 0, nil
}

// seedPatience bounds one seed, which takes about a second: a member that spins would
// never end.
const seedPatience = 90 * time.Second

// process is a worker that runs.
type process struct {
	command *exec.Cmd
	seeds   io.WriteCloser
	results *json.Decoder
	errors  *strings.Builder
}

func startProcess(binary string) (*process, error) {
	p := &process{command: exec.Command(binary, "-worker"), errors: &strings.Builder{}}
	var err error
	if p.seeds, err = p.command.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.command.Stderr, p.results = p.errors, json.NewDecoder(out)
	return p, p.command.Start()
}

// run has the worker run a seed. A worker that dies of it, or does not come back, is a
// violation, and has to be replaced.
func (p *process) run(seed uint64) (r result, dead bool) {
	late := false
	timer := time.AfterFunc(seedPatience, func() {
		late = true
		_ = p.command.Process.Kill()
	})
	_, err := fmt.Fprintln(p.seeds, seed)
	if err == nil {
		err = p.results.Decode(&r)
	}
	timer.Stop()
	if err == nil {
		return r, false
	}
	_ = p.command.Process.Kill()
	_ = p.command.Wait()
	r = result{Seed: seed, Violation: "the process died: " + err.Error(), Stack: p.errors.String()}
	if late {
		r.Violation = fmt.Sprintf("no end after %v", seedPatience)
	}
	return r, true
}

func (p *process) stop() {
	_ = p.seeds.Close()
	_ = p.command.Wait()
}
