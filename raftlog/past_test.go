package raftlog_test

import (
	"math"
	"slices"
	"testing"

	"github.com/heliosdb/metadata/raftlog"
)

func pastAt(term uint64, numbers ...uint64) (past []raftlog.Past) {
	for n := range slices.Chunk(numbers, 3) {
		past = append(past, raftlog.Past{Record: raftlog.Record{First: n[0], Last: n[1], Entry: n[2]}, Term: term})
	}
	return past
}

func TestPlaceFit(t *testing.T) {
	between := raftlog.Place{
		Group: 1, Start: 500, Seq: 400,
		Before: raftlog.Record{First: 90, Last: 100, Entry: 110}, Behind: raftlog.Record{First: 201, Last: 203, Entry: 220},
		InLog: func(p *raftlog.Past) bool { return p.Term == 7 },
	}
	last, only := between, between
	last.Behind, only.Before, only.Behind = raftlog.Record{}, raftlog.Record{}, raftlog.Record{}
	for _, test := range []struct {
		what  string
		place raftlog.Place
		past  []raftlog.Past
		fits  bool
	}{
		{"all that is missing", between, pastAt(1, 101, 150, 111, 151, 200, 219), true},
		{"the newest part", between, pastAt(1, 199, 199, 218, 200, 200, 219), true},
		{"the older part alone", between, pastAt(1, 101, 199, 111), false},
		{"over what is behind", between, pastAt(1, 150, 201, 111), false},
		{"over what is before", between, pastAt(1, 100, 200, 111), false},
		{"the entry of what is before", between, pastAt(1, 101, 200, 110), false},
		{"the entry of what is behind", between, pastAt(1, 101, 200, 220), false},
		{"a gap inside", between, pastAt(1, 101, 150, 111, 152, 200, 112), false},
		{"an overlap inside", between, pastAt(1, 101, 150, 111, 150, 200, 112), false},
		{"entries backwards", between, pastAt(1, 101, 150, 112, 151, 200, 111), false},
		{"an entry twice", between, pastAt(1, 101, 150, 112, 151, 200, 112), false},
		{"a sequence backwards", between, pastAt(1, 101, 99, 111, 100, 200, 112), false},
		{"no term", between, pastAt(0, 101, 200, 111), false},
		{"up to the checkpoint", last, pastAt(1, 300, 400, 500), true},
		{"not up to the checkpoint", last, pastAt(1, 300, 399, 500), false},
		{"behind the checkpoint", last, pastAt(1, 300, 401, 500), false},
		{"an entry of the log", last, pastAt(7, 300, 400, 501), true},
		{"another entry than the log's", last, pastAt(1, 300, 400, 501), false},
		{"into nothing", only, pastAt(1, 1, 400, 2), true},
		{"genesis", only, pastAt(1, 1, 400, 1), false},
		{"no sequence", only, pastAt(1, 0, 400, 2), false},
		{"the end of all numbers", only, pastAt(1, 1, math.MaxUint64, 2, 1, 400, 3), false},
	} {
		if err := test.place.Fit(test.past); (err == nil) != test.fits {
			t.Errorf("%s: %v", test.what, err)
		}
	}
}

func TestSortMarks(t *testing.T) {
	const first = 3 * raftlog.MarkSegment
	given := []raftlog.Mark{{Tag: 2, Seq: first}, {Tag: 1, Seq: first + 5}, {Tag: 2, Seq: first}, {Tag: 1, Seq: first + raftlog.MarkSegment - 1}, {Tag: 1, Seq: first}}
	before := slices.Clone(given)
	got, err := raftlog.SortMarks(3, given)
	want := []raftlog.Mark{{Tag: 1, Seq: first}, {Tag: 1, Seq: first + 5}, {Tag: 1, Seq: first + raftlog.MarkSegment - 1}, {Tag: 2, Seq: first}}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%v are sorted as %v, %v", before, got, err)
	}
	for _, seq := range []uint64{first - 1, first + raftlog.MarkSegment, 0, math.MaxUint64} {
		if _, err := raftlog.SortMarks(3, []raftlog.Mark{{Tag: 1, Seq: seq}}); err == nil {
			t.Errorf("sequence %d was taken for one of segment 3", seq)
		}
	}
}
