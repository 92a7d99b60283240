package feed_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/feed"
	"github.com/heliosdb/metadata/internal/failure"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

const (
	schema   = metadatav1.Stream_STREAM_SCHEMA
	topology = metadatav1.Stream_STREAM_TOPOLOGY
)

var cluster = events.ClusterID{1, 2, 3}

// history is a History in memory, which may be trimmed and may have a gap.
type history struct {
	stream  metadatav1.Stream
	changes []*events.Change // 1, 2, ...
	oldest  uint64
	lacks   uint64 // a revision that this member does not have; 0: none
	hole    uint64 // a revision that is missing without notice; 0: none
}

func (h *history) Oldest() uint64 { return max(h.oldest, 1) }

func (h *history) Read(from uint64, maxBytes int) (out []*events.Change, err error) {
	if from < h.Oldest() {
		return nil, failure.New(metadatav1.ErrorReason_ERROR_REASON_HISTORY_TRIMMED, "revision %d was trimmed", from)
	}
	for bytes := 0; from <= uint64(len(h.changes)); from++ {
		c := h.changes[from-1]
		if from == h.lacks && len(out) == 0 {
			return nil, failure.New(metadatav1.ErrorReason_ERROR_REASON_HISTORY_GAP, "revision %d is not here", from)
		}
		if bytes += len(c.Raw()); from == h.lacks || len(out) > 0 && bytes > maxBytes {
			break
		}
		if from != h.hole {
			out = append(out, c)
		}
	}
	return out, nil
}

// member is a Feed over two streams with everything that was ever committed.
type member struct {
	t       testing.TB
	feed    *feed.Feed
	logs    map[metadatav1.Stream]*feed.Log
	history map[metadatav1.Stream]*history
	now     time.Time
	chunk   int // objects in a chunk of a snapshot
}

// newMember returns a member whose Logs hold at most so many changes in memory.
func newMember(t testing.TB, maxChanges int) *member {
	m := &member{
		t:       t,
		logs:    map[metadatav1.Stream]*feed.Log{},
		history: map[metadatav1.Stream]*history{},
		now:     time.Unix(1_000_000, 0),
		chunk:   2,
	}
	var logs []*feed.Log
	for _, s := range []metadatav1.Stream{schema, topology} {
		m.history[s] = &history{stream: s}
		m.logs[s] = feed.NewLog(feed.LogOptions{Stream: s, History: m.history[s], MaxChanges: maxChanges})
		logs = append(logs, m.logs[s])
	}
	m.feed = feed.New(feed.Options{Cluster: cluster, RecoveryEpoch: 4, Logs: logs, Snapshots: m})
	return m
}

// commit appends one change of these events, in memory and in the history.
func (m *member) commit(evs ...*metadatav1.Event) *events.Change {
	s := events.StreamOf(evs[0])
	h := m.history[s]
	sealed := make([]events.Event, len(evs))
	for i, e := range evs {
		sealed[i] = events.New(e)
	}
	c := events.Seal(events.Header{Revision: uint64(len(h.changes)) + 1, Time: m.now, Actor: "tester"}, sealed)
	h.changes = append(h.changes, c)
	m.logs[s].Append([]*events.Change{c})
	m.logs[s].SetDurable(c.Revision())
	return c
}

// table is the event that a table was created.
func table(namespace, name string) *metadatav1.Event {
	return &metadatav1.Event{Kind: &metadatav1.Event_TableCreated{TableCreated: &metadatav1.TableCreated{
		Table: &metadatav1.TableSchema{TableId: 7, Namespace: namespace, Name: name},
	}}}
}

// fat is the event that a table with a comment of so many bytes was created.
func fat(bytes int) *metadatav1.Event {
	e := table("public", "fat")
	e.GetTableCreated().Table.Comment = strings.Repeat("x", bytes)
	return e
}

// moved is the event that a shard moved between nodes.
func moved(shard uint64, from, to string) *metadatav1.Event {
	return &metadatav1.Event{Kind: &metadatav1.Event_ShardMoved{ShardMoved: &metadatav1.ShardMoved{
		Shard:    &metadatav1.ShardInfo{ShardId: shard, PrimaryNode: to},
		Previous: &metadatav1.ShardInfo{ShardId: shard, PrimaryNode: from},
	}}}
}

