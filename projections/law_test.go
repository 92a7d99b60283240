package projections

import (
	"bytes"
	"errors"
	"iter"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"

	"github.com/heliosdb/metadata/events"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

func schemaHistory(seed uint64, n int) []*events.Change {
	h := randomHistory(seed)
	changes := make([]*events.Change, n)
	for i := range changes {
		changes[i] = h.schema()
	}
	return changes
}

func serviceHistory(seed uint64, n int) []*events.Change {
	h := randomHistory(seed)
	changes := make([]*events.Change, n)
	for i := range changes {
		changes[i] = h.service()
	}
	return changes
}

func topologyHistory(seed uint64, n int) []*events.Change {
	h := randomHistory(seed)
	changes := make([]*events.Change, n)
	for i := range changes {
		changes[i] = h.topology()
	}
	return changes
}

// each runs a law for each stream.
func each(t *testing.T, n int, schema func(*testing.T, *Schema, []*events.Change),
	topology func(*testing.T, *Topology, []*events.Change), service func(*testing.T, *Service, []*events.Change)) {
	for seed := range uint64(3) {
		t.Run("schema", func(t *testing.T) { schema(t, NewSchema(cluster, 1), schemaHistory(seed, n)) })
		t.Run("topology", func(t *testing.T) { topology(t, NewTopology(cluster, 1), topologyHistory(seed, n)) })
		t.Run("service", func(t *testing.T) { service(t, NewService(cluster, 1), serviceHistory(seed, n)) })
	}
}

func TestFoldIsIndifferentToSplits(t *testing.T) {
	each(t, 300, indifferent, indifferent, indifferent)
}

func indifferent[D Domain[D]](t *testing.T, s *State[D], changes []*events.Change) {
	want := s
	for _, c := range changes {
		want = want.Fold(c)
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 5 {
		got := s
		for rest := changes; len(rest) > 0; {
			n := 1 + random.IntN(len(rest))
			got, rest = got.FoldAll(rest[:n]), rest[n:]
		}
		if got.Head != want.Head || got.Hash() != want.Hash() {
			t.Fatal("another split made another state")
		}
	}
	digest := events.FirstDigest(cluster, s.Head.Stream)
	for _, c := range changes {
		digest = digest.Next(c.Raw())
	}
	last := changes[len(changes)-1]
	if h := want.Head; h.Digest != digest || h.Revision != last.Revision() || !h.Time.Equal(last.Time()) || h.FeatureLevel != 1 {
		t.Errorf("head %+v after change %d", h, last.Revision())
	}
}

func TestStatesNeverChange(t *testing.T) {
	each(t, 100, neverChange, neverChange, neverChange)
}

func neverChange[D Domain[D]](t *testing.T, s *State[D], changes []*events.Change) {
	states := []*State[D]{s}
	hashes := [][32]byte{s.Hash()}
	for i, c := range changes {
		next := states[i].Fold(c)
		states = append(states, next)
		hashes = append(hashes, next.Hash())
		// A second line of folds from the same state, as after a lost leadership.
		if again := states[i].FoldAll(changes[i : i+1]); again.Hash() != hashes[i+1] {
			t.Fatal("folding again made another state")
		}
	}
	for i, s := range states {
		if s.Hash() != hashes[i] {
			t.Fatalf("the state at revision %d changed after it was made", i)
		}
	}
}

// A draft is the fold in place: what it froze is what folding makes, and stays it.
func TestDraftsAreFolds(t *testing.T) {
	each(t, 100, draftsAreFolds, draftsAreFolds, draftsAreFolds)
}

func draftsAreFolds[D Domain[D]](t *testing.T, s *State[D], changes []*events.Change) {
	d := s.Draft()
	var frozen []*State[D]
	var hashes [][32]byte
	want := s
	for i, c := range changes {
		d.Fold(c)
		want = want.Fold(c)
		if d.State().Head != want.Head {
			t.Fatalf("the draft is at %+v, the fold at %+v", d.State().Head, want.Head)
		}
		if i%3 == 0 { // some changes have no freeze between them
			frozen, hashes = append(frozen, d.Freeze()), append(hashes, want.Hash())
		}
	}
	if d.State().Hash() != want.Hash() {
		t.Fatal("a live draft shows another state than folding makes")
	}
	for i, f := range frozen {
		if f.Hash() != hashes[i] {
			t.Fatalf("what was frozen at revision %d is not what folding made", f.Head.Revision)
		}
	}
}

func records[D Domain[D]](t testing.TB, s *State[D]) (all [][]byte) {
	t.Helper()
	err := s.Export(func(record []byte) error {
		all = append(all, bytes.Clone(record))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// oneBuffer yields records as a reader of files would: each is gone when the
// next one comes.
func oneBuffer(records [][]byte) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		var buf []byte
		for _, r := range records {
			for i := range buf {
				buf[i] = 0xAA
			}
			buf = append(buf[:0], r...)
			if !yield(buf, nil) {
				return
			}
		}
	}
}

func TestImportIsTheInverseOfExport(t *testing.T) {
	each(t, 60, inverse, inverse, inverse)
}

func inverse[D Domain[D]](t *testing.T, s *State[D], changes []*events.Change) {
	empty := s
	end := s.FoldAll(changes).Hash()
	for i := 0; ; i++ {
		exported := records(t, s)
		got, err := empty.Import(oneBuffer(exported))
		if err != nil {
			t.Fatalf("at revision %d: %v", i, err)
		}
		if got.Head != s.Head || got.Hash() != s.Hash() || got.Requests.Bytes() != s.Requests.Bytes() {
			t.Fatalf("at revision %d: the imported state differs", i)
		}
		if got.FoldAll(changes[i:]).Hash() != end {
			t.Fatalf("from revision %d: the imported state folds to something else", i)
		}
		if head, err := ReadHead(exported[0]); err != nil || head != s.Head {
			t.Fatalf("head %+v, %v", head, err)
		}
		if i == len(changes) {
			return
		}
		s = s.Fold(changes[i])
	}
}

func TestFoldIsDeterministic(t *testing.T) {
	each(t, 200, deterministic, deterministic, deterministic)
}

func deterministic[D Domain[D]](t *testing.T, s *State[D], changes []*events.Change) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	want := s.FoldAll(changes).Hash()
	for _, procs := range []int{1, 4} {
		runtime.GOMAXPROCS(procs)
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				mine := s
				for _, c := range changes {
					decoded, err := events.DecodeChange(c.Raw())
					if err != nil {
						t.Error(err)
						return
					}
					mine = mine.Fold(decoded)
				}
				if mine.Hash() != want {
					t.Errorf("another state with GOMAXPROCS %d", procs)
				}
			})
		}
		wg.Wait()
	}
}

