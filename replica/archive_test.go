package replica

import (
	"errors"
	"testing"
	"testing/cryptotest"

	"github.com/heliosdb/metadata/raftlog"
)

// A model of the past is kept and found again, and only one of the past.
func TestArchivedModels(t *testing.T) {
	cryptotest.SetGlobalRandom(t, 11)
	c := newCluster(t, 11, 1, shortLog)
	n := c.elect(1)
	genesis := n.rep.View()
	past := genesis
	for i := range 5 {
		c.fill(n, string(rune('a'+i)), 4)
		if i == 0 {
			past = n.rep.View()
		}
	}
	d, err := WriteArchived(t.Context(), n.store, testGroup, past)
	if err != nil || d.Seq != past.Head.Revision {
		t.Fatalf("archived %+v (%v)", d, err)
	}
	got, err := ReadPast(n.store, d, genesis)
	if err != nil || got.Head != past.Head || got.Hash() != past.Hash() {
		t.Errorf("read %+v (%v), want %+v", got, err, past.Head)
	}
	current, err := n.store.Checkpoints(testGroup)
	if err != nil {
		t.Fatal(err)
	}
	newest := current[len(current)-1]
	if got, err = ReadPast(n.store, newest, genesis); err != nil || got.Head.Revision != newest.Seq {
		t.Errorf("the newest checkpoint: %v", err)
	}
	if _, err := WriteArchived(t.Context(), n.store, testGroup, past); !errors.Is(err, raftlog.ErrArchived) {
		t.Errorf("archived twice: %v", err)
	}
	if _, err := WriteArchived(t.Context(), n.store, testGroup, n.rep.View()); err == nil {
		t.Error("a model that is not of the past was archived")
	}
	missing := d
	missing.Index++
	if _, err := ReadPast(n.store, missing, genesis); !errors.Is(err, raftlog.ErrNoCheckpoint) {
		t.Errorf("one that is not there: %v", err)
	}
}
