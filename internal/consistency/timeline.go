package consistency

import (
	"fmt"
	"slices"
	"time"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/projections"
	"github.com/heliosdb/metadata/projections/schema"
	"github.com/heliosdb/metadata/projections/service"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// timeline is one stream of the truth with its model at each revision, and what is
// known of when each revision was committed.
type timeline struct {
	stream     metadatav1.Stream
	changes    []*events.Change // revision i+1 at i
	byRequest  map[string]*events.Change
	schemas    []*schema.Model              // of the schema stream, at each revision from 0
	topologies []*projections.TopologyModel // of the topology stream
	services   []*service.Model             // of the service stream
	digests    []events.Digest
	committed  func(metadatav1.Stream, uint64) (time.Duration, bool)

	earliest []time.Duration // at each revision: it was not committed before
	latest   []time.Duration // it was committed by then at the latest

	states  map[uint64]state // some of those at each revision, see at
	objects map[any]object   // by the model's object, which many revisions share
	size    int              // of the state that was made last
}

// newTimeline folds a stream's changes. Changes that cannot be folded are a
// violation.
func newTimeline(s metadatav1.Stream, truth Truth) (t *timeline, found []Violation) {
	t = &timeline{
		stream: s, changes: truth.changes(s), byRequest: make(map[string]*events.Change),
		committed: truth.Committed, states: make(map[uint64]state), objects: make(map[any]object),
	}
	at := uint64(0)
	defer func() {
		if r := recover(); r != nil {
			found = append(found, broken(BrokenTruth, nil, "change %d of %s cannot be folded: %v", at+1, nameOf(s), r))
		}
	}()
	fold := t.folding(truth)
	t.digests = append(t.digests, events.FirstDigest(truth.Cluster, s))
	epoch := uint64(0)
	for _, c := range t.changes {
		fold(c)
		at++
		t.digests = append(t.digests, t.digests[at-1].Next(c.Raw()))
		found = append(found, t.note(c)...)
		found = append(found, epochsGrow(c, &epoch)...)
	}
	return t, found
}

// folding keeps the model before the first change, and returns what folds a change and
// keeps the model after it.
func (t *timeline) folding(truth Truth) func(*events.Change) {
	switch t.stream {
	case schemaStream:
		return folding(projections.NewSchema(truth.Cluster, 0), &t.schemas)
	case topologyStream:
		return folding(projections.NewTopology(truth.Cluster, 0), &t.topologies)
	}
	return folding(projections.NewService(truth.Cluster, 0), &t.services)
}

func folding[D projections.Domain[D]](state *projections.State[D], models *[]D) func(*events.Change) {
	*models = append(*models, state.Model)
	return func(c *events.Change) {
		state = state.Fold(c)
		*models = append(*models, state.Model)
	}
}

// note remembers whose change it is.
func (t *timeline) note(c *events.Change) []Violation {
	id := c.RequestID()
	if id == "" {
		return nil
	}
	if before := t.byRequest[id]; before != nil {
		return []Violation{broken(NotExactlyOnce, nil, "changes %d and %d of %s were both made by request %q",
			before.Revision(), c.Revision(), nameOf(t.stream), id)}
	}
	t.byRequest[id] = c
	return nil
}

// epochsGrow checks that each registration has an epoch that none had before.
func epochsGrow(c *events.Change, last *uint64) (found []Violation) {
	for _, e := range c.Events() {
		n := e.Message().GetNodeRegistered().GetNode()
		if n == nil {
			continue
		}
		if n.GetEpoch() <= *last {
			found = append(found, broken(BrokenTruth, nil, "change %d registers node %q with epoch %d after one with epoch %d",
				c.Revision(), n.GetNodeId(), n.GetEpoch(), *last))
		}
		*last = n.GetEpoch()
	}
	return found
}

// head returns the last revision.
func (t *timeline) head() uint64 { return uint64(len(t.changes)) }

// change returns a change by revision; nil if there is none.
func (t *timeline) change(revision uint64) *events.Change {
	if revision == 0 || revision > t.head() {
		return nil
	}
	return t.changes[revision-1]
}

// bound works out when each revision can have been committed: not before its writer
// began, and no later than when somebody had seen it or a later one; or exactly,
// where the run knows.
func (t *timeline) bound(c *trial) {
	t.earliest = make([]time.Duration, t.head()+1)
	t.latest = slices.Repeat([]time.Duration{never}, int(t.head())+1)
	seen := func(revision uint64, at time.Duration) {
		if revision <= t.head() {
			t.latest[revision] = min(t.latest[revision], at)
		}
	}
	for _, w := range c.writes {
		if w.stream == t.stream && w.change != nil {
			t.earliest[w.revision()] = w.began
			seen(w.revision(), w.acked())
		}
	}
	for _, o := range c.ops {
		if o.answered() {
			seen(revisionOf(positionOf(o.Response), t.stream), o.Ended)
		}
	}
	c.positionsSeen(func(s metadatav1.Stream, revision uint64, at time.Duration) {
		if s == t.stream {
			seen(revision, at)
		}
	})
	for revision := range t.head() + 1 {
		if at, ok := t.commitTime(revision); ok {
			t.earliest[revision], t.latest[revision] = at, at
		}
		if revision > 0 {
			t.earliest[revision] = max(t.earliest[revision], t.earliest[revision-1])
		}
	}
	for revision := t.head(); revision > 0; revision-- {
		t.latest[revision-1] = min(t.latest[revision-1], t.latest[revision])
	}
}

// commitTime returns when a revision was committed, if the run knows.
func (t *timeline) commitTime(revision uint64) (time.Duration, bool) {
	if t.committed == nil || revision == 0 {
		return 0, false
	}
	return t.committed(t.stream, revision)
}

// newest returns the highest revision that can have been committed at a time.
func (t *timeline) newest(at time.Duration) uint64 {
	n, _ := slices.BinarySearchFunc(t.earliest, at, func(e, at time.Duration) int {
		if e <= at {
			return -1
		}
		return 1
	})
	return uint64(max(n, 1) - 1)
}

// ahead returns what is wrong with somebody having seen a revision at a time, or "".
func (t *timeline) ahead(revision uint64, at time.Duration) string {
	newest := t.newest(at)
	switch {
	case revision <= newest:
		return ""
	case revision > t.head():
		return fmt.Sprintf("revision %d of %s at %v, but the log ends at revision %d", revision, nameOf(t.stream), at, t.head())
	}
	return fmt.Sprintf("revision %d of %s at %v, but nothing behind revision %d can have been committed by then (revision %d: %v at the earliest)",
		revision, nameOf(t.stream), at, newest, revision, t.earliest[revision])
}
