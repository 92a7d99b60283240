package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/metadata"

	"github.com/heliosdb/metadata/internal/measure"
	"github.com/heliosdb/metadata/internal/workload"
)

// connections of etcd's own benchmark tool when it has several clients.
const connections = 4

// works are the same as workload.Names, done to etcd.
var works = map[string]func(*etcdWork) workload.Work{
	"create":    func(w *etcdWork) workload.Work { return &put{w} },
	"bulk":      func(w *etcdWork) workload.Work { return &txn{w} },
	"get":       func(w *etcdWork) workload.Work { return &get{etcdWork: w} },
	"get-local": func(w *etcdWork) workload.Work { return &get{w, []clientv3.OpOption{clientv3.WithSerializable()}} },
	"heartbeat": func(w *etcdWork) workload.Work { return &keepAlive{etcdWork: w} },
	"subscribe": func(w *etcdWork) workload.Work { return &watch{w} },
}

// etcdWork is what every work has.
type etcdWork struct {
	workload.Settings

	clients []*clientv3.Client
	prefix  string
	next    atomic.Int64
}

// prefixes keep the keys of one work apart from those of others.
var prefixes atomic.Int64

// work gives etcd's work of a name. Its client is grpc-go whatever it is called.
func (c *etcd) work(ctx context.Context, name, _ string, s workload.Settings) (workload.Work, func(), error) {
	make, ok := works[name]
	if !ok {
		return nil, nil, fmt.Errorf("etcd has nothing like %s", name)
	}
	leader, err := c.leader(ctx)
	if err != nil {
		return nil, nil, err
	}
	w := &etcdWork{Settings: s, prefix: fmt.Sprintf("/bench/%d/", prefixes.Add(1))}
	done := func() {
		for _, client := range w.clients {
			_ = client.Close()
		}
	}
	n := connections
	if s.Clients == 1 {
		n = 1
	}
	for range n {
		client, err := c.dial(c.clients[leader])
		if err != nil {
			done()
			return nil, nil, err
		}
		w.clients = append(w.clients, client)
	}
	return make(w), done, nil
}

func (w *etcdWork) client(i int) *clientv3.Client { return w.clients[i%len(w.clients)] }

func (w *etcdWork) Prepare(context.Context) error { return nil }

func (w *etcdWork) Clean(context.Context) error { return nil }

// loop runs an operation, each call with the time that ours has.
func (w *etcdWork) loop(ctx context.Context, plan measure.Plan, op func(client int) func(context.Context) error) (workload.Report, error) {
	plan.Kind = workload.Kind
	result, err := measure.Run(ctx, plan, func(client int) measure.Op {
		do := op(client)
		return func(ctx context.Context) (string, error) {
			ctx, cancel := context.WithTimeout(ctx, callLimit)
			defer cancel()
			return "", do(ctx)
		}
	})
	return workload.Report{Result: result}, err
}

// inBatches calls do for parts of a range, several at a time.
func inBatches(ctx context.Context, writers int, from, until, size int64, do func(ctx context.Context, first, last int64) error) error {
	group, ctx := errgroup.WithContext(ctx)
	var next atomic.Int64
	next.Store(from)
	for range writers {
		group.Go(func() error {
			for {
				first := next.Add(size) - size
				if first >= until {
					return nil
				}
				if err := do(ctx, first, min(first+size, until)); err != nil {
					return err
				}
			}
		})
	}
	return group.Wait()
}

// put stores one table under a new key.
type put struct{ *etcdWork }

func (w *put) Run(ctx context.Context, plan measure.Plan) (workload.Report, error) {
	return w.loop(ctx, plan, func(i int) func(context.Context) error {
		client := w.client(i)
		return func(ctx context.Context) error {
			n := w.next.Add(1)
			_, err := client.Put(ctx, key(w.prefix, n), value(n))
			return err
		}
	})
}

// txn stores Batch tables in one transaction.
type txn struct{ *etcdWork }

func (w *txn) Run(ctx context.Context, plan measure.Plan) (workload.Report, error) {
	size := int64(w.Batch)
	report, err := w.loop(ctx, plan, func(i int) func(context.Context) error {
		client := w.client(i)
		return func(ctx context.Context) error {
			first := w.next.Add(size) - size
			_, err := client.Txn(ctx).Then(puts(w.prefix, first, first+size)...).Commit()
			return err
		}
	})
	report.ObjectsPerSec = report.OpsPerSec * float64(size)
	return report, err
}

// get reads tables at random.
type get struct {
	*etcdWork
	options []clientv3.OpOption
}

