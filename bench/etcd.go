package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/internal/fleet"
	"github.com/heliosdb/metadata/internal/loopback"
	"github.com/heliosdb/metadata/internal/workload"
)

const (
	startLimit = 30 * time.Second
	startPoll  = 20 * time.Millisecond
	askLimit   = time.Second
	readyWait  = 300 * time.Millisecond // for one answer of a member that starts
	// restartWait is for one answer of a member that loads a million objects.
	restartWait  = 50 * time.Millisecond
	restartLimit = 2 * time.Minute
	// fillBatch stays below etcd's --max-txn-ops, 128 by default.
	fillBatch   = 100
	fillWriters = 8
	fillPrefix  = "/fill/"
)

// etcd is members of etcd with its default settings and durability.
type etcd struct {
	binary  string
	root    string
	clients []string // addresses
	listen  []string // for peers
	doors   *network // nil: none
	running []*fleet.Process
	next    atomic.Int64
}

// startEtcd runs members.
func startEtcd(ctx context.Context, e *env, members int, doors bool) (_ *etcd, err error) {
	c := &etcd{binary: e.etcd, running: make([]*fleet.Process, members)}
	if c.root, err = os.MkdirTemp(e.dir, "etcd-bench-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("starting etcd: %w", err), c.close())
		}
	}()
	for range members {
		for _, list := range []*[]string{&c.clients, &c.listen} {
			address, err := loopback.Address()
			if err != nil {
				return nil, err
			}
			*list = append(*list, address)
		}
	}
	if doors {
		if c.doors, err = newNetwork(c.listen); err != nil {
			return nil, err
		}
		c.doors.setPIDs(func() []int { return pids(c) })
	}
	for i := range members {
		if err := c.launch(i); err != nil {
			return nil, err
		}
	}
	return c, c.ready(ctx)
}

func (c *etcd) name() string { return "etcd" }

// peers are the addresses by which members reach each other.
func (c *etcd) peers() []string {
	if c.doors != nil {
		return c.doors.doors()
	}
	return c.listen
}

func (c *etcd) launch(i int) error {
	var cluster []string
	for j, address := range c.peers() {
		cluster = append(cluster, fmt.Sprintf("m%d=http://%s", j+1, address))
	}
	p, err := fleet.Run(fleet.Command{
		Binary: c.binary, Log: filepath.Join(c.root, fmt.Sprintf("member-%d.log", i+1)),
		Args: []string{
			"--name", fmt.Sprintf("m%d", i+1), "--data-dir", c.dir(i), "--log-level", "error",
			"--listen-client-urls", "http://" + c.clients[i], "--advertise-client-urls", "http://" + c.clients[i],
			"--listen-peer-urls", "http://" + c.listen[i], "--initial-advertise-peer-urls", "http://" + c.peers()[i],
			"--initial-cluster", strings.Join(cluster, ","), "--initial-cluster-state", "new",
		},
	})
	if err != nil {
		return err
	}
	c.running[i] = p
	return nil
}

// dial returns a client of members; without a name, of all.
func (c *etcd) dial(endpoints ...string) (*clientv3.Client, error) {
	if len(endpoints) == 0 {
		endpoints = c.clients
	}
	// It logs each try that fails, which is what faults are about.
	return clientv3.New(clientv3.Config{Endpoints: endpoints, DialTimeout: callLimit, Logger: zap.NewNop()})
}

// ready waits until all members answer linearizable reads. Each try has a client of its
// own: gRPC waits longer and longer between those of one.
func (c *etcd) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	for i := range c.running {
		for {
			err := c.readOnce(ctx, i, readyWait, "ready")
			if err == nil {
				break
			}
			if c.running[i].Ended() || ctx.Err() != nil {
				return fmt.Errorf("etcd member %d is not ready: %w; its log ends with:\n%s", i+1, err, c.running[i].Said())
			}
			time.Sleep(startPoll)
		}
	}
	return nil
}

