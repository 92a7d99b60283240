package export_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/history"
	"github.com/heliosdb/metadata/history/export"
	"github.com/heliosdb/metadata/history/historytest"
	"github.com/heliosdb/metadata/internal/failure"
	"github.com/heliosdb/metadata/projections"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

const pieceHead = 64

// basedSources are histories whose beginnings are gone, with their bases, and a whole one.
func basedSources() []history.Source {
	changes, nodes := historytest.Tables(12, 2), historytest.Nodes(9)
	schema := projections.NewSchema(historytest.Cluster, historytest.Epoch).FoldAll(changes[:7])
	topology := projections.NewTopology(historytest.Cluster, historytest.Epoch).FoldAll(nodes[:3])
	return []history.Source{
		historytest.New(schemaStream, changes).Trim(8).Base(checkpointOf(schema)),
		historytest.New(topologyStream, nodes).Trim(4).Base(checkpointOf(topology)),
		historytest.New(serviceStream, nil),
	}
}

func checkpointOf[D projections.Domain[D]](s *projections.State[D]) (b []byte) {
	for chunk := range s.Chunks(1 << 20) {
		b = append(b, chunk...)
	}
	return b
}

func writeSources(t testing.TB, sources ...history.Source) []byte {
	t.Helper()
	var b bytes.Buffer
	if _, err := export.Write(t.Context(), &b, sampleHeader, sources, export.Options{}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// checkBase reads the base of a file's history: it is the one that was written, and what
// follows is folded from it.
func checkBase[D projections.Domain[D]](t *testing.T, got history.Source, genesis *projections.State[D], all []*events.Change) {
	t.Helper()
	bounds, _ := got.Bounds(t.Context())
	base, err := history.ReadBase(t.Context(), got, bounds, genesis)
	if want := genesis.FoldAll(all[:bounds.First-1]); err != nil || base.Hash() != want.Hash() {
		t.Fatalf("the base before revision %d: %v", bounds.First, err)
	}
	end, err := history.Replay(t.Context(), got, base, 0, nil)
	if want := genesis.FoldAll(all); err != nil || end.Head != want.Head || end.Hash() != want.Hash() {
		t.Errorf("what is left is folded to %+v, %v", end, err)
	}
}

// A file carries what is left of a history is folded from.
func TestBasesAreCarried(t *testing.T) {
	sources := basedSources()
	file := writeSources(t, sources...)
	f := open(t, file)
	if _, err := f.Verify(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	checkBase(t, f.Sources()[0], projections.NewSchema(historytest.Cluster, historytest.Epoch), historytest.Tables(12, 2))
	checkBase(t, f.Sources()[1], projections.NewTopology(historytest.Cluster, historytest.Epoch), historytest.Nodes(9))
	for i, want := range []bool{true, true, false} {
		if f.Trailer().Streams[i].Base != want {
			t.Errorf("stream %d has a base: %v", i, !want)
		}
	}
	for _, size := range []int{1, 1 << 20} { // of the chunks that a source gives
		sources[0].(*historytest.Based).Size = size
		if again := writeSources(t, sources...); !bytes.Equal(again, file) {
			t.Errorf("chunks of %d bytes made another file", size)
		}
	}
	if again := writeSources(t, f.Sources()...); !bytes.Equal(again, file) {
		t.Error("what was read was written otherwise")
	}
}

// What has no base is written as ever, and says so when it is to be folded.
func TestFilesWithoutBases(t *testing.T) {
	memory := historytest.New(schemaStream, historytest.Tables(12, 2)).Trim(8)
	whole := historytest.New(topologyStream, historytest.Nodes(2)).Base(nil)
	for name, c := range map[string]struct {
		sources []history.Source
		format  uint32
	}{
		"of sources that keep none":   {[]history.Source{memory, whole}, 1},
		"of a source that lacks it":   {[]history.Source{memory.Base(nil), whole}, 2},
		"of histories that are whole": {[]history.Source{whole}, 1},
	} {
		file := writeSources(t, c.sources...)
		if format := binary.BigEndian.Uint32(file[8:]); format != c.format {
			t.Errorf("a file %s has format %d", name, format)
		}
		f := open(t, file)
		if _, err := f.Verify(t.Context(), nil); err != nil {
			t.Errorf("a file %s: %v", name, err)
		}
		source := f.Sources()[0]
		bounds, _ := source.Bounds(t.Context())
		if bounds.First == 1 {
			continue
		}
		_, err := history.FollowBase(t.Context(), source, bounds, nil)
		if !failure.Is(err, metadatav1.ErrorReason_ERROR_REASON_HISTORY_TRIMMED) || f.Trailer().Streams[0].Base {
			t.Errorf("the base of a file %s: %v", name, err)
		}
	}
}

// TestEveryFlippedByteOfABaseIsFound flips each bit of each byte of a file with bases, and cuts
// it short at each.
func TestEveryFlippedByteOfABaseIsFound(t *testing.T) {
	file := writeSources(t, basedSources()...)
	begin := 16 + int(binary.BigEndian.Uint32(file[12:])) + 4
	last := begin + pieceHead + int(binary.BigEndian.Uint32(file[begin+20:]))
	for i := range file {
		for _, flip := range []byte{1, 2, 4, 8, 16, 32, 64, 128, 255} {
			file[i] ^= flip
			found, ok := errors.AsType[*export.DamagedError](verify(t, file))
			inBase := i >= begin && i < last+pieceHead
			if !ok || inBase != (found.Part == export.PartBase && found.Offset < int64(last+pieceHead)) {
				t.Fatalf("byte %d, of the first base from %d to %d: %v", i, begin, last+pieceHead, found)
			}
			if at := int64(begin); inBase && i >= last && found.Offset != int64(last) || inBase && i < last && found.Offset != at {
				t.Fatalf("byte %d: the damage is said to be at %d", i, found.Offset)
			}
			file[i] ^= flip
		}
		if _, ok := errors.AsType[*export.DamagedError](verify(t, file[:i])); !ok {
			t.Fatalf("cut short at byte %d, it is whole", i)
		}
	}
}

// resealPiece makes the checksums of a piece's head fit what it has now.
func resealPiece(file []byte, at int) {
	table := crc32.MakeTable(crc32.Castagnoli)
	stored := file[at+pieceHead : at+pieceHead+int(binary.BigEndian.Uint32(file[at+20:]))]
	binary.BigEndian.PutUint32(file[at+56:], crc32.Checksum(stored, table))
	binary.BigEndian.PutUint32(file[at+60:], crc32.Checksum(file[at:at+60], table))
}

// TestForgedBasesAreFound is about bases whose checksums fit.
func TestForgedBasesAreFound(t *testing.T) {
	file := writeSources(t, basedSources()...)
	at := 16 + int(binary.BigEndian.Uint32(file[12:])) + 4
	for name, forge := range map[string]func(head []byte){
		"another stream": func(head []byte) { head[7] = byte(topologyStream) },
		"another offset": func(head []byte) { head[15]++ },
		"more bytes":     func(head []byte) { head[19]++ },
		"fewer bytes":    func(head []byte) { head[19]-- },
		"far more bytes": func(head []byte) { head[16] = 0xff },
		"another sum":    func(head []byte) { head[24] ^= 1 },
		"other content":  func(head []byte) { head[pieceHead+20] ^= 0xff },
		"no zstd":        func(head []byte) { head[pieceHead] ^= 0xff },
	} {
		forged := slices.Clone(file)
		forge(forged[at:])
		resealPiece(forged, at)
		if found, ok := errors.AsType[*export.DamagedError](verify(t, forged)); !ok || found.Part != export.PartBase {
			t.Errorf("%s: %v", name, found)
		}
	}
	theirs := basedSources()
	other := projections.NewSchema(historytest.Cluster, historytest.Epoch).FoldAll(historytest.Tables(7, 3))
	theirs[0].(*historytest.Based).Checkpoint = checkpointOf(other)
	_, err := export.Write(t.Context(), new(bytes.Buffer), sampleHeader, theirs, export.Options{})
	if _, ok := errors.AsType[*history.DamagedError](err); !ok {
		t.Errorf("the base of another history was written: %v", err)
	}
}

// TestLargeBase is about one of several pieces.
func TestLargeBase(t *testing.T) {
	changes := historytest.Tables(6000, 20)
	base := projections.NewSchema(historytest.Cluster, historytest.Epoch).FoldAll(changes[:5999])
	source := historytest.New(schemaStream, changes).Trim(6000).Base(checkpointOf(base))
	if len(source.Checkpoint) < 3*export.BlockBytes {
		t.Fatalf("it has %d bytes only", len(source.Checkpoint))
	}
	source.Size = 100_000
	file := writeSources(t, source)
	if err := verify(t, file); err != nil {
		t.Fatal(err)
	}
	checkBase(t, open(t, file).Sources()[0], projections.NewSchema(historytest.Cluster, historytest.Epoch), changes)
}

// TestFrozenBases reads a file that was written when bases were new.
func TestFrozenBases(t *testing.T) {
	file := writeSources(t, basedSources()...)
	for name, content := range map[string][]byte{"v2.export": file, "v2.digests": digests(t, file)} {
		path := filepath.Join("testdata", name)
		if _, err := os.Stat(path); os.IsNotExist(err) && *update {
			if err := os.WriteFile(path, content, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	content, err := os.ReadFile(filepath.Join("testdata", "v2.export"))
	if err != nil {
		t.Fatal(err)
	}
	said, err := os.ReadFile(filepath.Join("testdata", "v2.digests"))
	if diff := cmp.Diff(string(said), string(digests(t, content))); err != nil || diff != "" {
		t.Errorf("digests (-want +got):\n%s%v", diff, err)
	}
	sources := open(t, content).Sources()
	checkBase(t, sources[0], projections.NewSchema(historytest.Cluster, historytest.Epoch), historytest.Tables(12, 2))
	checkBase(t, sources[1], projections.NewTopology(historytest.Cluster, historytest.Epoch), historytest.Nodes(9))
}
