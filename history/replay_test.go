package history_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/history"
	"github.com/heliosdb/metadata/history/historytest"
	"github.com/heliosdb/metadata/internal/failure"
	"github.com/heliosdb/metadata/projections"
	"github.com/heliosdb/metadata/projections/schema"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/types/known/timestamppb"
)

func genesis() *projections.Schema {
	return projections.NewSchema(historytest.Cluster, historytest.Epoch)
}

func TestReplay(t *testing.T) {
	defer goleak.VerifyNone(t)
	changes := historytest.Tables(3000, 3)
	source := historytest.New(schemaStream, changes)
	for _, until := range []uint64{0, 1, 1500, 3000} {
		last := until
		if until == 0 {
			last = 3000
		}
		told := uint64(0)
		got, err := history.Replay(t.Context(), source, genesis(), until, func(done, _ uint64) { told = done })
		if err != nil {
			t.Fatal(err)
		}
		want := genesis().FoldAll(changes[:last])
		if got.Head != want.Head || got.Hash() != want.Hash() || told != last {
			t.Errorf("replayed to %+v, want %+v, told of %d", got.Head, want.Head, told)
		}
	}
	// From a state on, with a history that has no more than what follows.
	half := genesis().FoldAll(changes[:1000])
	got, err := history.Replay(t.Context(), source.Trim(1001), half, 0, nil)
	if err != nil || got.Hash() != genesis().FoldAll(changes).Hash() {
		t.Errorf("replayed from 1000 to %v: %v", got, err)
	}
	if got, err = history.Replay(t.Context(), source, half, 1000, nil); err != nil || got.Head != half.Head {
		t.Errorf("replayed nothing to %v: %v", got, err)
	}
}

// Of many changes only the last are remembered by their request ids, and if some of those have none,
// older ones: by a replay and by a model of the past.
func TestReplayRemembersRequests(t *testing.T) {
	const n = projections.MaxRequests + 100
	all := historytest.Tables(n, 0)
	lastWithoutID := slices.Clone(all)
	lastWithoutID[n-1] = events.Seal(events.Header{Revision: n, Time: all[n-1].Time()}, all[n-1].Events())
	for name, changes := range map[string][]*events.Change{"all": all, "but the last": lastWithoutID} {
		source, want := historytest.New(schemaStream, changes), genesis().FoldAll(changes)
		replayed, err := history.Replay(t.Context(), source, genesis(), 0, nil)
		if err != nil {
			t.Fatal(err)
		}
		past, err := history.NewModels(source, history.Beginning[*schema.Model]{State: genesis()}, nil).At(t.Context(), n)
		if err != nil {
			t.Fatal(err)
		}
		for what, got := range map[string]*projections.Schema{"replay": replayed, "model": past} {
			if got.Head != want.Head || got.Hash() != want.Hash() || got.Requests.Forgotten() != want.Requests.Forgotten() || got.Requests.Len() != want.Requests.Len() {
				t.Errorf("%s, a %s at %d remembers %d requests and forgot those up to %d; want %d, %d", name, what, got.Head.Revision,
					got.Requests.Len(), got.Requests.Forgotten(), want.Requests.Len(), want.Requests.Forgotten())
			}
		}
	}
}

