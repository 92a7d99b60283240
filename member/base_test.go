package member

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/history"
	"github.com/heliosdb/metadata/internal/failure"
	"github.com/heliosdb/metadata/projections"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/raftlog"
)

// states returns all states of the schema stream that a member's whole history makes.
func (c *cluster) states(id uint64) (folded []*projections.Schema) {
	c.t.Helper()
	source := c.past(id)
	folded = append(folded, projections.NewSchema(source.Origin().Cluster, source.Origin().RecoveryEpoch))
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

// atTimes says in what a member is wrong about which revision was the newest one at a time: revision 34 is
// the oldest that is kept, 33 was decided an hour before it.
func (c *cluster) atTimes(id uint64, old time.Time) string {
	c.t.Helper()
	young := old.Add(3601 * time.Second)
	for at, want := range map[time.Time]uint64{old: 33, young.Add(-1): 33, young: 34} {
		source := c.past(id)
		if got, err := history.AtTime(c.t.Context(), source, at); err != nil || got < want || want == 33 && got != 33 {
			return fmt.Sprintf("at %v: revision %d, %v; want %d", at, got, err, want)
		}
	}
	_, err := history.AtTime(c.t.Context(), c.past(id), old.Add(-1))
	if said := failure.As(err); !failure.Is(err, metadatav1.ErrorReason_ERROR_REASON_HISTORY_TRIMMED) ||
		said.Metadata["oldest_revision"] != "34" || said.Metadata["oldest_time"] != young.UTC().Format(time.RFC3339Nano) {
		return fmt.Sprintf("before all that is kept: %v", err)
	}
	return ""
}

// The time between the last change that was trimmed and the first that is kept has its model: while
// what was trimmed is not deleted, when it is, after a restart, and on a member that was given the
// model by another one.
func TestTheTimeRightBeforeWhatIsKept(t *testing.T) {
	k := newKeeper(t, 3, func(c *Config) { c.HistoryMaxAge = time.Hour })
	k.createTables(1, "old", 33)
	old := time.Unix(k.now.Load(), 0)
	k.now.Add(3601)
	k.createTables(1, "young", 1)
	k.look()
	k.begins(34)
	for id := range k.up {
		if wrong := k.atTimes(id, old); wrong != "" {
			t.Errorf("member %d: %s", id, wrong)
		}
	}
	k.checkpointed(1, 40)
	k.deleted(34)
	k.stop(2)
	k.start(2)
	k.replace(3)
	k.deleted(34)
	for id := range k.up {
		k.eventually("all members know what was right before what is kept", func() bool { return k.atTimes(id, old) == "" })
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

// based returns a cluster whose schema's history begins at 34: all before is deleted.
func based(t *testing.T, n int) (k *keeper, want []*projections.Schema) {
	k = newKeeper(t, n, func(c *Config) { c.HistoryMaxAge = time.Hour })
	k.createTables(1, "old", 33)
	k.now.Add(3601)
	k.createTables(1, "young", 1)
	want = k.states(1)
	k.look()
	k.checkpointed(1, 40)
	want = append(want, k.later(1, want[len(want)-1])...)
	k.deleted(34)
	return k, want
}

// base returns the descriptor of the archived model before revision 34 that a member has; nil if it has none.
func (k *keeper) base(id uint64) *raftlog.Descriptor {
	k.t.Helper()
	archived, err := k.up[id].store.Archived(groupOf(schemaStream))
	if err != nil {
		k.t.Fatal(err)
	}
	if at := slices.IndexFunc(archived, func(d raftlog.Descriptor) bool { return d.Seq == 33 }); at >= 0 {
		return &archived[at]
	}
	return nil
}

// basePath returns where the file of that model is.
func (k *keeper) basePath(id uint64) string {
	k.t.Helper()
	d := k.base(id)
	if d == nil {
		k.t.Fatalf("member %d has no model before revision 34", id)
	}
	return fmt.Sprintf("data/checkpoints/%d-%d.checkpoint", d.Group, d.Index)
}

// damageBase flips a bit in a chunk of that model's file, of a member that is stopped and started again.
func (k *keeper) damageBase(id uint64) {
	k.t.Helper()
	path := k.basePath(id)
	k.stop(id)
	f, err := k.disks[id].OpenReadWrite(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		k.t.Fatal(err)
	}
	b, err := io.ReadAll(f)
	if err != nil {
		k.t.Fatal(err)
	}
	at := len(b) - raftlog.FileTrailerBytes - 1
	if _, err = f.WriteAt([]byte{b[at] ^ 1}, int64(at)); err == nil {
		err = errors.Join(f.Sync(), f.Close())
	}
	if err != nil {
		k.t.Fatal(err)
	}
	k.start(id)
	k.leader(schemaStream)
	k.converged()
}

// A model right before the floor of which the file is damaged is had from another member as soon as
// somebody has read it.
func TestADamagedBaseIsReplaced(t *testing.T) {
	k, want := based(t, 3)
	k.damageBase(3)
	if _, err := k.up[3].SchemaAt(t.Context(), 33); !failure.Is(err, metadatav1.ErrorReason_ERROR_REASON_HISTORY_GAP) ||
		failure.As(err).Metadata["member"] == "" || !strings.Contains(err.Error(), "or its own is damaged") {
		t.Errorf("the model whose file is damaged: %v", err)
	}
	k.eventually("another member has given it", func() bool { return k.asOf(3, 34, want) == "" })
	k.eventually("there is no alarm", func() bool { return k.alarm(3, "no model of the schema stream") == "" })
}

// A member that is alone keeps the file, and says what is the matter.
func TestADamagedBaseOfALoneMemberIsAnAlarm(t *testing.T) {
	k, _ := based(t, 1)
	k.damageBase(1)
	if _, err := k.up[1].SchemaAt(t.Context(), 33); !failure.Is(err, metadatav1.ErrorReason_ERROR_REASON_HISTORY_GAP) {
		t.Errorf("the model whose file is damaged: %v", err)
	}
	k.eventually("an alarm", func() bool {
		return strings.Contains(k.alarm(1, "no model of the schema stream right before revision 34"), "its checkpoint is damaged")
	})
	if k.base(1) == nil {
		t.Error("what nobody else can give was deleted")
	}
}

// When no member has the model right before the floor, none is named, each says so, and they ask one
// another ever more rarely.
func TestNobodyHasTheBase(t *testing.T) {
	k, _ := based(t, 3)
	path := k.basePath(1) // the same on all
	for id := range k.disks {
		k.stop(id)
		if err := k.disks[id].Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	k.start(1, 2, 3)
	k.leader(schemaStream)
	k.converged()
	for id, m := range k.up {
		if _, err := m.SchemaAt(t.Context(), 33); !failure.Is(err, metadatav1.ErrorReason_ERROR_REASON_HISTORY_GAP) || failure.As(err).Metadata["member"] != "" {
			t.Errorf("member %d: %v", id, err)
		}
		k.eventually("an alarm", func() bool { return k.alarm(id, "no model of the schema stream right before revision 34") != "" })
	}
}

func TestTheBaseIsLookedForEverMoreRarely(t *testing.T) {
	var b baseTimer
	failed := errors.New("nobody has it")
	next := func(floor uint64, err error) (ticks int) {
		for !b.due(floor) {
			ticks++
		}
		b.ended(err)
		return ticks + 1
	}
	for i, test := range []struct {
		floor uint64
		err   error
		want  int
	}{
		{1, nil, 1}, {1, nil, trimTicks}, {1, failed, trimTicks}, {1, failed, 2 * trimTicks}, {1, failed, 4 * trimTicks},
		{9, failed, 1}, {9, failed, trimTicks}, {9, failed, 2 * trimTicks}, {9, failed, 4 * trimTicks}, {9, failed, 8 * trimTicks},
		{9, failed, maxBaseTicks}, {9, nil, maxBaseTicks}, {9, nil, trimTicks},
	} {
		if got := next(test.floor, test.err); got != test.want {
			t.Errorf("look %d comes after %d ticks, want %d", i, got, test.want)
		}
	}
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
