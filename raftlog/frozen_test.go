package raftlog_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"hash/crc32"
	"regexp"
	"testing"

	"github.com/heliosdb/metadata/raftlog"
	pb "go.etcd.io/raft/v3/raftpb"
)

// The bytes below are on disks and on the wire between versions: a test that fails
// here needs a new format number and code that reads both, not new bytes.

func frozenDescriptor() raftlog.Descriptor {
	return raftlog.Descriptor{
		Format: 1, Group: 2, Index: 0x1122, Term: 7, Seq: 0x99, Meta: []byte("meta"),
		ConfState: &pb.ConfState{Voters: []uint64{3, 1, 2}, Learners: []uint64{4}},
	}
}

func frozenFile(t *testing.T) ([]byte, raftlog.Descriptor) {
	t.Helper()
	enc, err := raftlog.NewFileEncoder(frozenDescriptor())
	if err != nil {
		t.Fatal(err)
	}
	file := enc.Header()
	for _, chunk := range []string{"hello ", "world"} {
		frame, err := enc.Frame([]byte(chunk))
		if err != nil {
			t.Fatal(err)
		}
		file = append(append(file, frame[:]...), chunk...)
	}
	trailer, d := enc.Trailer()
	return append(file, trailer...), d
}

func expectHex(t *testing.T, what string, got []byte, want string) {
	t.Helper()
	if hex.EncodeToString(got) != want {
		t.Errorf("%s is now\n%x\nand was\n%s", what, got, want)
	}
}

func TestFrozenDescriptor(t *testing.T) {
	_, d := frozenFile(t)
	b, err := d.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	expectHex(t, "descriptor", b, "484d4344000000010200000000000011220000000000000007000000000000009903000000000000000100000000000000020000000000000003010000000000000004000000000000046d657461000000000000000b00000002f8db0a492bb4de2dd35fd43102b87387e0ed44f3ecbc3fbd5a59fcae0caab85c")
	var back raftlog.Descriptor
	if err := back.UnmarshalBinary(b); err != nil || !back.Equal(d) {
		t.Fatalf("read back as %+v, %v", back, err)
	}
	for n := range b {
		if err := back.UnmarshalBinary(b[:n]); err == nil {
			t.Fatalf("the first %d of %d bytes were read as a descriptor", n, len(b))
		}
	}
	if err := back.UnmarshalBinary(append(b, 0)); err == nil {
		t.Fatal("a descriptor with a byte too many was read")
	}
}

// TestNewerCheckpoint checks that what a newer build wrote is told from damage, even if
// it is laid out otherwise behind the format.
func TestNewerCheckpoint(t *testing.T) {
	file, d := frozenFile(t)
	stored, err := d.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	d.Format = raftlog.DescriptorFormat + 1
	stored[7]++ // the format's last byte
	body := append([]byte("HMCD\x00\x00\x00\x02"), "otherwise"...)
	other := binary.BigEndian.AppendUint32([]byte("HMCP"), uint32(len(body)+4))
	other = append(other, body...)
	other = binary.BigEndian.AppendUint32(other, crc32.Checksum(body, raftlog.Castagnoli))
	header := func(b []byte) error {
		_, _, err := raftlog.ParseFileHeader(b)
		return err
	}
	var back raftlog.Descriptor
	for what, err := range map[string]error{
		"descriptor": d.Validate(), "stored form": back.UnmarshalBinary(stored),
		"stored form laid out otherwise": back.UnmarshalBinary(append(stored[:9], "otherwise"...)),
		"file":                           header(append(other, file...)),
	} {
		if newer, ok := errors.AsType[*raftlog.FormatError](err); !ok || newer.Have != 2 || newer.Know != raftlog.DescriptorFormat {
			t.Errorf("%s of a newer format: %v", what, err)
		}
	}
	d.Format = 0
	if err := d.Validate(); err == nil || errors.As(err, new(*raftlog.FormatError)) {
		t.Errorf("a descriptor without a format: %v", err)
	}
}

func TestFrozenCheckpointFile(t *testing.T) {
	b, d := frozenFile(t)
	expectHex(t, "checkpoint file", b, "484d435000000052484d4344000000010200000000000011220000000000000007000000000000009903000000000000000100000000000000020000000000000003010000000000000004000000000000046d65746106de5b9a00000006ca95f2b968656c6c6f2000000005200df4c1776f726c64ffffffff00000002000000000000000bf8db0a492bb4de2dd35fd43102b87387e0ed44f3ecbc3fbd5a59fcae0caab85c1e0f5716")
	head, n, err := raftlog.ParseFileHeader(b)
	if err != nil || n <= 0 || head.Index != d.Index {
		t.Fatalf("header: %+v, %d bytes, %v", head, n, err)
	}
	back, err := raftlog.ParseFileTrailer(head, b[len(b)-raftlog.FileTrailerBytes:])
	if err != nil || !back.Equal(d) {
		t.Fatalf("trailer: %+v, %v", back, err)
	}
}

func TestFrozenIdentity(t *testing.T) {
	peers := []raftlog.Peer{{ID: 1, Addr: "a:1"}, {ID: 2, Addr: "b:2"}}
	id := raftlog.Identity{
		Format: 2, ClusterID: raftlog.ClusterID("prod", peers), RecoveryEpoch: 3, ClusterName: "prod", Member: 2, Peers: peers,
	}
	expectHex(t, "cluster id", id.ClusterID[:], "fc07522d03f6e3508b14ffec8ba6f515")
	b, err := id.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	expectHex(t, "identity", b, "484d494400000002fc07522d03f6e3508b14ffec8ba6f51500000000000000030000000000000002000470726f64000200000000000000010003613a3100000000000000020003623a32942fb361")
	var back raftlog.Identity
	if err := back.UnmarshalBinary(b); err != nil {
		t.Fatal(err)
	}
	again, err := back.MarshalBinary()
	if err != nil || !bytes.Equal(again, b) {
		t.Fatalf("identity does not come back: %+v, %v", back, err)
	}
	for i := range b {
		bad := bytes.Clone(b)
		bad[i] ^= 1
		if err := back.UnmarshalBinary(bad); err == nil {
			t.Fatalf("a flipped bit at byte %d went unnoticed", i)
		}
	}
}

// TestOtherIdentity checks that a directory of another format is refused as such, and told
// from damage, whether it is older or newer.
func TestOtherIdentity(t *testing.T) {
	older, err := hex.DecodeString("484d494400000001fc07522d03f6e3508b14ffec8ba6f51500000000000000030000000000000002000470726f64000200000000000000010003613a3100000000000000020003623a32157cfb85")
	if err != nil {
		t.Fatal(err)
	}
	newer := bytes.Clone(older[:len(older)-4])
	newer[7] = 3
	newer = binary.BigEndian.AppendUint32(newer, crc32.Checksum(newer, raftlog.Castagnoli))
	for _, test := range []struct {
		stored []byte
		format uint32
		says   string
	}{{older, 1, "too old.*the build that wrote it.*start anew: stop all members"}, {newer, 3, "upgrade this member"}} {
		err := new(raftlog.Identity).UnmarshalBinary(test.stored)
		other, ok := errors.AsType[*raftlog.FormatError](err)
		if !ok || other.Have != test.format || other.Know != raftlog.IdentityFormat || !regexp.MustCompile(test.says).MatchString(err.Error()) {
			t.Errorf("a directory of format %d: %v", test.format, err)
		}
	}
}
