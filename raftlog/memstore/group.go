package memstore

import (
	"maps"
	"math"
	"slices"

	"github.com/heliosdb/metadata/raftlog"
	"github.com/tidwall/btree"
	pb "go.etcd.io/raft/v3/raftpb"
)

// group is the stored state of one group. Entries and records are immutable.
type group struct {
	hard        raftlog.HardState
	start       raftlog.LogStart
	entries     []*pb.Entry
	past        *btree.Map[uint64, *pb.Entry] // by index: those at or below start, kept for history
	history     *btree.Map[uint64, raftlog.Record]
	held        raftlog.Held     // of history
	marks       map[uint64]marks // of the segments that are complete
	checkpoints []raftlog.Descriptor
	archived    []raftlog.Descriptor
	replaced    uint64 // index of the last one that became current
}

// marks are those of one segment: sequences by tag. They are immutable.
type marks map[uint64][]uint64

func (g *group) last() uint64 { return g.start.Index + uint64(len(g.entries)) }

// entry returns an entry, wherever it is; nil if there is none.
func (g *group) entry(index uint64) *pb.Entry {
	if index > g.start.Index && index <= g.last() {
		return g.entries[index-g.start.Index-1]
	}
	e, _ := g.past.Get(index)
	return e
}

// named returns the index of the last entry that history names.
func (g *group) named() uint64 {
	_, newest, _ := g.history.Max()
	return newest.Entry
}

// retire moves entries up to an index from the log to what is kept for history.
func (g *group) retire(upTo uint64) {
	for len(g.entries) > 0 && g.entries[0].GetIndex() <= upTo {
		g.past.Set(g.entries[0].GetIndex(), g.entries[0])
		g.entries = g.entries[1:]
	}
}

func (g *group) clone() *group {
	c := *g
	c.entries = slices.Clone(g.entries)
	c.past = g.past.Copy()
	c.history = g.history.Copy()
	c.marks = maps.Clone(g.marks)
	c.checkpoints, c.archived = slices.Clone(g.checkpoints), slices.Clone(g.archived)
	return &c
}

// archive takes replaced checkpoints over, as far as they are kept.
func (g *group) archive(replaced []raftlog.Descriptor) {
	for _, d := range replaced {
		g.archived, _ = raftlog.Archive(g.archived, d)
	}
}

// fill adds records, with their entries, that fit, in a place of which all goes.
func (g *group) fill(past []raftlog.Past, place raftlog.Span) {
	for _, r := range g.within(place) {
		g.history.Delete(r.First)
	}
	if place.First < past[0].First {
		g.held = g.held.Without(raftlog.Span{First: place.First, Last: past[0].First - 1})
	}
	for i := range past {
		p := &past[i]
		g.put(p.Record)
		if p.Entry <= g.start.Index {
			g.past.Set(p.Entry, &pb.Entry{Index: new(p.Entry), Term: new(p.Term), Data: p.Content})
		}
	}
	first, last := past[0].First/raftlog.MarkSegment, past[len(past)-1].Last/raftlog.MarkSegment
	maps.DeleteFunc(g.marks, func(segment uint64, _ marks) bool { return first <= segment && segment <= last })
}

// within returns the records that begin within a run.
func (g *group) within(s raftlog.Span) (rs []raftlog.Record) {
	g.history.Ascend(s.First, func(first uint64, r raftlog.Record) bool {
		if first > s.Last {
			return false
		}
		rs = append(rs, r)
		return true
	})
	return rs
}

func (g *group) put(r raftlog.Record) {
	g.history.Set(r.First, r)
	g.held = g.held.With(raftlog.Span{First: r.First, Last: r.Last})
}

// trim deletes what only sequences below one need.
func (g *group) trim(below uint64, damaged func(raftlog.Record) bool) {
	var records, entries []uint64
	first, keep := uint64(0), uint64(math.MaxUint64) // with which sequence and entry it begins then
	g.history.Scan(func(seq uint64, r raftlog.Record) bool {
		if r.Last >= below && !damaged(r) {
			first, keep = seq, r.Entry
			return false
		}
		records = append(records, seq)
		return true
	})
	g.held = g.held.From(first)
	g.past.Scan(func(index uint64, _ *pb.Entry) bool {
		if index < keep {
			entries = append(entries, index)
		}
		return index < keep
	})
	for _, first := range records {
		g.history.Delete(first)
	}
	for _, index := range entries {
		g.past.Delete(index)
	}
	maps.DeleteFunc(g.marks, func(segment uint64, _ marks) bool { return segment < below/raftlog.MarkSegment })
	g.archived, _ = raftlog.TrimArchive(g.archived, below)
}

// apply is total on Writes that fit.
func (g *group) apply(w *raftlog.Write) {
	if d := w.Install; d != nil {
		g.retire(w.Named(g.named()))
		g.start = raftlog.LogStart{Index: d.Index, Term: d.Term}
		g.archive(slices.DeleteFunc(g.checkpoints, func(o raftlog.Descriptor) bool { return o.Index >= d.Index }))
		g.entries, g.checkpoints, g.replaced = nil, []raftlog.Descriptor{*d}, d.Index
		g.hard.Commit = max(g.hard.Commit, d.Index)
	}
	if len(w.Entries) > 0 {
		if keep := w.Entries[0].GetIndex() - g.start.Index - 1; keep < uint64(len(g.entries)) {
			g.entries = g.entries[:keep:keep] // what follows may be shared
		}
		g.entries = append(g.entries, w.Entries...)
	}
	if w.HardState != nil {
		g.hard = *w.HardState
	}
	for _, r := range w.History {
		g.put(r)
	}
	if d := w.Checkpoint; d != nil {
		var replaced []raftlog.Descriptor
		g.checkpoints, replaced, _ = raftlog.WithCurrent(g.checkpoints, *d)
		g.archive(replaced)
		g.replaced = d.Index
	}
	if w.CutTo > g.start.Index {
		term := g.entry(w.CutTo).GetTerm()
		g.retire(w.CutTo)
		g.start = raftlog.LogStart{Index: w.CutTo, Term: term}
		g.entries = slices.Clone(g.entries)
	}
}
