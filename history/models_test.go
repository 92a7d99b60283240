package history_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/history"
	"github.com/heliosdb/metadata/internal/failure"
	"github.com/heliosdb/metadata/internal/pasts"
	"github.com/heliosdb/metadata/projections"
	"github.com/heliosdb/metadata/projections/schema"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

func schemaStart() *projections.Schema { return projections.NewSchema(pasts.Cluster, pasts.Epoch) }
func topologyStart() *projections.Topology {
	return projections.NewTopology(pasts.Cluster, pasts.Epoch)
}

// stored are bases at some revisions, and what was asked of them.
type stored[D projections.Domain[D]] struct {
	states []*projections.State[D] // by revision
	asked  atomic.Int64
}

func (s *stored[D]) Nearest(_ context.Context, from, to uint64) (nearest *projections.State[D], err error) {
	s.asked.Add(1)
	for _, state := range s.states {
		if r := state.Head.Revision; r >= from && r <= to {
			nearest = state
		}
	}
	return nearest, nil
}

// naive returns the states at all revisions, folded one by one.
func naive[D projections.Domain[D]](start *projections.State[D], changes []*events.Change) []*projections.State[D] {
	states := []*projections.State[D]{start}
	for _, c := range changes {
		states = append(states, states[len(states)-1].Fold(c))
	}
	return states
}

func TestModelsAreThoseOfNaiveFolding(t *testing.T) {
	modelsAreNaive(t, schemaStart(), pasts.Schema(1, 200))
	modelsAreNaive(t, topologyStart(), pasts.Topology(1, 200))
}

func modelsAreNaive[D projections.Domain[D]](t *testing.T, start *projections.State[D], changes []*events.Change) {
	want := naive(start, changes)
	bases := &stored[D]{states: []*projections.State[D]{want[0], want[70], want[140]}}
	models := history.NewModels(pasts.NewSource(changes), bases, nil)
	random := rand.New(rand.NewPCG(1, 2))
	for _, revision := range append([]int{0, 200, 70, 69, 71}, random.Perm(201)...) {
		got, err := models.At(t.Context(), uint64(revision))
		if err != nil {
			t.Fatal(err)
		}
		if got.Head != want[revision].Head || got.Hash() != want[revision].Hash() {
			t.Fatalf("the state at revision %d is at %+v, folding makes %+v", revision, got.Head, want[revision].Head)
		}
	}
}

func wantReason(t *testing.T, what string, err error, reason metadatav1.ErrorReason) {
	t.Helper()
	if !failure.Is(err, reason) {
		t.Errorf("%s: %v, want %v", what, err, reason)
	}
}

func TestModelsThatCannotBe(t *testing.T) {
	changes := pasts.Schema(1, 30)
	states := naive(schemaStart(), changes)
	source := pasts.NewSource(changes)
	genesis := history.Beginning[*schema.Model]{State: states[0]}
	at := func(bases history.Bases[*schema.Model], revision uint64) error {
		_, err := history.NewModels(source, bases, nil).At(t.Context(), revision)
		return err
	}
	wantReason(t, "a revision to come", at(genesis, 31), metadatav1.ErrorReason_ERROR_REASON_FUTURE_REVISION)
	wantReason(t, "no base", at(&stored[*schema.Model]{}, 30), metadatav1.ErrorReason_ERROR_REASON_HISTORY_TRIMMED)
	source.Trim(11)
	wantReason(t, "a base before what was trimmed", at(genesis, 30), metadatav1.ErrorReason_ERROR_REASON_HISTORY_TRIMMED)
	if err := at(history.Beginning[*schema.Model]{State: states[10]}, 30); err != nil {
		t.Errorf("from a base just before the first change: %v", err)
	}
	foreign := projections.NewSchema(events.ClusterID{9}, pasts.Epoch)
	if err := at(history.Beginning[*schema.Model]{State: foreign}, 0); err == nil || !strings.Contains(err.Error(), "was given for") {
		t.Errorf("a base of another cluster: %v", err)
	}
	broken := errors.New("the disk broke")
	source.Before = func(context.Context, uint64) error { return broken }
	if err := at(history.Beginning[*schema.Model]{State: states[10]}, 30); !errors.Is(err, broken) {
		t.Errorf("a source that fails: %v", err)
	}
}

