package export

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"runtime"
	"testing"

	"github.com/heliosdb/metadata/history/historytest"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/klauspost/compress/zstd"
)

// FuzzBlock takes any bytes for a block's content, as stored and unpacked: whoever makes a
// hostile file makes its checksums fit.
func FuzzBlock(f *testing.F) {
	packer, err := zstd.NewWriter(nil)
	if err != nil {
		f.Fatal(err)
	}
	unpacker, err := newUnpacker()
	if err != nil {
		f.Fatal(err)
	}
	var b []byte
	for _, c := range historytest.Tables(3, 1) {
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(c.Raw()))), c.Raw()...)
	}
	f.Add(packer.EncodeAll(b, nil), uint32(len(b)), uint32(3))
	f.Add(b, uint32(len(b)), uint32(3))
	f.Fuzz(func(t *testing.T, stored []byte, size, changes uint32) {
		h := blockHead{
			stream: metadatav1.Stream_STREAM_SCHEMA, first: 1, changes: changes, size: size, stored: uint32(len(stored)),
			checksum: crc32.Checksum(stored, castagnoli),
		}
		if h, err = parseBlockHead(h.encode()); err != nil {
			return
		}
		unpacked, err := h.unpack(unpacker, stored)
		if err == nil && len(unpacked) != int(h.size) || err != nil && unpacked != nil {
			t.Fatalf("%d bytes of %d: %v", len(unpacked), h.size, err)
		}
		for _, content := range [][]byte{unpacked, stored} {
			if all, err := h.split(content); err == nil && len(all) != int(h.changes) || len(all) > int(h.changes) {
				t.Fatalf("%d changes of %d: %v", len(all), h.changes, err)
			}
		}
	})
}

// TestBombs unpacks what becomes far more than the block says: no more than that may be
// written.
func TestBombs(t *testing.T) {
	packer, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	unpacker, err := newUnpacker()
	if err != nil {
		t.Fatal(err)
	}
	bomb := packer.EncodeAll(make([]byte, 64<<20), nil)
	var streamed bytes.Buffer // a frame that does not say how large it becomes
	packer.Reset(&streamed)
	if _, err := packer.Write(make([]byte, 64<<20)); err != nil {
		t.Fatal(err)
	}
	if err := packer.Close(); err != nil {
		t.Fatal(err)
	}
	for _, stored := range [][]byte{bomb, streamed.Bytes()} {
		h := blockHead{
			stream: metadatav1.Stream_STREAM_SCHEMA, first: 1, changes: 1, size: 1000, stored: uint32(len(stored)), checksum: crc32.Checksum(stored, castagnoli),
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		content, err := h.unpack(unpacker, stored)
		runtime.ReadMemStats(&after)
		if err == nil || len(content) > 0 {
			t.Errorf("%d bytes were unpacked to %d", len(stored), len(content))
		}
		if took := after.TotalAlloc - before.TotalAlloc; took > MaxBlockBytes {
			t.Errorf("unpacking took %d bytes of memory", took)
		}
	}
}

// FuzzTrailer takes any bytes for a trailer's text: what is read is written again alike.
func FuzzTrailer(f *testing.F) {
	t := Trailer{
		Streams:     []StreamEnd{{Stream: metadatav1.Stream_STREAM_SCHEMA, Blocks: 1, Changes: 3, Bytes: 99}},
		SignedHeads: []*metadatav1.SignedHead{{Stream: metadatav1.Stream_STREAM_SCHEMA, Revision: 2, Digest: make([]byte, 32)}},
	}
	encoded, err := t.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(encoded[trailerFrameBytes : len(encoded)-checksumBytes])
	f.Fuzz(func(t *testing.T, text []byte) {
		b := append(binary.BigEndian.AppendUint32([]byte(trailerTag), uint32(len(text))), text...)
		b = binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
		trailer, err := parseTrailer(b)
		if err != nil {
			return
		}
		again, err := trailer.encode()
		if err != nil {
			t.Fatalf("%s cannot be written: %v", text, err)
		}
		if same, err := parseTrailer(again); err != nil || len(same.Streams) != len(trailer.Streams) || len(same.SignedHeads) != len(trailer.SignedHeads) {
			t.Fatalf("%s is read again as %+v: %v", text, same, err)
		}
	})
}
