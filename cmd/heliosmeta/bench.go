package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/heliosdb/metadata/cmd/heliosmeta/internal/output"
	"github.com/heliosdb/metadata/internal/fleet"
	"github.com/heliosdb/metadata/internal/measure"
	"github.com/heliosdb/metadata/internal/tlsfiles"
	"github.com/heliosdb/metadata/internal/workload"
)

const (
	// benchPatience is what a benchmark may take beyond warm-up and duration: starting,
	// preparing and finishing.
	benchPatience = 15 * time.Minute
	// benchCleanUp bounds removing what it made, also after Ctrl-C.
	benchCleanUp = 2 * time.Minute
)

// benchFlags are what `bench` is told.
type benchFlags struct {
	local            int
	dir              string
	rate             float64
	warmUp, duration time.Duration
	client           string
	connections      int
	spread           bool
	keep             bool
	fault            string
	settings         workload.Settings

	changed func(flag string) bool
}

const aboutBench = `Measure the service, or members that the benchmark starts for itself.

  heliosmeta bench create --local 3                      three members on fresh directories
  heliosmeta bench get --endpoints HOST:PORT --rate 2000 a service that runs, at a fixed rate
  heliosmeta bench failover --local 3 --fault pause      what a standing leader costs

Without --rate, each client begins its next call when the last one has ended. With it,
calls begin at that rate whatever the service does, and their latency counts from when
they should have been sent. The warm-up is not counted.

Against a running service it works in a namespace and on nodes of its own and removes
them at the end. Progress goes to stderr; with -o json, the last line of stdout is one
object with ops_per_sec, p50_us, p99_us, p999_us, errors and what was run.

Workloads:
`

func (s *session) benchCommand() *cobra.Command {
	f := new(benchFlags)
	var names []string
	about := aboutBench
	for _, n := range workload.Names {
		names = append(names, n.Name)
		about += fmt.Sprintf("  %-11s %s\n", n.Name, n.About)
	}
	c := &cobra.Command{
		Use: "bench WORKLOAD", Short: "Measure how fast the service is", Long: strings.TrimSuffix(about, "\n"),
		Args: cobra.ExactArgs(1), ValidArgs: names,
		RunE: func(cmd *cobra.Command, args []string) error {
			f.changed = func(name string) bool { return cmd.Flags().Changed(name) }
			return s.bench(cmd.Context(), args[0], f)
		},
	}
	f.add(c.Flags())
	for flag, values := range map[string][]string{
		"client": {workload.GoClient, workload.GRPCClient}, "fault": {string(workload.Kill), string(workload.Pause)}, "local": {"1", "3"},
	} {
		_ = c.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, noFiles))
	}
	return c
}

func (f *benchFlags) add(flags *pflag.FlagSet) {
	flags.SortFlags = false
	w := &f.settings
	flags.IntVar(&f.local, "local", 0, "start this many members, 1 or 3, instead of asking --endpoints; they end with the benchmark")
	flags.StringVar(&f.dir, "dir", "", "where members of --local have their directories; by default that for temporary files")
	flags.IntVar(&w.Clients, "clients", 0, "callers at a time, with --rate at most; 0: the workload's default")
	flags.Float64Var(&f.rate, "rate", 0, "calls to begin each second; 0: as many as the clients get answered")
	flags.DurationVar(&f.warmUp, "warm-up", 2*time.Second, "time before measuring")
	flags.DurationVar(&f.duration, "duration", 10*time.Second, "time of measuring")
	flags.StringVar(&f.client, "client", workload.GoClient, "what calls: go (this module's client) or grpc (stock grpc-go)")
	flags.IntVar(&f.connections, "connections", 0, "clients or connections that the callers share; 0: one Go client, or four gRPC connections")
	flags.BoolVar(&f.spread, "spread", false, "let each connection ask another member first, instead of the leader")
	flags.IntVar(&w.Tables, "tables", 10_000, "tables that are there (get, get-local, cached-get, restart, mixed, history)")
	flags.IntVar(&w.Changes, "changes", 100_000, "changes of these tables that are asked about (history)")
	flags.IntVar(&w.Batch, "batch", 100, "tables of one atomic batch (bulk)")
	flags.IntVar(&w.Nodes, "nodes", 1000, "nodes that beat in turn (heartbeat)")
	flags.IntVar(&w.Pipeline, "pipeline", 64, "beats under way on each stream (heartbeat)")
	flags.IntVar(&w.Subscribers, "subscribers", 100, "subscribers with a stream each (subscribe)")
	flags.StringVar(&f.fault, "fault", string(workload.Kill), "what happens to the leader: kill or pause (failover)")
	flags.DurationVar(&w.Settle, "settle", time.Second, "time between two rounds (failover, restart)")
	flags.Uint64Var(&w.Seed, "seed", 1, "start of the random choices")
	flags.BoolVar(&f.keep, "keep", false, "leave in the service what was created")
}

