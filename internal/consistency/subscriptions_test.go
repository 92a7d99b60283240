package consistency

import (
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/events"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

func after(p *metadatav1.Position) *metadatav1.SubscribeRequest_After {
	return &metadatav1.SubscribeRequest_After{After: p}
}

// changesFrame is a frame of changes of the log.
func changesFrame(r *run, s metadatav1.Stream, revisions ...uint64) *metadatav1.SubscribeResponse {
	all := &metadatav1.Changes{Stream: s}
	for _, revision := range revisions {
		log := r.truth.Schema
		if s == topologyStream {
			log = r.truth.Topology
		}
		all.Changes = append(all.Changes, proto.CloneOf(log[revision-1].Message()))
	}
	return &metadatav1.SubscribeResponse{Frame: &metadatav1.SubscribeResponse_Changes{Changes: all}}
}

func bookmarkFrame(p *metadatav1.Position) *metadatav1.SubscribeResponse {
	return &metadatav1.SubscribeResponse{Frame: &metadatav1.SubscribeResponse_Bookmark{Bookmark: &metadatav1.Bookmark{Position: p}}}
}

func resetFrame(s metadatav1.Stream) *metadatav1.SubscribeResponse {
	return &metadatav1.SubscribeResponse{Frame: &metadatav1.SubscribeResponse_Reset_{Reset_: &metadatav1.Reset{Stream: s, Reason: "HISTORY_TRIMMED"}}}
}

// snapshotFrame is the whole snapshot of the schema at a revision.
func snapshotFrame(r *run, revision uint64, tables ...*metadatav1.TableSchema) *metadatav1.SubscribeResponse {
	line, _ := newTimeline(schemaStream, r.truth)
	return &metadatav1.SubscribeResponse{Frame: &metadatav1.SubscribeResponse_Snapshot{Snapshot: &metadatav1.SnapshotChunk{
		Stream: schemaStream, Revision: revision, Digest: line.digests[revision][:], Last: true, Tables: tables,
		Namespaces: []*metadatav1.Namespace{{NamespaceId: 1, Name: publicName, Version: 1}},
	}}}
}

var onlySchema = &metadatav1.Filter{Streams: []metadatav1.Stream{schemaStream}}

// three is a run with tables a, b and c, and a being altered: revisions 1 to 4.
func three() (r *run, a, a2, b, c *metadatav1.TableSchema) {
	r = newRun()
	_, a = r.create(1, "a")
	_, b = r.create(1, "b")
	_, c = r.create(1, "c")
	_, a2 = r.alter(1, a)
	return r, a, a2, b, c
}

func TestSubscriptionsThatAreRight(t *testing.T) {
	r, _, a2, b, c := three()
	s := r.h.Subscription(1, &metadatav1.SubscribeRequest{Start: after(schemaAt(r, 1)), Filter: onlySchema}, r.now)
	s.Frame(changesFrame(r, schemaStream, 2, 3), r.tick())
	s.Frame(bookmarkFrame(schemaAt(r, 3)), r.tick())
	s.Frame(changesFrame(r, schemaStream, 4), r.tick())
	s.Rest(r.tick())
	s = r.h.Subscription(1, &metadatav1.SubscribeRequest{Start: &metadatav1.SubscribeRequest_Snapshot{Snapshot: true}, Filter: onlySchema}, r.now)
	s.Frame(snapshotFrame(r, 4, a2, b, c), r.tick())
	s.Frame(bookmarkFrame(schemaAt(r, 4)), r.tick())
	s.Frame(resetFrame(0), r.tick())
	s.Frame(snapshotFrame(r, 3, r.tableAt(3, "a"), b, c), r.tick())
	s.Frame(changesFrame(r, schemaStream, 4), r.tick())
	s.Rest(r.tick())
	s = r.h.Subscription(1, &metadatav1.SubscribeRequest{Filter: onlySchema}, r.now)
	s.Frame(bookmarkFrame(schemaAt(r, 2)), r.tick())
	s.Frame(changesFrame(r, schemaStream, 3), r.tick())
	s.Broke(nil, r.tick())
	s = r.h.Subscription(1, &metadatav1.SubscribeRequest{
		Start: after(schemaAt(r, 0)), Filter: &metadatav1.Filter{Tables: []string{"b"}, Streams: onlySchema.Streams, Kinds: []metadatav1.ObjectKind{metadatav1.ObjectKind_OBJECT_KIND_TABLE}},
	}, r.now)
	s.Frame(changesFrame(r, schemaStream, 2), r.tick())
	s.Frame(bookmarkFrame(schemaAt(r, 4)), r.tick())
	s.Rest(r.tick())
	r.right(t)
}

func (r *run) tableAt(revision uint64, name string) *metadatav1.TableSchema {
	line, _ := newTimeline(schemaStream, r.truth)
	return line.tableAt(&metadatav1.TableRef{Name: name}, revision)
}

func TestSubscriptionsThatAreWrong(t *testing.T) {
	from := func(revision uint64) *metadatav1.SubscribeRequest {
		return &metadatav1.SubscribeRequest{Start: after(&metadatav1.Position{SchemaRevision: revision}), Filter: onlySchema}
	}
	snapshot := &metadatav1.SubscribeRequest{Start: &metadatav1.SubscribeRequest_Snapshot{Snapshot: true}, Filter: onlySchema}
	for name, wrong := range map[string]struct {
		request *metadatav1.SubscribeRequest
		frames  func(r *run, a, a2, b, c *metadatav1.TableSchema) []*metadatav1.SubscribeResponse
		says    string
	}{
		"not ordered": {from(0), func(r *run, _, _, _, _ *metadatav1.TableSchema) []*metadatav1.SubscribeResponse {
			return []*metadatav1.SubscribeResponse{changesFrame(r, schemaStream, 1, 2), changesFrame(r, schemaStream, 1)}
		}, "(ordered, unique)"},
		"not unique": {from(0), func(r *run, _, _, _, _ *metadatav1.TableSchema) []*metadatav1.SubscribeResponse {
			return []*metadatav1.SubscribeResponse{changesFrame(r, schemaStream, 1), changesFrame(r, schemaStream, 1)}
		}, "(ordered, unique)"},
		"a gap": {from(0), func(r *run, _, _, _, _ *metadatav1.TableSchema) []*metadatav1.SubscribeResponse {
			return []*metadatav1.SubscribeResponse{changesFrame(r, schemaStream, 1, 3)}
		}, "revision 2 was left out"},
		"a gap behind the position": {from(1), func(r *run, _, _, _, _ *metadatav1.TableSchema) []*metadatav1.SubscribeResponse {
			return []*metadatav1.SubscribeResponse{changesFrame(r, schemaStream, 3)}
		}, "revision 2 was left out"},
		"repeats what the position had": {from(2), func(r *run, _, _, _, _ *metadatav1.TableSchema) []*metadatav1.SubscribeResponse {
			return []*metadatav1.SubscribeResponse{changesFrame(r, schemaStream, 2)}
		}, "(ordered, unique)"},
		"a bookmark ahead of what came": {from(0), func(r *run, _, _, _, _ *metadatav1.TableSchema) []*metadatav1.SubscribeResponse {
			return []*metadatav1.SubscribeResponse{changesFrame(r, schemaStream, 1), bookmarkFrame(schemaAt(r, 2))}
		}, "revision 2 was left out"},
		"a bookmark that goes back": {from(0), func(r *run, _, _, _, _ *metadatav1.TableSchema) []*metadatav1.SubscribeResponse {
			return []*metadatav1.SubscribeResponse{changesFrame(r, schemaStream, 1, 2), bookmarkFrame(schemaAt(r, 1))}
		}, "(bookmarkable)"},
		"a bookmark of what is not followed": {from(0), func(r *run, _, _, _, _ *metadatav1.TableSchema) []*metadatav1.SubscribeResponse {
			p := schemaAt(r, 0)
			p.TopologyRevision = 1
			return []*metadatav1.SubscribeResponse{bookmarkFrame(p)}
		}, "which the subscription does not follow"},
		"a bookmark of another cluster": {from(0), func(*run, *metadatav1.TableSchema, *metadatav1.TableSchema, *metadatav1.TableSchema, *metadatav1.TableSchema) []*metadatav1.SubscribeResponse {
			return []*metadatav1.SubscribeResponse{bookmarkFrame(&metadatav1.Position{ClusterId: "00"})}
		}, `the bookmark is of cluster "00"`},
		"another change than the log's": {from(0), func(r *run, _, _, _, _ *metadatav1.TableSchema) []*metadatav1.SubscribeResponse {
			f := changesFrame(r, schemaStream, 1)
			f.GetChanges().GetChanges()[0].GetEvents()[0].GetTableCreated().GetTable().Comment = "other"
			return []*metadatav1.SubscribeResponse{f}
		}, "is not what the log holds"},
		"begins without a bookmark": {&metadatav1.SubscribeRequest{Filter: onlySchema}, func(r *run, _, _, _, _ *metadatav1.TableSchema) []*metadatav1.SubscribeResponse {
			return []*metadatav1.SubscribeResponse{changesFrame(r, schemaStream, 1)}
		}, "before the bookmark"},
		"changes before the snapshot": {snapshot, func(r *run, _, _, _, _ *metadatav1.TableSchema) []*metadatav1.SubscribeResponse {
			return []*metadatav1.SubscribeResponse{changesFrame(r, schemaStream, 1)}
		}, "before the snapshot was complete"},
		"a snapshot that lacks a table": {snapshot, func(r *run, _, a2, b, _ *metadatav1.TableSchema) []*metadatav1.SubscribeResponse {
			return []*metadatav1.SubscribeResponse{snapshotFrame(r, 4, a2, b)}
		}, "the snapshot at revision 4 is"},
		"a snapshot of an older table": {snapshot, func(r *run, a, _, b, c *metadatav1.TableSchema) []*metadatav1.SubscribeResponse {
			return []*metadatav1.SubscribeResponse{snapshotFrame(r, 4, a, b, c)}
		}, "the snapshot at revision 4 is"},
		"a snapshot with another digest": {snapshot, func(r *run, a, a2, b, c *metadatav1.TableSchema) []*metadatav1.SubscribeResponse {
			f := snapshotFrame(r, 4, a2, b, c)
			f.GetSnapshot().Digest = nil
			return []*metadatav1.SubscribeResponse{f}
		}, "the digest at revision 4"},
		"a snapshot of two revisions": {snapshot, func(r *run, a, a2, b, c *metadatav1.TableSchema) []*metadatav1.SubscribeResponse {
			f := snapshotFrame(r, 3, a)
			f.GetSnapshot().Last = false
			return []*metadatav1.SubscribeResponse{f, snapshotFrame(r, 4, b, c)}
		}, "a snapshot at revision 3 goes on at revision 4"},
		"a snapshot that nobody asked for": {from(4), func(r *run, _, a2, b, c *metadatav1.TableSchema) []*metadatav1.SubscribeResponse {
			return []*metadatav1.SubscribeResponse{snapshotFrame(r, 4, a2, b, c)}
		}, "nobody asked for"},
		"a bookmark before the snapshot": {from(0), func(r *run, _, _, _, _ *metadatav1.TableSchema) []*metadatav1.SubscribeResponse {
			return []*metadatav1.SubscribeResponse{resetFrame(schemaStream), bookmarkFrame(schemaAt(r, 0))}
		}, "before the snapshot of schema was complete"},
		"a reset that was not wanted": {&metadatav1.SubscribeRequest{Filter: onlySchema, FailOnGap: true}, func(*run, *metadatav1.TableSchema, *metadatav1.TableSchema, *metadatav1.TableSchema, *metadatav1.TableSchema) []*metadatav1.SubscribeResponse {
			return []*metadatav1.SubscribeResponse{resetFrame(0)}
		}, "although fail_on_gap"},
		"a stream that the filter leaves out": {&metadatav1.SubscribeRequest{Start: after(&metadatav1.Position{}), Filter: &metadatav1.Filter{Streams: []metadatav1.Stream{topologyStream}}}, func(r *run, _, _, _, _ *metadatav1.TableSchema) []*metadatav1.SubscribeResponse {
			return []*metadatav1.SubscribeResponse{changesFrame(r, schemaStream, 1)}
		}, "of a stream that the filter leaves out"},
		"what the filter leaves out": {&metadatav1.SubscribeRequest{Start: after(&metadatav1.Position{}), Filter: &metadatav1.Filter{Tables: []string{"b"}}}, func(r *run, _, _, _, _ *metadatav1.TableSchema) []*metadatav1.SubscribeResponse {
			return []*metadatav1.SubscribeResponse{changesFrame(r, schemaStream, 1)}
		}, "revision 1 does not match the filter"},
	} {
		t.Run(name, func(t *testing.T) {
			r, a, a2, b, c := three()
			s := r.h.Subscription(1, wrong.request, r.now)
			for _, f := range wrong.frames(r, a, a2, b, c) {
				s.Frame(f, r.tick())
			}
			r.wrong(t, WrongSubscription, wrong.says)
		})
	}
}

func TestSubscriptionAheadOfCommit(t *testing.T) {
	for name, r := range map[string]*run{"commit times unknown": newRun(), "commit times known": newRun().knowing()} {
		t.Run(name, func(t *testing.T) {
			r.create(1, "a")
			at := r.now
			r.tick()
			r.create(1, "b")
			s := r.h.Subscription(1, &metadatav1.SubscribeRequest{Start: after(schemaAt(r, 0)), Filter: onlySchema}, at)
			s.Frame(changesFrame(r, schemaStream, 1), at)
			r.right(t)
			s.Frame(changesFrame(r, schemaStream, 2), at)
			r.wrong(t, AheadOfCommit, "revision 2 of schema")
		})
	}
}

func TestSubscriptionMissesTheEnd(t *testing.T) {
	r, _, _, _, _ := three()
	s := r.h.Subscription(1, &metadatav1.SubscribeRequest{Start: after(schemaAt(r, 0)), Filter: onlySchema}, r.now)
	s.Frame(changesFrame(r, schemaStream, 1, 2, 3), r.tick())
	r.right(t)
	s.Rest(r.tick())
	r.wrong(t, WrongSubscription, "everything was at rest, but revision 4 was left out")
}

func TestFilteredChangeIsPartial(t *testing.T) {
	r := newRun()
	r.node(1, "n", "i", 1, 0)
	r.node(1, "o", "i", 2, 0)
	drained := proto.CloneOf(r.nodeNow("n"))
	drained.Draining, drained.Status, drained.UpdatedRevision = true, metadatav1.NodeStatus_NODE_STATUS_DRAINING, 3
	other := proto.CloneOf(r.nodeNow("o"))
	other.Draining, other.Status, other.UpdatedRevision = true, metadatav1.NodeStatus_NODE_STATUS_DRAINING, 3
	batch := &metadatav1.ApplyBatchRequest{
		Commands: []*metadatav1.Command{
			{Command: &metadatav1.Command_DrainNode{DrainNode: &metadatav1.DrainNodeRequest{NodeId: "n"}}},
			{Command: &metadatav1.Command_DrainNode{DrainNode: &metadatav1.DrainNodeRequest{NodeId: "o"}}},
		},
		Write: &metadatav1.WriteOptions{RequestId: "x"},
	}
	r.h.Begin(1, 1, batch, r.now).Unknown(r.tick())
	r.commit("x",
		&metadatav1.Event{Kind: &metadatav1.Event_NodeDrained{NodeDrained: &metadatav1.NodeDrained{Node: drained}}},
		&metadatav1.Event{Command: 1, Kind: &metadatav1.Event_NodeDrained{NodeDrained: &metadatav1.NodeDrained{Node: other}}},
	)
	filter := &metadatav1.Filter{Nodes: []string{"o"}, Streams: []metadatav1.Stream{topologyStream}}
	partial, ok := events.NewFilter(filter).Change(r.truth.Topology[2])
	if !ok || !partial.GetPartial() {
		t.Fatalf("the filter makes %v of the change", partial)
	}
	frame := func(c *metadatav1.Change) *metadatav1.SubscribeResponse {
		return &metadatav1.SubscribeResponse{Frame: &metadatav1.SubscribeResponse_Changes{
			Changes: &metadatav1.Changes{Stream: topologyStream, Changes: []*metadatav1.Change{c}},
		}}
	}
	p := r.position()
	p.TopologyRevision = 2
	s := r.h.Subscription(1, &metadatav1.SubscribeRequest{Start: after(p), Filter: filter}, r.now)
	s.Frame(frame(partial), r.tick())
	r.right(t)
	whole := proto.CloneOf(partial)
	whole.Partial = false
	s.Frames[0].Message = frame(whole)
	r.wrong(t, WrongSubscription, "is not what the log holds under the filter")
}

func TestCaches(t *testing.T) {
	r, a, a2, _, _ := three()
	query := getTable("a", 0)
	r.h.Cached(1, query, &metadatav1.GetTableResponse{Table: a}, schemaAt(r, 3), r.now)
	r.h.Cached(1, query, &metadatav1.GetTableResponse{Table: a2}, schemaAt(r, 4), r.tick())
	r.h.Cached(2, query, nil, schemaAt(r, 0), r.tick())
	r.h.Cached(2, nil, nil, schemaAt(r, 1), r.tick())
	r.right(t)
	for name, wrong := range map[string]struct {
		client int
		answer proto.Message
		at     uint64
		kind   Kind
		says   string
	}{
		"goes back":       {1, &metadatav1.GetTableResponse{Table: a}, 3, WrongCache, "went back"},
		"shows the older": {2, &metadatav1.GetTableResponse{Table: a}, 4, WrongCache, "the log says"},
		"lacks it":        {2, nil, 4, WrongCache, "the log has"},
		"is ahead":        {2, &metadatav1.GetTableResponse{Table: a2}, 5, AheadOfCommit, "the log ends at revision 4"},
	} {
		t.Run(name, func(t *testing.T) {
			before := r.h.cached
			r.h.Cached(wrong.client, query, wrong.answer, schemaAt(r, wrong.at), r.now)
			r.wrong(t, wrong.kind, wrong.says)
			r.h.cached = before
		})
	}
}

// What a cache vouches for is held against what was committed, and against what its client
// had heard of.
func TestCachesKeepTheirWord(t *testing.T) {
	r, _, _, _, _ := three()
	r.knowing()
	committed := r.when[schemaStream] // revisions 1 to 4
	acked := r.h.ops[len(r.h.ops)-1].Ended
	read := func(revision uint64, at time.Duration) *CachedRead {
		return r.h.Cached(9, nil, nil, schemaAt(r, revision), at)
	}
	for _, c := range []struct {
		name  string
		shown uint64
		at    time.Duration // of the read
		vouch func(*CachedRead)
		says  string
	}{
		{"nothing", 0, r.now, func(*CachedRead) {}, ""},
		{"all before the second", 1, r.now, func(c *CachedRead) { c.ShowsAll(committed[1]) }, ""},
		{"the second too", 1, r.now, func(c *CachedRead) { c.ShowsAll(committed[1] + 1) }, "change 2 of schema was committed at"},
		{"all", 4, r.now, func(c *CachedRead) { c.ShowsAll(r.now) }, ""},
		{"all but the last", 3, r.now, func(c *CachedRead) { c.ShowsAll(r.now) }, "change 4 of schema"},
		{"own writes", 4, r.now, func(c *CachedRead) { c.ShowsOwn(1) }, ""},
		{"too few own writes", 3, r.now, func(c *CachedRead) { c.ShowsOwn(1) }, "revision 4 of schema was acknowledged at"},
		{"own writes before the last answer", 3, acked, func(c *CachedRead) { c.ShowsOwn(1) }, ""},
		{"the writes of one who wrote nothing", 0, r.now, func(c *CachedRead) { c.ShowsOwn(77) }, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := r.h.cached
			c.vouch(read(c.shown, c.at))
			if c.says == "" {
				r.right(t)
			} else {
				r.wrong(t, WrongCache, c.says)
			}
			r.h.cached = before
		})
	}
}

