package pebblestore

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/cockroachdb/pebble/v2"
	"github.com/heliosdb/metadata/raftlog"
	pb "go.etcd.io/raft/v3/raftpb"
)

// Kinds of keys.
const (
	kindMarker     = 'm' // member: written and flushed when the store is created
	kindIdentity   = 'i' // member: raftlog.Identity
	kindRebuild    = 'q' // member: there while the store is being rebuilt
	kindHard       = 'h' // term, vote, commit
	kindStart      = 's' // index, term of the log's start
	kindCheckpoint = 'c' // by index: raftlog.Descriptor
	kindEntry      = 'e' // by index: term, type, data
	kindHistory    = 'r' // by first sequence: how many more, entry, opaque
	kindHoles      = 'g' // holes of history between its first and last sequence, ascending: first, last; nothing: none
	kindArchived   = 'a' // by index: raftlog.Descriptor of a replaced checkpoint
	kindMark       = 'x' // by segment: nothing, all its marks are there; by segment and tag: sequences
)

func memberKey(kind byte) []byte                   { return []byte{0, kind} }
func groupKey(g raftlog.GroupID, kind byte) []byte { return []byte{byte(g), kind} }

func indexKey(g raftlog.GroupID, kind byte, index uint64) []byte {
	key := make([]byte, 10)
	key[0], key[1] = byte(g), kind
	binary.BigEndian.PutUint64(key[2:], index)
	return key
}

// markKey is where the sequences of a segment with one tag are. It sorts behind the key of
// the segment itself, indexKey, and before the next segment.
func markKey(g raftlog.GroupID, segment, tag uint64) []byte {
	return binary.BigEndian.AppendUint64(indexKey(g, kindMark, segment), tag)
}

// kindsApart makes Pebble end a table where a kind of keys ends. The few keys that are
// written again and again overlap in all tables, those of the log in none. In shared
// tables every compaction rewrote most of the log, so that its cost grew with it; in
// tables of their own entries are rewritten once.
func kindsApart(start []byte) (policy pebble.SpanPolicy, end []byte, err error) {
	switch {
	case len(start) < 2:
	case start[0] == 0: // the member's own keys, which are read and written together
		end = []byte{1}
	default:
		end = []byte{start[0], start[1] + 1}
	}
	return policy, end, nil
}

// indexOf returns the index in a key of indexKey.
func indexOf(key []byte) uint64 { return binary.BigEndian.Uint64(key[2:]) }

// seal puts a checksum over key and content before the content:
//
//	CRC-32C u32 over key and content, content
//
// so that a value in another's place is noticed.
func seal(key, content []byte) []byte {
	b := make([]byte, 4+len(content))
	sealInto(b, key, content)
	return b
}

// sealInto fills b, which has four bytes more than the parts of the content together.
func sealInto(b, key []byte, parts ...[]byte) {
	at := 4
	for _, p := range parts {
		at += copy(b[at:], p)
	}
	binary.BigEndian.PutUint32(b, checksum(key, b[4:]))
}

// put seals a record into a batch, where it is written once, without a copy of its own: an
// entry has up to some megabytes.
func put(b *pebble.Batch, key []byte, parts ...[]byte) {
	size := 4
	for _, p := range parts {
		size += len(p)
	}
	op := b.SetDeferred(len(key), size)
	copy(op.Key, key)
	sealInto(op.Value, op.Key, parts...)
	_ = op.Finish() // fails on indexed batches only
}

func checksum(key, content []byte) uint32 {
	return crc32.Update(crc32.Update(0, raftlog.Castagnoli, key), raftlog.Castagnoli, content)
}

// unseal verifies a value and returns its content, which shares its memory.
func unseal(key, value []byte) ([]byte, error) {
	if len(value) < 4 {
		return nil, fmt.Errorf("record %x has %d bytes", key, len(value))
	}
	if content := value[4:]; checksum(key, content) == binary.BigEndian.Uint32(value) {
		return content, nil
	}
	return nil, fmt.Errorf("record %x does not match its checksum", key)
}

