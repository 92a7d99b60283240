package client_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/heliosdb/metadata/client"
	"github.com/heliosdb/metadata/internal/vitals"
	"github.com/heliosdb/metadata/member"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/raftlog"
)

// load writes, reads, watches and caches through one client, and remembers what
// it was told.
type load struct {
	t      *testing.T
	client *client.Client
	cache  *client.Cache
	stop   context.CancelFunc
	calls  context.Context // of writers and readers
	work   sync.WaitGroup

	mu    sync.Mutex
	acked map[string]uint64 // revision by table
	reads int
	last  *metadatav1.Position
}

// startLoad keeps writers and readers busy until finish.
func startLoad(t *testing.T, c *client.Client, writers int) *load {
	t.Helper()
	l := &load{t: t, client: c, cache: readyCache(t, c), acked: make(map[string]uint64)}
	l.calls, l.stop = context.WithCancel(t.Context())
	for w := range writers {
		l.work.Go(func() { l.write(w) })
	}
	l.work.Go(l.read)
	l.work.Go(l.monitor)
	t.Cleanup(func() { l.stop(); l.work.Wait() })
	return l
}

func (l *load) write(writer int) {
	for i := 0; l.calls.Err() == nil; i++ {
		name := fmt.Sprintf("t%d_%d", writer, i)
		res, err := l.client.CreateTable(context.Background(), createTable(name))
		if err != nil {
			l.t.Errorf("creating %s: %v", name, err)
			return
		}
		l.mu.Lock()
		l.acked[name] = res.GetTable().GetCreatedRevision()
		if at := res.GetResult().GetPosition(); at.GetSchemaRevision() > l.last.GetSchemaRevision() { // answers overtake one another
			l.last = at
		}
		l.mu.Unlock()
	}
}

// read reads what was acknowledged before, from whichever member.
func (l *load) read() {
	for l.calls.Err() == nil {
		l.mu.Lock()
		name := ""
		for name = range l.acked {
			break
		}
		l.mu.Unlock()
		if name == "" {
			continue
		}
		_, err := l.client.GetTable(context.Background(), &metadatav1.GetTableRequest{Table: &metadatav1.TableRef{Name: name}})
		if err != nil {
			l.t.Errorf("reading %s, which was created: %v", name, err)
			return
		}
		l.mu.Lock()
		l.reads++
		l.mu.Unlock()
	}
}

// monitor checks that the cache never goes back, nor away.
func (l *load) monitor() {
	last := uint64(0)
	for l.calls.Err() == nil {
		v := l.cache.View()
		if v == nil {
			l.t.Errorf("the cache shows nothing: %v", l.cache.Err())
			return
		}
		at := v.Position().GetSchemaRevision()
		if at < last {
			l.t.Errorf("the cache went from revision %d back to %d", last, at)
			return
		}
		last = at
		time.Sleep(time.Millisecond)
	}
}

// progress waits until so many more writes are acknowledged.
func (l *load) progress(more int) {
	l.t.Helper()
	count := func() int { l.mu.Lock(); defer l.mu.Unlock(); return len(l.acked) }
	goal := count() + more
	for deadline := time.Now().Add(20 * time.Second); count() < goal; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) || l.t.Failed() {
			l.t.Fatalf("%d writes are acknowledged, want %d", count(), goal)
		}
	}
}

// finish ends the load and compares what was acknowledged with what the watch of
// the whole history and the cache show.
func (l *load) finish(watched *watched) {
	l.t.Helper()
	l.stop()
	l.work.Wait()
	if l.t.Failed() {
		l.t.FailNow()
	}
	if l.reads == 0 {
		l.t.Error("nothing was read")
	}
	ctx := within(l.t, 10*time.Second)
	if err := l.cache.WaitFor(ctx, l.last); err != nil {
		l.t.Fatal(err)
	}
	shown := make(map[string]uint64)
	for table := range l.cache.Tables("") {
		shown[table.GetName()] = table.GetCreatedRevision()
	}
	if !maps.Equal(shown, l.acked) {
		l.t.Errorf("the cache shows %d tables, %d were acknowledged", len(shown), len(l.acked))
	}
	if created := watched.until(l.last.GetSchemaRevision()); !maps.Equal(created, l.acked) {
		l.t.Errorf("the history has %d tables, %d were acknowledged", len(created), len(l.acked))
	}
	l.t.Logf("%d writes, %d reads, %+v", len(l.acked), l.reads, l.client.Stats())
}

