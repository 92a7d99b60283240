package pebblestore

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

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
)

func memberKey(kind byte) []byte                   { return []byte{0, kind} }
func groupKey(g raftlog.GroupID, kind byte) []byte { return []byte{byte(g), kind} }

func indexKey(g raftlog.GroupID, kind byte, index uint64) []byte {
	return binary.BigEndian.AppendUint64(groupKey(g, kind), index)
}

// indexOf returns the index in a key of indexKey.
func indexOf(key []byte) uint64 { return binary.BigEndian.Uint64(key[2:]) }

// seal puts a checksum over key and content before the content:
//
//	CRC-32C u32 over key and content, content
//
// so that a value in another's place is noticed.
func seal(key, content []byte) []byte {
	b := make([]byte, 4, 4+len(content))
	binary.BigEndian.PutUint32(b, checksum(key, content))
	return append(b, content...)
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

// entryRecord is the content of an entry: term u64, type u8, data. The index and the
// group are in the key and thereby in the checksum.
func entryRecord(e *pb.Entry) []byte {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, 9+len(e.GetData())), e.GetTerm())
	b = append(b, byte(e.GetType()))
	return append(b, e.GetData()...)
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

// historyRecord is the content of a history record: last less first sequence uvarint,
// index of the entry uvarint, opaque bytes. The first sequence is in the key.
func historyRecord(r *raftlog.Record) []byte {
	b := binary.AppendUvarint(make([]byte, 0, 2*binary.MaxVarintLen64+len(r.Data)), r.Last-r.First)
	b = binary.AppendUvarint(b, r.Entry)
	return append(b, r.Data...)
}

func parseHistory(first uint64, content []byte) (raftlog.Record, error) {
	more, n := binary.Uvarint(content)
	entry, m := binary.Uvarint(content[max(n, 0):])
	if n <= 0 || m <= 0 || first == 0 || first+more < first {
		return raftlog.Record{}, fmt.Errorf("history record %d cannot be read", first)
	}
	return raftlog.Record{First: first, Last: first + more, Entry: entry, Data: append([]byte(nil), content[n+m:]...)}, nil
}

// words is a record of fixed numbers, each u64.
func words(vs ...uint64) []byte {
	var b []byte
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
