package raftlog_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/heliosdb/metadata/raftlog"
)

// archiveOf archives checkpoints of these sequences one after the other, each at the index of
// its sequence and one, and returns the sequences that are kept.
func archiveOf(seqs ...uint64) (kept []uint64, archived []raftlog.Descriptor) {
	for _, seq := range seqs {
		archived, _ = raftlog.Archive(archived, raftlog.Descriptor{Index: seq + 1, Seq: seq})
	}
	for _, d := range archived {
		kept = append(kept, d.Seq)
	}
	return kept, archived
}

func TestArchive(t *testing.T) {
	for _, test := range []struct {
		what       string
		seqs, kept []uint64
	}{
		{"genesis has no file", []uint64{0, 10}, []uint64{10}},
		{"all while they are few", []uint64{10, 20, 30}, []uint64{10, 20, 30}},
		{"in order", []uint64{30, 10, 20}, []uint64{10, 20, 30}},
		{"one once", []uint64{10, 20, 10}, []uint64{10, 20}},
		{"the older one of two that are as close", []uint64{10, 20, 30, 40, 50, 60, 70, 80, 90}, []uint64{10, 30, 40, 50, 60, 70, 80, 90}},
		{"the closest", []uint64{10, 20, 30, 40, 50, 60, 70, 80, 85}, []uint64{10, 20, 30, 40, 50, 60, 70, 85}},
		{"never the new one", []uint64{10, 20, 30, 40, 50, 60, 70, 80, 41}, []uint64{10, 20, 30, 41, 50, 60, 70, 80}},
		{"never the first or the last", []uint64{10, 11, 30, 40, 50, 60, 70, 71, 72}, []uint64{10, 11, 30, 40, 50, 60, 70, 72}},
	} {
		if kept, _ := archiveOf(test.seqs...); !slices.Equal(kept, test.kept) {
			t.Errorf("%s: of %d are kept %d, want %d", test.what, test.seqs, kept, test.kept)
		}
	}
}

func TestThinArchive(t *testing.T) {
	for _, test := range []struct {
		seqs, kept []uint64
		base       uint64
	}{
		{nil, nil, 0},
		{[]uint64{10}, []uint64{10}, 0},
		{[]uint64{10, 20}, []uint64{10}, 0},
		{[]uint64{10, 20, 25}, []uint64{10, 25}, 0},
		{[]uint64{10, 20, 30, 31, 40}, []uint64{10, 20, 30, 40}, 0},
		{[]uint64{10, 20, 30, 40}, []uint64{10, 30, 40}, 0},
		{[]uint64{10, 20}, []uint64{10, 20}, 20},
		{[]uint64{10, 20, 25}, []uint64{10, 20}, 20},
		{[]uint64{10, 20, 30, 31, 40}, []uint64{10, 20, 30, 40}, 30},
		{[]uint64{10, 20, 30, 31, 40}, []uint64{10, 20, 31, 40}, 31},
		{[]uint64{10, 20, 30}, []uint64{10, 30}, 10},
	} {
		_, archived := archiveOf(test.seqs...)
		before := slices.Clone(archived)
		kept, dropped := raftlog.ThinArchive(archived, test.base+1)
		if len(kept)+len(dropped) != len(archived) {
			t.Errorf("of %d checkpoints %d are kept, %d dropped", len(archived), len(kept), len(dropped))
		}
		var seqs []uint64
		for _, d := range kept {
			seqs = append(seqs, d.Seq)
		}
		if !slices.Equal(seqs, test.kept) {
			t.Errorf("of %d are kept %d, want %d", test.seqs, seqs, test.kept)
		}
		if !slices.EqualFunc(before, archived, func(a, b raftlog.Descriptor) bool { return a.Seq == b.Seq }) {
			t.Error("the archived ones that were given have changed")
		}
	}
}

// TestArchiveSpreads checks that a long life leaves no large part of the sequence without a
// checkpoint, and that what is given stays as it is.
func TestArchiveSpreads(t *testing.T) {
	var archived []raftlog.Descriptor
	for seq := uint64(10); seq <= 100_000; seq += 10 {
		before := slices.Clone(archived)
		kept, dropped := raftlog.Archive(archived, raftlog.Descriptor{Index: 3 * seq, Seq: seq})
		if len(kept) > raftlog.KeepArchived || len(kept)+len(dropped) != len(archived)+1 {
			t.Fatalf("of %d and one %d are kept, %d dropped", len(archived), len(kept), len(dropped))
		}
		if !slices.EqualFunc(before, archived, func(a, b raftlog.Descriptor) bool { return a.Seq == b.Seq }) {
			t.Fatal("the archived ones that were given have changed")
		}
		archived = kept
		widest := uint64(0)
		for i := range archived[1:] {
			widest = max(widest, archived[i+1].Seq-archived[i].Seq)
		}
		if len(archived) == raftlog.KeepArchived && widest > 3*seq/raftlog.KeepArchived+10 {
			t.Fatalf("up to %d a part of %d has no checkpoint", seq, widest)
		}
	}
}

func TestTrimArchive(t *testing.T) {
	_, all := archiveOf(10, 20, 30)
	for below, first := range map[uint64]int{0: 0, 1: 0, 11: 0, 12: 1, 21: 1, 22: 2, 100: 3} {
		kept, dropped := raftlog.TrimArchive(all, below)
		if len(dropped) != first || len(kept) != 3-first || first < 3 && kept[0].Seq != all[first].Seq {
			t.Errorf("trimmed below %d: %d are dropped, want %d", below, len(dropped), first)
		}
	}
}

func TestFitArchived(t *testing.T) {
	at := func(index, seq uint64) raftlog.Descriptor {
		return raftlog.Descriptor{Group: 1, Index: index, Seq: seq}
	}
	current, archived := []raftlog.Descriptor{at(100, 90), at(200, 180)}, []raftlog.Descriptor{at(50, 45)}
	for _, d := range []raftlog.Descriptor{at(2, 1), at(49, 45), at(51, 45), at(70, 60), at(150, 100)} {
		if err := raftlog.FitArchived(d, current, archived); err != nil {
			t.Error(err)
		}
	}
	for _, d := range []raftlog.Descriptor{at(1, 0), at(200, 180), at(201, 180), at(49, 46), at(51, 44), at(150, 181), at(101, 89)} {
		if err := raftlog.FitArchived(d, current, archived); err == nil {
			t.Errorf("a checkpoint at index %d, sequence %d was taken", d.Index, d.Seq)
		}
	}
	for _, d := range []raftlog.Descriptor{at(50, 45), at(100, 90)} {
		if err := raftlog.FitArchived(d, current, archived); !errors.Is(err, raftlog.ErrArchived) {
			t.Errorf("where there is one: %v", err)
		}
	}
}
