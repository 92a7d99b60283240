package simulation

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/history"
	"github.com/heliosdb/metadata/history/objects"
	"github.com/heliosdb/metadata/history/stored"
	"github.com/heliosdb/metadata/internal/failure"
	"github.com/heliosdb/metadata/projections"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// pastRead is one read of a stream's past on a member, with what the judge knows of it.
type pastRead[D projections.Domain[D]] struct {
	w      *world
	s      *stream[D]
	states book[D]
	bounds history.Bounds // what the member has
}

// begin chooses what to read.
func (r *pastRead[D]) begin() {
	var err error
	if r.bounds, err = r.s.past.source.Bounds(context.Background()); err != nil {
		if !r.refused(err, excuses{hurt: r.s.beginningIsHurt()}) {
			r.wrong("bounds", "%v", err)
		}
		return
	}
	newest := r.states.newest().Head.Revision
	digests := r.w.judge.chain(r.s.id).digests
	if b := r.bounds; b.First == 0 || b.First > b.Last+1 || b.Last > newest || b.Previous != digests[b.First-1] {
		r.wrong("bounds", "it has revisions %d to %d behind digest %v, of %d", b.First, b.Last, b.Previous, newest)
		return
	}
	r.w.counts.add("reads of the past", 1)
	switch r.w.rng.IntN(8) {
	case 0, 1:
		r.model(r.w.rng.Uint64N(newest + 2))
	case 2:
		r.time()
	case 3, 4, 5:
		r.version(r.w.rng.Uint64N(newest + 2))
	case 6:
		r.versions()
	default:
		if _, err := r.s.past.index.Extend(context.Background()); err != nil {
			r.wrong("index", "extending the index: %v", err)
		}
	}
}

// wrong ends the run: something was answered that was not so.
func (r *pastRead[D]) wrong(what, format string, args ...any) {
	r.w.violate("past", "member %d, %s of the %s, which it has from %d to %d: %s",
		r.s.m.id, what, events.StreamName(r.s.id), r.bounds.First, r.bounds.Last, fmt.Sprintf(format, args...))
}

// model reads the model at a revision. Of those below the floor, none can be had but the one right
// before it and the first one of all. Every other one can, unless the member was given a later
// checkpoint and still lacks what leads there.
func (r *pastRead[D]) model(revision uint64) {
	base, leads, err := r.leads(revision)
	if err != nil {
		r.wrong("model", "looking for a base: %v", err)
		return
	}
	state, err := r.s.past.models.At(context.Background(), revision)
	future, trimmed := revision > r.bounds.Last, revision > 0 && revision+1 < r.bounds.Floor
	switch {
	case trimmed && !failure.Is(err, metadatav1.ErrorReason_ERROR_REASON_HISTORY_TRIMMED):
		r.wrong("model", "revision %d was trimmed, as history begins at %d: %v", revision, r.bounds.Floor, err)
	case trimmed && r.refused(err, excuses{lacking: true}):
	case failure.Is(err, metadatav1.ErrorReason_ERROR_REASON_HISTORY_TRIMMED):
		r.wrong("model", "revision %d is kept, as history begins at %d: %v", revision, r.bounds.Floor, err)
	case err != nil && r.refused(err, excuses{future: future, lacking: !leads, hurt: r.s.foldIsHurt(revision)}):
	case err != nil:
		r.wrong("model", "revision %d, from %d on: %v", revision, base, err)
	case future || state.Head != r.states[revision].Head:
		r.wrong("model", "revision %d was asked for, revision %d with digest %v was given", revision, state.Head.Revision, state.Head.Digest)
	case state.Hash() != r.states[revision].Hash():
		r.wrong("model", "it is not what it was at revision %d", revision)
	case revision > 0 && revision+1 == r.bounds.Floor:
		r.handedOut(state)
	}
}

// handedOut reads the base as clients do, in chunks, and folds what is left into it: that leads to
// the model that the member has, as far as nothing of it is damaged or lacking.
func (r *pastRead[D]) handedOut(state *projections.State[D]) {
	base, err := r.s.genesis.Import(projections.Records(func(yield func([]byte, error) bool) {
		for chunk := range state.Chunks(1 << 10) {
			if !yield(chunk, nil) {
				return
			}
		}
	}))
	if err != nil {
		r.wrong("base", "the model before revision %d cannot be read from its chunks: %v", r.bounds.Floor, err)
		return
	}
	now := r.s.replica.View()
	hurt := r.s.hurtWithin(r.bounds.Floor, now.Head.Revision)
	err = history.Confirm(context.Background(), r.s.past.source, base, now)
	if err != nil && !r.refused(err, excuses{lacking: r.bounds.First > r.bounds.Floor, hurt: hurt}) {
		r.wrong("base", "what is left from revision %d on, folded by a client: %v", r.bounds.Floor, err)
	}
	r.s.m.w.counts.add("bases handed out", 1)
}

