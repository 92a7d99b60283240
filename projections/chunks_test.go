package projections

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"iter"
	"testing"

	"github.com/heliosdb/metadata/events"
)

// TestChunksAreTheCheckpoint cuts states into chunks of many sizes: they hash to the model hash,
// and are imported to the same state.
func TestChunksAreTheCheckpoint(t *testing.T) {
	each(t, 200, chunked, chunked, chunked)
}

func chunked[D Domain[D]](t *testing.T, s *State[D], changes []*events.Change) {
	state := s.FoldAll(changes)
	for _, size := range []int{1, 7, 4096, 1 << 20} {
		sum, all := sha256.New(), 0
		var smaller int
		tee := func(yield func([]byte, error) bool) {
			for chunk := range state.Chunks(size) {
				sum.Write(chunk)
				if all++; len(chunk) < size {
					smaller++
				}
				if !yield(chunk, nil) {
					return
				}
			}
		}
		got, err := s.Import(Records(tee))
		if err != nil {
			t.Fatalf("chunks of %d bytes: %v", size, err)
		}
		if got.Head != state.Head || got.Hash() != state.Hash() || [sha256.Size]byte(sum.Sum(nil)) != state.Hash() {
			t.Errorf("chunks of %d bytes are another state", size)
		}
		if smaller > 1 {
			t.Errorf("%d of %d chunks have fewer than %d bytes", smaller, all, size)
		}
	}
}

// TestChunksEndWhenTold takes only the first chunk.
func TestChunksEndWhenTold(t *testing.T) {
	n := 0
	for range NewSchema(cluster, 1).FoldAll(schemaHistory(1, 50)).Chunks(16) {
		n++
		break
	}
	if n != 1 {
		t.Errorf("%d chunks", n)
	}
}

// TestRecordsRefuseWhatIsNone is about bytes that are no records.
func TestRecordsRefuseWhatIsNone(t *testing.T) {
	length := func(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }
	broken := errors.New("broken")
	for name, chunks := range map[string][][]byte{
		"an empty record":  {length(0)},
		"one too large":    {length(MaxRecordBytes + 1)},
		"far too large":    {bytes.Repeat([]byte{0xff}, 8)},
		"cut in the bytes": {length(3), {1, 2}},
		"cut in a length":  {append(length(1), 7), {0, 0}},
	} {
		if err := lastError(Records(yielding(chunks, nil))); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
	if err := lastError(Records(yielding([][]byte{append(length(1), 7)}, broken))); !errors.Is(err, broken) {
		t.Errorf("the error behind the records became %v", err)
	}
}

func yielding(chunks [][]byte, failed error) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for _, c := range chunks {
			if !yield(c, nil) {
				return
			}
		}
		if failed != nil {
			yield(nil, failed)
		}
	}
}

func lastError(records iter.Seq2[[]byte, error]) error {
	for _, err := range records {
		if err != nil {
			return err
		}
	}
	return nil
}