// Below the floor nothing is given, whatever is stored; what is kept is folded from there as long as
// it is.
func TestModelsOfATrimmedHistory(t *testing.T) {
	changes := pasts.Schema(1, 30)
	states := naive(schemaStart(), changes)
	source := pasts.NewSource(changes)
	models := history.NewModels(source, &stored[*schema.Model]{states: []*projections.Schema{states[0], states[5]}}, nil)
	if _, err := models.At(t.Context(), 7); err != nil {
		t.Fatal(err)
	}
	source.Floor(11)
	for _, revision := range []uint64{1, 5, 7, 9} {
		_, err := models.At(t.Context(), revision)
		wantReason(t, "a revision below the floor", err, metadatav1.ErrorReason_ERROR_REASON_HISTORY_TRIMMED)
		if f := failure.As(err); f.Metadata["oldest_revision"] != "11" {
			t.Errorf("revision %d: %v", revision, err)
		}
	}
	for _, revision := range []int{0, 10, 11, 30} {
		if got, err := models.At(t.Context(), uint64(revision)); err != nil || got.Hash() != states[revision].Hash() {
			t.Errorf("revision %d: %v", revision, err)
		}
	}
}

// A fold whose beginning is trimmed meanwhile begins anew with the base that is stored instead.
func TestATrimInsideOfAFold(t *testing.T) {
	changes := pasts.Schema(1, 30)
	states := naive(schemaStart(), changes)
	source, bases := pasts.NewSource(changes), &stored[*schema.Model]{states: states[:1]}
	source.Before = func(context.Context, uint64) error {
		source.Before = nil
		source.Trim(11)
		bases.states = append(bases.states, states[10])
		return nil
	}
	got, err := history.NewModels(source, bases, nil).At(t.Context(), 20)
	if err != nil || got.Hash() != states[20].Hash() {
		t.Errorf("trimmed behind the base: %v", err)
	}
}

// How many changes are worth it can be set.
func TestFewChangesAreSaved(t *testing.T) {
	var saved []uint64
	models := history.NewModels(pasts.NewSource(pasts.Schema(1, 30)), history.Beginning[*schema.Model]{State: schemaStart()},
		func(s *projections.Schema) { saved = append(saved, s.Head.Revision) })
	models.SaveAbove(10)
	for _, revision := range []uint64{10, 21, 30} {
		if _, err := models.At(t.Context(), revision); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Equal(saved, []uint64{21}) {
		t.Errorf("saved %d", saved)
	}
}

func TestWhatCannotBeFoldedIsAnError(t *testing.T) {
	changes := pasts.Schema(1, 30)
	gap := slices.Delete(slices.Clone(changes), 10, 11)
	_, err := history.NewModels(pasts.NewSource(gap), history.Beginning[*schema.Model]{State: schemaStart()}, nil).At(t.Context(), 20)
	wantReason(t, "a change is missing", err, metadatav1.ErrorReason_ERROR_REASON_DAMAGED)

	dropped := events.New(&metadatav1.Event{Kind: &metadatav1.Event_TableDropped{
		TableDropped: &metadatav1.TableDropped{Table: &metadatav1.TableSchema{TableId: 1 << 40, Name: "never"}}}})
	last := changes[29]
	bad := events.Seal(events.Header{Revision: 31, Time: last.Time()}, []events.Event{dropped})
	models := history.NewModels(pasts.NewSource(append(slices.Clip(changes), bad)), history.Beginning[*schema.Model]{State: schemaStart()}, nil)
	_, err = models.At(t.Context(), 31)
	wantReason(t, "an event does not fit", err, metadatav1.ErrorReason_ERROR_REASON_DAMAGED)
	if _, err := models.At(t.Context(), 30); err != nil {
		t.Errorf("before the damage: %v", err)
	}
}

func TestRecentModelsAreStartedFrom(t *testing.T) {
	changes := pasts.Schema(1, 100)
	source := pasts.NewSource(changes)
	models := history.NewModels(source, history.Beginning[*schema.Model]{State: schemaStart()}, nil)
	first := uint64(0)
	source.Before = func(_ context.Context, from uint64) error { first = from; return nil }
	ask := func(revision, wantFirst uint64) {
		t.Helper()
		first = 0
		if _, err := models.At(t.Context(), revision); err != nil {
			t.Fatal(err)
		}
		if first != wantFirst {
			t.Errorf("revision %d: folding began at %d, want %d", revision, first, wantFirst)
		}
	}
	ask(50, 1)
	ask(50, 0)
	ask(80, 51)
	ask(60, 51)
	ask(10, 1)
	ask(20, 11) // 50 is the one asked for longest ago
	ask(55, 21)
	ask(80, 61) // 80 was forgotten, too
}

// It takes a second, because a fold has to be long to be saved.
func TestLongFoldsAreSaved(t *testing.T) {
	const last = history.SaveEvery + 1
	source := pasts.NewSource(shortChanges(last))
	start := schemaStart()
	saved := func(from *projections.Schema) (saved []uint64) {
		models := history.NewModels(source, history.Beginning[*schema.Model]{State: from},
			func(s *projections.Schema) { saved = append(saved, s.Head.Revision) })
		for range 2 {
			if _, err := models.At(t.Context(), last); err != nil {
				t.Fatal(err)
			}
		}
		return saved
	}
	first, err := history.ReadOne(t.Context(), source, 1)
	if err != nil {
		t.Fatal(err)
	}
	if got := saved(start); !slices.Equal(got, []uint64{last}) {
		t.Errorf("of %d changes, saved were %v", last, got)
	}
	if got := saved(start.Fold(first)); got != nil {
		t.Errorf("of %d changes, saved were %v", last-1, got)
	}
}

// shortChanges alter one table again and again.
func shortChanges(n int) []*events.Change {
	table := &metadatav1.TableSchema{TableId: 1, Namespace: "public", Name: "t"}
	altered := events.New(&metadatav1.Event{Kind: &metadatav1.Event_TableAltered{TableAltered: &metadatav1.TableAltered{Table: table}}})
	changes := []*events.Change{events.Seal(events.Header{Revision: 1, Time: pasts.Start}, []events.Event{
		events.New(&metadatav1.Event{Kind: &metadatav1.Event_TableCreated{TableCreated: &metadatav1.TableCreated{Table: table}}})})}
	for len(changes) < n {
		changes = append(changes, events.Seal(events.Header{Revision: uint64(len(changes) + 1), Time: pasts.Start}, []events.Event{altered}))
	}
	return changes
}

// Those who ask for one revision at the same time wait for one fold; only so many
// folds run at once, and nobody's leaving ends a fold that others wait for.
func TestFoldsAreShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		changes := pasts.Schema(1, 40)
		want := naive(schemaStart(), changes)
		source := pasts.NewSource(changes)
		models := history.NewModels(source, history.Beginning[*schema.Model]{State: schemaStart()}, nil)
		open := make(chan struct{})
		var running, most atomic.Int64
		source.Before = func(ctx context.Context, _ uint64) error {
			now := running.Add(1)
			defer running.Add(-1)
			most.Store(max(most.Load(), now))
			select {
			case <-open:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		var all sync.WaitGroup
		for range 5 {
			for revision := uint64(36); revision <= 40; revision++ {
				all.Go(func() {
					got, err := models.At(t.Context(), revision)
					if err != nil || got.Hash() != want[revision].Hash() {
						t.Errorf("revision %d: %v", revision, err)
					}
				})
			}
		}
		impatient, leave := context.WithCancel(t.Context())
		all.Go(func() {
			if _, err := models.At(impatient, 36); !errors.Is(err, context.Canceled) {
				t.Errorf("who left was told %v", err)
			}
		})
		synctest.Wait()
		leave()
		synctest.Wait()
		if n := source.Reads.Load(); n != history.MaxFolds || most.Load() != history.MaxFolds {
			t.Errorf("%d folds began, %d ran at once, want %d", n, most.Load(), history.MaxFolds)
		}
		close(open)
		all.Wait()
		if n := source.Reads.Load(); n > 5 {
			t.Errorf("%d folds for 5 revisions", n)
		}
	})
}

func TestFoldsEndWithTheLastWhoWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := pasts.NewSource(pasts.Schema(1, 40))
		models := history.NewModels(source, history.Beginning[*schema.Model]{State: schemaStart()}, nil)
		ended := make(chan struct{})
		source.Before = func(ctx context.Context, _ uint64) error {
			<-ctx.Done()
			close(ended)
			return ctx.Err()
		}
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		for range 2 {
			all.Go(func() {
				if _, err := models.At(ctx, 40); !errors.Is(err, context.Canceled) {
					t.Errorf("told %v", err)
				}
			})
		}
		synctest.Wait()
		cancel()
		all.Wait()
		<-ended
		source.Before = nil
		synctest.Wait()
		if _, err := models.At(t.Context(), 40); err != nil {
			t.Errorf("who asks afterwards: %v", err)
		}
	})
}

// A fold that ends is not joined any more, also while its source does not notice.
func TestFoldsThatEndAreNotJoined(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := pasts.NewSource(pasts.Schema(1, 40))
		models := history.NewModels(source, history.Beginning[*schema.Model]{State: schemaStart()}, nil)
		open := make(chan struct{})
		source.Before = func(context.Context, uint64) error { <-open; return nil }
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		all.Go(func() {
			if _, err := models.At(ctx, 40); !errors.Is(err, context.Canceled) {
				t.Errorf("who left was told %v", err)
			}
		})
		synctest.Wait()
		cancel()
		all.Wait()
		all.Go(func() {
			if _, err := models.At(t.Context(), 40); err != nil {
				t.Errorf("who came then was told %v", err)
			}
		})
		synctest.Wait()
		close(open)
		all.Wait()
	})
}
