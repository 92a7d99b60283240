package consistency

import (
	"bytes"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/events"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// checkSubscriptions checks every subscription against the guarantees: ordered,
// unique, reliable (no gap but what the filter leaves out), atomic (whole changes),
// resumable (exactly what follows the position), bookmarkable (everything up to a
// bookmark came before it, and bookmarks never go back), filtered (an object matches
// before or after; snapshots alike), and never ahead of commit.
//
// A subscription is compared frame by frame with the log under its filter, from the
// position at which it begins: that a resumption goes on where the one before ended
// follows, because it is judged from the position that it names.
func checkSubscriptions(c *trial) (found []Violation) {
	for _, s := range c.subscriptions {
		w := newWatcher(c, s)
		why := ""
		for i, f := range s.Frames {
			if why = w.frame(f); why != "" {
				why = fmt.Sprintf("frame %d at %v (%s): %s", i, f.At, show(f.Message), why)
				break
			}
		}
		if why == "" && s.Complete && s.Ended == never {
			why = w.incomplete()
		}
		if why != "" {
			kind := WrongSubscription
			if w.ahead {
				kind = AheadOfCommit
			}
			found = append(found, broken(kind, nil, "%v: %s", s, why))
		}
	}
	return found
}

// watcher follows one subscription in the log.
type watcher struct {
	c       *trial
	s       *Subscription
	filter  *events.Filter
	cursors map[metadatav1.Stream]*watched
	base    *metadatav1.Position // what bookmarks say of streams that are not followed
	ahead   bool                 // what was wrong is that it was not committed yet
}

// watched is a subscription's place in one stream.
type watched struct {
	line     *timeline
	placed   bool   // at is known
	at       uint64 // everything that matches up to here has come
	snapshot bool   // one has to come first, or is under way
	chunks   *metadatav1.SnapshotChunk
}

func newWatcher(c *trial, s *Subscription) *watcher {
	w := &watcher{
		c: c, s: s, filter: events.NewFilter(s.Request.GetFilter()),
		cursors: make(map[metadatav1.Stream]*watched), base: &metadatav1.Position{},
	}
	for _, stream := range positioned {
		if !w.filter.MatchStream(stream) {
			continue
		}
		cursor := &watched{line: c.lines[stream]}
		switch start := s.Request.GetStart().(type) {
		case *metadatav1.SubscribeRequest_Snapshot:
			cursor.snapshot = true
		case *metadatav1.SubscribeRequest_After:
			cursor.placed, cursor.at = true, revisionOf(start.After, stream)
		}
		w.cursors[stream] = cursor
	}
	if after := s.Request.GetAfter(); after != nil {
		w.base = after
	}
	return w
}

// frame takes the next frame and returns what is wrong with it, or "".
func (w *watcher) frame(f Frame) string {
	switch k := f.Message.GetFrame().(type) {
	case *metadatav1.SubscribeResponse_Changes:
		cursor := w.cursors[k.Changes.GetStream()]
		if cursor == nil {
			return "it is of a stream that the filter leaves out"
		}
		return w.changes(cursor, k.Changes.GetChanges(), f.At)
	case *metadatav1.SubscribeResponse_Snapshot:
		cursor := w.cursors[k.Snapshot.GetStream()]
		if cursor == nil {
			return "it is of a stream that the filter leaves out"
		}
		return w.chunk(cursor, k.Snapshot, f.At)
	case *metadatav1.SubscribeResponse_Bookmark:
		return w.bookmark(k.Bookmark.GetPosition(), f.At)
	case *metadatav1.SubscribeResponse_Reset_:
		return w.reset(k.Reset_)
	}
	return "it is empty"
}

func (w *watcher) reset(r *metadatav1.Reset) string {
	if w.s.Request.GetFailOnGap() {
		return "a reset came although fail_on_gap asks for an error"
	}
	for stream, cursor := range w.cursors {
		if r.GetStream() == 0 || r.GetStream() == stream {
			cursor.snapshot, cursor.placed, cursor.chunks = true, false, nil
		}
	}
	if r.GetStream() != 0 && w.cursors[r.GetStream()] == nil {
		return "it is of a stream that the filter leaves out"
	}
	return ""
}

func (w *watcher) changes(cursor *watched, changes []*metadatav1.Change, at time.Duration) string {
	if cursor.snapshot {
		return "changes came before the snapshot was complete"
	}
	if !cursor.placed {
		return "changes came before the bookmark that says where the subscription begins"
	}
	if len(changes) == 0 {
		return "it holds no change"
	}
	for _, got := range changes {
		revision := got.GetRevision()
		if revision <= cursor.at {
			return fmt.Sprintf("revision %d came, but everything up to revision %d had come before (ordered, unique)", revision, cursor.at)
		}
		if why := w.possible(cursor, revision, at); why != "" {
			return why
		}
		if why := w.nothingBetween(cursor, revision-1); why != "" {
			return why
		}
		want, matches := w.filter.Change(cursor.line.change(revision))
		if !matches {
			return fmt.Sprintf("revision %d does not match the filter (filtered)", revision)
		}
		if !proto.Equal(want, got) {
			return fmt.Sprintf("revision %d is not what the log holds under the filter: %v (atomic, filtered)", revision, want)
		}
		cursor.at = revision
	}
	return ""
}

// possible returns why a revision cannot have been committed, or "".
func (w *watcher) possible(cursor *watched, revision uint64, at time.Duration) string {
	why := cursor.line.ahead(revision, at)
	w.ahead = w.ahead || why != ""
	return why
}

// nothingBetween moves a cursor to a revision, if nothing up to there should have
// come.
func (w *watcher) nothingBetween(cursor *watched, to uint64) string {
	for revision := cursor.at + 1; revision <= to; revision++ {
		if c := cursor.line.change(revision); c != nil {
			if want, matches := w.filter.Change(c); matches {
				return fmt.Sprintf("revision %d was left out: %v (reliable, resumable, bookmarkable)", revision, want)
			}
		}
		cursor.at = revision
	}
	return ""
}

func (w *watcher) bookmark(p *metadatav1.Position, at time.Duration) string {
	if id := w.c.truth.Cluster; id != (events.ClusterID{}) && p.GetClusterId() != id.String() {
		return fmt.Sprintf("the bookmark is of cluster %q, not %v", p.GetClusterId(), id)
	}
	for _, stream := range positioned {
		said := revisionOf(p, stream)
		cursor := w.cursors[stream]
		if cursor == nil {
			if said > revisionOf(w.base, stream) {
				return fmt.Sprintf("the bookmark vouches for revision %d of %s, which the subscription does not follow", said, nameOf(stream))
			}
			continue
		}
		if cursor.snapshot {
			return fmt.Sprintf("a bookmark came before the snapshot of %s was complete", nameOf(stream))
		}
		if why := w.possible(cursor, said, at); why != "" {
			return why
		}
		if !cursor.placed {
			cursor.placed, cursor.at = true, said
		}
		if said < cursor.at {
			return fmt.Sprintf("the bookmark is at revision %d of %s, but everything up to revision %d had come before (bookmarkable)", said, nameOf(stream), cursor.at)
		}
		if why := w.nothingBetween(cursor, said); why != "" {
			return why
		}
	}
	return ""
}

// chunk gathers a snapshot and compares it when it is complete.
func (w *watcher) chunk(cursor *watched, chunk *metadatav1.SnapshotChunk, at time.Duration) string {
	if !cursor.snapshot {
		return "a snapshot came that nobody asked for and no reset announced"
	}
	if cursor.chunks == nil {
		cursor.chunks = &metadatav1.SnapshotChunk{Stream: chunk.GetStream(), Revision: chunk.GetRevision()}
	}
	all, revision := cursor.chunks, chunk.GetRevision()
	if revision != all.GetRevision() {
		return fmt.Sprintf("a snapshot at revision %d goes on at revision %d", all.GetRevision(), revision)
	}
	if why := w.possible(cursor, revision, at); why != "" {
		return why
	}
	all.Namespaces = append(all.Namespaces, chunk.GetNamespaces()...)
	all.Tables = append(all.Tables, chunk.GetTables()...)
	all.Nodes = append(all.Nodes, chunk.GetNodes()...)
	all.Shards = append(all.Shards, chunk.GetShards()...)
	if digest := cursor.line.digests[revision]; w.c.truth.Cluster != (events.ClusterID{}) && !bytes.Equal(chunk.GetDigest(), digest[:]) {
		return fmt.Sprintf("the digest at revision %d is %x in the log", revision, digest)
	}
	if !chunk.GetLast() {
		return ""
	}
	if want := w.snapshotAt(cursor, revision); !proto.Equal(want, all) {
		return fmt.Sprintf("the snapshot at revision %d is %v, but the log has %v under the filter", revision, all, want)
	}
	cursor.snapshot, cursor.placed, cursor.at, cursor.chunks = false, true, revision, nil
	return ""
}

// snapshotAt is what a whole snapshot holds under the filter.
func (w *watcher) snapshotAt(cursor *watched, revision uint64) *metadatav1.SnapshotChunk {
	line := cursor.line
	want := &metadatav1.SnapshotChunk{Stream: line.stream, Revision: revision}
	if line.stream == schemaStream {
		for _, n := range line.namespaces(revision) {
			if w.filter.Match(events.NamespaceSubject(n)) {
				want.Namespaces = append(want.Namespaces, n)
			}
		}
		for r := range line.schemas[revision].TablesByID(0) {
			if t := r.Message(); w.filter.Match(events.TableSubject(t)) {
				want.Tables = append(want.Tables, t)
			}
		}
		return want
	}
	for _, n := range line.nodes(0, revision) {
		if w.filter.Match(events.NodeSubject(n)) {
			want.Nodes = append(want.Nodes, n)
		}
	}
	for _, s := range line.shards(&metadatav1.ListShardsRequest{}, revision) {
		if w.filter.Match(events.ShardSubject(s)) {
			want.Shards = append(want.Shards, s)
		}
	}
	return want
}

// incomplete returns what a subscription that is open while everything is at rest
// has not been sent, or "".
func (w *watcher) incomplete() string {
	for _, stream := range positioned {
		cursor := w.cursors[stream]
		switch {
		case cursor == nil:
		case cursor.snapshot:
			return fmt.Sprintf("everything was at rest, but the snapshot of %s was not complete", nameOf(stream))
		case !cursor.placed:
			return "everything was at rest, but no bookmark had come"
		case cursor.at < cursor.line.head():
			if why := w.nothingBetween(cursor, cursor.line.head()); why != "" {
				return "everything was at rest, but " + why
			}
			return fmt.Sprintf("everything was at rest at revision %d of %s, but no bookmark said so", cursor.line.head(), nameOf(stream))
		}
	}
	return ""
}
