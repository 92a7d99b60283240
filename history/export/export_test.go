package export_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/history"
	"github.com/heliosdb/metadata/history/export"
	"github.com/heliosdb/metadata/history/historytest"
	"github.com/heliosdb/metadata/internal/failure"
	"github.com/heliosdb/metadata/projections"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"google.golang.org/protobuf/testing/protocmp"
)

func TestWriteAndRead(t *testing.T) {
	memories := sampleSources()
	schema, topology := memories[0], memories[1]
	file := write(t, export.Options{SignedHeads: []*metadatav1.SignedHead{signedHead(schema, 5), signedHead(schema, 2)}}, memories...)
	f := open(t, file)

	want := sampleHeader
	want.Cluster, want.RecoveryEpoch = historytest.Cluster, historytest.Epoch
	for _, m := range memories {
		bounds, _ := m.Bounds(t.Context())
		want.Streams = append(want.Streams, export.Stream{Stream: m.Stream, Bounds: bounds})
	}
	if diff := cmp.Diff(want, f.Header()); diff != "" {
		t.Errorf("header (-want +got):\n%s", diff)
	}
	heads := []*metadatav1.SignedHead{signedHead(schema, 2), signedHead(schema, 5), signedHead(schema, 11), signedHead(topology, 8)}
	if diff := cmp.Diff(heads, f.Trailer().SignedHeads, protocmp.Transform()); diff != "" {
		t.Errorf("signed heads (-want +got):\n%s", diff)
	}
	for i, source := range f.Sources() {
		checkSource(t, source, memories[i])
	}
	told := make(map[metadatav1.Stream]uint64)
	verified, err := f.Verify(t.Context(), func(stream metadatav1.Stream, done, _ uint64) { told[stream] = done })
	if err != nil {
		t.Fatal(err)
	}
	for i, m := range memories {
		bounds, _ := m.Bounds(t.Context())
		if v := verified[i]; v.First != bounds.First || v.Last != bounds.Last || v.Digest != m.Digest(bounds.Last) || told[m.Stream] != bounds.Last {
			t.Errorf("verified %+v of %v, told of %d", v, m.Stream, told[m.Stream])
		}
	}
}

// checkSource compares a file's history with what was exported, however it is read.
func checkSource(t *testing.T, source history.Source, m *historytest.Memory) {
	t.Helper()
	bounds, err := source.Bounds(t.Context())
	if want, _ := m.Bounds(t.Context()); err != nil || bounds != want || source.Origin() != m.Origin() {
		t.Fatalf("bounds %+v of %+v, want %+v of %+v", bounds, source.Origin(), want, m.Origin())
	}
	for from := bounds.First; from <= bounds.Last; from += max(1, uint64(len(m.Encoded))/10) {
		for _, maxBytes := range []int{0, 300, 1 << 30} {
			changes, err := source.Read(t.Context(), from, maxBytes)
			want, _ := m.Read(t.Context(), from, maxBytes)
			if err != nil || len(changes) != len(want) {
				t.Fatalf("read %d changes from %d with %d bytes, want %d: %v", len(changes), from, maxBytes, len(want), err)
			}
			for i, c := range changes {
				if !bytes.Equal(c.Raw(), want[i].Raw()) {
					t.Fatalf("change %d differs", want[i].Revision())
				}
			}
		}
	}
	if changes, err := source.Read(t.Context(), bounds.Last+1, 1000); err != nil || len(changes) > 0 {
		t.Errorf("read %d changes behind the end: %v", len(changes), err)
	}
	if _, err := source.Read(t.Context(), bounds.First-1, 1000); bounds.First > 1 && !failure.Is(err, metadatav1.ErrorReason_ERROR_REASON_HISTORY_TRIMMED) {
		t.Errorf("read before the beginning: %v", err)
	}
	digest, err := lastKept(t, source)
	if err != nil || digest != m.Digest(bounds.Last) {
		t.Errorf("the last digest is %v, want %v: %v", digest, m.Digest(bounds.Last), err)
	}
}

func lastKept(t *testing.T, source history.Source) (last events.Digest, err error) {
	bounds, _ := source.Bounds(t.Context())
	last = bounds.Previous
	for next := bounds.First; ; {
		revision, digest, err := source.(history.DigestKeeper).KeptDigest(t.Context(), next)
		if err != nil || revision == 0 {
			return last, err
		}
		if revision < next {
			t.Fatalf("the digest kept from %d on is at %d", next, revision)
		}
		last, next = digest, revision+1
	}
}

