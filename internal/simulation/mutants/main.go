// Command mutants shows that the simulator finds bugs: it puts one known bug after
// the other into the service and runs seeds until one is caught. A mutant that
// survives means that a law is not watched, and the command fails.
//
// The bugs are texts in catalogue.go. The real source never contains them: each
// mutant is a build of the simulator with `go build -overlay`, which shows the compiler a
// changed copy of a file. First of all the unchanged service has to pass the same
// seeds, or catching a mutant would prove nothing.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		stop()
		os.Exit(1) //nolint:gocritic // stop was called
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("mutants", flag.ContinueOnError)
	only := flags.String("only", "", "run these mutants alone: names, separated by commas")
	seeds := flags.Int("seeds", 1000, "give up on a mutant after so many seeds")
	dir := flags.String("dir", ".tmp/mutants", "where changed files and binaries go")
	if err := flags.Parse(args); err != nil {
		return err
	}
	root, err := moduleRoot()
	if err != nil {
		return err
	}
	bench := bench{root: root, dir: filepath.Join(root, *dir), seeds: *seeds}
	chosen := mutants
	if *only != "" {
		names := strings.Split(*only, ",")
		chosen = slices.DeleteFunc(slices.Clone(mutants), func(m mutant) bool { return !slices.Contains(names, m.name) })
		if len(chosen) != len(names) {
			return fmt.Errorf("of the mutants %q there are %d", names, len(chosen))
		}
	}
	return bench.all(ctx, chosen)
}

// all tries every mutant and prints a line for each.
func (b *bench) all(ctx context.Context, chosen []mutant) error {
	start := time.Now()
	fmt.Printf("%-36s %8s %6s %8s  %s\n", "MUTANT", "CAUGHT", "SEED", "TIME", "BY")
	baseline, err := b.try(ctx, mutant{name: "none"})
	if err != nil {
		return err
	}
	if baseline.caught {
		return fmt.Errorf("the unchanged service fails seed %s: %s", baseline.seed, baseline.by)
	}
	fmt.Printf("%-36s %8s %6s %8s  %d seeds passed\n", "(the unchanged service)", "-", "-", baseline.took.Round(100*time.Millisecond), b.seeds)
	caught := 0
	for _, m := range chosen {
		o, err := b.try(ctx, m)
		if err != nil {
			return fmt.Errorf("mutant %s: %w", m.name, err)
		}
		word := "NO"
		if o.caught {
			word, caught = "yes", caught+1
		}
		fmt.Printf("%-36s %8s %6s %8s  %s\n", m.name, word, o.seed, o.took.Round(100*time.Millisecond), o.by)
	}
	fmt.Printf("\n%d of %d mutants caught in %v\n", caught, len(chosen), time.Since(start).Round(time.Second))
	if caught < len(chosen) {
		return errors.New("a mutant survived: the laws it breaks are not watched")
	}
	return nil
}

// moduleRoot is the directory of go.mod, here or above.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		if filepath.Dir(dir) == dir {
			return "", errors.New("no go.mod here or above: run this inside the repository")
		}
		dir = filepath.Dir(dir)
	}
}