func TestLeases(t *testing.T) {
	r := newRun().knowing()
	n := r.node(1, "n", "i1", 1, 0)
	s := r.h.Session(1, "n")
	s.Alive(1, r.now, r.now+2e9)
	s.Alive(1, r.now+1e9, r.now+4e9)
	r.now += 4e9
	r.offline(n)
	r.node(2, "n", "i2", 2, 1)
	s = r.h.Session(2, "n")
	s.Alive(2, r.now, r.now+60e9)
	s.Fenced(r.tick())
	r.offline(r.nodeNow("n"))
	r.right(t)
	if lives := r.h.sessions[0].Lives; len(lives) != 1 {
		t.Fatalf("lives %v are one", lives)
	}
	r.h.sessions[0].Lives[0].Until++
	r.wrong(t, WrongLease, `node "n", epoch 1, was taken offline`)
	r.h.sessions[0].Lives[0].Until = never
	r.wrong(t, WrongLease, `node "n", epoch 1, was replaced by incarnation "i2", epoch 2,`)
	r.h.sessions[0].Lives[0].Until = 0
	r.h.sessions[1].Lives[0].Until = never
	r.wrong(t, WrongLease, `node "n", epoch 2, was taken offline`)
}

func TestLeasesOfOneIncarnationOverlap(t *testing.T) {
	r := newRun().knowing()
	r.node(1, "n", "i1", 1, 0)
	s := r.h.Session(1, "n")
	s.Alive(1, r.now, never)
	r.tick()
	said := r.nodeNow("n")
	said.Addr, said.Epoch, said.UpdatedRevision, said.RegisteredRevision = "h:2", 2, 2, 2
	request := &metadatav1.RegisterNodeRequest{Node: said, Write: &metadatav1.WriteOptions{RequestId: "x"}}
	r.h.Begin(1, 1, request, r.now).Unknown(r.tick())
	r.commit("x", &metadatav1.Event{Kind: &metadatav1.Event_NodeRegistered{NodeRegistered: &metadatav1.NodeRegistered{Node: said, PreviousEpoch: 1}}})
	r.right(t)
}
