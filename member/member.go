package member

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/commands"
	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/feed"
	"github.com/heliosdb/metadata/internal/hashwatch"
	"github.com/heliosdb/metadata/internal/vitals"
	"github.com/heliosdb/metadata/leases"
	"github.com/heliosdb/metadata/projections"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/raftlog"
	"github.com/heliosdb/metadata/raftlog/transport"
	"github.com/heliosdb/metadata/replica"
)

// Member is one running member. See the package comment.
type Member struct {
	config    Config
	log       *slog.Logger
	made      time.Time
	identity  raftlog.Identity
	cluster   events.ClusterID
	store     raftlog.Storage
	transport *transport.Transport
	flaps     flaps
	hashes    *hashwatch.Watch

	// Owned by New and then by Run's goroutine.
	state  raftlog.State                       // of the storage
	loaded map[raftlog.GroupID]*raftlog.Loaded // logs that no stream has taken yet
	// rebuilt says that the streams about to run come out of a quarantine, acknowledge what
	// each tells its leader first; nil: nothing.
	rebuilt     bool
	acknowledge map[raftlog.GroupID]*raftpb.Message

	ctx        context.Context // ends when the member stops
	cancel     context.CancelCauseFunc
	background sync.WaitGroup // jobs that outlive the streams
	waitReason atomic.Pointer[string]
	quarantine atomic.Pointer[quarantine] // set while in quarantine
	doubting   atomic.Bool                // it looks into a message which says that it lacks entries
	running    atomic.Pointer[running]    // nil until genesis is settled, and in quarantine
	changed    *signal                    // fires when quarantine or running change
	stopping   atomic.Bool
	diskLow    atomic.Bool // the storage's reserve has been reached
}

// streamer is a stream whose model does not matter.
type streamer interface {
	streamID() metadatav1.Stream
	groupID() raftlog.GroupID
	leader() uint64
	nextElection() <-chan struct{}
	submit(ctx context.Context, q replica.Request) (proto.Message, error)
	step(from uint64, m *raftpb.Message)
	linkBroke(id uint64)
	peerGone(id uint64)
	peerBack()
	leaderResigned(from, term uint64)
	serveChunk(ctx context.Context, from uint64, q *metadatav1.CheckpointChunkRequest) ([]byte, error)
	serveOffer(ctx context.Context, from uint64, q *metadatav1.RebuildOfferRequest) ([]byte, error)
	serveEntries(ctx context.Context, from uint64, q *metadatav1.RebuildEntriesRequest) ([]byte, error)
	servePart(q *metadatav1.HistoryPartRequest) ([]byte, error)
	serveBase(q *metadatav1.HistoryBaseRequest) ([]byte, error)
	serveBaseChunk(q *metadatav1.CheckpointChunkRequest) ([]byte, error)
	keepPast()
	givenUp(to, index uint64)
	tick(diskLow bool)
	run(ctx context.Context)
	drain()
	drained(ctx context.Context) bool
	wrote(writes []*raftlog.Write)
	statusNow() *metadatav1.StreamStatus
	vitalsNow() vitals.Stream
}

