package history_test

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/history"
	"github.com/heliosdb/metadata/history/historytest"
	"github.com/heliosdb/metadata/internal/failure"
	"github.com/heliosdb/metadata/projections"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// checkpointOf is a state as the chunks of its checkpoint give it.
func checkpointOf[D projections.Domain[D]](s *projections.State[D]) (b []byte) {
	for chunk := range s.Chunks(1 << 20) {
		b = append(b, chunk...)
	}
	return b
}

// trimmedTables is a history of tables from a revision on, with its base, and its end.
func trimmedTables(first uint64) (*historytest.Based, *projections.Schema, *projections.Schema) {
	changes := historytest.Tables(30, 2)
	base := projections.NewSchema(historytest.Cluster, historytest.Epoch).FoldAll(changes[:first-1])
	return historytest.New(metadatav1.Stream_STREAM_SCHEMA, changes).Trim(first).Base(checkpointOf(base)), base, base.FoldAll(changes[first-1:])
}

// What is left of a trimmed history is folded from its base to where the whole one leads.
func TestWhatIsLeftIsFoldedFromItsBase(t *testing.T) {
	source, base, end := trimmedTables(12)
	bounds, _ := source.Bounds(t.Context())
	genesis := projections.NewSchema(historytest.Cluster, historytest.Epoch)
	for _, size := range []int{1, 1000, 1 << 20} {
		source.Size = size
		got, err := history.ReadBase(t.Context(), source, bounds, genesis)
		if err != nil || got.Head != base.Head || got.Hash() != base.Hash() {
			t.Fatalf("the base is %+v, %v", got, err)
		}
		folded, err := history.Replay(t.Context(), source, got, 0, nil)
		if err != nil || folded.Head != end.Head || folded.Hash() != end.Hash() {
			t.Errorf("it is folded to %+v, %v", folded, err)
		}
		var all []byte
		read, err := history.FollowBase(t.Context(), source, bounds, func(chunk []byte) error {
			all = append(all, chunk...)
			return nil
		})
		if err != nil || read.Head != base.Head || read.Hash != base.Hash() || read.Bytes != uint64(len(all)) || !bytes.Equal(all, source.Checkpoint) {
			t.Errorf("followed %+v, %v", read, err)
		}
	}
	whole := historytest.New(metadatav1.Stream_STREAM_SCHEMA, historytest.Tables(3, 1))
	bounds, _ = whole.Bounds(t.Context())
	if got, err := history.ReadBase(t.Context(), whole, bounds, genesis); err != nil || got != genesis {
		t.Errorf("a whole history begins with %v, %v", got, err)
	}
}

// A base from which the history does not go on is damage, whoever made it.
func TestBasesThatDoNotFit(t *testing.T) {
	other := historytest.Tables(30, 3)
	genesis := projections.NewSchema(historytest.Cluster, historytest.Epoch)
	foreign := projections.NewSchema(events.ClusterID{1}, historytest.Epoch)
	topology := projections.NewTopology(historytest.Cluster, historytest.Epoch)
	source, base, _ := trimmedTables(12)
	good := source.Checkpoint
	for name, checkpoint := range map[string][]byte{
		"of an earlier revision": checkpointOf(genesis.FoldAll(historytest.Tables(10, 2))),
		"of other changes":       checkpointOf(genesis.FoldAll(other[:11])),
		"of another cluster":     checkpointOf(foreign.FoldAll(historytest.Tables(11, 2))),
		"of another epoch":       checkpointOf(projections.NewSchema(historytest.Cluster, 1).FoldAll(historytest.Tables(11, 2))),
		"of another stream":      checkpointOf(topology.FoldAll(historytest.Nodes(11))),
		"cut short":              good[:len(good)-1],
		"with something more":    append(slices.Clone(good), 1),
		"that is none":           []byte("a text of some length"),
	} {
		source.Checkpoint = checkpoint
		bounds, _ := source.Bounds(t.Context())
		_, followed := history.FollowBase(t.Context(), source, bounds, nil)
		_, read := history.ReadBase(t.Context(), source, bounds, genesis)
		for _, err := range []error{followed, read} {
			if found, ok := errors.AsType[*history.DamagedError](err); !ok || found.Revision != base.Head.Revision || found.Stream != metadatav1.Stream_STREAM_SCHEMA {
				t.Errorf("a base %s: %v", name, err)
			}
		}
	}
}

// What a source says is passed on, and so is what becomes of a chunk.
func TestBasesThatCannotBeRead(t *testing.T) {
	genesis := projections.NewSchema(historytest.Cluster, historytest.Epoch)
	source, _, _ := trimmedTables(12)
	broken := errors.New("broken")
	bounds, _ := source.Bounds(t.Context())
	if _, err := history.FollowBase(t.Context(), source, bounds, func([]byte) error { return broken }); !errors.Is(err, broken) {
		t.Errorf("what became of a chunk: %v", err)
	}
	source.Broken = broken
	_, followed := history.FollowBase(t.Context(), source, bounds, nil)
	_, read := history.ReadBase(t.Context(), source, bounds, genesis)
	if !errors.Is(followed, broken) || !errors.Is(read, broken) {
		t.Errorf("a source that breaks: %v, %v", followed, read)
	}
	for name, source := range map[string]history.Source{"without a base": source.Memory, "with none": source.Memory.Base(nil)} {
		_, followed := history.FollowBase(t.Context(), source, bounds, nil)
		_, read := history.ReadBase(t.Context(), source, bounds, genesis)
		for _, err := range []error{followed, read} {
			if !failure.Is(err, metadatav1.ErrorReason_ERROR_REASON_HISTORY_TRIMMED) {
				t.Errorf("a source %s: %v", name, err)
			}
		}
	}
}
