package pasts

import (
	"bytes"
	"testing"

	"github.com/heliosdb/metadata/events"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// A past that leaves kinds of events out tests nothing of them.
func TestPastsHaveEveryKindOfEvent(t *testing.T) {
	seen := map[events.Kind]int{}
	for seed := range uint64(3) {
		for i, c := range append(Schema(seed, 300), Topology(seed, 300)...) {
			if c.Revision() != uint64(i%300+1) {
				t.Fatalf("change %d comes at place %d", c.Revision(), i)
			}
			for _, e := range c.Events() {
				seen[e.Kind()]++
			}
		}
	}
	kinds := (*metadatav1.Event)(nil).ProtoReflect().Descriptor().Oneofs().ByName("kind").Fields()
	for i := range kinds.Len() {
		k := events.Kind(kinds.Get(i).Number())
		if ours := k <= events.KindShardDeleted; ours && seen[k] == 0 {
			t.Errorf("no %v in any past", k)
		}
	}
}

func TestPastsOfOneSeedAreTheSame(t *testing.T) {
	a, b, other := Topology(1, 50), Topology(1, 50), Topology(2, 50)
	same := 0
	for i := range a {
		if !bytes.Equal(a[i].Raw(), b[i].Raw()) {
			t.Fatalf("change %d differs", i+1)
		}
		if bytes.Equal(a[i].Raw(), other[i].Raw()) {
			same++
		}
	}
	if same == len(a) {
		t.Error("another seed makes the same past")
	}
}