// New opens a member. It fails when the configuration is wrong and when the
// storage must not be used: it belongs to another member or cluster, is damaged,
// or holds less than was promised to the others.
func New(c Config) (*Member, error) {
	c.setDefaults()
	if err := c.check(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	m := &Member{
		config: c, log: c.Logger.With("member", c.ID), made: time.Now(), store: c.Store,
		ctx: ctx, cancel: cancel, changed: newSignal(), loaded: make(map[raftlog.GroupID]*raftlog.Loaded),
		acknowledge: make(map[raftlog.GroupID]*raftpb.Message),
	}
	m.waitReason.Store(new("it is starting"))
	if err := m.identify(); err != nil {
		return nil, err
	}
	m.hashes = hashwatch.New(hashwatch.Options{Member: c.ID, Members: m.initial(), Build: c.Build})
	t, err := transport.New(transport.Config{
		Member: c.ID, ClusterName: c.ClusterName, Peers: m.peerAddresses(), Listener: c.RaftListener,
		Dial: c.Dial, TLS: c.TLS, Handler: peers{m}, Logger: m.log,
		Hello: transport.Hello{
			ClusterID: m.identity.ClusterID, RecoveryEpoch: m.identity.RecoveryEpoch, Claim: m.state,
			FeatureLevel: events.FeatureLevel, Advertise: c.Advertise, Build: c.Version,
			Configured: shortened(raftlog.Configured(m.identity.ClusterName, m.identity.Peers)),
		},
	})
	if err != nil {
		return nil, err
	}
	m.transport = t
	return m, nil
}

// shortened cuts a text to what a hello can carry.
func shortened(text string) string { return text[:min(len(text), transport.MaxStringBytes)] }

// identify finds out whose directory this is and how far it has come.
func (m *Member) identify() error {
	want := raftlog.Identity{
		Format: raftlog.IdentityFormat, ClusterName: m.config.ClusterName, Member: m.config.ID,
		ClusterID: raftlog.ClusterID(m.config.ClusterName, m.config.Peers), Peers: sortedPeers(m.config.Peers),
	}
	have, err := m.store.Identity()
	if err != nil {
		return err
	}
	m.identity, m.state = want, raftlog.StateBlank
	if have != nil {
		if err := raftlog.CheckIdentity(*have, want); err != nil {
			return err
		}
		m.identity = *have
	}
	m.cluster = events.ClusterID(m.identity.ClusterID)
	if why := m.store.Condemned(); why != "" {
		m.state = raftlog.StateQuarantined
		return m.refuseAlone(&raftlog.CondemnedError{Path: "the directory", Why: why})
	}
	if have != nil {
		return m.loadLogs()
	}
	return nil
}

// loadLogs tells a member at genesis from one that has lived. Damage shows here,
// before anything is started: it condemns the directory.
func (m *Member) loadLogs() error {
	var logs []*raftlog.Loaded
	for _, g := range groups() {
		loaded, err := m.store.Load(g)
		if lost(err) {
			if err := m.refuseAlone(err); err != nil {
				return err
			}
			m.state = raftlog.StateQuarantined
			clear(m.loaded)
			return m.store.Condemn(raftlog.Why(err), raftlog.VotesKnown)
		}
		if err != nil {
			return err
		}
		logs, m.loaded[g] = append(logs, loaded), loaded
	}
	m.state = raftlog.StateOf(logs...)
	return nil
}

// Run lives: it settles genesis, runs the streams and returns nil when ctx has
// ended and leadership was handed over as far as possible, or why the member had to
// stop. It closes the storage. Call it once.
func (m *Member) Run(ctx context.Context) error {
	defer context.AfterFunc(ctx, m.stop)()
	m.transport.Start()
	m.background.Go(m.watchSpace)
	err := m.live(m.ctx)
	m.cancel(err)
	m.background.Wait()
	if cause := context.Cause(m.ctx); err == nil || errors.Is(err, context.Canceled) {
		err = cause
	}
	if errors.Is(err, errStopped) {
		err = nil
	}
	return errors.Join(err, m.transport.Close(), m.store.Close())
}

// live runs the streams until the member ends, again after each quarantine.
func (m *Member) live(ctx context.Context) error {
	for {
		if m.state != raftlog.StateQuarantined {
			if err := m.awaitGenesis(ctx); err != nil {
				return err
			}
		}
		if m.state == raftlog.StateQuarantined {
			if err := m.rebuild(ctx); err != nil {
				return err
			}
		}
		err := m.runStreams()
		condemned, ok := errors.AsType[*condemnedError](err)
		if !ok {
			return err
		}
		// Nothing writes to the storage any more.
		m.state = raftlog.StateQuarantined
		if err := m.store.Condemn(condemned.why, condemned.votes); err != nil {
			return fmt.Errorf("putting the directory into quarantine: %w", err)
		}
		if ctx.Err() != nil {
			return ctx.Err() // it was about to stop when that was found out
		}
	}
}

// takeLoaded returns a group's log, read once.
func (m *Member) takeLoaded(g raftlog.GroupID) (*raftlog.Loaded, error) {
	if loaded := m.loaded[g]; loaded != nil {
		delete(m.loaded, g)
		return loaded, nil
	}
	return m.store.Load(g)
}

// errStopped is the cause of a member's end when it was asked to stop.
var errStopped = errors.New("member: stopped")

// stop hands leadership over and ends the member.
func (m *Member) stop() {
	m.stopping.Store(true)
	if r := m.running.Load(); r != nil {
		ctx, cancel := context.WithTimeout(m.ctx, stopPatience)
		defer cancel()
		for _, s := range r.all() {
			s.drain()
		}
		for _, s := range r.all() {
			if !s.drained(ctx) {
				m.log.Warn("leadership not handed over in time", "stream", events.StreamName(s.streamID()))
			}
		}
	}
	m.cancel(errStopped)
}

// fail ends the member because something is wrong with it.
func (m *Member) fail(err error) {
	m.log.Error("the member stops", "error", err)
	m.cancel(err)
}

// runStreams runs the streams until the member ends, or until it is condemned. It returns
// a *condemnedError if it was. Nothing of them is left when it returns.
func (m *Member) runStreams() error {
	r, err := m.newRunning()
	if err != nil {
		return m.damaged(err)
	}
	var streams, storing sync.WaitGroup
	writerCtx, stopWriter := context.WithCancel(context.Background())
	for _, s := range r.all() {
		streams.Go(func() { s.run(r.ctx) })
	}
	storing.Go(func() { r.writer.run(writerCtx) })
	m.running.Store(r)
	m.changed.fire()
	r.jobs.Go(func() { m.watchConsistency(r) })
	r.jobs.Go(func() { m.signHeads(r) })
	r.jobs.Go(func() { m.watchRetention(r) })
	for _, id := range streamIDs {
		r.jobs.Go(func() { r.pastOf(id).maintain(r.ctx) })
		r.jobs.Go(r.of(id).keepPast)
	}
	m.callForLogs(r)
	m.tick(r)
	streams.Wait()
	stopWriter()
	storing.Wait()
	r.jobs.Wait()
	if condemned := r.condemned.get(); condemned != nil {
		m.quarantine.Store(&quarantine{why: condemned.why})
		m.running.Store(nil)
		m.changed.fire()
		return condemned
	}
	return nil
}

// newRunning restores the streams.
func (m *Member) newRunning() (_ *running, err error) {
	epoch := m.identity.RecoveryEpoch
	r := &running{beats: newBeatForwarder(m), writer: newWriter(m.store, m.fail)}
	r.writer.observe = func(writes int, took time.Duration) { m.config.Observer.StoreWrite(took, writes) }
	r.ctx, r.cancel = context.WithCancelCause(m.ctx)
	defer func() {
		if err != nil {
			r.cancel(err)
		}
	}()
	r.beats.ctx = r.ctx
	r.schema, err = newStream(m, r, metadatav1.Stream_STREAM_SCHEMA, projections.NewSchema(m.cluster, epoch), commands.Schema)
	if err != nil {
		return nil, fmt.Errorf("restoring the schema stream: %w", err)
	}
	r.topology, err = newStream(m, r, metadatav1.Stream_STREAM_TOPOLOGY, projections.NewTopology(m.cluster, epoch), commands.Topology)
	if err != nil {
		return nil, fmt.Errorf("restoring the topology stream: %w", err)
	}
	r.service, err = newStream(m, r, metadatav1.Stream_STREAM_SERVICE, projections.NewService(m.cluster, epoch), commands.Service)
	if err != nil {
		return nil, fmt.Errorf("restoring the service stream: %w", err)
	}
	r.pasts.schema = newPast(m, r, r.schema, projections.NewSchema(m.cluster, epoch))
	r.pasts.topology = newPast(m, r, r.topology, projections.NewTopology(m.cluster, epoch))
	r.pasts.service = newPast(m, r, r.service, projections.NewService(m.cluster, epoch))
	if r.leases, err = leases.New(m.config.Leases); err != nil {
		return nil, err
	}
	r.feed = feed.New(feed.Options{
		Cluster: m.cluster, RecoveryEpoch: epoch,
		Logs: []*feed.Log{r.schema.feed, r.topology.feed}, Snapshots: snapshots{r},
	})
	for _, s := range r.all() {
		r.writer.wrote[s.groupID()] = s.wrote
	}
	m.watchLeases(r)
	return r, nil
}

// tick drives time until the streams end.
func (m *Member) tick(r *running) {
	ticker := time.NewTicker(m.config.Tick)
	defer ticker.Stop()
	for {
		select {
		case <-r.ctx.Done():
			return
		case <-ticker.C:
		}
		for _, s := range r.all() {
			s.tick(m.diskLow.Load())
		}
		m.expire(r)
	}
}

// watchSpace keeps an eye on the storage's reserve. A disk that does not answer
// must not stop the clock, so this has a goroutine of its own.
func (m *Member) watchSpace() {
	ticker := time.NewTicker(spaceInterval)
	defer ticker.Stop()
	for {
		free, _, err := m.store.Space()
		m.diskLow.Store(err == nil && free == 0)
		select {
		case <-m.ctx.Done():
			return
		case <-ticker.C:
		}
	}
}
