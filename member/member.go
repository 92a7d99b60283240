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
	"github.com/heliosdb/metadata/internal/vitals"
	"github.com/heliosdb/metadata/leases"
	"github.com/heliosdb/metadata/projections"
	"github.com/heliosdb/metadata/projections/schema"
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
	state     raftlog.State // as found in the storage
	store     raftlog.Storage
	transport *transport.Transport
	writer    *writer
	flaps     flaps

	ctx        context.Context // ends when the member stops
	cancel     context.CancelCauseFunc
	background sync.WaitGroup // jobs beside the streams
	waitReason atomic.Pointer[string]
	running    atomic.Pointer[running] // nil until genesis is settled
	started    chan struct{}           // closed when running is set
	stopping   atomic.Bool
	diskLow    atomic.Bool // the storage's reserve has been reached
}

// running is what exists once the streams run. Adding a stream means a field here
// and a line in newRunning.
type running struct {
	schema   *stream[*schema.Model]
	topology *stream[*projections.TopologyModel]
	feed     *feed.Feed
	leases   *leases.Table
	beats    *beatForwarder
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
	peerGone(id uint64, rank int)
	serveChunk(ctx context.Context, from uint64, q *metadatav1.CheckpointChunkRequest) ([]byte, error)
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
		ctx: ctx, cancel: cancel, started: make(chan struct{}),
	}
	m.waitReason.Store(new("it is starting"))
	if err := m.identify(); err != nil {
		return nil, err
	}
	m.writer = newWriter(m.store, m.fail)
	m.writer.observe = func(writes int, took time.Duration) { c.Observer.StoreWrite(took, writes) }
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
		if m.state, err = m.storedState(); err != nil {
			return err
		}
	}
	m.cluster = events.ClusterID(m.identity.ClusterID)
	return nil
}

// storedState tells a member at genesis from one that has lived. Damage shows
// here, before anything is started.
func (m *Member) storedState() (raftlog.State, error) {
	var logs []*raftlog.Loaded
	for _, g := range groups() {
		loaded, err := m.store.Load(g)
		if err != nil {
			return 0, err
		}
		logs = append(logs, loaded)
	}
	return raftlog.StateOf(logs...), nil
}

// Run lives: it settles genesis, runs the streams and returns nil when ctx has
// ended and leadership was handed over as far as possible, or why the member had to
// stop. It closes the storage. Call it once.
func (m *Member) Run(ctx context.Context) error {
	defer context.AfterFunc(ctx, m.stop)()
	m.transport.Start()
	err := m.awaitGenesis(m.ctx)
	if err == nil {
		err = m.runStreams()
	}
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

// runStreams runs the streams until the member ends.
func (m *Member) runStreams() error {
	r, err := m.newRunning()
	if err != nil {
		return err
	}
	var streams, storing sync.WaitGroup
	writerCtx, stopWriter := context.WithCancel(context.Background())
	for _, s := range r.all() {
		streams.Go(func() { s.run(m.ctx) })
	}
	storing.Go(func() { m.writer.run(writerCtx) })
	m.background.Go(m.watchSpace)
	m.running.Store(r)
	close(m.started)
	m.tick(r)
	streams.Wait()
	stopWriter()
	storing.Wait()
	return nil
}

// newRunning restores the streams.
func (m *Member) newRunning() (*running, error) {
	epoch := m.identity.RecoveryEpoch
	schemaStream, err := newStream(m, metadatav1.Stream_STREAM_SCHEMA, projections.NewSchema(m.cluster, epoch), commands.Schema)
	if err != nil {
		return nil, fmt.Errorf("restoring the schema stream: %w", err)
	}
	topologyStream, err := newStream(m, metadatav1.Stream_STREAM_TOPOLOGY, projections.NewTopology(m.cluster, epoch), commands.Topology)
	if err != nil {
		return nil, fmt.Errorf("restoring the topology stream: %w", err)
	}
	table, err := leases.New(m.config.Leases)
	if err != nil {
		return nil, err
	}
	r := &running{schema: schemaStream, topology: topologyStream, leases: table, beats: newBeatForwarder(m)}
	r.feed = feed.New(feed.Options{
		Cluster: m.cluster, RecoveryEpoch: epoch,
		Logs: []*feed.Log{schemaStream.feed, topologyStream.feed}, Snapshots: snapshots{r},
	})
	for _, s := range r.all() {
		m.writer.wrote[s.groupID()] = s.wrote
	}
	m.watchLeases(r)
	return r, nil
}

// tick drives time until the member ends.
func (m *Member) tick(r *running) {
	ticker := time.NewTicker(m.config.Tick)
	defer ticker.Stop()
	for {
		select {
		case <-m.ctx.Done():
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

// awaitRunning returns what runs; a call that comes too early waits a little.
func (m *Member) awaitRunning(ctx context.Context) (*running, error) {
	if r := m.running.Load(); r != nil {
		return r, nil
	}
	ctx, cancel := context.WithTimeout(ctx, submitPatience)
	defer cancel()
	select {
	case <-m.started:
		return m.running.Load(), nil
	case <-m.ctx.Done():
	case <-ctx.Done():
	}
	return nil, m.notRunning()
}

// all returns the streams in order of their numbers.
func (r *running) all() []streamer { return []streamer{r.schema, r.topology} }

// of returns one stream.
func (r *running) of(id metadatav1.Stream) streamer {
	if id == metadatav1.Stream_STREAM_TOPOLOGY {
		return r.topology
	}
	return r.schema
}
