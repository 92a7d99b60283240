package export_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"slices"
	"strings"
	"testing"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/history"
	"github.com/heliosdb/metadata/history/export"
	"github.com/heliosdb/metadata/history/historytest"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// parts says where the parts of a file begin.
type parts struct {
	blocks  []int
	trailer int
}

func partsOf(file []byte) (p parts) {
	at := 16 + int(binary.BigEndian.Uint32(file[12:])) + 4
	for string(file[at:at+4]) == "BLCK" {
		p.blocks = append(p.blocks, at)
		at += 68 + int(binary.BigEndian.Uint32(file[at+24:]))
	}
	p.trailer = at
	return p
}

// partAt returns the part that a byte belongs to, and where that begins.
func (p parts) partAt(i int) (export.Part, int64) {
	if i >= p.trailer {
		return export.PartTrailer, int64(p.trailer)
	}
	for _, at := range slices.Backward(p.blocks) {
		if i >= at {
			return export.PartBlock, int64(at)
		}
	}
	return export.PartHeader, 0
}

func wantDamage(t *testing.T, what string, err error, part export.Part, offset int64) (named history.DamagedError) {
	t.Helper()
	found, ok := errors.AsType[*export.DamagedError](err)
	if !ok || found.Part != part || found.Offset != offset {
		t.Fatalf("%s: found %v, want the %s at byte %d", what, err, part, offset)
	}
	change, ok := errors.AsType[*history.DamagedError](err)
	if ok != (part == export.PartBlock) {
		t.Fatalf("%s: %v names change %v", what, err, change)
	}
	if ok {
		named = *change
	}
	return named
}

// damageSample is a file of a few kilobytes with blocks of two streams.
func damageSample(t testing.TB) []byte {
	memories := sampleSources()
	return write(t, export.Options{SignedHeads: []*metadatav1.SignedHead{signedHead(memories[0], 5)}}, memories[:2]...)
}

// TestEveryFlippedByteIsFound flips each bit of each byte of a file.
func TestEveryFlippedByteIsFound(t *testing.T) {
	file := damageSample(t)
	layout := partsOf(file)
	t.Logf("%d bytes", len(file))
	for i := range file {
		for _, flip := range []byte{1, 2, 4, 8, 16, 32, 64, 128, 255} {
			file[i] ^= flip
			part, offset := layout.partAt(i)
			change := wantDamage(t, "a flipped byte", verify(t, file), part, offset)
			if part == export.PartBlock {
				want := &history.DamagedError{Stream: schemaStream, Revision: 1}
				if offset != int64(layout.blocks[0]) {
					want = &history.DamagedError{Stream: topologyStream, Revision: 4}
				}
				if change.Stream != want.Stream || change.Revision != want.Revision {
					t.Fatalf("byte %d: %v, want revision %d of %v", i, change, want.Revision, want.Stream)
				}
			}
			file[i] ^= flip
		}
	}
}

// TestEveryCutIsFound cuts a file short at each byte.
func TestEveryCutIsFound(t *testing.T) {
	file := damageSample(t)
	layout := partsOf(file)
	for n := range file {
		part, offset := layout.partAt(n)
		wantDamage(t, "a file cut short", verify(t, file[:n]), part, offset)
	}
}

func TestGarbageBehindTheEndIsFound(t *testing.T) {
	file := damageSample(t)
	layout := partsOf(file)
	for _, garbage := range [][]byte{{0}, []byte("garbage"), file, file[layout.trailer:]} {
		wantDamage(t, "garbage behind the end", verify(t, slices.Concat(file, garbage)), export.PartTrailer, int64(layout.trailer))
	}
}

// TestSwappedBlocksAreFound puts a block in another's place, and leaves one out.
func TestSwappedBlocksAreFound(t *testing.T) {
	file := write(t, export.Options{}, historytest.New(schemaStream, historytest.Tables(6000, 20)))
	layout := partsOf(file)
	ends := append(slices.Clone(layout.blocks[1:]), layout.trailer)
	block := func(i int) []byte { return file[layout.blocks[i]:ends[i]] }
	first := binary.BigEndian.Uint64(block(1)[8:])

	swapped := slices.Concat(file[:layout.blocks[1]], block(2), block(1), file[ends[2]:])
	if change := wantDamage(t, "swapped blocks", verify(t, swapped), export.PartBlock, int64(layout.blocks[1])); change.Revision != first {
		t.Errorf("swapped blocks: %v, want revision %d", change, first)
	}
	missing := slices.Concat(file[:layout.blocks[1]], file[ends[1]:])
	if change := wantDamage(t, "a missing block", verify(t, missing), export.PartBlock, int64(layout.blocks[1])); change.Revision != first {
		t.Errorf("a missing block: %v, want revision %d", change, first)
	}
	twice := slices.Concat(file[:ends[1]], block(1), file[ends[1]:])
	wantDamage(t, "a block twice", verify(t, twice), export.PartBlock, int64(ends[1]))
	extra := slices.Concat(file[:layout.trailer], block(1), file[layout.trailer:])
	wantDamage(t, "a block behind the last", verify(t, extra), export.PartTrailer, int64(layout.trailer))
}

// reseal makes all checksums of a block's head fit what it has now.
func reseal(file []byte, at int) {
	stored := file[at+68 : at+68+int(binary.BigEndian.Uint32(file[at+24:]))]
	table := crc32.MakeTable(crc32.Castagnoli)
	binary.BigEndian.PutUint32(file[at+60:], crc32.Checksum(stored, table))
	binary.BigEndian.PutUint32(file[at+64:], crc32.Checksum(file[at:at+64], table))
}