// TestBlocks is about files of several blocks.
func TestBlocks(t *testing.T) {
	memory := historytest.New(schemaStream, historytest.Tables(6000, 20))
	file := write(t, export.Options{}, memory)
	one := *memory
	one.AtMost = 1
	if !bytes.Equal(file, write(t, export.Options{}, &one)) {
		t.Error("the file depends on how the changes were read")
	}
	f := open(t, file)
	if blocks := f.Trailer().Streams[0].Blocks; blocks < 3 {
		t.Fatalf("there are %d blocks", blocks)
	}
	checkSource(t, f.Sources()[0], memory)
	if err := verify(t, file); err != nil {
		t.Error(err)
	}
}

// TestReadersBesideEachOther reads one file from several goroutines.
func TestReadersBesideEachOther(t *testing.T) {
	memory := historytest.New(schemaStream, historytest.Tables(6000, 20))
	source := open(t, write(t, export.Options{}, memory)).Sources()[0]
	var readers sync.WaitGroup
	for reader := range uint64(4) {
		readers.Go(func() {
			for i := range uint64(15) {
				from := 1 + (i*1999+reader*1511)%6000
				changes, err := source.Read(t.Context(), from, 2000)
				if err != nil || len(changes) == 0 || !bytes.Equal(changes[0].Raw(), memory.Encoded[from-1]) {
					t.Errorf("read %d changes from %d: %v", len(changes), from, err)
				}
			}
		})
	}
	readers.Wait()
}

func TestEmptyAndIncompressible(t *testing.T) {
	noise := make([]byte, 3<<20)
	for i, x := 0, uint32(1); i < len(noise); i++ {
		x = x*1664525 + 1013904223
		noise[i] = "0123456789abcdef"[x>>28]
	}
	big := historytest.Tables(3, 1)
	big[1] = historytest.Seal(2, &metadatav1.Event{Kind: &metadatav1.Event_TableCreated{TableCreated: &metadatav1.TableCreated{
		Table: &metadatav1.TableSchema{TableId: 2, Comment: string(noise)},
	}}})
	for name, memory := range map[string]*historytest.Memory{
		"never a change": historytest.New(schemaStream, nil),
		"nothing left":   historytest.New(schemaStream, historytest.Tables(5, 1)).Trim(6),
		"one change":     historytest.New(schemaStream, historytest.Tables(5, 1)).Trim(5),
		"a large change": historytest.New(schemaStream, big),
	} {
		file := write(t, export.Options{}, memory)
		if err := verify(t, file); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		checkSource(t, open(t, file).Sources()[0], memory)
	}
}