// Readers, exporters and a second folder run beside the fold (run it with
// -race).
func TestReadersNeedNoLocks(t *testing.T) {
	each(t, 150, readersBesideFold, readersBesideFold, readersBesideFold)
}

func readersBesideFold[D Domain[D]](t *testing.T, s *State[D], changes []*events.Change) {
	published := make(chan *State[D], len(changes))
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for seen := range published {
				before := seen.Hash()
				if at := seen.Head.Revision; int(at) < len(changes) {
					seen.Fold(changes[at])
				}
				for _, c := range changes[:seen.Head.Revision] {
					if got, ok := seen.Requests.Lookup(c.RequestID()); ok != (c.RequestID() != "") || ok && got.Revision() != c.Revision() {
						t.Errorf("request %q is not remembered", c.RequestID())
					}
				}
				if seen.Hash() != before {
					t.Errorf("the state at revision %d changed", seen.Head.Revision)
				}
			}
		})
	}
	for _, c := range changes {
		s = s.Fold(c)
		if c.Revision()%5 == 0 {
			published <- s
		}
	}
	close(published)
	wg.Wait()
}

func TestDraftsFoldLikeModels(t *testing.T) {
	changes := schemaHistory(7, 120)
	s := NewSchema(cluster, 1).FoldAll(changes[:60])
	before := s.Hash()
	draft, whole := s.Model.Draft(), s.FoldAll(changes[60:]).Model
	for i, c := range changes[60:] {
		for _, e := range c.Events() {
			draft.Apply(e, c.Revision())
		}
		if i == 20 { // a fold from the view of a live draft leaves the draft alone
			draft.Model.Fold(changes[60+i+1])
			draft.Model.Draft().Apply(changes[60+i+1].Events()[0], 1)
		}
	}
	frozen := draft.Freeze()
	if !sameExport(t, frozen.Export, whole.Export) || !sameExport(t, draft.Model.Export, whole.Export) {
		t.Error("a draft made another model than a fold")
	}
	for table := range frozen.TablesByID(0) {
		drop := &metadatav1.Event{Kind: &metadatav1.Event_TableDropped{TableDropped: &metadatav1.TableDropped{Table: table.Message()}}}
		draft.Apply(events.New(drop), 999)
		break
	}
	if draft.TableCount() != frozen.TableCount()-1 || !sameExport(t, frozen.Export, whole.Export) || s.Hash() != before {
		t.Error("a draft changed a model")
	}
}