// entryHead is the content of an entry before its data: term u64, type u8. The index and the
// group are in the key and thereby in the checksum.
func entryHead(e *pb.Entry) (head [9]byte) {
	binary.BigEndian.PutUint64(head[:], e.GetTerm())
	head[8] = byte(e.GetType())
	return head
}

func parseEntry(index uint64, content []byte) (*pb.Entry, error) {
	if len(content) < 9 {
		return nil, fmt.Errorf("entry %d has %d bytes", index, len(content))
	}
	e := &pb.Entry{Index: new(index), Term: new(binary.BigEndian.Uint64(content))}
	if t := pb.EntryType(content[8]); t != pb.EntryNormal {
		e.Type = t.Enum()
	}
	if data := content[9:]; len(data) > 0 {
		e.Data = append([]byte(nil), data...)
	}
	return e, nil
}

// appendHistoryHead appends the content of a history record before its opaque bytes: last less
// first sequence uvarint, index of the entry uvarint. The first sequence is in the key.
func appendHistoryHead(b []byte, r *raftlog.Record) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(b, r.Last-r.First), r.Entry)
}

func parseHistory(first uint64, content []byte) (raftlog.Record, error) {
	more, n := binary.Uvarint(content)
	entry, m := binary.Uvarint(content[max(n, 0):])
	if n <= 0 || m <= 0 || first == 0 || first+more < first {
		return raftlog.Record{}, fmt.Errorf("history record %d cannot be read", first)
	}
	return raftlog.Record{First: first, Last: first + more, Entry: entry, Data: append([]byte(nil), content[n+m:]...)}, nil
}

// appendMarks appends the sequences of one tag, which are ascending: each less the one before it
// uvarint, the first one less the segment's first.
func appendMarks(b []byte, segment uint64, seqs []uint64) []byte {
	before := segment * raftlog.MarkSegment
	for _, seq := range seqs {
		b = binary.AppendUvarint(b, seq-before)
		before = seq
	}
	return b
}

func parseMarks(segment uint64, content []byte) (seqs []uint64, err error) {
	seq := segment * raftlog.MarkSegment
	for at := 0; at < len(content); {
		more, n := binary.Uvarint(content[at:])
		if n <= 0 || more >= raftlog.MarkSegment || len(seqs) > 0 && more == 0 || (seq+more)/raftlog.MarkSegment != segment {
			return nil, fmt.Errorf("marks of segment %d cannot be read", segment)
		}
		seq += more
		seqs = append(seqs, seq)
		at += n
	}
	return seqs, nil
}

// encodeSpans is runs of sequences, each by its first and last one u64.
func encodeSpans(spans []raftlog.Span) []byte {
	b := make([]byte, 0, 16*len(spans))
	for _, s := range spans {
		b = binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(b, s.First), s.Last)
	}
	return b
}

func parseSpans(content []byte) (spans []raftlog.Span, err error) {
	for at := 0; at < len(content); at += 16 {
		var s raftlog.Span
		if err := parseWords(content[at:min(at+16, len(content))], &s.First, &s.Last); err != nil {
			return nil, err
		}
		if n := len(spans); s.First == 0 || s.First > s.Last || n > 0 && s.First <= spans[n-1].Last {
			return nil, fmt.Errorf("a run of sequences %d to %d is none, or not in order", s.First, s.Last)
		}
		spans = append(spans, s)
	}
	return spans, nil
}

// words is a record of fixed numbers, each u64.
func words(vs ...uint64) []byte {
	b := make([]byte, 0, 8*len(vs))
	for _, v := range vs {
		b = binary.BigEndian.AppendUint64(b, v)
	}
	return b
}

func parseWords(content []byte, vs ...*uint64) error {
	if len(content) != 8*len(vs) {
		return fmt.Errorf("a record of %d numbers has %d bytes", len(vs), len(content))
	}
	for i, v := range vs {
		*v = binary.BigEndian.Uint64(content[8*i:])
	}
	return nil
}
