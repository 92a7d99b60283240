package chaos

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/client"
	"github.com/heliosdb/metadata/internal/consistency"
)

// Numbers of the load.
const (
	tableWorkers = 6
	nodeWorkers  = 3
	shardWorkers = 2
	cacheWorkers = 2
	subscribers  = 4 // that resume by themselves
	watchers     = 2 // that the client resumes

	startWait  = 60 * time.Second // for the first start
	settleWait = 45 * time.Second // for all members to serve after a fault
	baseline   = 3 * time.Second  // without any fault, at the beginning
	between    = 500 * time.Millisecond
	leaseSlack = time.Second             // beyond a lease, for nodes that are gone to go offline
	restWait   = 1500 * time.Millisecond // then, with nothing to do; many bookmarks
	// defaultLease and beatsPerLease are the service's.
	defaultLease  = 5 * time.Second
	beatsPerLease = 5
	checkWait     = 2 * time.Minute // for one group of objects
	monitorWait   = 100 * time.Millisecond
)

// Options of a run. Binary and Dir are required.
type Options struct {
	// Binary is the service's program.
	Binary string
	// Dir is a fresh directory; what is in it when Run returns is for the caller to keep
	// or delete.
	Dir string
	// Duration is for how long faults are applied.
	Duration time.Duration
	// Seed determines faults and load as far as they can be.
	Seed uint64
	// Kinds are the faults to choose from; empty: all that can be had here.
	Kinds []string
	// Lease of the nodes; 0: the service's default.
	Lease time.Duration
	// Log is told what happens; nil: nobody.
	Log io.Writer
}

// run is the state of one run.
type run struct {
	opts    Options
	began   time.Time
	cluster *cluster
	history *consistency.History
	pinned  []*client.Client // one for each member
	shared  *client.Client   // for all members
	any     *prober          // asks members in turn
	one     *prober          // a client that chooses
	follow  []*subscriber

	operations, frames, cached atomic.Int64 // recorded so far
	resting                    atomic.Bool  // the load is over
	tried                      int          // writes of faults; one fault at a time

	mu         sync.Mutex
	violations []string
	report     *Report
}

// Run runs the test. The report is there whatever was found; the error says that the run
// itself could not be carried out. It ends early, and in order, when the context ends.
func Run(ctx context.Context, opts Options) (*Report, error) {
	r := &run{opts: opts, began: time.Now(), history: consistency.New()}
	if r.opts.Lease == 0 {
		r.opts.Lease = defaultLease
	}
	if r.opts.Log == nil {
		r.opts.Log = io.Discard
	}
	r.history.ReasonOf = client.Reason
	kinds, left, err := chooseFaults(opts.Kinds)
	if err != nil {
		return nil, err
	}
	r.report = &Report{Seed: opts.Seed, LeftOut: left}
	for _, l := range left {
		r.say("LEFT OUT: %s: %s", l.Kind, l.Why)
	}
	err = r.carryOut(ctx, kinds)
	r.report.Violations = r.violations
	r.report.Operations, r.report.Frames, r.report.CachedReads = int(r.operations.Load()), int(r.frames.Load()), int(r.cached.Load())
	r.report.summarize()
	return r.report, err
}

func (r *run) carryOut(ctx context.Context, kinds []fault) error {
	truth, err := r.carryOutFaults(ctx, kinds)
	if err != nil || truth == nil {
		return err
	}
	r.judge(*truth)
	return nil
}

// carryOutFaults runs the cluster and returns what happened; nil if it never came to rest.
func (r *run) carryOutFaults(ctx context.Context, kinds []fault) (truth *consistency.Truth, err error) {
	breakable := slices.ContainsFunc(kinds, func(f fault) bool { return f.disk })
	r.cluster, err = newCluster(r.opts.Binary, r.opts.Dir, breakable)
	defer func() {
		r.keepData()
		err = errors.Join(err, r.cluster.close())
	}()
	if err != nil {
		return nil, err
	}
	if err := r.openClients(); err != nil {
		return nil, err
	}
	defer r.closeClients()
	r.cluster.flags = []string{"--lease-duration", r.opts.Lease.String(), "--heartbeat-interval", (r.opts.Lease / beatsPerLease).String()}
	for _, m := range r.cluster.members {
		if err := r.cluster.start(m); err != nil {
			return nil, err
		}
	}
	if err := r.cluster.settle(ctx, startWait); err != nil {
		return nil, fmt.Errorf("the first start: %w", err)
	}
	r.say("three members serve after %v", r.now().Round(time.Millisecond))
	if !r.underLoad(ctx, kinds) {
		return nil, nil // there is nothing to compare with; the violations say why
	}
	return r.collect(ctx)
}

// underLoad applies faults under load, ends both, and reports whether the cluster came to
// rest.
func (r *run) underLoad(ctx context.Context, kinds []fault) bool {
	load, stopLoad := context.WithCancel(context.Background())
	following, stopFollowing := context.WithCancel(context.Background())
	monitored, stopMonitor := context.WithCancel(context.Background())
	defer stopFollowing()
	var loading, others sync.WaitGroup
	r.startLoad(load, &loading)
	r.startFollowing(following, &others)
	others.Go(func() { r.monitor(monitored) })

	r.schedule(ctx, kinds)
	r.cluster.network.Heal()
	err := r.cluster.settle(context.WithoutCancel(ctx), settleWait)
	stopLoad()
	loading.Wait()
	if err == nil {
		err = r.cluster.agree(context.WithoutCancel(ctx), settleWait)
	}
	if err != nil {
		r.violate("no convergence: %v", err)
	} else {
		r.restAndCompare()
	}
	stopFollowing()
	stopMonitor()
	others.Wait()
	return err == nil
}