// TestForgedBlocksAreFound is about files whose checksums fit.
func TestForgedBlocksAreFound(t *testing.T) {
	honest := historytest.New(schemaStream, historytest.Tables(12, 2))
	file := write(t, export.Options{}, honest)
	at := partsOf(file).blocks[0]
	for name, forge := range map[string]func(head []byte){
		"another digest":   func(head []byte) { head[30] ^= 1 },
		"fewer changes":    func(head []byte) { head[19]-- },
		"more changes":     func(head []byte) { head[19]++ },
		"no changes":       func(head []byte) { head[19] = 0 },
		"another stream":   func(head []byte) { head[7] = byte(topologyStream) },
		"another revision": func(head []byte) { head[15]++ },
		"more bytes":       func(head []byte) { head[23]++ },
		"fewer bytes":      func(head []byte) { head[23]-- },
		"far more bytes":   func(head []byte) { head[20] = 0xff },
		"other content":    func(head []byte) { head[68+20] ^= 0xff },
		"no zstd":          func(head []byte) { head[68] ^= 0xff },
	} {
		forged := slices.Clone(file)
		forge(forged[at:])
		reseal(forged, at)
		err := verify(t, forged)
		if found, ok := errors.AsType[*export.DamagedError](err); !ok || found.Part == export.PartHeader {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestForeignChangesAreFound puts a block of another history with the same revisions into a
// file: everything but the digests fits.
func TestForeignChangesAreFound(t *testing.T) {
	ours := write(t, export.Options{}, historytest.New(schemaStream, historytest.Tables(12, 2)))
	theirs := write(t, export.Options{}, historytest.New(schemaStream, historytest.Tables(12, 3)))
	a, b := partsOf(ours), partsOf(theirs)
	mixed := slices.Concat(ours[:a.blocks[0]], theirs[b.blocks[0]:b.trailer], ours[a.trailer:])
	wantDamage(t, "a foreign block", verify(t, mixed), export.PartTrailer, int64(a.blocks[0]+b.trailer-b.blocks[0]))

	// With the digest that the trailer expects, the changes do not fit.
	at := a.blocks[0]
	copy(mixed[at+28:at+60], ours[at+28:at+60])
	reseal(mixed, at)
	if change := wantDamage(t, "a foreign block", verify(t, mixed), export.PartBlock, int64(at)); change.Revision != 1 {
		t.Errorf("a foreign block: %v, want revision 1", change)
	}
}

func TestSignedHeadsHaveToFit(t *testing.T) {
	schema := historytest.New(schemaStream, historytest.Tables(12, 2)).Trim(5)
	good, wrong, wrongBegin, later := signedHead(schema, 9), signedHead(schema, 9), signedHead(schema, 4), signedHead(schema, 9)
	wrong.Digest[5] ^= 1
	wrongBegin.Digest[5] ^= 1
	later.Revision = 13
	if err := verify(t, write(t, export.Options{SignedHeads: []*metadatav1.SignedHead{good, later}}, schema)); err != nil {
		t.Error(err)
	}
	for _, head := range []*metadatav1.SignedHead{wrong, wrongBegin} {
		file := write(t, export.Options{SignedHeads: []*metadatav1.SignedHead{good, head}}, schema)
		wantDamage(t, "a head that does not fit", verify(t, file), export.PartTrailer, int64(partsOf(file).trailer))
	}
}

// TestNewerFormat is about files of builds to come.
func TestNewerFormat(t *testing.T) {
	file := damageSample(t)
	binary.BigEndian.PutUint32(file[8:], export.Format+1)
	end := 16 + int(binary.BigEndian.Uint32(file[12:]))
	binary.BigEndian.PutUint32(file[end:], crc32.Checksum(file[:end], crc32.MakeTable(crc32.Castagnoli)))
	if _, ok := errors.AsType[*events.UnsupportedError](verify(t, file)); !ok {
		t.Errorf("format %d: %v", export.Format+1, verify(t, file))
	}
}

// withHeader returns a file with another text of the header.
func withHeader(file []byte, text string) []byte {
	rest := file[16+int(binary.BigEndian.Uint32(file[12:]))+4:]
	b := binary.BigEndian.AppendUint32([]byte("HELIOSHX"), 1)
	b = append(binary.BigEndian.AppendUint32(b, uint32(len(text))), text...)
	return append(binary.BigEndian.AppendUint32(b, crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli))), rest...)
}

func TestHeadersThatMakeNoSense(t *testing.T) {
	file := damageSample(t)
	good := string(file[16 : 16+int(binary.BigEndian.Uint32(file[12:]))])
	if !bytes.Equal(withHeader(file, good), file) {
		t.Fatal("the header's frame is not as documented")
	}
	for _, change := range [][2]string{
		{`"clusterId":"c1`, `"clusterId":"x1`},
		{`"clusterId":`, `"unknown":`},
		{`"stream":"schema"`, `"stream":"schemata"`},
		{`"stream":"schema"`, `"stream":"SCHEMA"`},
		{`"stream":"schema"`, `"stream":"unspecified"`},
		{`"stream":"schema"`, `"stream":"topology"`},
		{`"first":1`, `"first":0`},
		{`"first":1`, `"first":14`},
		{`"last":12`, `"last":18446744073709551615`},
		{`"last":12`, `"last":-1`},
		{`"previous":"`, `"previous":"0`},
		{`"streams":[`, `"streams":[],"build":"","x":[`},
		{`{"clusterId"`, `{}{"clusterId"`},
	} {
		text := strings.Replace(good, change[0], change[1], 1)
		if text == good {
			t.Fatalf("%s is not in the header %s", change[0], good)
		}
		wantDamage(t, change[1], verify(t, withHeader(file, text)), export.PartHeader, 0)
	}
	wantDamage(t, "no streams", verify(t, withHeader(file, `{"clusterId":"`+historytest.Cluster.String()+`"}`)), export.PartHeader, 0)
}
