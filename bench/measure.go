package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/heliosdb/metadata/internal/fleet"
	"github.com/heliosdb/metadata/internal/measure"
	"github.com/heliosdb/metadata/internal/workload"
)

// figure is what one half of a round measured, by metric.
type figure map[string]float64

// The metrics.
const (
	opsPerSec     = "ops_per_sec"
	objectsPerSec = "objects_per_sec"
	p50           = "p50_us"
	p99           = "p99_us"
	allocations   = "allocs_per_op"
	cpuPerOp      = "server_cpu_us_per_op" // of all members together
	perCore       = "ops_per_sec_and_core" // of the members' cores
	diskPerOp     = "disk_bytes_per_op"    // of one member
	errorRate     = "errors_per_op"
	foreign       = "foreign_cores" // used by neither the members nor this process
	outageMillis  = "outage_ms"
	resident      = "resident_mib"
	anonymous     = "anonymous_mib"
	seconds       = "seconds"
)

// tolerated is the share of operations that may fail in a half that counts.
const tolerated = 0.01

// half runs a work once on a subject.
func (e *env) half(ctx context.Context, s subject, w workload.Work, plan measure.Plan) (figure, error) {
	runtime.GC() // not in the middle of the other side's turn
	before, err := used(s)
	if err != nil {
		return nil, err
	}
	beforeMachine := machineNow()
	report, err := w.Run(ctx, plan)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.name(), err)
	}
	machine := machineNow().since(beforeMachine)
	after, err := used(s)
	if err != nil {
		return nil, err
	}
	f := figure{opsPerSec: report.OpsPerSec, p50: report.P50US, p99: report.P99US}
	if report.ObjectsPerSec > 0 {
		f[objectsPerSec] = report.ObjectsPerSec
	}
	if report.AllocsPerOp != nil {
		f[allocations] = *report.AllocsPerOp
	}
	// The members work in the warm-up too, about as fast as in the window.
	elapsed := plan.WarmUp + plan.Duration
	if n := report.OpsPerSec * elapsed.Seconds(); n > 0 {
		cpu := after.cpu - before.cpu
		f[cpuPerOp] = float64(cpu.Microseconds()) / n
		f[diskPerOp] = float64(after.written-before.written) / n / float64(s.size())
		if cpu > 0 {
			f[perCore] = n / cpu.Seconds()
		}
		f[errorRate] = float64(report.Errors) / n
	}
	f[foreign] = max(0, (machine.busy-machine.self-(after.cpu-before.cpu)).Seconds()) / machine.elapsed.Seconds()
	if report.Errors > 0 && float64(report.Errors) > tolerated*float64(report.Count) {
		return f, fmt.Errorf("%s: %d errors in %d operations: %v", s.name(), report.Errors, report.Count, report.ErrorSamples)
	}
	return f, nil
}

// machine is what the whole machine and this process have used.
type machine struct {
	at         time.Time
	elapsed    time.Duration
	busy, self time.Duration
}

func machineNow() machine {
	m := machine{at: time.Now()}
	if u, err := fleet.ReadUsage(os.Getpid()); err == nil {
		m.self = u.CPU
	}
	f, err := os.Open("/proc/stat")
	if err != nil {
		return m
	}
	defer f.Close()
	if lines := bufio.NewScanner(f); lines.Scan() {
		m.busy = busyOf(lines.Text())
	}
	return m
}

func (m machine) since(before machine) machine {
	return machine{elapsed: m.at.Sub(before.at), busy: m.busy - before.busy, self: m.self - before.self}
}

// busyOf reads "cpu user nice system idle iowait irq softirq steal ..." in hundredths of
// a second: everything that is not idle, what other machines took included.
func busyOf(line string) time.Duration {
	words := strings.Fields(line)
	var sum int64
	for i, word := range words {
		if i == 0 || i == 4 || i == 5 || i > 8 {
			continue
		}
		n, err := strconv.ParseInt(word, 10, 64)
		if err != nil {
			return 0
		}
		sum += n
	}
	return time.Duration(sum) * 10 * time.Millisecond
}
