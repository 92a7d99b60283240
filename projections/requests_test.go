package projections

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/heliosdb/metadata/events"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// nodeChange registers a node again: it can be repeated for ever.
func nodeChange(revision uint64, id string, size int) *events.Change {
	n := &metadatav1.NodeInfo{NodeId: "n", Epoch: revision, Addr: strings.Repeat("x", size)}
	m := &metadatav1.Event{Kind: &metadatav1.Event_NodeRegistered{NodeRegistered: &metadatav1.NodeRegistered{Node: n}}}
	h := events.Header{Revision: revision, Time: epoch0.Add(time.Duration(revision)), RequestID: id}
	return events.Seal(h, []events.Event{events.New(m)})
}

func TestRequestsForgetTheOldestBeyondTheCount(t *testing.T) {
	s := NewTopology(cluster, 1)
	var changes []*events.Change
	for i := range uint64(MaxRequests) {
		changes = append(changes, nodeChange(i+1, fmt.Sprint("r", i+1), 0))
	}
	s = s.FoldAll(changes)
	if s.Requests.Len() != MaxRequests || s.Requests.Forgotten() != 0 {
		t.Fatalf("%d remembered, forgotten up to %d", s.Requests.Len(), s.Requests.Forgotten())
	}
	full := s
	s = s.Fold(nodeChange(MaxRequests+1, "", 0)) // nothing to remember
	s = s.Fold(nodeChange(MaxRequests+2, "next", 0)).Fold(nodeChange(MaxRequests+3, "r1", 0))
	if s.Requests.Len() != MaxRequests || s.Requests.Forgotten() != 2 {
		t.Errorf("%d remembered, forgotten up to %d, want %d and 2", s.Requests.Len(), s.Requests.Forgotten(), MaxRequests)
	}
	for id, want := range map[string]uint64{"r1": MaxRequests + 3, "r2": 0, "r3": 3, "next": MaxRequests + 2, "": 0, "other": 0} {
		c, ok := s.Requests.Lookup(id)
		if ok != (want > 0) || ok && (c.Revision() != want || c.RequestID() != id) {
			t.Errorf("request %q: %v, want that of revision %d", id, c, want)
		}
	}
	if c, ok := full.Requests.Lookup("r1"); !ok || c.Revision() != 1 || string(c.Raw()) != string(changes[0].Raw()) {
		t.Error("an older state forgot with the newer")
	}
	got, err := NewTopology(cluster, 1).Import(oneBuffer(records(t, s)))
	if err != nil || got.Hash() != s.Hash() || got.Requests.Forgotten() != 2 {
		t.Errorf("the imported window differs: %v", err)
	}
}

// An id that is used again while it is remembered means the newer change, and
// forgetting the older one leaves it alone.
func TestRequestIDsUsedAgain(t *testing.T) {
	s := NewTopology(cluster, 1).Fold(nodeChange(1, "twice", 0)).Fold(nodeChange(2, "twice", 0))
	s.Requests.forgetOldest()
	if c, ok := s.Requests.Lookup("twice"); !ok || c.Revision() != 2 || s.Requests.Forgotten() != 1 {
		t.Errorf("%v, forgotten up to %d", c, s.Requests.Forgotten())
	}
}

func TestRequestsForgetTheOldestBeyondTheBytes(t *testing.T) {
	s := NewTopology(cluster, 1)
	const size = 1 << 20
	sum := 0
	var sizes []int
	for i := range uint64(40) {
		c := nodeChange(i+1, fmt.Sprint("r", i+1), size)
		sizes = append(sizes, len(c.Raw()))
		sum += len(c.Raw())
		s = s.Fold(c)
	}
	forgotten := 0
	for sum > MaxRequestBytes {
		sum -= sizes[forgotten]
		forgotten++
	}
	r := s.Requests
	if r.Bytes() != sum || r.Len() != 40-forgotten || r.Forgotten() != uint64(forgotten) || forgotten == 0 {
		t.Errorf("%d requests of %d bytes, forgotten up to %d; want %d of %d, %d",
			r.Len(), r.Bytes(), r.Forgotten(), 40-forgotten, sum, forgotten)
	}
}