func (c *etcd) leader(ctx context.Context) (int, error) {
	client, err := c.dial()
	if err != nil {
		return 0, err
	}
	defer client.Close()
	for began := time.Now(); time.Since(began) < startLimit && ctx.Err() == nil; {
		for i, address := range c.clients {
			asking, cancel := context.WithTimeout(ctx, askLimit)
			status, err := client.Status(asking, address)
			cancel()
			if err == nil && status.Leader != 0 && status.Leader == status.Header.MemberId {
				return i, nil
			}
		}
		time.Sleep(startPoll)
	}
	return 0, errors.New("etcd has no leader")
}

// value is the payload of object n: what ours stores for a table.
func value(n int64) string {
	text, err := proto.Marshal(workload.Table(fillNamespace, n))
	if err != nil {
		panic(err) // a constant but for the number
	}
	return string(text)
}

func key(prefix string, n int64) string { return prefix + workload.TableName(n) }

// puts is a transaction's share of work.
func puts(prefix string, from, until int64) []clientv3.Op {
	ops := make([]clientv3.Op, 0, until-from)
	for n := from; n < until; n++ {
		ops = append(ops, clientv3.OpPut(key(prefix, n), value(n)))
	}
	return ops
}

func (c *etcd) fill(ctx context.Context, from, until int64) error {
	leader, err := c.leader(ctx)
	if err != nil {
		return err
	}
	client, err := c.dial(c.clients[leader])
	if err != nil {
		return err
	}
	defer client.Close()
	return inBatches(ctx, fillWriters, from, until, fillBatch, func(ctx context.Context, first, last int64) error {
		_, err := client.Txn(ctx).Then(puts(fillPrefix, first, last)...).Commit()
		return err
	})
}

// awaitRead asks with a client of its own for each try, as ready does: gRPC's waiting
// would count as etcd's.
func (c *etcd) awaitRead(ctx context.Context, i int, last int64) error {
	ctx, cancel := context.WithTimeout(ctx, restartLimit)
	defer cancel()
	for {
		err := c.readOnce(ctx, i, restartWait, key(fillPrefix, last), clientv3.WithSerializable())
		if err == nil {
			return nil
		}
		if c.running[i].Ended() || ctx.Err() != nil {
			return fmt.Errorf("etcd member %d does not answer: %w; its log ends with:\n%s", i+1, err, c.running[i].Said())
		}
		time.Sleep(time.Millisecond)
	}
}

// readOnce reads a key from one member. A local read has to find it.
func (c *etcd) readOnce(ctx context.Context, i int, limit time.Duration, k string, options ...clientv3.OpOption) error {
	client, err := c.dial(c.clients[i])
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	res, err := client.Get(ctx, k, options...)
	if err == nil && len(options) > 0 && len(res.Kvs) != 1 {
		err = fmt.Errorf("%s is not there", k)
	}
	return err
}

// writer is a client that was made before the fault and knows all members.
func (c *etcd) writer(context.Context) (func(context.Context) error, func(), error) {
	client, err := c.dial()
	if err != nil {
		return nil, nil, err
	}
	return func(ctx context.Context) error {
		n := c.next.Add(1)
		_, err := client.Put(ctx, key("/outage/", n), value(n))
		return err
	}, func() { _ = client.Close() }, nil
}

func (c *etcd) size() int { return len(c.running) }

func (c *etcd) process(i int) *fleet.Process { return c.running[i] }

func (c *etcd) between() *network { return c.doors }

func (c *etcd) dir(i int) string { return filepath.Join(c.root, fmt.Sprintf("m%d", i+1)) }

func (c *etcd) close() error {
	var errs []error
	for _, p := range c.running {
		if p != nil {
			errs = append(errs, p.Kill())
		}
	}
	if c.doors != nil {
		c.doors.close()
	}
	return errors.Join(append(errs, os.RemoveAll(c.root))...)
}
