package client

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"strings"
	"testing"

	"connectrpc.com/connect"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/history"
	"github.com/heliosdb/metadata/history/historytest"
	"github.com/heliosdb/metadata/internal/failure"
	"github.com/heliosdb/metadata/internal/fakefeed"
	"github.com/heliosdb/metadata/projections"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// baseKeeper is a chronicler that has a base too.
type baseKeeper struct {
	*chronicler
	checkpoint []byte
	format     uint32
	hash       []byte // nil: the true one
	breaks     int    // the stream breaks behind so many bytes, each time; 0: never
	with       error  // how, or else what it says at once
	offsets    chan uint64
}

func (b *baseKeeper) StreamBase(
	_ context.Context, req *metadatav1.StreamBaseRequest, stream *connect.ServerStream[metadatav1.StreamBaseResponse],
) error {
	b.offsets <- req.GetOffset()
	if b.with != nil && b.breaks == 0 {
		return b.with
	}
	digest := b.memory.Previous
	m := &metadatav1.StreamBaseResponse{Revision: req.GetFirstRevision() - 1, Digest: digest[:], CheckpointFormat: b.format}
	rest := b.checkpoint[req.GetOffset():]
	for sent := 0; len(rest) > 0; sent += len(m.GetChunk()) {
		if b.breaks > 0 && sent >= b.breaks {
			return b.with
		}
		m.Chunk = rest[:min(100, len(rest))]
		rest = rest[len(m.GetChunk()):]
		if err := stream.Send(m); err != nil {
			return err
		}
		m = &metadatav1.StreamBaseResponse{Chunk: m.GetChunk()}
	}
	hash := sha256.Sum256(b.checkpoint)
	m = &metadatav1.StreamBaseResponse{Revision: m.GetRevision(), ModelHash: hash[:], CheckpointFormat: b.format}
	if req.GetOffset() == uint64(len(b.checkpoint)) {
		m.Revision = req.GetFirstRevision() - 1
	}
	if b.hash != nil {
		m.ModelHash = b.hash
	}
	return stream.Send(m)
}

// trimmedAt returns a member whose history begins at a revision, with the model before that.
func trimmedAt(first uint64) (*baseKeeper, *projections.Schema) {
	m := newChronicler(20)
	base := projections.NewSchema(historytest.Cluster, historytest.Epoch)
	whole := base
	for _, c := range historytest.Tables(20, 2) {
		if whole = whole.Fold(c); c.Revision() < first {
			base = whole
		}
	}
	m.memory = m.memory.Trim(first)
	k := &baseKeeper{chronicler: m, format: projections.CheckpointFormat, offsets: make(chan uint64, 100)}
	for chunk := range base.Chunks(1 << 20) {
		k.checkpoint = append(k.checkpoint, chunk...)
	}
	return k, whole
}

func readBase(t *testing.T, h *History) (*projections.Schema, error) {
	t.Helper()
	bounds, err := h.Bounds(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return history.ReadBase(t.Context(), h, bounds, projections.NewSchema(historytest.Cluster, historytest.Epoch))
}

// What is left of a trimmed stream is folded by a client to where the members are, though one
// of them breaks off in the middle of the base.
func TestWhatIsLeftOfAStreamIsFolded(t *testing.T) {
	broken := connect.NewError(connect.CodeUnavailable, errors.New("broken"))
	for name, c := range map[string]struct {
		breaks int
		with   error
	}{"whole": {}, "broken off": {300, broken}, "lacking it": {0, errGap}} {
		first, want := trimmedAt(8)
		first.breaks, first.with = c.breaks, c.with
		second, _ := trimmedAt(8)
		h := openHistory(t, startChroniclers(t, first, second))
		base, err := readBase(t, h)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got, err := history.Replay(t.Context(), h, base, 0, nil)
		if err != nil || got.Head != want.Head || got.Hash() != want.Hash() {
			t.Errorf("%s: it is folded to %+v, %v", name, got, err)
		}
		if asked := len(second.offsets); (asked > 0) != (c.with != nil) {
			t.Errorf("%s: the second member was asked %d times", name, asked)
		} else if asked > 0 && <-second.offsets != uint64(c.breaks) {
			t.Errorf("%s: the second member did not go on where the first broke off", name)
		}
	}
}

// What members say of a base is not believed.
func TestBasesThatAreNotWhatMembersSay(t *testing.T) {
	other, _ := trimmedAt(7)
	for name, spoil := range map[string]func(*baseKeeper){
		"of another revision": func(k *baseKeeper) { k.checkpoint = other.checkpoint },
		"damaged":             func(k *baseKeeper) { k.checkpoint[len(k.checkpoint)-1] ^= 1; k.hash = bytes.Repeat([]byte{1}, 32) },
		"of another hash":     func(k *baseKeeper) { k.hash = bytes.Repeat([]byte{1}, 32) },
		"cut short":           func(k *baseKeeper) { k.checkpoint = k.checkpoint[:len(k.checkpoint)-1] },
		"no checkpoint":       func(k *baseKeeper) { k.checkpoint = []byte("some text that is none") },
	} {
		k, _ := trimmedAt(8)
		spoil(k)
		if base, err := readBase(t, openHistory(t, startChroniclers(t, k))); err == nil {
			t.Errorf("a base %s was taken: %+v", name, base.Head)
		}
	}
	newer, _ := trimmedAt(8)
	newer.format = projections.CheckpointFormat + 1
	_, err := readBase(t, openHistory(t, startChroniclers(t, newer)))
	if _, ok := errors.AsType[*events.UnsupportedError](err); !ok {
		t.Errorf("a base of a newer format: %v", err)
	}
}

// A service that has none says why; an older one has none.
func TestServicesWithoutABase(t *testing.T) {
	plain := newChronicler(20)
	plain.memory = plain.memory.Trim(8)
	_, err := readBase(t, openHistory(t, startChroniclers(t, plain)))
	if !failure.Is(err, metadatav1.ErrorReason_ERROR_REASON_HISTORY_TRIMMED) || !strings.Contains(err.Error(), "older version") {
		t.Errorf("an older service: %v", err)
	}
	lacking, _ := trimmedAt(8)
	lacking.with = errGap
	if _, err := readBase(t, openHistory(t, startChroniclers(t, lacking))); Reason(err) != metadatav1.ErrorReason_ERROR_REASON_HISTORY_GAP {
		t.Errorf("a service in which no member has it: %v", err)
	}
	lacking.with = fakefeed.Refusal(connect.CodeOutOfRange, metadatav1.ErrorReason_ERROR_REASON_HISTORY_TRIMMED, "trimmed since")
	if _, err := readBase(t, openHistory(t, startChroniclers(t, lacking))); Reason(err) != metadatav1.ErrorReason_ERROR_REASON_HISTORY_TRIMMED {
		t.Errorf("a base that was trimmed meanwhile: %v", err)
	}
}
