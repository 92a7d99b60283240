package feed_test

import (
	"fmt"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/feed"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// listener checks the promises of package feed on every frame that one
// subscription sends, against everything that was ever committed.
type listener struct {
	m       *member
	sub     *feed.Subscription
	filter  *events.Filter
	at      map[metadatav1.Stream]uint64 // streams that it follows: everything up to here was seen
	lost    map[metadatav1.Stream]bool   // reset: a snapshot has to follow before anything else
	marked  *metadatav1.Position         // latest bookmark since the last reset
	partial uint64                       // revision of the chunks of an unfinished snapshot
}

func listen(m *member, sub *feed.Subscription, f *metadatav1.Filter, from *metadatav1.Position) *listener {
	l := &listener{m: m, sub: sub, filter: events.NewFilter(f), at: map[metadatav1.Stream]uint64{}, lost: map[metadatav1.Stream]bool{}}
	for s, revision := range map[metadatav1.Stream]uint64{schema: from.GetSchemaRevision(), topology: from.GetTopologyRevision()} {
		if l.filter.MatchStream(s) {
			l.at[s], l.lost[s] = revision, from == nil
		}
	}
	return l
}

// skip fails if a change that matches lies behind the listener up to a revision.
func (l *listener) skip(s metadatav1.Stream, to uint64) error {
	for r := l.at[s] + 1; r <= to; r++ {
		if _, ok := l.filter.Change(l.m.history[s].changes[r-1]); ok {
			return fmt.Errorf("%v %d was left out", s, r)
		}
	}
	l.at[s] = to
	return nil
}

func (l *listener) hear(f *metadatav1.SubscribeResponse) error {
	switch {
	case f.GetChanges() != nil:
		return l.hearChanges(f.GetChanges())
	case f.GetSnapshot() != nil:
		return l.hearChunk(f.GetSnapshot())
	case f.GetReset_() != nil:
		s := f.GetReset_().Stream
		if oldest := l.m.logs[s].Oldest(); l.lost[s] || l.at[s]+1 >= oldest {
			return fmt.Errorf("a reset of %v behind %d, though %d can be read", s, l.at[s], oldest)
		}
		l.lost[s], l.marked = true, nil
		return nil
	}
	p := f.GetBookmark().GetPosition()
	for s, revision := range map[metadatav1.Stream]uint64{schema: p.GetSchemaRevision(), topology: p.GetTopologyRevision()} {
		if _, follows := l.at[s]; !follows {
			continue
		}
		switch {
		case l.lost[s]:
			return fmt.Errorf("a bookmark of %v in the midst of a reset", s)
		case revision < l.at[s] || revision > l.m.logs[s].Head():
			return fmt.Errorf("a bookmark at %d of %v, %d was seen and %d committed", revision, s, l.at[s], l.m.logs[s].Head())
		}
		if err := l.skip(s, revision); err != nil {
			return err
		}
	}
	if m := l.marked; m != nil && (p.SchemaRevision < m.SchemaRevision || p.TopologyRevision < m.TopologyRevision) {
		return fmt.Errorf("bookmark %v after %v", p, m)
	}
	l.marked = p
	return nil
}

func (l *listener) hearChanges(cs *metadatav1.Changes) error {
	if l.lost[cs.Stream] || len(cs.Changes) == 0 {
		return fmt.Errorf("%d changes of %v, reset: %v", len(cs.Changes), cs.Stream, l.lost[cs.Stream])
	}
	for _, c := range cs.Changes {
		switch {
		case c.Revision <= l.at[cs.Stream]:
			return fmt.Errorf("%v %d after %d", cs.Stream, c.Revision, l.at[cs.Stream])
		case c.Revision > l.m.logs[cs.Stream].Head():
			return fmt.Errorf("%v %d is not committed", cs.Stream, c.Revision)
		}
		if err := l.skip(cs.Stream, c.Revision-1); err != nil {
			return err
		}
		committed := l.m.history[cs.Stream].changes[c.Revision-1]
		want, ok := l.filter.Change(committed)
		if !ok || !proto.Equal(c, want) || c.Partial != (len(c.Events) < len(committed.Events())) {
			return fmt.Errorf("%v %d is %v, want %v", cs.Stream, c.Revision, c, want)
		}
		l.at[cs.Stream] = c.Revision
	}
	return nil
}

func (l *listener) hearChunk(c *metadatav1.SnapshotChunk) error {
	if !l.lost[c.Stream] || (l.partial != 0 && l.partial != c.Revision) {
		return fmt.Errorf("a chunk of %v at %d, reset: %v, the one before at %d", c.Stream, c.Revision, l.lost[c.Stream], l.partial)
	}
	l.partial = c.Revision
	for _, o := range c.Tables {
		if !l.filter.Match(events.TableSubject(o)) {
			return fmt.Errorf("%v does not match", o)
		}
	}
	if c.Last {
		l.at[c.Stream], l.lost[c.Stream], l.partial = c.Revision, false, 0
	}
	return nil
}

var (
	nodeNames  = []string{"a", "b", "c"}
	tableNames = []string{"t1", "t2", "t3"}
)

func drawEvents(t *rapid.T) []*metadatav1.Event {
	ofTopology := rapid.Bool().Draw(t, "topology")
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) *metadatav1.Event {
		if ofTopology {
			node := rapid.SampledFrom(nodeNames)
			return moved(rapid.Uint64Range(1, 4).Draw(t, "shard"), node.Draw(t, "from"), node.Draw(t, "to"))
		}
		return table("public", rapid.SampledFrom(tableNames).Draw(t, "table"))
	}), 1, 4).Draw(t, "events")
}

