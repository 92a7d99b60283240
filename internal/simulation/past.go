package simulation

import (
	"time"

	"github.com/heliosdb/metadata/history"
	"github.com/heliosdb/metadata/history/objects"
	"github.com/heliosdb/metadata/history/stored"
	"github.com/heliosdb/metadata/projections"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// Reads of the past: at any moment somebody asks any member for what was, and the judge
// says at once whether it was so. The models start a goroutine for a fold, and whoever asks
// waits for it: nothing else happens meanwhile. What is read with is that of package member.

const (
	// pastReadEvery is the mean time between two reads.
	pastReadEvery = 500 * time.Millisecond
	// pastReadsAtRest is how many of each stream each member is asked at the end.
	pastReadsAtRest = 6
)

// past is what a member reads of what was of a stream.
type past[D projections.Domain[D]] struct {
	source *stored.Source
	bases  stored.Bases[D]
	models *history.Models[D]
	index  *objects.Index
	log    *objects.Log
}

func newPast[D projections.Domain[D]](s *stream[D]) *past[D] {
	origin := history.Origin{Stream: s.id, Cluster: s.m.w.cluster, RecoveryEpoch: recoveryEpoch}
	source := stored.NewSource(reader{s.m}, origin, s.m.store, s.feed)
	pieces := inPieces{source, s.m.w.plan.readBytes}
	size := s.m.w.plan.segment
	index := objects.NewSegmentedIndex(pieces, pastMarks{s.m.store, s.group, size}, size)
	bases := stored.Bases[D]{Store: s.m.store, Genesis: s.genesis, Published: s.replica.View, Unreadable: s.passedOver}
	return &past[D]{
		source: source, bases: bases, index: index, log: objects.NewLog(pieces, index),
		models: history.NewModels(inPieces{stored.NewFolding(source), s.m.w.plan.readBytes}, bases, nil),
	}
}

// readPasts has somebody read now and then, until faults are over.
func (w *world) readPasts() {
	w.after(around(w.rng, pastReadEvery), func() {
		if w.quiet {
			return
		}
		if m := w.anyMember(); m != nil && !m.paused {
			m.run.of(pick(w.rng, streams...)).readPast()
		}
		w.readPasts()
	})
}

// readPast reads something of the stream's past, and has it judged.
func (s *stream[D]) readPast() {
	r := &pastRead[D]{w: s.m.w, s: s, states: statesOf[D](&s.m.w.judge.pasts, s.id)}
	r.begin()
}

// statesOf returns the judge's states of a stream.
func statesOf[D projections.Domain[D]](p *pastBook, s metadatav1.Stream) book[D] {
	var all any = p.schema
	switch s {
	case metadatav1.Stream_STREAM_TOPOLOGY:
		all = p.topology
	case metadatav1.Stream_STREAM_SERVICE:
		all = p.service
	}
	return all.(book[D])
}
