package pebblestore

import (
	"encoding/hex"
	"math"
	"reflect"
	"testing"

	"github.com/heliosdb/metadata/raftlog"
	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// The bytes below are on disks: a test that fails here needs a new format number and
// code that reads both, not new bytes.

func expectHex(t *testing.T, what string, got []byte, want string) {
	t.Helper()
	if hex.EncodeToString(got) != want {
		t.Errorf("%s is now\n%x\nand was\n%s", what, got, want)
	}
}

func TestFrozenEntry(t *testing.T) {
	e := &pb.Entry{Index: new(uint64(0x0102)), Term: new(uint64(5)), Type: pb.EntryConfChangeV2.Enum(), Data: []byte("data")}
	key := indexKey(3, kindEntry, e.GetIndex())
	expectHex(t, "entry key", key, "03650000000000000102")
	value := make([]byte, 4+9+len(e.GetData()))
	head := entryHead(e)
	sealInto(value, key, head[:], e.GetData())
	expectHex(t, "entry record", value, "15d2114900000000000000050264617461")
	content, err := unseal(key, value)
	if err != nil {
		t.Fatal(err)
	}
	if back, err := parseEntry(indexOf(key), content); err != nil || !proto.Equal(back, e) {
		t.Fatalf("entry comes back as %v, %v", back, err)
	}
	// In another place, of another group or index, it is damage.
	for _, other := range [][]byte{indexKey(3, kindEntry, 0x0103), indexKey(4, kindEntry, 0x0102), indexKey(3, kindHistory, 0x0102)} {
		if _, err := unseal(other, value); err == nil {
			t.Fatalf("the record of %x was read at %x", key, other)
		}
	}
}

func TestFrozenHistory(t *testing.T) {
	r := raftlog.Record{First: 0x0102, Last: 0x0102 + 300, Entry: 129, Data: []byte("data")}
	key := indexKey(3, kindHistory, r.First)
	expectHex(t, "history key", key, "03720000000000000102")
	expectHex(t, "history record", seal(key, append(appendHistoryHead(nil, &r), r.Data...)), "698e8c35ac02810164617461")
	if back, err := parseHistory(r.First, append(appendHistoryHead(nil, &r), r.Data...)); err != nil || !reflect.DeepEqual(back, r) {
		t.Fatalf("history comes back as %+v, %v", back, err)
	}
	for _, bad := range [][]byte{nil, {5}, {0x80}, {1, 0x80}, appendHistoryHead(nil, &raftlog.Record{First: 1, Last: math.MaxUint64, Entry: 1})} {
		if r, err := parseHistory(0x0102, bad); err == nil {
			t.Errorf("%x was read as %+v", bad, r)
		}
	}
}

func TestFrozenMarks(t *testing.T) {
	expectHex(t, "segment key", indexKey(3, kindMark, 0x0102), "03780000000000000102")
	expectHex(t, "segment record", seal(indexKey(3, kindMark, 0x0102), nil), "bfff9d8e")
	key := markKey(3, 0x0102, 0x0a0b)
	expectHex(t, "mark key", key, "037800000000000001020000000000000a0b")
	const first = 0x0102 * raftlog.MarkSegment
	seqs := []uint64{first, first + 1, first + 300, first + raftlog.MarkSegment - 1}
	content := appendMarks(nil, 0x0102, seqs)
	expectHex(t, "mark record", seal(key, content), "89068f980001ab02d37d")
	if back, err := parseMarks(0x0102, content); err != nil || !reflect.DeepEqual(back, seqs) {
		t.Fatalf("marks come back as %d, %v", back, err)
	}
	end := appendMarks(nil, math.MaxUint64/raftlog.MarkSegment, []uint64{math.MaxUint64})
	if back, err := parseMarks(math.MaxUint64/raftlog.MarkSegment, end); err != nil || back[0] != math.MaxUint64 {
		t.Fatalf("the last mark of all comes back as %d, %v", back, err)
	}
	for _, bad := range [][]byte{{0x80}, {5, 0}, {0xff, 0x7f, 1}, {0x80, 0x80, 1}, append(end, 1)} {
		if seqs, err := parseMarks(math.MaxUint64/raftlog.MarkSegment, bad); err == nil {
			t.Errorf("%x was read as %d", bad, seqs)
		}
	}
}

func TestFrozenFloor(t *testing.T) {
	promises := map[raftlog.GroupID]raftlog.Promise{2: {Last: 20, Term: 4, Vote: 1}, 1: {Last: 0x0a0b, Term: 3, Vote: 2}}
	b := encodeFloor(9, promises)
	expectHex(t, "floor slot", b, "484d464c00000001000000000000000902010000000000000a0b0000000000000003000000000000000202000000000000001400000000000000040000000000000001491870e8")
	number, back, err := decodeFloor(b)
	if err != nil || number != 9 || back[1] != promises[1] || back[2] != promises[2] || len(back) != 2 {
		t.Fatalf("floor comes back as %d, %v, %v", number, back, err)
	}
	for i := range b {
		bad := append([]byte(nil), b...)
		bad[i] ^= 1
		if _, _, err := decodeFloor(bad); err == nil {
			t.Fatalf("a flipped bit at byte %d went unnoticed", i)
		}
	}
}

func TestFrozenWords(t *testing.T) {
	key := groupKey(1, kindHard)
	expectHex(t, "hard state", seal(key, words(7, 2, 300)), "f84c02ba00000000000000070000000000000002000000000000012c")
}

func TestFrozenHoles(t *testing.T) {
	key := groupKey(3, kindHoles)
	holes := []raftlog.Span{{First: 0x0102, Last: 0x0103}, {First: 0x0a0b, Last: math.MaxUint64 - 1}}
	expectHex(t, "holes record", seal(key, encodeSpans(holes)), "af13c2cf000000000000010200000000000001030000000000000a0bfffffffffffffffe")
	if back, err := parseSpans(encodeSpans(holes)); err != nil || !reflect.DeepEqual(back, holes) {
		t.Fatalf("holes come back as %v, %v", back, err)
	}
	if back, err := parseSpans(nil); err != nil || back != nil {
		t.Fatalf("no holes come back as %v, %v", back, err)
	}
	for _, bad := range [][]byte{words(1), words(1, 2, 3), words(0, 2), words(3, 2), words(1, 3, 3, 4)} {
		if spans, err := parseSpans(bad); err == nil {
			t.Errorf("%x was read as %v", bad, spans)
		}
	}
}