func drawFilter(t *rapid.T) *metadatav1.Filter {
	return &metadatav1.Filter{
		Streams: rapid.SampledFrom([][]metadatav1.Stream{nil, nil, {schema}, {topology}}).Draw(t, "streams"),
		Tables:  rapid.SliceOfN(rapid.SampledFrom(tableNames), 0, 2).Draw(t, "tables"),
		Nodes:   rapid.SliceOfN(rapid.SampledFrom(nodeNames), 0, 2).Draw(t, "nodes"),
	}
}

// Whatever is committed, evicted, trimmed, opened, resumed and closed in
// whatever order, each subscription keeps all promises.
func TestGuarantees(outer *testing.T) {
	rapid.Check(outer, func(t *rapid.T) {
		m := newMember(outer, 4)
		var open []*listener
		defer func() {
			for _, l := range open {
				l.sub.Close()
			}
		}()
		positions := []*metadatav1.Position{{}, nil}
		step := func(l *listener) (more bool) {
			f, w, err := l.sub.Next(m.now)
			if err != nil {
				t.Fatal(err)
			}
			if f.Message() == nil {
				return !w.Until.After(m.now)
			}
			if err := l.hear(f.Message()); err != nil {
				t.Fatal(err)
			}
			if p := f.Message().GetBookmark().GetPosition(); p != nil && len(l.at) == 2 {
				positions = append(positions, p)
			}
			return true
		}
		start := func(t *rapid.T, from *metadatav1.Position) {
			req := &metadatav1.SubscribeRequest{Filter: drawFilter(t), BookmarkIntervalMillis: 20}
			if from == nil {
				req.Start = &metadatav1.SubscribeRequest_Snapshot{Snapshot: true}
			} else {
				req.Start = &metadatav1.SubscribeRequest_After{After: from}
			}
			s, err := m.feed.Subscribe(req, m.now)
			if err != nil {
				t.Fatal(err)
			}
			open = append(open, listen(m, s, req.Filter, from))
		}
		t.Repeat(map[string]func(*rapid.T){
			"commit": func(t *rapid.T) { m.commit(drawEvents(t)...) },
			"time":   func(*rapid.T) { m.now = m.now.Add(15 * time.Millisecond) },
			"trim": func(t *rapid.T) {
				h := m.history[rapid.SampledFrom([]metadatav1.Stream{schema, topology}).Draw(t, "stream")]
				h.oldest = max(h.oldest, rapid.Uint64Range(0, uint64(len(h.changes))+1).Draw(t, "oldest"))
			},
			"open": func(t *rapid.T) {
				if len(open) < 5 {
					start(t, rapid.SampledFrom(positions).Draw(t, "position"))
				}
			},
			"read": func(t *rapid.T) {
				if len(open) > 0 {
					l := rapid.SampledFrom(open).Draw(t, "listener")
					for range rapid.IntRange(1, 4).Draw(t, "frames") {
						step(l)
					}
				}
			},
		})
		for _, l := range open {
			for step(l) {
			}
			for s := range l.at {
				if err := l.skip(s, m.logs[s].Head()); err != nil || l.lost[s] {
					t.Fatalf("at the end: %v, reset: %v", err, l.lost[s])
				}
			}
		}
	})
}