func TestWriteRefuses(t *testing.T) {
	good := historytest.New(schemaStream, historytest.Tables(20, 1))
	damagedOne := historytest.New(schemaStream, historytest.Tables(20, 1))
	damagedOne.Encoded[7] = damagedOne.Encoded[8]
	long := sampleHeader
	long.ClusterName = strings.Repeat("x", export.MaxHeaderBytes)
	huge := historytest.Seal(1, &metadatav1.Event{Kind: &metadatav1.Event_TableCreated{TableCreated: &metadatav1.TableCreated{
		Table: &metadatav1.TableSchema{TableId: 1, Comment: strings.Repeat("x", export.MaxBlockBytes)},
	}}})
	for _, test := range []struct {
		name    string
		header  export.Header
		sources []history.Source
		says    string
	}{
		{"nothing", sampleHeader, nil, "nothing to export"},
		{"a stream twice", sampleHeader, asSources(good, good), "schema stream was given twice"},
		{"two clusters", sampleHeader, []history.Source{good, elsewhere{good}}, "one export cannot hold"},
		{"damage", sampleHeader, asSources(damagedOne), "damaged at revision 8"},
		{"a long name", long, asSources(good), "MaxHeaderBytes"},
		{"a huge change", sampleHeader, asSources(historytest.New(schemaStream, []*events.Change{huge})), "MaxBlockBytes"},
	} {
		_, err := export.Write(t.Context(), io.Discard, test.header, test.sources, export.Options{})
		if err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v, want what mentions %q", test.name, err, test.says)
		}
	}
	full := errors.New("disk full")
	if _, err := export.Write(t.Context(), failing{full}, sampleHeader, asSources(good), export.Options{}); !errors.Is(err, full) {
		t.Errorf("a full disk: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := export.Write(ctx, io.Discard, sampleHeader, asSources(good), export.Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// elsewhere is a history of another cluster.
type elsewhere struct{ *historytest.Memory }

func (e elsewhere) Origin() history.Origin {
	return history.Origin{Stream: topologyStream, Cluster: events.ClusterID{9}}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

func TestNewestSignedHeads(t *testing.T) {
	schema := historytest.New(schemaStream, historytest.Tables(5, 1))
	var heads []*metadatav1.SignedHead
	for i := range 2 * export.MaxSignedHeads {
		head := signedHead(schema, 5)
		head.Signature[0], head.Signature[1] = byte(i), byte(i>>8)
		head.Revision = uint64(5 + i)
		heads = append(heads, head)
	}
	slices.Reverse(heads)
	kept := open(t, write(t, export.Options{SignedHeads: heads}, schema)).Trailer().SignedHeads
	if len(kept) != export.MaxSignedHeads || kept[0].Revision != 5+export.MaxSignedHeads {
		t.Errorf("%d heads are kept, from revision %d on", len(kept), kept[0].GetRevision())
	}
}

func TestWriteJSON(t *testing.T) {
	memories := sampleSources()
	var b bytes.Buffer
	if err := export.WriteJSON(t.Context(), &b, asSources(memories...), nil); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
	const first = `{"stream":"schema","revision":1,"time":"2026-03-04T12:00:01Z","actor":"ann","requestId":"request-1","digest":"`
	if !strings.HasPrefix(lines[0], first) || !strings.Contains(lines[0], `"events":[{"tableCreated":{"table":{"tableId":"1",`) {
		t.Errorf("the first line is %s", lines[0])
	}
	for _, m := range memories {
		digest := m.Previous
		for i, raw := range m.Encoded {
			var l struct {
				Stream   string
				Revision uint64
				Digest   string
				Original []byte
			}
			if err := json.Unmarshal([]byte(lines[0]), &l); err != nil {
				t.Fatal(err)
			}
			digest = digest.Next(raw)
			if l.Stream != events.StreamName(m.Stream) || l.Revision != m.First+uint64(i) || l.Digest != digest.String() || !bytes.Equal(l.Original, raw) {
				t.Fatalf("change %d of %v: %+v", m.First+uint64(i), m.Stream, l)
			}
			lines = lines[1:]
		}
	}
	if len(lines) > 0 {
		t.Errorf("%d lines too many", len(lines))
	}
	var again bytes.Buffer
	if err := export.WriteJSON(t.Context(), &again, asSources(memories...), nil); err != nil || !bytes.Equal(b.Bytes(), again.Bytes()) {
		t.Errorf("the same changes gave other lines: %v", err)
	}
}

func BenchmarkWrite(b *testing.B) {
	memory, size := benchHistory()
	b.SetBytes(size)
	for b.Loop() {
		if _, err := export.Write(b.Context(), io.Discard, sampleHeader, asSources(memory), export.Options{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	memory, size := benchHistory()
	f := open(b, write(b, export.Options{}, memory))
	b.SetBytes(size)
	for b.Loop() {
		if _, err := f.Verify(b.Context(), nil); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkReplay reads a file and folds its changes.
func BenchmarkReplay(b *testing.B) {
	memory, size := benchHistory()
	source := open(b, write(b, export.Options{}, memory)).Sources()[0]
	b.SetBytes(size)
	for b.Loop() {
		if _, err := history.Replay(b.Context(), source, projections.NewSchema(historytest.Cluster, historytest.Epoch), 0, nil); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)*float64(len(memory.Encoded))/b.Elapsed().Seconds(), "changes/s")
}

// benchHistory is 100,000 changes of about 600 bytes, and their size.
func benchHistory() (m *historytest.Memory, size int64) {
	m = historytest.New(schemaStream, historytest.Tables(100_000, 20))
	for _, raw := range m.Encoded {
		size += int64(len(raw))
	}
	return m, size
}
