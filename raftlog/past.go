package raftlog

import (
	"cmp"
	"fmt"
	"slices"
)

// Record is one history record: it says which committed entry of the log holds a part of
// the caller's dense sequence, and keeps opaque bytes beside that. The entry stays for as
// long as the record, so nothing that is in the log is stored a second time.
type Record struct {
	First, Last uint64 // of the sequence; First starts at 1
	Entry       uint64 // index of the entry that holds them
	Data        []byte
}

// Past is a record as it is read back, with its entry.
type Past struct {
	Record
	Term    uint64 // of the entry
	Content []byte // of the entry; the caller owns it
}

// Place is where records that are filled into history go, see Storage.FillHistory.
type Place struct {
	Group  GroupID
	Before Record // the last one that begins before they do; a zero one if there is none
	Behind Record // the first one that does not; a zero one if there is none
	Start  uint64 // of the log
	Seq    uint64 // of the newest checkpoint
	// InLog reports whether the log holds exactly that entry.
	InLog func(*Past) bool
}

// Fit checks records against the place that they are to go to. They have to reach what is
// behind them without a gap, so that no crash between two fills, or in place of the next
// one, leaves a hole that was not there before.
func (p Place) Fit(past []Past) error {
	misfit := func(r Record, format string, args ...any) error {
		return fmt.Errorf("raftlog: group %d: records cannot be filled into history: that of %d to %d, in entry %d, %s",
			p.Group, r.First, r.Last, r.Entry, fmt.Sprintf(format, args...))
	}
	before := p.Before
	for i := range past {
		r := past[i].Record
		switch {
		case r.First == 0 || r.First > r.Last || r.Entry <= GenesisIndex || past[i].Term == 0:
			return misfit(r, "of term %d, is none", past[i].Term)
		case r.Entry > p.Start && !p.InLog(&past[i]):
			return misfit(r, "lies in the log, which starts after %d and holds another one", p.Start)
		case r.First <= before.Last || r.Entry <= before.Entry:
			return misfit(r, "does not lie behind %d to %d in entry %d", before.First, before.Last, before.Entry)
		case i > 0 && r.First != before.Last+1:
			return misfit(r, "leaves a gap behind %d", before.Last)
		}
		before = r
	}
	switch next := p.Behind; {
	case next.First == 0 && before.Last != p.Seq:
		return misfit(before, "does not end at %d, where the newest checkpoint is", p.Seq)
	case next.First != 0 && (before.Last+1 != next.First || before.Entry >= next.Entry):
		return misfit(before, "does not end before %d in entry %d", next.First, next.Entry)
	}
	return nil
}

// MarkSegment is how many sequences a segment of marks has: segment n has those from
// n*MarkSegment on.
const MarkSegment = 16_384

// Mark says that a sequence has to do with something. What the number of that something
// means is the caller's.
type Mark struct {
	Tag, Seq uint64
}

// SortMarks returns the marks of a segment by tag and sequence, each once, in the memory that it
// is given. It refuses those of another segment.
func SortMarks(segment uint64, marks []Mark) ([]Mark, error) {
	for _, m := range marks {
		if m.Seq/MarkSegment != segment {
			return nil, fmt.Errorf("raftlog: sequence %d of a mark is in segment %d, not in %d: each has %d (MarkSegment)", m.Seq, m.Seq/MarkSegment, segment, MarkSegment)
		}
	}
	slices.SortFunc(marks, func(a, b Mark) int {
		return cmp.Or(cmp.Compare(a.Tag, b.Tag), cmp.Compare(a.Seq, b.Seq))
	})
	return slices.Compact(marks), nil
}
