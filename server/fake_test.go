package server

import (
	"context"
	"errors"
	"iter"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/heliosdb/metadata/commands"
	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/feed"
	"github.com/heliosdb/metadata/internal/failure"
	"github.com/heliosdb/metadata/internal/vitals"
	"github.com/heliosdb/metadata/projections"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// fake is a Member without a log: what is decided is true at once.
type fake struct {
	mu       sync.Mutex // serialises decisions
	schema   atomic.Pointer[projections.Schema]
	topology atomic.Pointer[projections.Topology]
	service  atomic.Pointer[projections.Service]
	logs     [3]*feed.Log // by stream, from 1 on
	feed     *feed.Feed
	pasts    [3]*fakePast // likewise
	models   fakeModels

	notReady atomic.Pointer[error]
	cutOff   atomic.Bool // from the others: it cannot say what is newest
	actor    atomic.Pointer[string]
	// Set before the first call.
	onWrite func(context.Context, proto.Message) error
	onBeats func([]*metadatav1.HeartbeatRequest) error
	onAsOf  func(context.Context) error // before a schema model of the past is given
	beats   atomic.Int64                // calls of Heartbeat
}

var testCluster = events.ClusterID{1, 2, 3}

func newFake() *fake {
	f := &fake{}
	f.schema.Store(projections.NewSchema(testCluster, 1))
	f.topology.Store(projections.NewTopology(testCluster, 1))
	f.service.Store(projections.NewService(testCluster, 1))
	for i := range f.logs {
		f.logs[i] = feed.NewLog(feed.LogOptions{Stream: metadatav1.Stream(i + 1)})
	}
	f.feed = feed.New(feed.Options{Cluster: testCluster, RecoveryEpoch: 1, Logs: f.logs[:2], Snapshots: f})
	f.rememberPast()
	return f
}

func (f *fake) Write(ctx context.Context, command proto.Message, actor string) (proto.Message, error) {
	f.actor.Store(&actor)
	if f.onWrite != nil {
		if err := f.onWrite(ctx, command); err != nil {
			return nil, err
		}
	}
	stream, err := commands.StreamOf(command)
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	env := commands.Env{Now: time.Now(), Actor: actor, Newest: f.Position()}
	if stream == metadatav1.Stream_STREAM_SERVICE {
		d, err := commands.Service(f.service.Load(), env, command)
		if err == nil && d.Change != nil {
			f.service.Store(f.service.Load().Fold(d.Change))
			f.logs[2].Append([]*events.Change{d.Change})
		}
		return d.Reply, err
	}
	if stream == metadatav1.Stream_STREAM_SCHEMA {
		d, err := commands.Schema(f.schema.Load(), env, command)
		if err == nil && d.Change != nil {
			f.schema.Store(f.schema.Load().Fold(d.Change))
			f.logs[0].Append([]*events.Change{d.Change})
		}
		return d.Reply, err
	}
	d, err := commands.Topology(f.topology.Load(), env, command)
	if err == nil && d.Change != nil {
		f.topology.Store(f.topology.Load().Fold(d.Change))
		f.logs[1].Append([]*events.Change{d.Change})
	}
	return d.Reply, err
}

func (f *fake) Schema(_ context.Context, o *metadatav1.ReadOptions) (*projections.Schema, error) {
	s := f.schema.Load()
	return s, f.check(o, s.Head)
}

func (f *fake) Topology(_ context.Context, o *metadatav1.ReadOptions) (*projections.Topology, error) {
	t := f.topology.Load()
	return t, f.check(o, t.Head)
}

// check refuses what a member has to refuse.
func (f *fake) check(o *metadatav1.ReadOptions, h projections.Head) error {
	if c := o.GetConsistency(); f.cutOff.Load() && c != metadatav1.Consistency_CONSISTENCY_LOCAL && c != metadatav1.Consistency_CONSISTENCY_AT_LEAST {
		return failure.New(metadatav1.ErrorReason_ERROR_REASON_NO_LEADER, "no leader is known")
	}
	at := o.GetAtLeast()
	if at != nil && (at.GetClusterId() != h.Cluster.String() || at.GetRecoveryEpoch() != h.RecoveryEpoch) {
		return failure.New(metadatav1.ErrorReason_ERROR_REASON_FOREIGN_POSITION, "another cluster's position")
	}
	return nil
}

func (f *fake) Position() *metadatav1.Position {
	return &metadatav1.Position{
		ClusterId: testCluster.String(), RecoveryEpoch: 1,
		SchemaRevision: f.schema.Load().Head.Revision, TopologyRevision: f.topology.Load().Head.Revision,
	}
}

func (f *fake) Subscribe(ctx context.Context, r *metadatav1.SubscribeRequest, send func(feed.Frame) error) error {
	sub, err := f.feed.Subscribe(r, time.Now())
	if err != nil {
		return err
	}
	return feed.Serve(ctx, sub, send, wallClock{})
}

type wallClock struct{}

func (wallClock) Now() time.Time { return time.Now() }

func (wallClock) Timer(d time.Duration) (<-chan time.Time, func() bool) {
	t := time.NewTimer(d)
	return t.C, t.Stop
}

// Snapshot is of feed.Snapshotter: the whole stream in one chunk, unfiltered.
func (f *fake) Snapshot(stream metadatav1.Stream, _ *events.Filter) (feed.Snapshot, error) {
	chunk := &metadatav1.SnapshotChunk{Stream: stream, Last: true, FeatureLevel: 1}
	if stream == metadatav1.Stream_STREAM_SCHEMA {
		s := f.schema.Load()
		chunk.Revision = s.Head.Revision
		chunk.Namespaces = messages(s.Model.Namespaces(""))
		chunk.Tables = messages(s.Model.TablesByID(0))
	} else {
		t := f.topology.Load()
		chunk.Revision = t.Head.Revision
		chunk.Nodes = messages(t.Model.Nodes(""))
		chunk.Shards = messages(t.Model.Shards(nil))
	}
	return oneChunk{chunk}, nil
}

type oneChunk struct{ chunk *metadatav1.SnapshotChunk }

func (c oneChunk) Next() (*metadatav1.SnapshotChunk, error) { return c.chunk, nil }

func messages[R record[M], M proto.Message](records iter.Seq[R]) (all []M) {
	for r := range records {
		all = append(all, r.Message())
	}
	return all
}

func (f *fake) Heartbeat(_ context.Context, beats []*metadatav1.HeartbeatRequest) ([]*metadatav1.StreamHeartbeatsResponse, error) {
	f.beats.Add(1)
	if f.onBeats != nil {
		if err := f.onBeats(beats); err != nil {
			return nil, err
		}
	}
	var answers []*metadatav1.StreamHeartbeatsResponse
	for _, b := range beats {
		answers = append(answers, f.answer(b))
	}
	return answers, nil
}

func (f *fake) answer(b *metadatav1.HeartbeatRequest) *metadatav1.StreamHeartbeatsResponse {
	refuse := func(reason, message string) *metadatav1.StreamHeartbeatsResponse {
		return &metadatav1.StreamHeartbeatsResponse{Answer: &metadatav1.StreamHeartbeatsResponse_Refused{
			Refused: &metadatav1.HeartbeatRefused{NodeId: b.GetNodeId(), Reason: reason, Message: message},
		}}
	}
	node, ok := f.topology.Load().Model.Node(b.GetNodeId())
	switch {
	case !ok:
		return refuse("NOT_FOUND", "there is no such node")
	case node.Epoch() != b.GetEpoch():
		return refuse("STALE_EPOCH", "the node registered again")
	}
	return &metadatav1.StreamHeartbeatsResponse{Answer: &metadatav1.StreamHeartbeatsResponse_Granted{
		Granted: &metadatav1.HeartbeatResponse{
			LeaseDuration: durationpb.New(5 * time.Second), Status: node.Status(),
			NodeId: b.GetNodeId(), Position: f.Position(),
		},
	}}
}

func (f *fake) NodeReports(_ context.Context, q *metadatav1.NodeReportsRequest) (*metadatav1.NodeReportsResponse, error) {
	answer := &metadatav1.NodeReportsResponse{Leader: 7}
	for _, id := range q.GetNodeIds() {
		answer.Reports = append(answer.Reports, &metadatav1.NodeReport{NodeId: id, Age: durationpb.New(time.Second)})
	}
	return answer, nil
}

func (f *fake) Status(context.Context) (*metadatav1.StatusResponse, error) {
	return &metadatav1.StatusResponse{ClusterId: testCluster.String(), MemberId: 7, Position: f.Position()}, nil
}

func (f *fake) Ready() error {
	if err := f.notReady.Load(); err != nil {
		return *err
	}
	return nil
}

func (f *fake) setReady(ready bool) {
	if ready {
		f.notReady.Store(nil)
		return
	}
	f.notReady.Store(new(errors.New("no leader is known for the schema")))
}

func (f *fake) Leases() (time.Duration, time.Duration) { return 5 * time.Second, time.Second }

func (f *fake) Stats() vitals.Stats {
	subscribers, lag := f.feed.Watching(metadatav1.Stream_STREAM_SCHEMA)
	return vitals.Stats{
		MemberID: 7, Subscribers: f.feed.Subscriptions(), StoreBytes: 4096, FreeBytes: 1 << 30,
		Streams: []vitals.Stream{
			{
				Stream: metadatav1.Stream_STREAM_SCHEMA, Role: metadatav1.Role_ROLE_LEADER, Leader: 7, Term: 3,
				Revision: f.schema.Load().Head.Revision, FirstIndex: 5, LastIndex: 9, LogBytes: 512,
				CheckpointBytes: 77, CheckpointTime: 250 * time.Millisecond,
				Subscribers: subscribers, SubscriberLag: lag,
			},
			{Stream: metadatav1.Stream_STREAM_TOPOLOGY, Role: metadatav1.Role_ROLE_FOLLOWER, Leader: 8, Term: 2},
			{Stream: metadatav1.Stream_STREAM_SERVICE, Role: metadatav1.Role_ROLE_LEADER, Leader: 7, Term: 2},
		},
	}
}
