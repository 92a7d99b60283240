package history_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/history"
	"github.com/heliosdb/metadata/history/historytest"
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

// The model right before the first change that is kept is kept too: it was the newest one from its
// own time until that of the first change.
func TestAtTimeRightBeforeWhatIsKept(t *testing.T) {
	source, _, _ := trimmedTables(12)
	stamp := func(revision int) time.Time { return historytest.Start.Add(time.Duration(revision) * time.Second) }
	whole := historytest.New(metadatav1.Stream_STREAM_SCHEMA, historytest.Tables(30, 2))
	for name, source := range map[string]history.Source{
		"its base is read":     source,
		"it knows when it was": dated{source.Memory, func() (time.Time, error) { return stamp(11), nil }},
	} {
		for _, at := range []time.Time{stamp(11), stamp(12).Add(-time.Nanosecond)} {
			if got, err := history.AtTime(t.Context(), source, at); err != nil || got != 11 {
				t.Errorf("%s: at %v revision %d, %v; want 11", name, at, got, err)
			}
		}
		_, err := history.AtTime(t.Context(), source, stamp(11).Add(-time.Nanosecond))
		said := failure.As(err)
		if !failure.Is(err, trimmed) || said.Metadata["oldest_revision"] != "12" || said.Metadata["oldest_time"] != stamp(12).UTC().Format(time.RFC3339Nano) ||
			!strings.Contains(said.Message, "12") || !strings.Contains(said.Message, said.Metadata["oldest_time"]) {
			t.Errorf("%s: before the time of what was trimmed last: %v", name, err)
		}
		if got, err := history.LastBefore(t.Context(), source, stamp(12)); err != nil || got != 11 {
			t.Errorf("%s: what is kept of before all of it: revision %d, %v", name, got, err)
		}
		if got, err := history.LastBefore(t.Context(), source, stamp(3)); err != nil || got != 11 {
			t.Errorf("%s: what is kept of long before: revision %d, %v", name, got, err)
		}
		want, wantErr := history.AtTime(t.Context(), whole, stamp(20).Add(-time.Nanosecond))
		if got, err := history.LastBefore(t.Context(), source, stamp(20)); err != nil || wantErr != nil || got != want {
			t.Errorf("%s: before change 20: revision %d, %v", name, got, err)
		}
	}
	if got, err := history.LastBefore(t.Context(), whole, stamp(0)); err != nil || got != 0 {
		t.Errorf("before the first change: revision %d, %v", got, err)
	}
}

func TestAtTimeWithoutAModelBeforeWhatIsKept(t *testing.T) {
	source, _, _ := trimmedTables(12)
	at := historytest.Start.Add(11 * time.Second)
	damaged := *source
	damaged.Checkpoint = slices.Clone(source.Checkpoint)
	damaged.Checkpoint[9] ^= 1 << 7
	if got, err := history.AtTime(t.Context(), &damaged, at); !isDamaged(err) {
		t.Errorf("its base is damaged: revision %d, %v", got, err)
	}
	none := *source
	none.Checkpoint = nil
	for name, source := range map[string]history.Source{
		"none is kept beside the changes": source.Memory, "it has none": &none,
		"it knows of none": dated{source.Memory, func() (time.Time, error) { return time.Time{}, nil }},
	} {
		if got, err := history.AtTime(t.Context(), source, at); !failure.Is(err, trimmed) || failure.As(err).Metadata["oldest_time"] == "" {
			t.Errorf("%s: revision %d, %v", name, got, err)
		}
	}
	gap := failure.New(metadatav1.ErrorReason_ERROR_REASON_HISTORY_GAP, "another member has it")
	if got, err := history.AtTime(t.Context(), dated{source.Memory, func() (time.Time, error) { return time.Time{}, gap }}, at); !errors.Is(err, gap) {
		t.Errorf("others have it: revision %d, %v", got, err)
	}
	lacking := pasts.NewSource(pasts.Schema(2, 60))
	lacking.Trim(31)
	lacking.Before = func(_ context.Context, from uint64) error {
		if from < 31 {
			return gap
		}
		return nil
	}
	if got, err := history.LastBefore(t.Context(), lacking, pasts.Start); !errors.Is(err, gap) {
		t.Errorf("others keep more: revision %d, %v", got, err)
	}
}

const trimmed = metadatav1.ErrorReason_ERROR_REASON_HISTORY_TRIMMED

func isDamaged(err error) bool {
	_, damaged := errors.AsType[*history.DamagedError](err)
	return damaged
}

// dated is a source that is told when the change before its first one was decided.
type dated struct {
	history.Source
	before func() (time.Time, error)
}

func (d dated) TimeBefore(context.Context, history.Bounds) (time.Time, error) { return d.before() }
