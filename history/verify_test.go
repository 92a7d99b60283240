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
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"go.uber.org/goleak"
)

const schemaStream = metadatav1.Stream_STREAM_SCHEMA

func TestVerify(t *testing.T) {
	defer goleak.VerifyNone(t)
	whole := historytest.New(schemaStream, historytest.Tables(3000, 3))
	for name, source := range map[string]history.Source{
		"whole":           whole,
		"one by one":      &historytest.Memory{Stream: whole.Stream, First: 1, Previous: whole.Previous, Encoded: whole.Encoded, AtMost: 1},
		"trimmed":         whole.Trim(1001),
		"with digests":    whole.Keep(7),
		"nothing left":    whole.Trim(3001),
		"never a change":  historytest.New(schemaStream, nil),
		"only the newest": whole.Trim(3000).Keep(3000),
	} {
		t.Run(name, func(t *testing.T) {
			bounds, _ := source.Bounds(t.Context())
			var told []uint64
			got, err := history.Verify(t.Context(), source, history.VerifyOptions{Progress: func(done, last uint64) {
				if last != bounds.Last {
					t.Errorf("told that the last revision is %d, not %d", last, bounds.Last)
				}
				told = append(told, done)
			}})
			if err != nil {
				t.Fatal(err)
			}
			want := history.Verified{First: bounds.First, Last: bounds.Last, Digest: bounds.Previous}
			if bounds.Last >= bounds.First {
				want.Digest = whole.Digest(bounds.Last)
				for _, raw := range whole.Encoded[bounds.First-1:] {
					want.Bytes += uint64(len(raw))
				}
				if len(told) == 0 || told[len(told)-1] != bounds.Last {
					t.Errorf("told of %v", told)
				}
			}
			if got != want || got.Changes() != bounds.Last+1-bounds.First {
				t.Errorf("verified %+v, want %+v", got, want)
			}
		})
	}
}

// brokenHistory is one that does not fit at a revision.
type brokenHistory struct {
	name     string
	source   history.Source
	revision uint64
	reason   string
}

func brokenHistories() []brokenHistory {
	fresh := func() *historytest.Memory { return historytest.New(schemaStream, historytest.Tables(100, 2)) }
	foreign, gap, twice, cut, flipped, kept, empty := fresh(), fresh(), fresh(), fresh(), fresh(), fresh().Keep(10), fresh()
	foreign.Encoded[49] = historytest.Nodes(50)[49].Raw()
	gap.Encoded = append(gap.Encoded[:49], gap.Encoded[50:]...)
	twice.Encoded[49] = twice.Encoded[48]
	cut.Encoded[49] = cut.Encoded[49][:20]
	empty.Encoded[0] = nil
	flipped.Encoded[49] = []byte(strings.Replace(string(flipped.Encoded[49]), "ann", "bob", 1))
	kept.Encoded[49] = flipped.Encoded[49]
	begin := fresh()
	begin.Previous[0] ^= 1
	return []brokenHistory{
		{"a change of another stream", foreign, 50, "topology"},
		{"a change is missing", gap, 50, "change 51 is in its place"},
		{"a change is there twice", twice, 50, "change 49 is in its place"},
		{"a change is cut short", cut, 50, "bad value"},
		{"a change is empty", empty, 1, "damaged change"},
		{"another beginning", begin, 1, "stream's beginning"},
		{"an actor was replaced", kept, 41, "kept behind change 50"},
		{"the history is shorter than it says", longer{fresh()}, 101, "missing"},
	}
}

// longer is a history that promises more than it has.
type longer struct{ *historytest.Memory }

func (l longer) Bounds(ctx context.Context) (history.Bounds, error) {
	b, err := l.Memory.Bounds(ctx)
	b.Last += 5
	return b, err
}

