package endtoend

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/heliosdb/metadata/internal/fleet"
)

const (
	kills     = 12                      // of each consumer
	maxLife   = 700 * time.Millisecond  // of a process that is killed; it delivers after a tenth of a second or so
	finishing = 30 * time.Second        // for the last process to deliver what is left
	stopping  = 10 * time.Second        // for a process that is asked to end
	memberAt  = 1500 * time.Millisecond // when the service itself is killed
)

var seed = flag.Uint64("seed", 1, "of the moments at which processes are killed")

// carrying is a consumer whose process is killed again and again.
type carrying struct {
	name    string
	target  target
	service *service
	random  *rand.Rand
	log     string
	process *fleet.Process
	runs    []run // without ids, which the target has
}

// start starts the program.
func (c *carrying) start(ctx context.Context) error {
	acknowledged, err := c.service.acknowledged(ctx, c.name)
	if err != nil {
		return err
	}
	args := append([]string{
		"--endpoints", strings.Join(c.service.cluster.API(), ","), "run", "--consumer", c.name, "--create", "--from", "beginning",
		"--batch", "20", "--ack-changes", "50", "--ack-interval", "100ms",
	}, c.target.args(len(c.runs))...)
	c.runs = append(c.runs, run{acknowledged: acknowledged})
	c.process, err = fleet.Run(fleet.Command{Binary: heliosmetaCDC, Args: args, Env: []string{}, Log: c.log})
	return err
}

// killAtRandom starts the program and ends it as kill -9 does, many times.
func (c *carrying) killAtRandom(ctx context.Context) error {
	for range kills {
		if err := c.start(ctx); err != nil {
			return err
		}
		time.Sleep(time.Duration(c.random.Int64N(int64(maxLife))))
		if c.process.Ended() {
			return fmt.Errorf("it ended by itself: %s", c.process.Said())
		}
		if err := c.process.Kill(); err != nil {
			return err
		}
		if err := c.target.ended(); err != nil {
			return err
		}
	}
	return nil
}

// finish starts the program a last time and stops it when all is acknowledged.
func (c *carrying) finish(ctx context.Context, h history) error {
	ctx, cancel := context.WithTimeout(ctx, finishing)
	defer cancel()
	if err := c.start(ctx); err != nil {
		return err
	}
	for {
		acknowledged, err := c.service.acknowledged(ctx, c.name)
		if err != nil {
			return fmt.Errorf("%w; acknowledged is %v; it said: %s", err, acknowledged, c.process.Said())
		}
		if acknowledged["schema"] >= h.last["schema"] && acknowledged["topology"] >= h.last["topology"] {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if err := c.process.Stop(stopping); err != nil {
		return err
	}
	if said := c.process.Said(); strings.Contains(said, "error:") {
		return fmt.Errorf("asked to end, it says: %s", said)
	}
	return c.target.ended()
}

// Whenever the program is killed, and the service too, every change comes to the target,
// those of a stream in order; what comes again had not been acknowledged, and to JetStream
// nothing comes twice. It takes seconds, as processes are started again and again.
func TestNothingIsLostWhereverItIsKilled(t *testing.T) {
	s := startService(t)
	t.Logf("seed %d", *seed)
	all := []*carrying{
		{name: "file", target: &files{dir: filepath.Join(t.TempDir(), "new", "audit")}},
		{name: "webhook", target: startHook(t)},
		{name: "nats", target: startBus(t)},
	}
	stopWriting := s.write(t)
	var killing sync.WaitGroup
	for i, c := range all {
		c.service, c.random, c.log = s, rand.New(rand.NewPCG(*seed, uint64(i))), filepath.Join(t.TempDir(), c.name+".log")
		t.Cleanup(func() {
			if c.process != nil {
				_ = c.process.Kill()
			}
		})
		killing.Go(func() {
			if err := c.killAtRandom(t.Context()); err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
		})
	}
	time.Sleep(memberAt)
	if err := s.restart(t.Context()); err != nil {
		t.Error(err)
	}
	killing.Wait()
	written := stopWriting()
	if t.Failed() {
		return
	}
	h := s.history(t)
	if h.last["schema"]+h.last["topology"] < written || written < 100 {
		t.Fatalf("%d changes were acknowledged, the history has %v", written, h.last)
	}
	for _, c := range all {
		t.Run(c.name, func(t *testing.T) { c.check(t, h) })
	}
}

// check has the program finish, and judges what it has delivered.
func (c *carrying) check(t *testing.T, h history) {
	if err := c.finish(t.Context(), h); err != nil {
		t.Fatal(err)
	}
	runs := c.target.delivered(t)
	if len(runs) == 1 { // it cannot tell them apart
		c.runs = make([]run, 1)
	}
	busy, total := 0, 0
	for i, ids := range runs {
		c.runs[i].ids = ids
		total += len(ids)
		if len(ids) > 0 {
			busy++
		}
	}
	t.Logf("%d changes were delivered %d times by %d processes that delivered any", h.last["schema"]+h.last["topology"], total, busy)
	if len(runs) > 1 && busy < kills/3 {
		t.Errorf("only %d of %d processes delivered anything before they were killed", busy, len(runs))
	}
	if err := judge(h, c.runs); err != nil {
		t.Error(err)
	}
}