func TestTopologyDraftsFoldLikeModels(t *testing.T) {
	changes := topologyHistory(7, 120)
	s := NewTopology(cluster, 1).FoldAll(changes[:60])
	before := s.Hash()
	draft, whole := s.Model.Draft(), s.FoldAll(changes[60:]).Model
	for _, c := range changes[60:] {
		for _, e := range c.Events() {
			draft.Apply(e, c.Revision())
		}
	}
	if !sameExport(t, draft.TopologyModel.Export, whole.Export) || !sameExport(t, draft.Freeze().Export, whole.Export) {
		t.Error("a draft made another model than a fold")
	}
	if !slices.Equal(slices.Collect(draft.Liveness.Nodes()), slices.Collect(whole.Liveness.Nodes())) {
		t.Error("a draft made another liveness than a fold")
	}
	if s.Hash() != before {
		t.Error("a draft changed a model")
	}
}

func TestServiceDraftsFoldLikeModels(t *testing.T) {
	changes := serviceHistory(7, 120)
	s := NewService(cluster, 1).FoldAll(changes[:60])
	before := s.Hash()
	draft, whole := s.Model.Draft(), s.FoldAll(changes[60:]).Model
	for i, c := range changes[60:] {
		for _, e := range c.Events() {
			draft.Apply(e, c.Revision())
		}
		if i == 20 { // a fold from the view of a live draft leaves the draft alone
			draft.View().Fold(changes[60+i+1])
		}
	}
	frozen := draft.Freeze()
	if !sameExport(t, draft.View().Export, whole.Export) || !sameExport(t, frozen.Export, whole.Export) {
		t.Error("a draft made another model than a fold")
	}
	draft.Apply(events.New(consumerCreated("one more", 0)), 999)
	if draft.ConsumerCount() != frozen.ConsumerCount()+1 || !sameExport(t, frozen.Export, whole.Export) || s.Hash() != before {
		t.Error("a draft changed a model")
	}
}

func sameExport(t *testing.T, a, b func(func([]byte) error) error) bool {
	t.Helper()
	var all [2][]byte
	for i, export := range []func(func([]byte) error) error{a, b} {
		if err := export(func(r []byte) error { all[i] = append(all[i], r...); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	return bytes.Equal(all[0], all[1])
}

func TestExportStopsAtAnError(t *testing.T) {
	s := NewSchema(cluster, 1).FoldAll(schemaHistory(1, 20))
	stop, n := errors.New("stop"), len(records(t, s))
	for at := range n {
		calls := 0
		err := s.Export(func([]byte) error {
			if calls++; calls > at {
				return stop
			}
			return nil
		})
		if !errors.Is(err, stop) || calls != at+1 {
			t.Fatalf("record %d: %v after %d calls", at, err, calls)
		}
	}
}