func (w *get) Prepare(ctx context.Context) error {
	return inBatches(ctx, fillWriters, 0, int64(w.Tables), fillBatch, func(ctx context.Context, first, last int64) error {
		_, err := w.client(0).Txn(ctx).Then(puts(w.prefix, first, last)...).Commit()
		return err
	})
}

func (w *get) Run(ctx context.Context, plan measure.Plan) (workload.Report, error) {
	return w.loop(ctx, plan, func(i int) func(context.Context) error {
		client, random := w.client(i), rand.New(rand.NewPCG(w.Seed, uint64(i)))
		return func(ctx context.Context) error {
			k := key(w.prefix, random.Int64N(int64(w.Tables)))
			res, err := client.Get(ctx, k, w.options...)
			if err == nil && len(res.Kvs) != 1 {
				err = fmt.Errorf("%s is not there", k)
			}
			return err
		}
	})
}

// keepAlive renews leases over open streams, many under way on each.
type keepAlive struct {
	*etcdWork
	leases []clientv3.LeaseID
}

// leaseSeconds is that of a node here.
const leaseSeconds = 5

func (w *keepAlive) Prepare(ctx context.Context) error {
	w.leases = make([]clientv3.LeaseID, w.Nodes)
	return inBatches(ctx, fillWriters, 0, int64(w.Nodes), 1, func(ctx context.Context, first, _ int64) error {
		granted, err := w.client(0).Grant(ctx, leaseSeconds)
		if err == nil {
			w.leases[first] = granted.ID
		}
		return err
	})
}

func (w *keepAlive) Run(ctx context.Context, plan measure.Plan) (workload.Report, error) {
	streaming, cancel := context.WithCancel(ctx)
	var pipes []*workload.Pipe[*pb.LeaseKeepAliveRequest, *pb.LeaseKeepAliveResponse]
	defer func() {
		cancel()
		for _, p := range pipes {
			_ = p.Wait() // it ends because its context did
		}
	}()
	for i := range plan.Clients {
		stream, err := pb.NewLeaseClient(w.client(i).ActiveConnection()).LeaseKeepAlive(streaming)
		if err != nil {
			return workload.Report{}, err
		}
		pipes = append(pipes, workload.NewPipe(w.Pipeline, stream.Send, stream.Recv))
	}
	plan.Clients *= w.Pipeline
	return w.loop(ctx, plan, func(i int) func(context.Context) error {
		pipe := pipes[i%len(pipes)]
		return func(ctx context.Context) error {
			id := w.leases[int(w.next.Add(1))%len(w.leases)]
			res, err := pipe.Do(ctx, &pb.LeaseKeepAliveRequest{ID: int64(id)})
			if err == nil && (res.TTL == 0 || res.ID != int64(id)) {
				err = fmt.Errorf("lease %d was not renewed: %v", id, res)
			}
			return err
		}
	})
}

// watch stores tables while Subscribers hear of them, each on a stream of its own, as
// separate processes are.
type watch struct{ *etcdWork }

func (w *watch) Run(ctx context.Context, plan measure.Plan) (workload.Report, error) {
	plan.Kind = workload.Kind
	// Each run has keys of its own.
	prefix := fmt.Sprintf("%s%d/", w.prefix, w.next.Add(1))
	return workload.FanOut{
		Listeners: w.Subscribers, Kind: workload.Kind,
		Listen: func(ctx context.Context, i int, ready func(), heard func(int64)) error {
			return w.listen(ctx, i, prefix, ready, heard)
		},
		Write: func(ctx context.Context, i int, n int64) error {
			ctx, cancel := context.WithTimeout(ctx, callLimit)
			defer cancel()
			_, err := w.client(i).Put(ctx, key(prefix, n), value(n))
			return err
		},
	}.Run(ctx, plan)
}

func (w *watch) listen(ctx context.Context, i int, prefix string, ready func(), heard func(int64)) error {
	// The client shares a stream among watchers whose metadata is the same.
	ctx = metadata.AppendToOutgoingContext(clientv3.WithRequireLeader(ctx), "watcher", fmt.Sprint(i))
	for answer := range w.client(i).Watch(ctx, prefix, clientv3.WithPrefix(), clientv3.WithCreatedNotify()) {
		if err := answer.Err(); err != nil {
			return err
		}
		if answer.Created {
			ready()
		}
		for _, event := range answer.Events {
			heard(workload.TableNumber(string(event.Kv.Key[len(prefix):])))
		}
	}
	return ctx.Err()
}