func TestVerifyFindsTheFirstDamage(t *testing.T) {
	defer goleak.VerifyNone(t)
	for _, broken := range brokenHistories() {
		t.Run(broken.name, func(t *testing.T) {
			got, err := history.Verify(t.Context(), broken.source, history.VerifyOptions{})
			found, ok := errors.AsType[*history.DamagedError](err)
			if !ok || found.Revision != broken.revision || found.Stream != schemaStream || !strings.Contains(err.Error(), broken.reason) {
				t.Fatalf("found %v, want damage at %d that mentions %q", err, broken.revision, broken.reason)
			}
			if got.Last != broken.revision-1 {
				t.Errorf("verified up to %d, want %d", got.Last, broken.revision-1)
			}
		})
	}
}

// mending is a history in which a change cannot be read once, and then can: whoever keeps it has
// replaced it.
type mending struct {
	*historytest.Memory
	damaged *historytest.Memory // nil: it has been read
}

func (m *mending) Read(ctx context.Context, from uint64, maxBytes int) ([]*events.Change, error) {
	memory := m.Memory
	if m.damaged != nil {
		memory, m.damaged = m.damaged, nil
	}
	return memory.Read(ctx, from, maxBytes)
}

func TestVerifyGoesPastWhatWasReplaced(t *testing.T) {
	defer goleak.VerifyNone(t)
	whole := historytest.New(schemaStream, historytest.Tables(3000, 2))
	damaged := *whole
	damaged.Encoded = slices.Clone(whole.Encoded)
	damaged.Encoded[49] = damaged.Encoded[49][:20]
	got, err := history.Verify(t.Context(), &mending{whole, &damaged}, history.VerifyOptions{})
	if err != nil || got.First != 1 || got.Last != 3000 || got.Digest != whole.Digest(3000) {
		t.Fatalf("verified %+v, %v", got, err)
	}
}

// TestVerifyFindsEveryFlippedByte flips each byte of a change in turn.
func TestVerifyFindsEveryFlippedByte(t *testing.T) {
	kept := historytest.New(schemaStream, historytest.Tables(6, 2)).Keep(3)
	for i, original := range kept.Encoded[4] {
		damaged := []byte(string(kept.Encoded[4]))
		damaged[i] = original ^ 0x55
		source := *kept.Memory
		source.Encoded = append([][]byte(nil), kept.Encoded...)
		source.Encoded[4] = damaged
		got, err := history.Verify(t.Context(), &historytest.Keeper{Memory: &source, Every: 3, Digests: kept.Digests}, history.VerifyOptions{})
		if _, newer := errors.AsType[*events.UnsupportedError](err); newer {
			continue
		}
		found, ok := errors.AsType[*history.DamagedError](err)
		if !ok || found.Revision < 4 || found.Revision > 5 || got.Last != found.Revision-1 {
			t.Fatalf("byte %d: verified up to %d, %v", i, got.Last, err)
		}
	}
}

// TestVerifyEnds is about what is no damage.
func TestVerifyEnds(t *testing.T) {
	defer goleak.VerifyNone(t)
	whole := historytest.New(schemaStream, historytest.Tables(5000, 1))
	whole.AtMost = 100
	ctx, cancel := context.WithCancel(t.Context())
	_, err := history.Verify(ctx, whole, history.VerifyOptions{Progress: func(uint64, uint64) { cancel() }})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("ended with %v when it was cancelled", err)
	}

	bounds, _ := whole.Bounds(t.Context())
	enough := errors.New("enough")
	got, err := history.Follow(t.Context(), whole, bounds, func(c *events.Change, d events.Digest) error {
		if c.Revision() == 1234 && d == whole.Digest(1234) {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) || got.Last != 1234 {
		t.Errorf("ended at %d with %v", got.Last, err)
	}

	if _, err := history.Follow(t.Context(), whole, history.Bounds{First: 9, Last: 7}, nil); err == nil {
		t.Error("followed a history that ends before it begins")
	}
}

func BenchmarkVerify(b *testing.B) {
	source := historytest.New(schemaStream, historytest.Tables(100_000, 20))
	var size int64
	for _, raw := range source.Encoded {
		size += int64(len(raw))
	}
	b.SetBytes(size)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := history.Verify(b.Context(), source, history.VerifyOptions{}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)*float64(len(source.Encoded))/b.Elapsed().Seconds(), "changes/s")
}
