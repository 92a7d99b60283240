package raftlog

import (
	"math"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
)

// memory is the stored log as raft reads it, with the bytes of its entries' data
// counted.
type memory struct {
	*raft.MemoryStorage
	bytes uint64
}

// Append adds stored entries, replacing those from the first one's index on.
func (m *memory) Append(entries []*pb.Entry) error {
	if len(entries) == 0 {
		return nil
	}
	replaced := m.sum(entries[0].GetIndex(), math.MaxUint64)
	if err := m.MemoryStorage.Append(entries); err != nil {
		return err
	}
	m.bytes += dataBytes(entries) - replaced
	return nil
}

// Compact drops the entries up to an index.
func (m *memory) Compact(upTo uint64) error {
	dropped := m.sum(0, upTo)
	if err := m.MemoryStorage.Compact(upTo); err != nil {
		return err
	}
	m.bytes -= dropped
	return nil
}

// ApplySnapshot replaces the whole log.
func (m *memory) ApplySnapshot(s *pb.Snapshot) error {
	m.bytes = 0
	return m.MemoryStorage.ApplySnapshot(s)
}

// sum returns the bytes of the entries from one index to another, those that
// there are.
func (m *memory) sum(from, to uint64) uint64 {
	first, _ := m.FirstIndex()
	last, _ := m.LastIndex()
	if from, to = max(from, first), min(to, last); from > to {
		return 0
	}
	entries, err := m.Entries(from, to+1, math.MaxUint64)
	if err != nil {
		return 0 // the bounds were just asked for
	}
	return dataBytes(entries)
}

// before returns the index before the entries that end at an index and have at most
// that many bytes together; the last index gone, if all fit.
func (m *memory) before(end, bytes uint64) uint64 {
	first, _ := m.FirstIndex()
	last, _ := m.LastIndex()
	if end = min(end, last); end < first {
		return end
	}
	entries, err := m.Entries(first, end+1, math.MaxUint64)
	if err != nil {
		return 0 // the bounds were just asked for
	}
	at := len(entries)
	for ; at > 0; at-- {
		size := uint64(len(entries[at-1].GetData()))
		if size > bytes {
			break
		}
		bytes -= size
	}
	return first + uint64(at) - 1
}

func dataBytes(entries []*pb.Entry) uint64 {
	var n uint64
	for _, e := range entries {
		n += uint64(len(e.GetData()))
	}
	return n
}
