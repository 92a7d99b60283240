package main

import (
	"context"
	"fmt"
	"time"

	"github.com/heliosdb/metadata/internal/fleet"
	"github.com/heliosdb/metadata/internal/workload"
)

// subject is one of the two systems: members as processes on fresh directories.
type subject interface {
	name() string
	// work returns what a workload of that name does here, through a kind of client.
	work(ctx context.Context, name, client string, s workload.Settings) (workload.Work, func(), error)
	// fill creates objects numbered from up to below until.
	fill(ctx context.Context, from, until int64) error
	// writer returns a write as an application makes it that knows all members.
	writer(ctx context.Context) (write func(context.Context) error, done func(), err error)
	// leader is the member that leads.
	leader(ctx context.Context) (int, error)
	size() int
	process(i int) *fleet.Process
	// launch starts a member that was killed, ready waits until all members serve, and awaitRead
	// until one answers a read without a quorum with the last object of fill.
	launch(i int) error
	ready(ctx context.Context) error
	awaitRead(ctx context.Context, i int, last int64) error
	// between is the network between the members; nil: they reach each other directly.
	between() *network
	dir(i int) string
	close() error
}

// pids are the members' processes.
func pids(s subject) []int {
	var list []int
	for i := range s.size() {
		list = append(list, s.process(i).PID())
	}
	return list
}

// usage is what all members together have used so far.
type usage struct {
	cpu     time.Duration
	written int64
}

func used(s subject) (usage, error) {
	var sum usage
	for _, pid := range pids(s) {
		u, err := fleet.ReadUsage(pid)
		if err != nil {
			return sum, fmt.Errorf("%s: %w", s.name(), err)
		}
		sum.cpu += u.CPU
		sum.written += u.WrittenToDisk
	}
	return sum, nil
}

// outage measures what a fault of the leader costs, and repairs it.
func outage(ctx context.Context, s subject, fault string) (time.Duration, error) {
	leader, err := s.leader(ctx)
	if err != nil {
		return 0, err
	}
	write, done, err := s.writer(ctx)
	if err != nil {
		return 0, err
	}
	defer done()
	probes := workload.Outage{Every: 10 * time.Millisecond, Lead: time.Second, Limit: 20 * time.Second}
	took, err := probes.Measure(ctx, write, func() error { return strike(s, leader, fault) })
	if repaired := repair(ctx, s, leader); err == nil {
		err = repaired
	}
	return took, err
}

// The faults of a leader.
const (
	faultKill  = "kill"
	faultPause = "pause"
	faultCut   = "cut"
	// takes is how long a fault may need to take hold.
	takes = 5 * time.Millisecond
	// calm is how long a cluster is left alone behind a fault.
	calm = 1500 * time.Millisecond
)

func strike(s subject, member int, fault string) error {
	switch fault {
	case faultKill:
		return s.process(member).Kill()
	case faultPause:
		defer time.Sleep(takes)
		return s.process(member).Pause()
	}
	s.between().isolate(member)
	time.Sleep(takes)
	return nil
}

// repair ends any fault and waits until all is well.
func repair(ctx context.Context, s subject, member int) error {
	if n := s.between(); n != nil {
		n.isolate(-1)
	}
	if s.process(member).Ended() {
		if err := s.launch(member); err != nil {
			return err
		}
	} else if err := s.process(member).Resume(); err != nil {
		return err
	}
	if err := s.ready(ctx); err != nil {
		return err
	}
	select {
	case <-time.After(calm):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