// benchSettings are the flags that not all workloads use.
var benchSettings = []string{"tables", "changes", "batch", "nodes", "pipeline", "subscribers", "fault", "settle"}

// check refuses what cannot be run, and settles what depends on the workload.
func (f *benchFlags) check(name workload.Name) error {
	for _, flag := range benchSettings {
		if f.changed(flag) && !slices.Contains(name.Uses, flag) {
			return usage("--%s is nothing to %s", flag, name.Name)
		}
	}
	switch {
	case f.local != 0 && f.local != 1 && f.local != 3:
		return usage("--local %d: give 1 or 3", f.local)
	case name.Local && f.local == 0:
		return usage("%s kills members: it runs with --local only", name.Name)
	case name.Name == "failover" && f.local != 3:
		return usage("failover needs a majority that is left: --local 3")
	case name.Name == "failover" && f.client != workload.GoClient:
		return usage("failover needs --client go: a stock connection knows one member")
	case name.Local && f.rate != 0:
		return usage("--rate is nothing to %s", name.Name)
	case f.dir != "" && f.local == 0:
		return usage("--dir is for members of --local")
	case f.client != workload.GoClient && f.client != workload.GRPCClient:
		return usage("--client %q: write %s or %s", f.client, workload.GoClient, workload.GRPCClient)
	case f.connections < 0 || f.connections > workload.MaxConnections:
		return usage("--connections %d: give up to %d", f.connections, workload.MaxConnections)
	case f.fault != string(workload.Kill) && f.fault != string(workload.Pause):
		return usage("--fault %q: write %s or %s", f.fault, workload.Kill, workload.Pause)
	case f.settings.Settle < 0:
		return usage("--settle %v: give a time that is not negative", f.settings.Settle)
	}
	f.settings.Fault = workload.Fault(f.fault)
	if f.settings.Clients == 0 {
		f.settings.Clients = name.Clients
	}
	if err := f.settings.Check(); err != nil {
		return usage("%v", err)
	}
	plan := f.plan(nil)
	if slices.Contains(name.Uses, "pipeline") {
		plan.Clients *= f.settings.Pipeline
	}
	if err := plan.Check(); err != nil {
		return usage("%v", err)
	}
	return nil
}

func (f *benchFlags) plan(progress func(measure.Progress)) measure.Plan {
	return measure.Plan{
		Clients: f.settings.Clients, Rate: f.rate, WarmUp: f.warmUp, Duration: f.duration, Progress: progress,
	}
}

// bench measures one workload and prints what it found.
func (s *session) bench(ctx context.Context, workloadName string, f *benchFlags) (err error) {
	name, err := workload.Find(workloadName)
	if err != nil {
		return usage("%v; see heliosmeta bench --help", err)
	}
	if err := f.check(name); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, f.warmUp+f.duration+benchPatience,
		fmt.Errorf("the benchmark took %v longer than it was to measure", benchPatience))
	defer cancel()
	f.settings.Say = s.say
	endpoints, cluster, err := s.benchMembers(ctx, f)
	if err != nil {
		return interrupted(ctx, err)
	}
	if cluster != nil {
		defer func() { err = errors.Join(err, cluster.Close()) }()
	}
	run := benchRun{session: s, flags: f, name: name, endpoints: endpoints, cluster: cluster}
	report, err := run.measure(ctx)
	if err != nil {
		return interrupted(ctx, err)
	}
	if err := s.printer().ValueLine(report, func(r *output.Rows) { benchRows(r, report) }); err != nil {
		return err
	}
	if report.Count == 0 && report.Errors > 0 {
		return errors.New("no operation succeeded; see the errors above")
	}
	return nil
}

// interrupted says so of an error that follows from Ctrl-C.
func interrupted(ctx context.Context, err error) error {
	if errors.Is(context.Cause(ctx), context.Canceled) {
		return errors.New("interrupted: there is no result")
	}
	return err
}

// benchMembers starts members if they are to be the benchmark's own.
func (s *session) benchMembers(ctx context.Context, f *benchFlags) ([]string, *fleet.Cluster, error) {
	if f.local == 0 {
		return s.endpoints, nil, nil
	}
	binary, err := os.Executable()
	if err != nil {
		return nil, nil, err
	}
	s.tls, s.token = tlsfiles.Files{}, "" // they listen on loopback, in plain text
	cluster, err := fleet.Start(ctx, fleet.Options{Binary: binary, Name: "heliosmeta", Members: f.local, Dir: f.dir})
	if err != nil {
		return nil, nil, err
	}
	s.say("started members: %d, below %s", f.local, cluster.Dir())
	if inMemory(cluster.Dir()) {
		s.say("that is memory: syncing costs nothing there; --dir names another place")
	}
	return cluster.API(), cluster, nil
}
