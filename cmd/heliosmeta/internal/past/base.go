package past

import (
	"context"
	"iter"
	"time"

	"github.com/heliosdb/metadata/client"
	"github.com/heliosdb/metadata/history"
	"github.com/heliosdb/metadata/internal/failure"
	"github.com/heliosdb/metadata/projections"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// baseChunkBytes is how many bytes of a base a directory gives at a time.
const baseChunkBytes = 1 << 20

// beginning returns the state that everything which a source holds is folded from: the one before
// the stream's first change, or that of the source's base.
func beginning(ctx context.Context, source history.Source) (State, error) {
	first, err := genesis(source.Origin())
	if err != nil {
		return nil, err
	}
	bounds, err := source.Bounds(ctx)
	if err != nil {
		return nil, err
	}
	switch s := first.(type) {
	case state[schemaModel]:
		return based(ctx, source, bounds, s)
	case state[topologyModel]:
		return based(ctx, source, bounds, s)
	}
	return based(ctx, source, bounds, first.(state[serviceModel]))
}

func based[D projections.Domain[D]](ctx context.Context, source history.Source, bounds history.Bounds, first state[D]) (State, error) {
	s, err := history.ReadBase(ctx, source, bounds, first.of)
	if err != nil {
		return nil, err
	}
	return state[D]{s}, nil
}

// keptBase is the base of a source for those who fold to one revision after the other: it is read
// once. A source without one has no state but the first.
type keptBase struct {
	source history.Source
	turn   chan struct{} // held by whoever reads
	state  State
}

func keepBase(source history.Source) *keptBase {
	return &keptBase{source: source, turn: make(chan struct{}, 1)}
}

// nearest returns the base if it lies between two revisions.
func (k *keptBase) nearest(ctx context.Context, from, to uint64) (State, error) {
	bounds, err := k.source.Bounds(ctx)
	if at := bounds.First - 1; err != nil || at == 0 || at < from || at > to {
		return nil, err
	}
	select {
	case k.turn <- struct{}{}:
		defer func() { <-k.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if k.state == nil {
		s, err := beginning(ctx, k.source)
		if err != nil && !IsMissing(err) {
			return nil, err
		}
		k.state = s
	}
	return k.state, nil
}

// recordedBase is what a member has recorded, with the checkpoint right before it.
type recordedBase struct {
	*recorded
	nearest nearest
	headAt  func(revision uint64) (projections.Head, error) // of its checkpoint; nothing if there is none
}

// TimeBefore implements history.Dated.
func (r recordedBase) TimeBefore(_ context.Context, bounds history.Bounds) (time.Time, error) {
	head, err := r.headAt(bounds.First - 1)
	return head.Time, err
}

// Base implements history.BaseKeeper.
func (r recordedBase) Base(ctx context.Context, revision uint64) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		found, err := r.nearest(ctx, revision, revision)
		if err == nil && found == nil {
			err = history.NoBase(r.origin.Stream, revision+1, r.path+" has no checkpoint of the revision before it; the member was given a later one")
		}
		if err != nil {
			yield(nil, err)
			return
		}
		for chunk := range found.Chunks(baseChunkBytes) {
			if !yield(chunk, ctx.Err()) || ctx.Err() != nil {
				return
			}
		}
	}
}

// hasBase reads the base of a stream whose beginning is gone from end to end, and reports whether
// there is one. That the digest chain does not begin with it is a *history.DamagedError.
func hasBase(ctx context.Context, source history.Source) (bool, error) {
	bounds, err := source.Bounds(ctx)
	if err != nil || bounds.First == 1 {
		return false, err
	}
	_, err = history.FollowBase(ctx, source, bounds, nil)
	if IsMissing(err) {
		return false, nil
	}
	return err == nil, err
}

// IsMissing reports whether an error says that a part of a history is not there: it was trimmed,
// or lies elsewhere.
func IsMissing(err error) bool {
	for _, reason := range []metadatav1.ErrorReason{
		metadatav1.ErrorReason_ERROR_REASON_HISTORY_TRIMMED, metadatav1.ErrorReason_ERROR_REASON_HISTORY_GAP,
	} {
		if failure.Is(err, reason) || client.Reason(err) == reason {
			return true
		}
	}
	return false
}
