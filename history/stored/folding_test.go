package stored

import (
	"context"
	"testing"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/feed"
	"github.com/heliosdb/metadata/history"
	"github.com/heliosdb/metadata/history/historytest"
	"github.com/heliosdb/metadata/internal/failure"
	"github.com/heliosdb/metadata/projections"
	"github.com/heliosdb/metadata/projections/schema"
	"github.com/heliosdb/metadata/projections/service"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/raftlog"
	"github.com/heliosdb/metadata/raftlog/memstore"
	"github.com/heliosdb/metadata/raftlog/storagetest"
)

// alone is a member without others, which has trimmed what lies before a floor.
type alone struct{ floor service.Floor }

func (a alone) Floor(metadatav1.Stream) service.Floor { return a.floor }
func (a alone) Done() <-chan struct{}                 { return nil }
func (a alone) Ended() error                          { return context.Canceled }
func (a alone) NameHolder(_ context.Context, gap *failure.Error) error {
	return gap.With("asked", "change")
}
func (a alone) NameBaseHolder(_ context.Context, gap *failure.Error, _ metadatav1.Stream, _ uint64) error {
	return gap.With("asked", "base")
}

// floorAt returns the floor of the schema's history at a revision.
func floorAt(t *testing.T, oldest uint64) service.Floor {
	t.Helper()
	trimmed := &metadatav1.HistoryTrimmed{Floor: &metadatav1.HistoryFloor{
		Stream: schemaStream, OldestRevision: oldest, PreviousDigest: make([]byte, len(events.Digest{})),
	}}
	change := historytest.Seal(1, &metadatav1.Event{Kind: &metadatav1.Event_HistoryTrimmed{HistoryTrimmed: trimmed}})
	return projections.NewService(historytest.Cluster, historytest.Epoch).Fold(change).Model.Floor(schemaStream)
}

// What leads to the model before the floor may not be stored yet, when the floor moves while a disk is
// slow: it is folded from memory then. Whoever asks for the changes themselves is told that they were
// trimmed.
func TestWhatIsAboutToBeStoredIsFolded(t *testing.T) {
	const floor = 8
	store := memstore.New("disk")
	storagetest.Must(t, store.Bootstrap(storagetest.Identity(), []raftlog.GroupID{raftlog.GroupID(schemaStream)}, storagetest.Voters))
	log := feed.NewLog(feed.LogOptions{Stream: schemaStream, History: NewHistory(store, schemaStream, func() uint64 { return floor })})
	log.Append(historytest.Tables(10, 1))
	origin := history.Origin{Stream: schemaStream, Cluster: historytest.Cluster, RecoveryEpoch: historytest.Epoch}
	source := NewSource(alone{floorAt(t, floor)}, origin, store, log)
	genesis := projections.NewSchema(historytest.Cluster, historytest.Epoch)
	models := history.NewModels(NewFolding(source), history.Beginning[*schema.Model]{State: genesis}, nil)
	for _, revision := range []uint64{floor - 1, 9} {
		state, err := models.At(t.Context(), revision)
		if err != nil || state.Head.Revision != revision {
			t.Errorf("the model at %d: %v", revision, err)
		}
	}
	if _, err := source.Read(t.Context(), floor-1, 1); !failure.Is(err, metadatav1.ErrorReason_ERROR_REASON_HISTORY_TRIMMED) {
		t.Errorf("a change that was trimmed: %v", err)
	}
	at := historytest.Start // of the change before the floor
	if before, err := source.TimeBefore(t.Context(), history.Bounds{First: floor}); err != nil || before.Sub(at).Seconds() != floor-1 {
		t.Errorf("the change before the floor was decided at %v (%v)", before, err)
	}
}

// Where nothing leads to the model before the floor, who has it is asked for.
func TestWhatCannotBeFolded(t *testing.T) {
	store := memstore.New("disk")
	storagetest.Must(t, store.Bootstrap(storagetest.Identity(), []raftlog.GroupID{raftlog.GroupID(schemaStream)}, storagetest.Voters))
	log := feed.NewLog(feed.LogOptions{Stream: schemaStream, Head: 10, History: NewHistory(store, schemaStream, func() uint64 { return 8 })})
	source := NewSource(alone{floorAt(t, 8)}, history.Origin{Stream: schemaStream}, store, log)
	for asked, read := range map[string]history.Source{"base": NewFolding(source), "": source} {
		_, err := read.Read(t.Context(), 5, 1)
		if f := failure.As(err); f == nil || f.Metadata["asked"] != asked {
			t.Errorf("revision 5, which was trimmed: %v, asked for its %q", err, asked)
		}
	}
	if _, err := source.TimeBefore(t.Context(), history.Bounds{First: 8}); !failure.Is(err, metadatav1.ErrorReason_ERROR_REASON_HISTORY_GAP) {
		t.Errorf("when the change before the floor was decided: %v", err)
	}
	// The floor was at 5 when the bounds were read.
	_, err := source.TimeBefore(t.Context(), history.Bounds{First: 5})
	if f := failure.As(err); !failure.Is(err, metadatav1.ErrorReason_ERROR_REASON_HISTORY_TRIMMED) || f.Metadata["oldest_revision"] != "8" {
		t.Errorf("when the change before a floor that has moved on was decided: %v", err)
	}
}