// leads returns the revision of the newest model that the member has at or before another, and
// whether it has all changes in between.
func (r *pastRead[D]) leads(revision uint64) (base uint64, leads bool, err error) {
	if at := r.s.head().Revision; at <= revision {
		base = at
	}
	all, err := stored.Checkpoints(r.s.m.store, r.s.group)
	if err != nil {
		return base, false, err
	}
	for _, d := range all {
		if d.Seq <= revision {
			base = max(base, d.Seq)
		}
	}
	if revision > r.s.head().Revision { // the floor is behind what it has come to
		return base, false, nil
	}
	// What lies before a gap is not read, but for what was trimmed.
	reached := base == revision || revision < r.bounds.Floor || max(base+1, r.bounds.Floor) >= r.bounds.First
	_, lacks, err := r.s.m.store.HistoryGap(r.s.group, min(revision, r.s.feed.Durable())+1)
	return base, reached && lacks <= base, err
}

// time looks for the revision at a time: that of a change, or close to it.
func (r *pastRead[D]) time() {
	at := r.states[r.w.rng.IntN(len(r.states))].Head.Time.Add(pick(r.w.rng, 0, 0, -1, 1, time.Second))
	want := uint64(0)
	for revision := uint64(1); revision <= r.bounds.Last && !r.states[revision].Head.Time.After(at); revision++ {
		want = revision
	}
	_, leads, err := r.leads(want)
	if err != nil {
		r.wrong("time", "looking for a base: %v", err)
		return
	}
	lacking := want < r.bounds.First && r.bounds.First > 1 && (want == 0 || want+1 < r.bounds.First || !leads)
	got, err := history.AtTime(context.Background(), r.s.past.source, at)
	switch {
	case failure.Is(err, metadatav1.ErrorReason_ERROR_REASON_HISTORY_TRIMMED) && want > 0 && want+1 >= r.bounds.Floor:
		r.wrong("time", "revision %d, of %v, is kept, as history begins at %d: %v", want, at, r.bounds.Floor, err)
	case err != nil && r.refused(err, excuses{lacking: lacking, hurt: r.searchIsHurt(at)}):
	case err != nil:
		r.wrong("time", "at %v it was at revision %d: %v", at, want, err)
	case got != want:
		r.wrong("time", "at %v it was at revision %d, not %d", at, want, got)
	}
}

// object draws an object that some change was about; nil if that has none.
func (r *pastRead[D]) object() *metadatav1.ObjectRef {
	changes := r.w.judge.chain(r.s.id).changes
	if len(changes) == 0 {
		return nil
	}
	evs := pick(r.w.rng, changes...).Events()
	o := pick(r.w.rng, events.Subjects(pick(r.w.rng, evs...).Message())...)
	switch o.Kind {
	case metadatav1.ObjectKind_OBJECT_KIND_NAMESPACE:
		return &metadatav1.ObjectRef{Object: &metadatav1.ObjectRef_Namespace{Namespace: o.Name}}
	case metadatav1.ObjectKind_OBJECT_KIND_TABLE:
		ref := &metadatav1.TableRef{TableId: o.ID}
		if r.w.chance(0.5) {
			ref = &metadatav1.TableRef{Namespace: o.Namespace, Name: o.Name}
		}
		return &metadatav1.ObjectRef{Object: &metadatav1.ObjectRef_Table{Table: ref}}
	case metadatav1.ObjectKind_OBJECT_KIND_NODE:
		return &metadatav1.ObjectRef{Object: &metadatav1.ObjectRef_NodeId{NodeId: o.Name}}
	case metadatav1.ObjectKind_OBJECT_KIND_SHARD:
		return &metadatav1.ObjectRef{Object: &metadatav1.ObjectRef_ShardId{ShardId: o.ID}}
	case metadatav1.ObjectKind_OBJECT_KIND_CONSUMER:
		return &metadatav1.ObjectRef{Object: &metadatav1.ObjectRef_Consumer{Consumer: o.Name}}
	}
	return nil
}

// changedBy returns the revision that made an object what it was at a revision, if it is one
// of those from first on; 0 if it is not.
func (r *pastRead[D]) changedBy(ref *metadatav1.ObjectRef, first, revision uint64) uint64 {
	for ; revision >= first && revision > 0; revision-- {
		if !r.same(ref, revision-1, revision) {
			return revision
		}
	}
	return 0
}

// same reports whether an object was the same at two revisions.
func (r *pastRead[D]) same(ref *metadatav1.ObjectRef, a, b uint64) bool {
	p := &r.w.judge.pasts
	return sameRecord(p.object(ref, a), p.object(ref, b))
}

func sameRecord(a, b record) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return string(a.Bytes()) == string(b.Bytes())
}

// is reports whether a message is what an object was; nil is none.
func is(m proto.Message, want record) bool {
	if m == nil || want == nil {
		return m == nil && want == nil
	}
	decoded := m.ProtoReflect().New().Interface()
	return proto.Unmarshal(want.Bytes(), decoded) == nil && proto.Equal(m, decoded)
}

