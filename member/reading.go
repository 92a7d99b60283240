package member

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/heliosdb/metadata/commands"
	"github.com/heliosdb/metadata/history"
	"github.com/heliosdb/metadata/history/audit"
	"github.com/heliosdb/metadata/history/objects"
	"github.com/heliosdb/metadata/history/stored"
	"github.com/heliosdb/metadata/projections"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/raftlog"
	"github.com/heliosdb/metadata/replica"
)

// past is what a member makes of a stream's past: its changes, the log of its objects, and its
// models as they were.
type past[D projections.Domain[D]] struct {
	stream *stream[D]
	source *stored.Source
	index  *objects.Index
	log    *objects.Log
	models *history.Models[D]
	// genesis is the state before the first change.
	genesis *projections.State[D]
	// lacks says why the member has no model right before the floor and cannot get it now; nil:
	// it has it, or lacks nothing that it would be read with.
	lacks atomic.Pointer[string]
	// broken is the revision of such a model whose checkpoint is damaged and that nobody can give
	// again; 0: there is none.
	broken atomic.Uint64
	// folded holds a model that took long to fold, until it is archived.
	folded chan *projections.State[D]
}

// pastReader is a past whose model does not matter.
type pastReader interface {
	live() *stored.Source
	objects() *objects.Log
	maintain(ctx context.Context)
	baseAlarm() *metadatav1.Alarm
}

func newPast[D projections.Domain[D]](m *Member, r *running, s *stream[D], genesis *projections.State[D]) *past[D] {
	origin := history.Origin{Stream: s.id, Cluster: m.cluster, RecoveryEpoch: m.identity.RecoveryEpoch}
	p := &past[D]{
		stream: s, source: stored.NewSource(reader{m, r}, origin, m.store, s.feed),
		genesis: genesis, folded: make(chan *projections.State[D], 1),
	}
	p.index = objects.NewSegmentedIndex(p.source, storedMarks{m.store, s.group, r.ctx}, m.config.segment)
	p.log = objects.NewLog(p.source, p.index)
	bases := stored.Bases[D]{Store: m.store, Genesis: genesis, Published: s.replica.View, Unreadable: p.unreadable}
	p.models = history.NewModels(stored.NewFolding(p.source), bases, p.keep)
	if m.config.HistoryFoldChanges != 0 {
		p.models.SaveAbove(m.config.HistoryFoldChanges)
	}
	return p
}

func (p *past[D]) live() *stored.Source  { return p.source }
func (p *past[D]) objects() *objects.Log { return p.log }

// keep has a model archived, unless another one waits for that.
func (p *past[D]) keep(state *projections.State[D]) {
	select {
	case p.folded <- state:
	default:
	}
}

// at returns the model behind a revision, or the published one for history.Now.
func (p *past[D]) at(ctx context.Context, revision uint64) (*projections.State[D], error) {
	if err := p.source.Ready(ctx); err != nil {
		return nil, err
	}
	if revision == history.Now {
		now := p.stream.replica.View()
		p.models.Keep(now) // later pages read it
		return now, nil
	}
	return p.models.At(ctx, revision)
}

const (
	// indexInterval is how often it is looked whether a segment can be indexed.
	indexInterval = 10 * time.Second
	// indexPause is how many times as long as a segment took is paused after it, so that the
	// index of a long history is made beside what clients wait for.
	indexPause = 4
)

// maintain extends the index and archives models, one thing at a time, until ctx ends. What
// fails is tried again: reads of the past only take longer without it, and what was trimmed
// stays on the disk.
func (p *past[D]) maintain(ctx context.Context) {
	timer, ticker := time.NewTimer(0), time.NewTicker(p.stream.member.config.Tick)
	defer timer.Stop()
	defer ticker.Stop()
	var base baseTimer
	for {
		wait := indexInterval
		select {
		case <-ctx.Done():
			return
		case state := <-p.folded:
			p.archive(ctx, state)
			continue
		case <-ticker.C:
			if base.due(p.stream.life.floor(p.stream.id).OldestRevision()) {
				base.ended(p.keepBase(ctx))
			}
			continue
		case <-timer.C:
		}
		began := time.Now()
		completed, err := p.index.Extend(ctx)
		switch {
		case err != nil && ctx.Err() == nil:
			p.stream.member.log.Warn("the index of the history cannot be extended; it is tried again", "stream", p.stream.name, "error", err)
		case completed:
			wait = indexPause * time.Since(began)
		default: // there may be no room for what was read
			wait = max(wait, indexPause*time.Since(began))
		}
		timer.Reset(wait)
	}
}

// archive stores a model of the past.
func (p *past[D]) archive(ctx context.Context, state *projections.State[D]) {
	m := p.stream.member
	_, err := replica.WriteArchived(ctx, pacedStore{m.store, ctx}, p.stream.group, state)
	if err != nil && ctx.Err() == nil && !errors.Is(err, raftlog.ErrArchived) {
		m.log.Warn("a model of the past is not kept; reads of it fold again", "stream", p.stream.name,
			"revision", state.Head.Revision, "error", err)
	}
}

// storedMarks are the marks of an index in the storage, while the streams run.
type storedMarks struct {
	store raftlog.Storage
	group raftlog.GroupID
	ctx   context.Context
}

// ReadMarks implements objects.Marks.
func (m storedMarks) ReadMarks(segment, tag uint64) (seqs []uint64, complete bool, err error) {
	return m.store.ReadMarks(m.group, segment, tag)
}

// PutMarks implements objects.Marks.
func (m storedMarks) PutMarks(segment uint64, marks []objects.Mark) error {
	if m.ctx.Err() != nil {
		return m.ctx.Err() // what is in the directory next is not what was read
	}
	stored := make([]raftlog.Mark, len(marks))
	for i, mark := range marks {
		stored[i] = raftlog.Mark(mark)
	}
	err := m.store.PutMarks(m.group, segment, stored)
	if errors.Is(err, raftlog.ErrFull) {
		return fmt.Errorf("%w: %w", objects.ErrFull, err)
	}
	return err
}

// What marks and keys are to packages that do not know each other.
var (
	_ [objects.SegmentRevisions]struct{} = [raftlog.MarkSegment]struct{}{}
	_ [audit.KeyIDBytes]struct{}         = [commands.KeyIDBytes]struct{}{}
)

// pastOf returns a stream's past.
func (r *running) pastOf(id metadatav1.Stream) pastReader {
	switch id {
	case metadatav1.Stream_STREAM_TOPOLOGY:
		return r.pasts.topology
	case metadatav1.Stream_STREAM_SERVICE:
		return r.pasts.service
	}
	return r.pasts.schema
}
