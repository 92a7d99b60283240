package raftlog_test

import (
	"bytes"
	"testing"

	"github.com/heliosdb/metadata/raftlog"
	pb "go.etcd.io/raft/v3/raftpb"
)

// checkpointFile is a whole file with these chunks, and where its header ends.
func checkpointFile(t testing.TB, d raftlog.Descriptor, chunks ...string) (file []byte, header int) {
	t.Helper()
	enc, err := raftlog.NewFileEncoder(d)
	if err != nil {
		t.Fatal(err)
	}
	file = enc.Header()
	header = len(file)
	for _, chunk := range chunks {
		frame, err := enc.Frame([]byte(chunk))
		if err != nil {
			t.Fatal(err)
		}
		file = append(append(file, frame[:]...), chunk...)
	}
	trailer, _ := enc.Trailer()
	return append(file, trailer...), header
}

// FuzzCheckpointFile reads any bytes as a checkpoint's file. What is taken for one
// is the file that its own content encodes to, byte for byte.
func FuzzCheckpointFile(f *testing.F) {
	d := raftlog.GenesisDescriptor(testGroup, []uint64{1, 2, 3})
	plain, _ := checkpointFile(f, d)
	f.Add(plain)
	d.Index, d.Term, d.Seq, d.Meta = 90, 7, 55, []byte("meta")
	d.ConfState = &pb.ConfState{Voters: []uint64{1, 2}, VotersOutgoing: []uint64{2, 3}, Learners: []uint64{5}, LearnersNext: []uint64{3}, AutoLeave: new(true)}
	full, _ := checkpointFile(f, d, "one", "two", string(make([]byte, 3000)))
	f.Add(full)
	f.Fuzz(func(t *testing.T, file []byte) {
		d, size, err := raftlog.ParseFileHeader(file)
		if err != nil {
			return
		}
		var chunks []string
		rest := file[size:]
		for {
			if len(rest) < raftlog.FileFrameBytes {
				return
			}
			n, sum, last := raftlog.ParseFileFrame([raftlog.FileFrameBytes]byte(rest))
			if last {
				break
			}
			rest = rest[raftlog.FileFrameBytes:]
			if n == 0 || uint64(n) > uint64(len(rest)) || n > raftlog.MaxChunkBytes ||
				raftlog.ChunkChecksum(uint32(len(chunks)), rest[:n]) != sum {
				return
			}
			chunks, rest = append(chunks, string(rest[:n])), rest[n:]
		}
		if _, err := raftlog.ParseFileTrailer(d, rest); err != nil {
			return
		}
		again, _ := checkpointFile(t, d, chunks...)
		if header := file[:size]; !bytes.Equal(again[:size], header) {
			t.Fatalf("the header %x encodes as %x", header, again[:size])
		}
	})
}

// FuzzDescriptor reads any bytes as the descriptor that a raft snapshot carries.
func FuzzDescriptor(f *testing.F) {
	for _, d := range []raftlog.Descriptor{
		raftlog.GenesisDescriptor(testGroup, []uint64{1, 2, 3}), emptyCheckpoint(f, 90, 7),
	} {
		b, err := d.MarshalBinary()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var d raftlog.Descriptor
		if d.UnmarshalBinary(b) != nil {
			return
		}
		again, err := d.MarshalBinary()
		if err != nil {
			t.Fatalf("%x is a descriptor that cannot be stored: %v", b, err)
		}
		if !bytes.Equal(again, b) {
			t.Fatalf("%x is stored again as %x", b, again)
		}
	})
}
