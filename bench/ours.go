package main

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/heliosdb/metadata/client"
	"github.com/heliosdb/metadata/internal/fleet"
	"github.com/heliosdb/metadata/internal/workload"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

const (
	callLimit = 10 * time.Second
	// fillNamespace holds what fill creates.
	fillNamespace = "bench_fill"
	schema        = metadatav1.Stream_STREAM_SCHEMA
)

// ours is members of this service.
type ours struct {
	cluster *fleet.Cluster
	doors   *network // nil: none
	next    atomic.Int64
	filled  bool
}

// startOurs runs members. Flags are for `serve`; doors put a network between them.
func startOurs(ctx context.Context, e *env, members int, doors bool, flags ...string) (_ *ours, err error) {
	o := new(ours)
	options := fleet.Options{Binary: e.heliosmeta, Members: members, Dir: e.dir, Flags: flags}
	if doors {
		options.Raft = func(listen []string) ([]string, error) {
			if o.doors, err = newNetwork(listen); err != nil {
				return nil, err
			}
			return o.doors.doors(), nil
		}
	}
	o.cluster, err = fleet.Start(ctx, options)
	if err != nil {
		if o.doors != nil {
			o.doors.close()
		}
		return nil, fmt.Errorf("starting heliosmeta: %w", err)
	}
	if o.doors != nil {
		o.doors.setPIDs(func() []int { return pids(o) })
	}
	return o, nil
}

func (o *ours) name() string { return "heliosmeta" }

func (o *ours) target(ctx context.Context, kind string, callers int, stream metadatav1.Stream) (*workload.Target, error) {
	t, err := workload.Dial{
		Endpoints: o.cluster.API(), Client: kind, Callers: callers, Actor: "bench", Timeout: callLimit,
	}.Connect(ctx, stream)
	if err != nil {
		return nil, err
	}
	t.Cluster = o.cluster
	return t, nil
}

func (o *ours) work(ctx context.Context, name, kind string, s workload.Settings) (workload.Work, func(), error) {
	what, err := workload.Find(name)
	if err != nil {
		return nil, nil, err
	}
	t, err := o.target(ctx, kind, s.Clients, what.Stream)
	if err != nil {
		return nil, nil, err
	}
	w, err := what.New(t, s)
	if err != nil {
		t.Close()
		return nil, nil, err
	}
	return w, t.Close, nil
}

func (o *ours) fill(ctx context.Context, from, until int64) error {
	t, err := o.target(ctx, workload.GoClient, 1, schema)
	if err != nil {
		return err
	}
	defer t.Close()
	if !o.filled {
		if err := o.openNamespace(ctx, t.Control); err != nil {
			return err
		}
		o.filled = true
	}
	return workload.Fill(ctx, t, fillNamespace, from, until)
}

func (o *ours) openNamespace(ctx context.Context, c *client.Client) error {
	_, err := c.CreateNamespace(ctx, &metadatav1.CreateNamespaceRequest{Namespace: &metadatav1.Namespace{Name: fillNamespace}})
	return err
}

// writer is a client that was made before the fault and knows all members.
func (o *ours) writer(ctx context.Context) (func(context.Context) error, func(), error) {
	c, err := client.New(client.Options{Endpoints: o.cluster.API(), InOrder: true, Actor: "bench", Timeout: callLimit})
	if err != nil {
		return nil, nil, err
	}
	if !o.filled {
		if err := o.openNamespace(ctx, c); err != nil {
			c.Close()
			return nil, nil, err
		}
		o.filled = true
	}
	return func(ctx context.Context) error {
		_, err := c.CreateTable(ctx, &metadatav1.CreateTableRequest{Table: workload.Table(fillNamespace, o.next.Add(1))})
		return err
	}, c.Close, nil
}

func (o *ours) leader(ctx context.Context) (int, error) { return o.cluster.Leader(ctx, schema) }

func (o *ours) size() int { return o.cluster.Size() }

func (o *ours) process(i int) *fleet.Process { return o.cluster.Process(i) }

func (o *ours) launch(i int) error { return o.cluster.Launch(i) }

func (o *ours) ready(ctx context.Context) error { return o.cluster.Ready(ctx) }

func (o *ours) awaitRead(ctx context.Context, i int, last int64) error {
	ref := &metadatav1.TableRef{Namespace: fillNamespace, Name: workload.TableName(last)}
	return workload.AwaitLocal(ctx, o.cluster.API()[i], ref, o.cluster.Lost)
}

func (o *ours) between() *network { return o.doors }

func (o *ours) dir(i int) string { return o.cluster.Data(i) }

func (o *ours) close() error {
	err := o.cluster.Close()
	if o.doors != nil {
		o.doors.close()
	}
	return err
}
