package member

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/google/go-cmp/cmp"

	"github.com/heliosdb/metadata/history"
	"github.com/heliosdb/metadata/internal/failure"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// Kinds of keys in a store, see pebblestore.
const (
	recordKey = 'r'
	entryKey  = 'e'
)

// damage flips a bit in what a member that does not run has stored of the schema's past.
func (c *cluster) damage(id uint64, kind byte, at uint64) {
	c.t.Helper()
	db, err := pebble.Open("data/db", &pebble.Options{
		FS: c.disks[id], FormatMajorVersion: pebble.FormatNewest, Logger: silent{slog.New(slog.DiscardHandler)},
	})
	if err != nil {
		c.t.Fatal(err)
	}
	key := binary.BigEndian.AppendUint64([]byte{byte(groupOf(schemaStream)), kind}, at)
	value, closer, err := db.Get(key)
	if err != nil {
		c.t.Fatalf("%c at %d: %v", kind, at, err)
	}
	bad := slices.Clone(value)
	bad[len(bad)-1] ^= 0x10
	if err := errors.Join(closer.Close(), db.Set(key, bad, pebble.Sync), db.Close()); err != nil {
		c.t.Fatal(err)
	}
}

// silent is a logger of Pebble's.
type silent struct{ log *slog.Logger }

func (s silent) Infof(format string, args ...any)  { s.log.Info(fmt.Sprintf(format, args...)) }
func (s silent) Errorf(format string, args ...any) { s.log.Error(fmt.Sprintf(format, args...)) }
func (s silent) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

// entryOf returns the index of the entry that holds a revision of the schema.
func (c *cluster) entryOf(id, revision uint64) uint64 {
	c.t.Helper()
	past, err := c.up[id].store.ReadHistory(groupOf(schemaStream), revision, 1)
	if err != nil || len(past) != 1 || past[0].First != revision {
		c.t.Fatalf("revision %d is in %v (%v)", revision, past, err)
	}
	return past[0].Entry
}

// cutBehind creates tables through member 1 until a member's log begins behind a revision: a
// checkpoint that is due while another is written is left out. It returns the newest revision.
func (c *cluster) cutBehind(id, revision uint64) (newest uint64) {
	c.t.Helper()
	index := c.entryOf(id, revision)
	c.eventually("the log is cut", func() bool {
		newest = c.createTables(1, fmt.Sprintf("more%d_", newest), 1)
		return c.schema(id).status.Load().First > index
	})
	return newest
}

// expectDamaged verifies a history whose first damaged revision is known.
func (c *cluster) expectDamaged(id, revision uint64) {
	c.t.Helper()
	verified, err := c.up[id].VerifyHistory(c.t.Context(), schemaStream, nil)
	damaged, ok := errors.AsType[*history.DamagedError](err)
	if !ok || damaged.Revision != revision || verified.First != 1 || verified.Last != revision-1 {
		c.t.Fatalf("member %d: verified %d to %d (%v), want damage at %d", id, verified.First, verified.Last, err, revision)
	}
}

// Damage on the disk of a member that has no others takes away no more than the revisions
// that are in it, is named as often as somebody verifies, and is an alarm.
func TestDamagedHistoryIsNamed(t *testing.T) {
	const record, entry = 10, 20
	c := newCluster(t, 1, smallMemory)
	c.start(1)
	for i := range 75 {
		c.mustCreate(1, fmt.Sprintf("t%d", i))
	}
	newest := c.cutBehind(1, entry)
	index := c.entryOf(1, entry)
	c.stop(1)
	c.damage(1, recordKey, record)
	c.damage(1, entryKey, index)
	c.start(1)
	c.leader(schemaStream)
	source := c.past(1)
	for range 2 {
		c.expectDamaged(1, record)
		for revision := uint64(1); revision <= newest; revision++ {
			_, err := source.Read(t.Context(), revision, 1)
			damaged := failure.Is(err, metadatav1.ErrorReason_ERROR_REASON_DAMAGED)
			if want := revision == record || revision == entry; damaged != want || !want && err != nil {
				t.Errorf("reading %d: %v", revision, err)
			}
		}
		if bounds, err := source.Bounds(t.Context()); bounds.First != 1 || bounds.Last != newest || err != nil {
			t.Errorf("the history is %+v (%v)", bounds, err)
		}
		if _, err := c.up[1].SchemaAt(t.Context(), 9); err != nil {
			t.Errorf("the model before the damage: %v", err)
		}
		if _, err := source.Digest(t.Context(), record); err != nil {
			t.Errorf("the digest behind the damage: %v", err)
		}
	}
	status, err := c.up[1].Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	alarm := func(a *metadatav1.Alarm) bool {
		return a.GetMemberId() == 1 && strings.Contains(a.GetMessage(), "schema") && strings.Contains(a.GetMessage(), "10, 20")
	}
	if !slices.ContainsFunc(status.GetAlarms(), alarm) {
		t.Errorf("nobody is told of it: %v", status.GetAlarms())
	}
}

// A member that has others replaces what is damaged as soon as somebody has read it.
func TestDamagedHistoryIsReplaced(t *testing.T) {
	const record, entry = 10, 20
	c := newCluster(t, 3, smallMemory)
	c.start(1, 2, 3)
	for i := range 75 {
		c.mustCreate(1, fmt.Sprintf("t%d", i))
		c.converged() // one change to an entry, and nobody is given a checkpoint
	}
	newest := c.cutBehind(3, entry)
	whole := c.pastOf(1)
	index := c.entryOf(3, entry)
	c.stop(3)
	c.damage(3, recordKey, record)
	c.damage(3, entryKey, index)
	c.start(3)
	c.converged()
	if _, err := c.past(3).Read(t.Context(), record, 1); !failure.Is(err, metadatav1.ErrorReason_ERROR_REASON_DAMAGED) {
		t.Errorf("reading the record: %v", err)
	}
	c.eventually("the record is replaced", func() bool {
		_, err := c.past(3).Read(t.Context(), record, 1)
		return err == nil
	})
	if _, err := c.past(3).Read(t.Context(), entry, 1); !failure.Is(err, metadatav1.ErrorReason_ERROR_REASON_DAMAGED) {
		t.Errorf("reading the entry: %v", err)
	}
	c.eventually("the entry is replaced", func() bool {
		verified, err := c.up[3].VerifyHistory(t.Context(), schemaStream, nil)
		return err == nil && verified.First == 1 && verified.Last == newest
	})
	c.whole(3)
	if diff := cmp.Diff(whole, c.pastOf(3)); diff != "" {
		t.Errorf("the history is not member 1's (-want +got):\n%s", diff)
	}
	status, err := c.up[3].Status(t.Context())
	if err != nil || slices.ContainsFunc(status.GetAlarms(), func(a *metadatav1.Alarm) bool { return strings.Contains(a.GetMessage(), "damaged") }) {
		t.Errorf("alarms: %v (%v)", status.GetAlarms(), err)
	}
}
