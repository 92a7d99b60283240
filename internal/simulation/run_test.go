package simulation

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

// TestSameSeedSameTrace runs seeds twice in one process, with others in between: a run
// takes nothing from what the process did before.
func TestSameSeedSameTrace(t *testing.T) {
	var hashes []string
	for range 2 {
		for seed := range uint64(3) {
			r := Run(seed, nil)
			hashes = append(hashes, r.Hash)
		}
	}
	for i := range 3 {
		if hashes[i] != hashes[i+3] {
			t.Errorf("seed %d: trace %s, then %s", i, hashes[i], hashes[i+3])
		}
		if i > 0 && hashes[i] == hashes[0] {
			t.Errorf("seeds 0 and %d have the same trace", i)
		}
	}
}

// seedVariable has the test binary run one seed and print the hash of its trace.
const seedVariable = "SIMULATION_SEED"

func TestMain(m *testing.M) {
	if seed, err := strconv.ParseUint(os.Getenv(seedVariable), 10, 64); err == nil {
		fmt.Println(Run(seed, nil).Hash)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// TestSameTraceInAnotherProcess runs a seed in two processes more: nothing that differs
// between processes, as the order of maps does, shows.
func TestSameTraceInAnotherProcess(t *testing.T) {
	const seed = 1
	want := Run(seed, nil).Hash
	for range 2 {
		command := exec.CommandContext(t.Context(), os.Args[0])
		command.Env = append(os.Environ(), fmt.Sprintf("%s=%d", seedVariable, seed))
		out, err := command.Output()
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.TrimSpace(string(out)); got != want {
			t.Errorf("seed %d: trace %s in this process, %s in another", seed, want, got)
		}
	}
}

// TestSeeds runs seeds that once showed something, and a few that did not, and sees
// that together they reach every fault and all kinds of work.
func TestSeeds(t *testing.T) {
	seeds := regressionSeeds(t)
	for seed := uint64(firstFixedSeed); seed < firstFixedSeed+fixedSeeds; seed++ {
		seeds = append(seeds, seed)
	}
	total := counts{}
	for _, seed := range seeds {
		r := Run(seed, nil)
		if r.Violation != nil {
			t.Errorf("seed %d: %v\n%s", seed, r.Violation, strings.Join(r.Trace[max(0, len(r.Trace)-80):], "\n"))
		}
		for name, n := range r.Counts {
			total.add(name, n)
		}
	}
	var wanted []string
	for _, k := range allFaultKinds {
		wanted = append(wanted, FaultPrefix+k.name)
	}
	wanted = append(wanted, FaultPrefix+faultInFloor, FaultPrefix+faultLoss, FaultPrefix+faultDuplication, FaultPrefix+faultSlowLink,
		"changes acknowledged", "forwarded", "reads", "elections", "checkpoints", "transfers begun", "installs",
		"leases granted", "nodes expired", "nodes revived", "rebuilds", "rebuilds with a checkpoint", "found out of date", "subscriptions", "frames", "resets",
		"changes carried out", "consuming processes crashed", "consuming processes fenced off", "consumers deleted", "consumers that lost history",
		"histories trimmed", "histories to be trimmed on a full disk", "consumers passed", "bases archived", "bases given", "bases refused",
		"heads signed", "damage named", "reads of the past", "reads of the past: FUTURE_REVISION", "reads of the past: HISTORY_GAP", "reads of the past: HISTORY_TRIMMED")
	for _, name := range wanted {
		if total[name] == 0 {
			t.Errorf("%d seeds never came to: %s", len(seeds), name)
		}
	}
}

// Seeds that never showed anything, and come to everything.
const firstFixedSeed, fixedSeeds = 530, 30

// regressionSeeds reads the seeds that once failed, each with what it showed.
func regressionSeeds(t *testing.T) (seeds []uint64) {
	f, err := os.Open("testdata/seeds.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		number, _, _ := strings.Cut(lines.Text(), "#")
		if number = strings.TrimSpace(number); number == "" {
			continue
		}
		seed, err := strconv.ParseUint(number, 10, 64)
		if err != nil {
			t.Fatalf("testdata/seeds.txt: %v", err)
		}
		seeds = append(seeds, seed)
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return seeds
}