// Snapshot gives one table for each change that there was, so that it shows
// which changes it covers.
func (m *member) Snapshot(s metadatav1.Stream, f *events.Filter) (feed.Snapshot, error) {
	snap := &snapshot{stream: s, revision: m.logs[s].Head(), size: m.chunk}
	for i := range snap.revision {
		o := &metadatav1.TableSchema{TableId: i + 1, Namespace: "public", Name: fmt.Sprint("t", i+1)}
		if s == schema && f.Match(events.TableSubject(o)) {
			snap.tables = append(snap.tables, o)
		}
	}
	return snap, nil
}

type snapshot struct {
	stream   metadatav1.Stream
	revision uint64
	tables   []*metadatav1.TableSchema
	size     int
}

func (s *snapshot) Next() (*metadatav1.SnapshotChunk, error) {
	n := min(s.size, len(s.tables))
	c := &metadatav1.SnapshotChunk{Stream: s.stream, Revision: s.revision, Tables: s.tables[:n], Last: n == len(s.tables)}
	s.tables = s.tables[n:]
	return c, nil
}

func (m *member) subscribe(req *metadatav1.SubscribeRequest) *feed.Subscription {
	m.t.Helper()
	s, err := m.feed.Subscribe(req, m.now)
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(s.Close)
	return s
}

// after is a request to go on behind a position of this cluster.
func after(schemaRevision, topologyRevision uint64) *metadatav1.SubscribeRequest {
	return &metadatav1.SubscribeRequest{Start: &metadatav1.SubscribeRequest_After{After: &metadatav1.Position{
		ClusterId: cluster.String(), RecoveryEpoch: 4, SchemaRevision: schemaRevision, TopologyRevision: topologyRevision,
	}}}
}

func fromSnapshot() *metadatav1.SubscribeRequest {
	return &metadatav1.SubscribeRequest{Start: &metadatav1.SubscribeRequest_Snapshot{Snapshot: true}}
}

// frames returns what the subscription has to send at this moment.
func (m *member) frames(s *feed.Subscription) []*metadatav1.SubscribeResponse {
	m.t.Helper()
	out, err := m.framesOrError(s)
	if err != nil {
		m.t.Fatal(err)
	}
	return out
}

func (m *member) framesOrError(s *feed.Subscription) (out []*metadatav1.SubscribeResponse, err error) {
	m.t.Helper()
	for range 100_000 {
		f, w, err := s.Next(m.now)
		switch {
		case err != nil:
			return out, err
		case f.Message() != nil:
			out = append(out, f.Message())
		case w.Until.After(m.now):
			return out, nil
		}
	}
	m.t.Fatal("no end of frames")
	return nil, nil
}

// show describes frames, one word each.
func show(frames []*metadatav1.SubscribeResponse) string {
	letter := map[metadatav1.Stream]string{schema: "s", topology: "t", metadatav1.Stream_STREAM_UNSPECIFIED: "all"}
	var words []string
	for _, f := range frames {
		switch {
		case f.GetChanges() != nil:
			word := letter[f.GetChanges().Stream]
			for i, c := range f.GetChanges().Changes {
				word += strings.Repeat(",", min(i, 1)) + fmt.Sprint(c.Revision)
				if c.Partial {
					word += fmt.Sprintf("(%d)", len(c.Events))
				}
			}
			words = append(words, word)
		case f.GetBookmark() != nil:
			p := f.GetBookmark().Position
			words = append(words, fmt.Sprintf("mark:%d/%d", p.SchemaRevision, p.TopologyRevision))
		case f.GetReset_() != nil:
			r := f.GetReset_()
			words = append(words, fmt.Sprintf("reset:%s:%s:%d", letter[r.Stream], r.Reason, r.OldestRevision))
		case f.GetSnapshot() != nil:
			c := f.GetSnapshot()
			word := fmt.Sprintf("snap:%s@%d:%d", letter[c.Stream], c.Revision, len(c.Tables))
			if c.Last {
				word += "!"
			}
			words = append(words, word)
		}
	}
	return strings.Join(words, " ")
}

// expect fails unless the subscription has to send exactly these frames now.
func (m *member) expect(s *feed.Subscription, want string) {
	m.t.Helper()
	if got := show(m.frames(s)); got != want {
		m.t.Fatalf("got  %q\nwant %q", got, want)
	}
}

// expectError fails unless the subscription ends now, for this reason.
func (m *member) expectError(s *feed.Subscription, reason metadatav1.ErrorReason) {
	m.t.Helper()
	out, err := m.framesOrError(s)
	if !failure.Is(err, reason) {
		m.t.Fatalf("got %q and %v, want %v", show(out), err, reason)
	}
}
