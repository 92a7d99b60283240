// Command bench measures heliosmeta beside etcd: the same work, on three members of each
// as processes on this machine, with the default durability of both, the same payload and
// the same numbers of clients.
//
//	make bench-etcd                                    the whole table
//	make bench-etcd ROWS=create-1,get-64 ROUNDS=5      some rows
//
// Rounds alternate: first one system, directly behind it the other. A ratio is the median
// of the ratios within each round, shown with the least and the largest; from fewer than
// five rounds there is none. A round during which something else used more than a quarter
// of a core is measured again, five times at most in a row.
//
// The Markdown table goes to stdout, everything to the -json file, progress to stderr. It
// ends its members whatever happens, and fails if a row could not be measured. It reads
// what processes use from /proc: Linux only.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	// The load generator shares the cores with what it measures. Its heap is small, so that
	// it would collect dozens of times a second, for both systems alike.
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(400)
	}
	os.Exit(run())
}

// options are the command line.
type options struct {
	env      env
	rows     string
	json     string
	markdown string
	list     bool
}

func run() int {
	var o options
	e := &o.env
	flag.StringVar(&e.heliosmeta, "heliosmeta", "bin/heliosmeta", "binary of heliosmeta")
	flag.StringVar(&e.etcd, "etcd", ".tmp/etcdmember", "binary of etcd")
	flag.StringVar(&e.dir, "dir", "", "where members have their directories; by default that for temporary files")
	flag.StringVar(&o.rows, "rows", "", "rows to measure, separated by commas; empty: all but the extra ones")
	flag.IntVar(&e.rounds, "rounds", leastRounds, "rounds of each row; some have more, unless this is below five")
	flag.DurationVar(&e.warmUp, "warm-up", time.Second, "before each half of a round")
	flag.DurationVar(&e.duration, "duration", 2*time.Second, "of each half of a round")
	flag.Float64Var(&e.maxForeign, "max-foreign", 0.25, "cores that something else may use in a round that counts; 0: any")
	flag.Float64Var(&e.scale, "scale", 1, "share of the objects that rows about size store, to try them out quickly")
	flag.StringVar(&o.json, "json", "", "file for everything that was measured")
	flag.StringVar(&o.markdown, "markdown", "", "file for the table, beside stdout")
	flag.BoolVar(&o.list, "list", false, "list the rows")
	flag.Parse()
	if o.list {
		for _, r := range rows() {
			extra := ""
			if r.extra {
				extra = " (only by name)"
			}
			fmt.Printf("%-22s %s%s\n", r.name, r.about, extra)
		}
		return 0
	}
	e.say = func(format string, args ...any) {
		fmt.Fprintf(os.Stderr, "%s "+format+"\n", append([]any{time.Now().Format(time.TimeOnly)}, args...)...)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := o.measure(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		return 1
	}
	return 0
}

// choose returns the rows with these names.
func choose(names string) ([]row, error) {
	all := rows()
	if names == "" {
		return slices.DeleteFunc(all, func(r row) bool { return r.extra }), nil
	}
	var chosen []row
	for name := range strings.SplitSeq(names, ",") {
		i := slices.IndexFunc(all, func(r row) bool { return r.name == strings.TrimSpace(name) })
		if i < 0 {
			return nil, fmt.Errorf("there is no row %q; -list lists them", name)
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
}

// measure measures rows and writes what came out, also of those before an error.
func (o *options) measure(ctx context.Context) error {
	e := &o.env
	chosen, err := choose(o.rows)
	if err != nil {
		return err
	}
	if e.rounds < 1 || e.duration <= 0 {
		return errors.New("give at least one round, of a duration above 0")
	}
	if !(e.scale > 0 && e.scale <= 1) {
		return fmt.Errorf("-scale %v: give more than 0 and at most 1", e.scale)
	}
	if e.dir == "" {
		e.dir = os.TempDir()
	}
	out := &report{Began: time.Now(), Machine: describeMachine(e.dir), WarmUp: e.warmUp.String(), Duration: e.duration.String(), Scale: e.scale}
	if out.Versions, err = e.versions(ctx); err != nil {
		return err
	}
	var failed []string
	for _, r := range chosen {
		if r.own || r.fresh {
			if err := e.release(); err != nil {
				return err
			}
		}
		measured := e.row(ctx, r)
		out.Rows = append(out.Rows, measured)
		if measured.Error != "" {
			e.say("%s: %s", r.name, measured.Error)
			failed = append(failed, r.name)
		}
		if ctx.Err() != nil {
			break
		}
	}
	err = e.release()
	out.Took = time.Since(out.Began).Round(time.Second).String()
	if len(failed) > 0 {
		err = errors.Join(err, fmt.Errorf("not measured to the end: %s", strings.Join(failed, ", ")))
	}
	return errors.Join(err, o.write(out))
}

// row measures one row.
func (e *env) row(ctx context.Context, r row) rowReport {
	out := rowReport{Name: r.name, About: r.about, Columns: r.columns}
	one, end, err := r.open(ctx, e)
	renew := func() (again pair, err error) {
		if err := errors.Join(end(), e.release()); err != nil {
			end = nil
			return nil, err
		}
		again, end, err = r.open(ctx, e)
		return again, err
	}
	if !r.fresh {
		renew = nil
	}
	var rounds []round
	if err == nil {
		n := e.rounds
		if n >= leastRounds {
			n = max(n, r.rounds)
		}
		rounds, out.Repeats, err = e.run(ctx, r.name, n, r.limit, one, renew)
	}
	if end != nil {
		err = errors.Join(err, end())
	}
	if err != nil {
		out.Error = err.Error()
	}
	out.Rounds = len(rounds)
	for _, l := range r.lines {
		if c := l.compare(rounds); c.A != nil {
			out.Lines = append(out.Lines, c)
		}
	}
	return out
}

// write prints the table and fills the files that were asked for.
func (o *options) write(out *report) error {
	errs := []error{out.writeMarkdown(os.Stdout)}
	for name, text := range map[string]func(*os.File) error{
		o.json:     func(f *os.File) error { return out.writeJSON(f) },
		o.markdown: func(f *os.File) error { return out.writeMarkdown(f) },
	} {
		if name == "" {
			continue
		}
		f, err := os.Create(name)
		if err == nil {
			err = errors.Join(text(f), f.Close())
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// versions asks the binaries, which have to be there.
func (e *env) versions(ctx context.Context) (v versions, err error) {
	v.Go = runtime.Version()
	for _, binary := range []struct {
		path *string
		args []string
		to   *string
		what string
	}{
		{&e.heliosmeta, []string{"version"}, &v.Heliosmeta, "make build"},
		{&e.etcd, []string{"--version"}, &v.Etcd, "make build-etcd"},
	} {
		if *binary.path, err = filepath.Abs(*binary.path); err != nil {
			return v, err
		}
		text, err := exec.CommandContext(ctx, *binary.path, binary.args...).Output()
		if err != nil {
			return v, fmt.Errorf("%s %s: %w (%s makes it)", path.Base(*binary.path), binary.args[0], err, binary.what)
		}
		first, _, _ := strings.Cut(string(text), "\n")
		first, _, _ = strings.Cut(first, " (")
		*binary.to = strings.Replace(first, "etcd Version:", "etcd", 1)
	}
	return v, nil
}
