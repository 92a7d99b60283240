package history_test

import (
	"testing"
	"time"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/history"
	"github.com/heliosdb/metadata/internal/failure"
	"github.com/heliosdb/metadata/internal/pasts"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// lastAtTime is AtTime by looking at every change.
func lastAtTime(changes []*events.Change, t time.Time) (revision uint64) {
	for _, c := range changes {
		if !c.Time().After(t) {
			revision = c.Revision()
		}
	}
	return revision
}

func TestAtTime(t *testing.T) {
	changes := pasts.Schema(1, 120)
	source := pasts.NewSource(changes)
	newest := changes[len(changes)-1].Time()
	ties := 0
	for i, c := range changes {
		if i > 0 && c.Time().Equal(changes[i-1].Time()) {
			ties++
		}
	}
	if ties == 0 {
		t.Fatal("no two changes share their time: the test is too tame")
	}
	for at := pasts.Start.Add(-time.Second); !at.After(newest.Add(time.Second)); at = at.Add(500 * time.Millisecond) {
		source.Reads.Store(0)
		got, err := history.AtTime(t.Context(), source, at)
		if want := lastAtTime(changes, at); err != nil || got != want {
			t.Fatalf("at %v: revision %d, %v; want %d", at, got, err, want)
		}
		if n := source.Reads.Load(); n > 8 {
			t.Fatalf("%d reads to find one of 120 changes", n)
		}
	}
}

func TestAtTimeOfTrimmedChanges(t *testing.T) {
	changes := pasts.Schema(2, 60)
	source := pasts.NewSource(changes)
	source.Trim(31)
	for i, c := range changes {
		got, err := history.AtTime(t.Context(), source, c.Time())
		want := lastAtTime(changes, c.Time())
		switch {
		case want >= 31 && (err != nil || got != want):
			t.Errorf("time of change %d: revision %d, %v; want %d", i+1, got, err, want)
		case want < 31 && !failure.Is(err, metadatav1.ErrorReason_ERROR_REASON_HISTORY_TRIMMED):
			t.Errorf("time of change %d, which was trimmed: revision %d, %v", i+1, got, err)
		}
	}
	source.Trim(61)
	if got, err := history.AtTime(t.Context(), source, changes[59].Time()); !failure.Is(err, metadatav1.ErrorReason_ERROR_REASON_HISTORY_TRIMMED) {
		t.Errorf("with nothing left: revision %d, %v", got, err)
	}
}

func TestReadOne(t *testing.T) {
	source := pasts.NewSource(pasts.Topology(1, 10))
	source.Trim(3)
	if c, err := history.ReadOne(t.Context(), source, 7); err != nil || c.Revision() != 7 {
		t.Errorf("change 7: %v, %v", c, err)
	}
	if _, err := history.ReadOne(t.Context(), source, 2); !failure.Is(err, metadatav1.ErrorReason_ERROR_REASON_HISTORY_TRIMMED) {
		t.Errorf("a trimmed change: %v", err)
	}
	_, err := history.ReadOne(t.Context(), source, 11)
	if !failure.Is(err, metadatav1.ErrorReason_ERROR_REASON_FUTURE_REVISION) || failure.As(err).Metadata["newest_revision"] != "10" {
		t.Errorf("a change that is not here yet: %v", err)
	}
	shifted := pasts.NewSource(pasts.Topology(1, 10)[2:])
	if _, err := history.ReadOne(t.Context(), shifted, 1); !failure.Is(err, metadatav1.ErrorReason_ERROR_REASON_DAMAGED) {
		t.Errorf("change 3 in place of change 1: %v", err)
	}
}
