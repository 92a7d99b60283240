package objects

import (
	"cmp"
	"errors"
	"slices"
	"sync"
)

// SegmentRevisions is the number of revisions of a segment: segment n has the revisions
// from n*SegmentRevisions on. Storages keep marks by it.
const SegmentRevisions = 16_384

// MaxSegmentMarks bounds the marks of a segment, each of 16 bytes. One that has more is not
// indexed: whoever asks for something of it reads its changes.
const MaxSegmentMarks = 1 << 20

// ErrFull is what PutMarks returns when there is no room. What was read is used without being
// kept.
var ErrFull = errors.New("objects: there is no room to keep the marks of a segment")

// Mark says that the change of a revision has a tag.
type Mark struct{ Tag, Seq uint64 }

// Marks is where the marks of a stream are kept. Its methods may be called at the same
// time.
type Marks interface {
	// ReadMarks returns the revisions of a segment that have a tag, ascending, in memory that
	// is the caller's, and whether the segment is complete. Of one that is not, nothing counts.
	ReadMarks(segment, tag uint64) (seqs []uint64, complete bool, err error)
	// PutMarks stores the marks of a segment in place of those that it may have, by tag and
	// revision, and that it is complete. An error that is ErrFull is no failure.
	PutMarks(segment uint64, marks []Mark) error
}

// MemoryMarks are marks in memory, 16 bytes for each: for histories in files and for
// tests. The zero MemoryMarks is empty.
type MemoryMarks struct {
	mu       sync.Mutex
	segments map[uint64][]Mark
}

// ReadMarks returns the revisions of a segment that have a tag.
func (m *MemoryMarks) ReadMarks(segment, tag uint64) (seqs []uint64, complete bool, err error) {
	m.mu.Lock()
	marks, complete := m.segments[segment]
	m.mu.Unlock()
	at, _ := slices.BinarySearchFunc(marks, Mark{Tag: tag}, compareMarks)
	for ; at < len(marks) && marks[at].Tag == tag; at++ {
		seqs = append(seqs, marks[at].Seq)
	}
	return seqs, complete, nil
}

// PutMarks keeps the marks of a segment.
func (m *MemoryMarks) PutMarks(segment uint64, marks []Mark) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.segments == nil {
		m.segments = make(map[uint64][]Mark)
	}
	m.segments[segment] = slices.Clone(marks)
	return nil
}

// compareMarks orders marks by tag and revision.
func compareMarks(a, b Mark) int {
	return cmp.Or(cmp.Compare(a.Tag, b.Tag), cmp.Compare(a.Seq, b.Seq))
}