// A draft up to a revision far away remembers what others do, or says that it does not.
func TestADraftToARevisionRemembersAlike(t *testing.T) {
	const n = MaxRequests + 1000
	// unless returns ids for all changes but some.
	unless := func(none func(revision uint64) bool) func(uint64) string {
		return func(revision uint64) string {
			if none(revision) {
				return ""
			}
			return fmt.Sprint("r", revision)
		}
	}
	for name, c := range map[string]struct {
		id       func(revision uint64) string
		large    uint64 // how many of the last are
		complete bool
	}{
		"all have ids":                        {unless(func(uint64) bool { return false }), 0, true},
		"ids that are used again":             {func(revision uint64) string { return fmt.Sprint("r", revision-revision%100/99*2) }, 0, true},
		"none has one":                        {unless(func(uint64) bool { return true }), 0, true},
		"older ones have none":                {unless(func(revision uint64) bool { return revision <= n-MaxRequests }), 0, true},
		"the last of the older ones has none": {unless(func(revision uint64) bool { return revision == n-MaxRequests }), 0, true},
		"nor has the last of all":             {unless(func(revision uint64) bool { return revision == n-MaxRequests || revision == n }), 0, false},
		"none at the end":                     {unless(func(revision uint64) bool { return revision == n }), 0, false},
		"some have none, the last are large":  {unless(func(revision uint64) bool { return revision%7 == 0 }), 40, true},
	} {
		for _, from := range []int{0, 999} {
			t.Run(fmt.Sprint(name, " from ", from), func(t *testing.T) {
				var changes []*events.Change
				for i := range uint64(n) {
					size := 0
					if i+c.large >= n {
						size = 1 << 20
					}
					changes = append(changes, nodeChange(i+1, c.id(i+1), size))
				}
				base := NewTopology(cluster, 1).FoldAll(changes[:from])
				draft := base.DraftTo(n)
				for _, change := range changes[from:] {
					draft.Fold(change)
				}
				if draft.Complete() != c.complete {
					t.Fatalf("it is complete: %v", !c.complete)
				}
				if c.complete {
					wantRemembered(t, draft.Freeze(), base.FoldAll(changes[from:]), changes)
				}
			})
		}
	}
}

// wantRemembered fails the test if two states are not the same, or do not remember the same of changes.
func wantRemembered(t *testing.T, got, want *Topology, changes []*events.Change) {
	t.Helper()
	if got.Head != want.Head || got.Hash() != want.Hash() || got.Requests.Forgotten() != want.Requests.Forgotten() {
		t.Fatalf("another state, which forgot up to revision %d, not %d", got.Requests.Forgotten(), want.Requests.Forgotten())
	}
	for _, change := range changes {
		c, ok := got.Requests.Lookup(change.RequestID())
		if other, known := want.Requests.Lookup(change.RequestID()); c != other || ok != known {
			t.Fatalf("request %q is that of %v, want %v", change.RequestID(), c, other)
		}
	}
}

// Up to a revision that is not so far away nothing is forgotten early.
func TestADraftToANearRevision(t *testing.T) {
	var changes []*events.Change
	for i := range uint64(MaxRequests + 20) {
		changes = append(changes, nodeChange(i+1, fmt.Sprint("r", i+1), 0))
	}
	for _, from := range []int{0, 10, 20, MaxRequests} {
		base := NewTopology(cluster, 1).FoldAll(changes[:from])
		for _, last := range []int{from, min(from+MaxRequests, len(changes)), from + 1} {
			draft := base.DraftTo(uint64(last))
			for _, change := range changes[from:last] {
				draft.Fold(change)
			}
			if !draft.Complete() {
				t.Fatalf("from %d to %d it is not complete", from, last)
			}
			wantRemembered(t, draft.Freeze(), base.FoldAll(changes[from:last]), changes[:last])
		}
	}
}