func TestReplayRefuses(t *testing.T) {
	defer goleak.VerifyNone(t)
	changes := historytest.Tables(100, 1)
	whole := historytest.New(schemaStream, changes)
	other := projections.NewSchema(historytest.Cluster, historytest.Epoch+1)
	twice := historytest.New(schemaStream, changes)
	twice.Encoded[60] = twice.Encoded[59]
	lost := historytest.New(schemaStream, changes)
	lost.Encoded[60] = lost.Encoded[60][:9]
	elsewhere := whole.Trim(11)
	elsewhere.Previous[3] ^= 1
	for _, test := range []struct {
		name   string
		source history.Source
		from   *projections.Schema
		until  uint64
		says   string
		reason metadatav1.ErrorReason
	}{
		{"another epoch", whole, other, 0, "recovery epoch 3", 0},
		{"another stream", historytest.New(metadatav1.Stream_STREAM_TOPOLOGY, nil), genesis(), 0, "topology", 0},
		{"trimmed", whole.Trim(2), genesis(), 0, "begins at 2", metadatav1.ErrorReason_ERROR_REASON_HISTORY_TRIMMED},
		{"not there yet", whole, genesis(), 101, "ends at 100", metadatav1.ErrorReason_ERROR_REASON_FUTURE_REVISION},
		{"backwards", whole, genesis().FoldAll(changes[:50]), 49, "at 50 already", 0},
		{"another past", elsewhere, genesis().FoldAll(changes[:10]), 0, "digest before revision 11", 0},
		{"a change twice", twice, genesis(), 0, "cannot be applied", 0},
		{"a damaged change", lost, genesis(), 0, "damaged change", 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := history.Replay(t.Context(), test.source, test.from, test.until, nil)
			if err == nil || !strings.Contains(err.Error(), test.says) {
				t.Fatalf("ended with %v, want what mentions %q", err, test.says)
			}
			if test.reason != 0 && !failure.Is(err, test.reason) {
				t.Errorf("%v is no %v", err, test.reason)
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := history.Replay(ctx, whole, genesis(), 0, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("ended with %v when it was cancelled", err)
	}
}

func TestCompare(t *testing.T) {
	state := genesis().FoldAll(historytest.Tables(10, 2))
	hash := state.Hash()
	said := func() *metadatav1.GetHeadResponse {
		return &metadatav1.GetHeadResponse{
			MemberId: 2, ClusterId: historytest.Cluster.String(), RecoveryEpoch: historytest.Epoch, Revision: 10, Digest: state.Head.Digest[:],
			Time: timestamppb.New(state.Head.Time), FeatureLevel: state.Head.FeatureLevel, ModelHash: hash[:], CheckpointFormat: projections.CheckpointFormat,
		}
	}
	if err := history.Compare(state, said()); err != nil || !history.HashComparable(said()) {
		t.Fatalf("the same differs: %v", err)
	}
	for what, change := range map[string]func(*metadatav1.GetHeadResponse){
		"cluster id":     func(h *metadatav1.GetHeadResponse) { h.ClusterId = "" },
		"recovery epoch": func(h *metadatav1.GetHeadResponse) { h.RecoveryEpoch++ },
		"revision":       func(h *metadatav1.GetHeadResponse) { h.Revision++ },
		"digest":         func(h *metadatav1.GetHeadResponse) { h.Digest = h.Digest[:31] },
		"time":           func(h *metadatav1.GetHeadResponse) { h.Time = nil },
		"feature level":  func(h *metadatav1.GetHeadResponse) { h.FeatureLevel++ },
		"model hash":     func(h *metadatav1.GetHeadResponse) { h.ModelHash = make([]byte, 32) },
	} {
		head := said()
		change(head)
		found, ok := errors.AsType[*history.DifferenceError](history.Compare(state, head))
		if !ok || found.What != what || found.Member != 2 || found.Revision != 10 || found.Replayed == found.Said {
			t.Errorf("another %s: %v", what, found)
		}
	}
	head := said()
	head.CheckpointFormat, head.ModelHash = projections.CheckpointFormat+1, []byte("of another format")
	if err := history.Compare(state, head); err != nil || history.HashComparable(head) {
		t.Errorf("a hash of another format was compared: %v", err)
	}
	if err := history.Compare(genesis(), &metadatav1.GetHeadResponse{
		ClusterId: historytest.Cluster.String(), RecoveryEpoch: historytest.Epoch, Digest: genesis().Head.Digest[:], FeatureLevel: 1,
	}); err != nil {
		t.Errorf("two streams without changes differ: %v", err)
	}
}

func BenchmarkReplay(b *testing.B) {
	source := historytest.New(schemaStream, historytest.Tables(100_000, 20))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := history.Replay(b.Context(), source, genesis(), 0, nil); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)*float64(len(source.Encoded))/b.Elapsed().Seconds(), "changes/s")
}