// watched is a Watch of the whole history.
type watched struct {
	t       *testing.T
	mu      sync.Mutex
	at      uint64
	created map[string]uint64
}

// watchHistory checks that every change comes once and in order.
func watchHistory(t *testing.T, c *client.Client) *watched {
	t.Helper()
	w := &watched{t: t, created: make(map[string]uint64)}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	t.Cleanup(func() { cancel(); <-done })
	go func() {
		defer close(done)
		request := &metadatav1.SubscribeRequest{
			Start:  &metadatav1.SubscribeRequest_After{After: &metadatav1.Position{}},
			Filter: &metadatav1.Filter{Streams: []metadatav1.Stream{metadatav1.Stream_STREAM_SCHEMA}},
		}
		for frame, err := range c.Watch(ctx, request) {
			if err != nil {
				if ctx.Err() == nil {
					t.Errorf("the watch ended: %v", err)
				}
				return
			}
			w.see(frame)
		}
	}()
	return w
}

func (w *watched) see(frame *metadatav1.SubscribeResponse) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if frame.GetReset_() != nil || frame.GetSnapshot() != nil {
		w.t.Errorf("got %v, though the history is whole", frame)
	}
	for _, change := range frame.GetChanges().GetChanges() {
		w.at++
		if change.GetRevision() != w.at {
			w.t.Errorf("got change %d, want %d", change.GetRevision(), w.at)
		}
		for _, e := range change.GetEvents() {
			name := e.GetTableCreated().GetTable().GetName()
			if _, twice := w.created[name]; twice {
				w.t.Errorf("table %s was created twice", name)
			}
			w.created[name] = change.GetRevision()
		}
	}
}

// until waits for a revision and returns the tables created so far.
func (w *watched) until(revision uint64) map[string]uint64 {
	w.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		w.mu.Lock()
		if w.at >= revision {
			defer w.mu.Unlock()
			return maps.Clone(w.created)
		}
		w.mu.Unlock()
		if time.Now().After(deadline) {
			w.t.Fatalf("the watch is at %d, want %d", w.at, revision)
		}
	}
}

func TestARollingRestartFailsNoCall(t *testing.T) {
	cluster := startCluster(t, 3)
	c := cluster.dial(t)
	watched := watchHistory(t, c)
	l := startLoad(t, c, 3)
	for id := uint64(1); id <= 3; id++ {
		l.progress(20)
		cluster.stop(id)
		l.progress(20)
		cluster.start(id)
		cluster.awaitReady(id)
	}
	l.progress(20)
	l.finish(watched)
}

func TestKilledLeadersLoseAndRepeatNothing(t *testing.T) {
	cluster := startCluster(t, 3)
	c := cluster.dial(t)
	watched := watchHistory(t, c)
	l := startLoad(t, c, 3)
	for range 3 {
		l.progress(20)
		leader := cluster.leader(metadatav1.Stream_STREAM_SCHEMA)
		cluster.kill(leader)
		l.progress(20)
		cluster.start(leader)
		cluster.awaitReady(leader)
	}
	l.progress(20)
	l.finish(watched)
}