// restAndCompare waits until even the last lease of a node that is gone has ended, and
// nothing has happened for a while.
func (r *run) restAndCompare() {
	ctx := context.Background()
	r.resting.Store(true)
	time.Sleep(r.opts.Lease + leaseSlack)
	rested := r.now()
	time.Sleep(restWait)
	if err := r.cluster.agree(ctx, settleWait); err != nil {
		r.violate("no rest: %v", err)
	}
	r.rest(rested)
}

// rest tells the history which subscriptions have to be complete.
func (r *run) rest(since time.Duration) {
	complete := 0
	for _, s := range r.follow {
		if s.rest(since) {
			complete++
		}
	}
	if complete < len(r.follow) {
		r.violate("%d of %d subscriptions were not open with the cluster at rest", len(r.follow)-complete, len(r.follow))
	}
}

func (r *run) openClients() (err error) {
	open := func(endpoints ...string) (*client.Client, error) {
		return client.New(client.Options{Endpoints: endpoints, Timeout: callDeadline, Actor: "chaos"})
	}
	for _, address := range r.cluster.addresses() {
		c, err := open(address)
		if err != nil {
			return err
		}
		r.pinned = append(r.pinned, c)
	}
	r.shared, err = open(r.cluster.addresses()...)
	return err
}

func (r *run) closeClients() {
	for _, c := range append(slices.Clone(r.pinned), r.shared) {
		if c != nil {
			c.Close()
		}
	}
}

// startLoad starts what writes.
func (r *run) startLoad(ctx context.Context, group *sync.WaitGroup) {
	start := func(count, first int, work func(*worker, context.Context)) {
		for i := range count {
			group.Go(func() { work(r.worker(first+i), ctx) })
		}
	}
	start(tableWorkers, 0, (*worker).tables)
	start(nodeWorkers, nodeNumber, (*worker).node)
	start(shardWorkers, 200, (*worker).shards)
	r.any = &prober{name: "any", run: r, clients: r.pinned, members: []uint64{1, 2, 3}, deadline: shortDeadline, slots: 40, first: 1000}
	r.one = &prober{name: "one", run: r, clients: []*client.Client{r.shared}, members: []uint64{0}, deadline: longDeadline, slots: 200, first: 2000}
	group.Go(func() { r.any.work(ctx) })
	group.Go(func() { r.one.work(ctx) })
}

// nodeNumber is the number of the first client that is a node.
const nodeNumber = 100

// nodeID is the id of a node that comes and goes.
func (r *run) nodeID(random *rand.Rand) string {
	return fmt.Sprintf("node-%d", nodeNumber+random.IntN(nodeWorkers))
}

// startFollowing starts what only listens.
func (r *run) startFollowing(ctx context.Context, group *sync.WaitGroup) {
	for i := range subscribers + watchers {
		s := &subscriber{run: r, number: 300 + i, random: r.random(300 + i), filter: filters[i%len(filters)]}
		r.follow = append(r.follow, s)
		if i < subscribers {
			group.Go(func() { s.work(ctx) })
		} else {
			group.Go(func() { s.watch(ctx) })
		}
	}
	for i := range cacheWorkers {
		w := r.worker(400 + i)
		w.client = r.shared
		group.Go(func() { w.cached(ctx) })
	}
}

// worker returns a client of the load: every third one may choose its member.
func (r *run) worker(number int) *worker {
	w := &worker{run: r, number: number, random: r.random(number)}
	if number%3 == 0 {
		w.client = r.shared
		return w
	}
	at := number % members
	w.client, w.member = r.pinned[at], uint64(at+1)
	return w
}

// anyClient returns a client for one member.
func (r *run) anyClient(random *rand.Rand) (c *client.Client, member uint64) {
	at := random.IntN(members)
	return r.pinned[at], uint64(at + 1)
}

// random returns the source of one part of the run.
func (r *run) random(part int) *rand.Rand { return rand.New(rand.NewPCG(r.opts.Seed, uint64(part))) }

// now is the time since the run began.
func (r *run) now() time.Duration { return time.Since(r.began) }

func (r *run) say(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	fmt.Fprintf(r.opts.Log, "%8.2fs  %s\n", r.now().Seconds(), fmt.Sprintf(format, args...))
}

// violate records that a promise was broken.
func (r *run) violate(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	r.say("VIOLATION: %s", text)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.violations = append(r.violations, text)
}

// begin records that a client asks for something.
func (r *run) begin(number int, member uint64, request proto.Message) *consistency.Op {
	r.operations.Add(1)
	return r.history.Begin(number, member, request, r.now())
}

// end records the outcome of an operation, and reports whether it is known.
func (r *run) end(op *consistency.Op, response proto.Message, err error) bool {
	now := r.now()
	if client.IsOutcomeUnknown(err) {
		op.Unknown(now)
		return false
	}
	if err != nil {
		response = nil
	}
	op.End(response, err, now)
	return op.Known
}

// monitor restarts members that ended by themselves, which they must not.
func (r *run) monitor(ctx context.Context) {
	for pause(ctx, monitorWait) {
		for _, m := range r.cluster.members {
			if err := m.lost(); err != nil {
				r.violate("%v", err)
				if err := r.cluster.start(m); err != nil {
					r.violate("%v", err)
				}
			}
		}
	}
}

// keepData copies the members' data to where it outlives their disks.
func (r *run) keepData() {
	for _, m := range r.cluster.members {
		if m.disk == nil || m.disk.backing == "" {
			continue
		}
		_ = m.disk.thaw()
		to := filepath.Join(r.opts.Dir, fmt.Sprintf("member-%d-data", m.index+1))
		if err := os.CopyFS(to, os.DirFS(m.disk.data())); err != nil {
			r.say("data of member %d not kept: %v", m.index+1, err)
		}
	}
}
