package member

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/history"
	"github.com/heliosdb/metadata/internal/failure"
	"github.com/heliosdb/metadata/projections"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// states returns all states of the schema stream that a member's whole history makes.
func (c *cluster) states(id uint64) (folded []*projections.Schema) {
	c.t.Helper()
	source := c.past(id)
	folded = append(folded, projections.NewSchema(source.origin.Cluster, source.origin.RecoveryEpoch))
	for _, change := range all(c.t, source, 1) {
		folded = append(folded, folded[len(folded)-1].Fold(change))
	}
	return folded
}

// asOf says in what a member's models are not those that are kept from a floor on: all behind
// it, the one right before it and the first one of all, and no other.
func (c *cluster) asOf(id, floor uint64, want []*projections.Schema) string {
	c.t.Helper()
	for revision, state := range want {
		got, err := c.up[id].SchemaAt(c.t.Context(), uint64(revision))
		if kept := revision == 0 || uint64(revision)+1 >= floor; !kept {
			if !failure.Is(err, metadatav1.ErrorReason_ERROR_REASON_HISTORY_TRIMMED) || failure.As(err).Metadata["oldest_revision"] != fmt.Sprint(floor) {
				return fmt.Sprintf("the model at %d, which was trimmed: %v", revision, err)
			}
			continue
		}
		if err != nil || got.Head != state.Head || got.Hash() != state.Hash() {
			return fmt.Sprintf("the model at %d, history begins at %d: %v", revision, floor, err)
		}
	}
	return ""
}

// Whatever is kept can be read as it was, on all members: also before a checkpoint reaches the
// floor, when all before it is deleted, after a restart, and on a member that has been given
// everything by the others.
func TestWhatIsKeptCanBeReadAsItWas(t *testing.T) {
	k := newKeeper(t, 3, func(c *Config) { c.HistoryMaxAge = time.Hour })
	k.createTables(1, "old", 33)
	k.now.Add(1801)
	k.createTables(1, "young", 4)
	k.now.Add(1801)
	want := k.states(1)
	k.look()
	k.begins(34)
	for id := range k.up {
		if wrong := k.asOf(id, 34, want); wrong != "" {
			t.Errorf("member %d: %s", id, wrong)
		}
	}
	k.checkpointed(1, 40)
	want = append(want, k.later(1, want[len(want)-1])...)
	k.deleted(34)
	k.stop(2)
	k.start(2)
	k.replace(3)
	k.deleted(34)
	for id := range k.up {
		k.eventually("all that is kept can be read on all members", func() bool {
			wrong := k.asOf(id, 34, want)
			return wrong == ""
		})
	}
}

// later returns the states behind another.
func (c *cluster) later(id uint64, from *projections.Schema) (folded []*projections.Schema) {
	c.t.Helper()
	for _, change := range all(c.t, c.past(id), from.Head.Revision+1) {
		from = from.Fold(change)
		folded = append(folded, from)
	}
	return folded
}

// deleted waits until all members have deleted what lies before a revision.
func (k *keeper) deleted(revision uint64) {
	k.t.Helper()
	k.eventually(fmt.Sprintf("what lies before %d is deleted", revision), func() bool {
		for _, m := range k.up {
			if first, _, err := m.store.HistoryBounds(groupOf(schemaStream)); err != nil || first != revision {
				return false
			}
		}
		return true
	})
}

// A model that another member gives is not believed unless it leads to what this one has.
func TestAFalseBaseIsRefused(t *testing.T) {
	c := newCluster(t, 1, smallMemory)
	c.start(1)
	for i := range 30 {
		c.mustCreate(1, fmt.Sprintf("t%d", i))
	}
	states := c.states(1)
	now := states[len(states)-1]
	if err := history.Confirm(t.Context(), c.past(1), states[10], now); err != nil {
		t.Errorf("the true one: %v", err)
	}
	false10 := *states[10]
	false10.Model = states[9].Model
	if err := history.Confirm(t.Context(), c.past(1), &false10, now); err == nil || !strings.Contains(err.Error(), "does not lead to the one at 30") {
		t.Errorf("another model: %v", err)
	}
	false10 = *states[10]
	false10.Head.Digest = events.Digest{1}
	if err := history.Confirm(t.Context(), c.past(1), &false10, now); err == nil {
		t.Error("another digest was taken")
	}
}