func TestWritesGoToTheLeader(t *testing.T) {
	cluster := startCluster(t, 3)
	ctx := within(t, 20*time.Second)
	// The endpoints are under other names than those that the members advertise.
	var endpoints []string
	for _, p := range cluster.peers {
		endpoints = append(endpoints, "http://localhost"+cluster.api[p.ID][len("127.0.0.1"):])
	}
	c := must(client.New(client.Options{Endpoints: endpoints}))(t)
	t.Cleanup(c.Close)
	for i := 0; ctx.Err() == nil; i++ {
		must(c.CreateTable(ctx, createTable(fmt.Sprintf("t%d", i))))(t)
		index, ok := client.Leader(c, metadatav1.Stream_STREAM_SCHEMA)
		if ok && uint64(index)+1 == cluster.leader(metadatav1.Stream_STREAM_SCHEMA) {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatal("the client does not find the leader")
}

// gapStore keeps the gaps that checkpoints leave in its history.
type gapStore struct{ raftlog.Storage }

func (gapStore) FillHistory(raftlog.GroupID, []raftlog.Past) error { return raftlog.ErrFull }

// A member that was cut off for so long that the others have cut their logs takes
// over a checkpoint. Who follows it sees neither that nor the gap in its history.
func TestACacheFollowsAMemberAcrossACheckpoint(t *testing.T) {
	cluster := newCluster(3, func(format string, args ...any) { t.Helper(); t.Fatalf(format, args...) })
	cluster.configure = func(c *member.Config) {
		c.CheckpointRevisions, c.TrailingEntries, c.Store = 20, 5, gapStore{c.Store}
	}
	t.Cleanup(cluster.close)
	cluster.startAll()
	behind := uint64(1)
	for behind == cluster.leader(metadatav1.Stream_STREAM_SCHEMA) || behind == cluster.leader(metadatav1.Stream_STREAM_TOPOLOGY) {
		behind++
	}
	c := cluster.dial(t)
	watched := watchHistory(t, c)
	l := startLoad(t, c, 2)
	l.progress(20)

	// This cache knows no other member.
	only := must(client.New(client.Options{Endpoints: []string{cluster.api[behind]}}))(t)
	t.Cleanup(only.Close)
	following := &load{t: t, cache: readyCache(t, only)}
	following.calls, following.stop = context.WithCancel(t.Context())
	following.work.Go(following.monitor)
	t.Cleanup(func() { following.stop(); following.work.Wait() })

	had := l.cutOff(cluster, behind)
	l.progress(20)
	l.finish(watched)
	if err := following.cache.WaitFor(within(t, 10*time.Second), l.last); err != nil {
		t.Fatal(err)
	}
	if n := len(slices.Collect(following.cache.Tables(""))); n != len(l.acked) {
		t.Fatalf("the cache shows %d tables, %d were acknowledged", n, len(l.acked))
	}
	// It lacks what lies right before what it has.
	at := following.cache.Position()
	at.SchemaRevision = had.OldestRevision - 2
	stream := must(only.Subscribe(within(t, 10*time.Second), &metadatav1.SubscribeRequest{
		Start: &metadatav1.SubscribeRequest_After{After: at},
	}))(t)
	defer stream.Close()
	var err error
	for err == nil {
		_, err = stream.Receive()
	}
	if client.Reason(err) != metadatav1.ErrorReason_ERROR_REASON_HISTORY_GAP {
		t.Fatalf("the member has a history from revision %d on and follows revision %d: %v", had.OldestRevision, at.SchemaRevision, err)
	}
}

// cutOff keeps a member from the others until they have cut their logs behind what it has, and
// lets it catch up, again and again until it did so by a checkpoint: what it had received before
// it was cut off it may store afterwards, and who leads it on may have cut less.
func (l *load) cutOff(cluster *cluster, behind uint64) (now vitals.Stream) {
	l.t.Helper()
	schema := func(id uint64) vitals.Stream { return cluster.up[id].member.Stats().Streams[0] }
	const limit = 30 * time.Second
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); {
		cluster.up[behind].raft.mute(true)
		for had := schema(behind); time.Now().Before(deadline); had = schema(behind) {
			l.progress(20)
			if !slices.ContainsFunc(cluster.peers, func(p raftlog.Peer) bool {
				return p.ID != behind && schema(p.ID).FirstIndex <= had.LastIndex+1
			}) {
				break
			}
		}
		cluster.up[behind].raft.mute(false)
		goal := schema(cluster.leader(metadatav1.Stream_STREAM_SCHEMA)).Revision
		for now = schema(behind); now.Revision < goal && time.Now().Before(deadline); now = schema(behind) {
			time.Sleep(time.Millisecond)
		}
		if now.OldestRevision > 1 {
			return now
		}
		l.t.Log("the member caught up by the log")
	}
	l.t.Fatalf("the member took over no checkpoint within %v: it is at %+v", limit, now)
	return now
}
