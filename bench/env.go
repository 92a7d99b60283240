package main

import (
	"context"
	"errors"
	"time"

	"github.com/heliosdb/metadata/internal/measure"
)

// members of a cluster, of either system.
const members = 3

// env is what rows are measured in.
type env struct {
	heliosmeta, etcd string // binaries
	dir              string // for data
	rounds           int
	warmUp, duration time.Duration
	maxForeign       float64 // cores that something else may use; 0: any
	scale            float64 // of how much is stored in rows about size; 1 but for trying out
	say              func(format string, args ...any)

	ours, theirs subject // clusters that rows share, once there are some
}

// shared returns clusters of three that rows without special wishes measure, one after
// the other.
func (e *env) shared(ctx context.Context) (a, b subject, err error) {
	if e.ours == nil {
		o, c, err := e.start(ctx, members, false)
		if err != nil {
			return nil, nil, err
		}
		e.ours, e.theirs = o, c
	}
	return e.ours, e.theirs, nil
}

// release ends the shared clusters.
func (e *env) release() error {
	if e.ours == nil {
		return nil
	}
	err := closeAll(e.ours, e.theirs)
	e.ours, e.theirs = nil, nil
	return err
}

// start runs a cluster of each system.
func (e *env) start(ctx context.Context, n int, doors bool) (a, b subject, err error) {
	o, err := startOurs(ctx, e, n, doors)
	if err != nil {
		return nil, nil, err
	}
	c, err := startEtcd(ctx, e, n, doors)
	if err != nil {
		return nil, nil, errors.Join(err, o.close())
	}
	return o, c, nil
}

func closeAll(subjects ...subject) error {
	var errs []error
	for _, s := range subjects {
		errs = append(errs, s.close())
	}
	return errors.Join(errs...)
}

// scaled is how many objects stand for n.
func (e *env) scaled(n int64) int64 { return int64(float64(n) * e.scale) }

func (e *env) plan(clients int, rate float64) measure.Plan {
	return measure.Plan{Clients: clients, Rate: rate, WarmUp: e.warmUp, Duration: e.duration}
}