// version reads an object as it was at a revision. It can be had if one of the changes that
// the member has was about it by then.
func (r *pastRead[D]) version(revision uint64) {
	ref := r.object()
	if ref == nil {
		return
	}
	v, err := r.s.past.log.AsOf(context.Background(), ref, revision)
	if future := revision > r.bounds.Last; future {
		if err == nil || !r.refused(err, excuses{future: true}) {
			r.wrong("object", "%v at revision %d: %v, %v", ref, revision, v.After, err)
		}
		return
	}
	want, by := r.w.judge.pasts.object(ref, revision), r.changedBy(ref, r.bounds.First, revision)
	switch {
	case failure.Is(err, metadatav1.ErrorReason_ERROR_REASON_NOT_FOUND) && want == nil:
	case err != nil && r.refused(err, excuses{lacking: by == 0 && r.bounds.First > 1, hurt: r.versionIsHurt(ref, revision)}):
	case err != nil:
		r.wrong("object", "%v at revision %d, changed by %d: %v", ref, revision, by, err)
	case !is(v.After, want) || v.Change.Revision() != by:
		r.wrong("object", "%v at revision %d, changed by %d, is given as %v, changed by %d", ref, revision, by, v.After, v.Change.Revision())
	}
}

// versions reads what happened to an object between two revisions.
func (r *pastRead[D]) versions() {
	ref := r.object()
	if ref == nil {
		return
	}
	ctx, log, newest := context.Background(), r.s.past.log, r.states.newest().Head.Revision
	o, err := log.Resolve(ctx, ref, newest)
	if err != nil {
		by := r.changedBy(ref, r.bounds.First, r.bounds.Last)
		unknown := by == 0 && failure.Is(err, metadatav1.ErrorReason_ERROR_REASON_NOT_FOUND)
		if !unknown && !r.refused(err, excuses{lacking: by == 0 && r.bounds.First > 1, hurt: r.versionIsHurt(ref, newest)}) {
			r.wrong("object", "%v, changed by %d, has no name: %v", ref, by, err)
		}
		return
	}
	if o.Kind == metadatav1.ObjectKind_OBJECT_KIND_TABLE {
		ref = &metadatav1.ObjectRef{Object: &metadatav1.ObjectRef_Table{Table: &metadatav1.TableRef{TableId: o.ID}}}
	}
	first := r.w.rng.Uint64N(newest + 1)
	last, newestFirst := first+r.w.rng.Uint64N(newest+1-first), r.w.chance(0.5)
	var got []objects.Version
	for v, err := range log.Versions(ctx, o, first, last, newestFirst) {
		if err != nil {
			before := max(r.changedBy(ref, r.bounds.First, min(max(first, 1)-1, r.bounds.Last)), r.bounds.First)
			if !r.refused(err, excuses{hurt: r.s.hurtWithin(before, min(last, r.bounds.Last))}) {
				r.wrong("log", "%v from %d to %d: %v", ref, first, last, err)
			}
			return
		}
		if made := v.Before != nil || v.After != nil; made || !v.Known { // else one change created and removed it
			got = append(got, v)
		}
	}
	r.compare(ref, got, r.changes(ref, first, last, newestFirst))
}

// changes returns the revisions between two, as far as the member has them, at which an
// object became another.
func (r *pastRead[D]) changes(ref *metadatav1.ObjectRef, first, last uint64, newestFirst bool) (all []uint64) {
	first, last = max(first, r.bounds.First), min(last, r.bounds.Last)
	for revision := last; revision >= first; revision-- {
		if r.same(ref, revision-1, revision) {
			continue
		}
		if newestFirst {
			all = append(all, revision)
		} else {
			all = append([]uint64{revision}, all...)
		}
	}
	return all
}

// compare holds what was read of an object's changes against what they were. What the oldest
// of them changed may not be known.
func (r *pastRead[D]) compare(ref *metadatav1.ObjectRef, got []objects.Version, want []uint64) {
	p := &r.w.judge.pasts
	if len(got) != len(want) {
		r.wrong("log", "%v changed at %v, given are %d changes", ref, want, len(got))
		return
	}
	for i, v := range got {
		at := want[i]
		unknown := r.changedBy(ref, r.bounds.First, at-1) == 0 && r.bounds.First > 1
		switch {
		case v.Change.Revision() != at:
			r.wrong("log", "%v changed at %v, change %d is given as number %d", ref, want, v.Change.Revision(), i)
		case !is(v.After, p.object(ref, at)) || v.Known && !is(v.Before, p.object(ref, at-1)) || !v.Known && !unknown:
			r.wrong("log", "%v is given as changed by revision %d from %v (known: %v) to %v", ref, at, v.Before, v.Known, v.After)
		}
	}
}
