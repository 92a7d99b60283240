package history

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"iter"
	"strconv"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/internal/failure"
	"github.com/heliosdb/metadata/projections"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// BaseKeeper is a [Source] that has the base beside its changes: the model right before the
// first one, as a checkpoint. What is left of a trimmed history is folded from there.
type BaseKeeper interface {
	// Base yields the checkpoint of the model behind a revision, which has to be the one before
	// the bounds' First, in chunks as [projections.State.Chunks] does, of any size. What it
	// yields is as it was written, or else an error is the last thing that it yields. Where the
	// source has no such model, that is HISTORY_TRIMMED, and the first thing.
	Base(ctx context.Context, revision uint64) iter.Seq2[[]byte, error]
}

// Base is a base that was read from end to end.
type Base struct {
	Head  projections.Head
	Hash  [sha256.Size]byte // model hash
	Bytes uint64            // of the checkpoint
}

// FollowBase reads the base of a source within bounds, which begin behind revision 1, and calls
// each, unless it is nil, for every chunk of it. The digest chain has to begin with it: of
// another origin, revision or digest than the bounds have, it is a [*DamagedError], and so is
// what no checkpoint is. A checkpoint of a newer build is an [*events.UnsupportedError]. Other
// errors are those of [BaseKeeper], of which a source that is none has HISTORY_TRIMMED, and of
// each.
func FollowBase(ctx context.Context, source Source, bounds Bounds, each func(chunk []byte) error) (Base, error) {
	f := &baseFollower{origin: source.Origin(), bounds: bounds, each: each}
	for record, err := range projections.Records(f.pass(chunksOf(ctx, source, bounds))) {
		if err := f.take(record, err); err != nil {
			return f.base, err
		}
	}
	if f.records == 0 {
		return f.base, f.damaged("it is empty")
	}
	return f.base, nil
}

// baseHead reads no more of a base than its head. Errors are those of FollowBase.
func baseHead(ctx context.Context, source Source, bounds Bounds) (projections.Head, error) {
	f := &baseFollower{origin: source.Origin(), bounds: bounds}
	for record, err := range projections.Records(f.pass(chunksOf(ctx, source, bounds))) {
		err := f.take(record, err)
		return f.base.Head, err
	}
	return f.base.Head, f.damaged("it is empty")
}

// ReadBase returns the state that everything in a source's bounds is folded from: the first one,
// before any change, if nothing is missing, and else that of its base. Errors are those of
// FollowBase.
func ReadBase[D projections.Domain[D]](ctx context.Context, source Source, bounds Bounds, first *projections.State[D]) (*projections.State[D], error) {
	if bounds.First == 1 {
		return first, nil
	}
	f := &baseFollower{origin: source.Origin(), bounds: bounds}
	state, err := first.Import(projections.Records(f.pass(chunksOf(ctx, source, bounds))))
	switch _, newer := errors.AsType[*events.UnsupportedError](err); {
	case f.failed != nil || newer:
		return nil, err
	case err != nil:
		return nil, f.damaged("%v", err)
	}
	if err := f.fits(state.Head); err != nil {
		return nil, err
	}
	if err := state.Verify(); err != nil {
		return nil, f.damaged("%v", err)
	}
	return state, nil
}

// chunksOf yields the base of a source; NoBase if it keeps none.
func chunksOf(ctx context.Context, source Source, bounds Bounds) iter.Seq2[[]byte, error] {
	if keeper, ok := source.(BaseKeeper); ok {
		return keeper.Base(ctx, bounds.First-1)
	}
	return func(yield func([]byte, error) bool) {
		yield(nil, NoBase(source.Origin().Stream, bounds.First, "it is not kept beside the changes"))
	}
}

// NoBase returns the failure HISTORY_TRIMMED of somebody who would fold what is left of a stream
// from a revision on, and lacks the model before it.
func NoBase(s metadatav1.Stream, first uint64, why string) error {
	return failure.New(metadatav1.ErrorReason_ERROR_REASON_HISTORY_TRIMMED,
		"the %s stream begins at revision %d, and the model before that, from which it is folded, is not here: %s",
		events.StreamName(s), first, why).
		With("oldest_revision", strconv.FormatUint(first, 10)).With("stream", s.String())
}

// baseFollower looks at a base that somebody reads.
type baseFollower struct {
	origin  Origin
	bounds  Bounds
	each    func([]byte) error
	base    Base
	records int
	failed  error // of the source or of each
}

// pass yields chunks as they come, and takes note of them.
func (f *baseFollower) pass(chunks iter.Seq2[[]byte, error]) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		sum := sha256.New()
		for chunk, err := range chunks {
			if err == nil && f.each != nil {
				err = f.each(chunk)
			}
			if err != nil {
				f.failed = err
				yield(nil, err)
				return
			}
			sum.Write(chunk)
			f.base.Bytes += uint64(len(chunk))
			if !yield(chunk, nil) {
				return
			}
		}
		f.base.Hash = [sha256.Size]byte(sum.Sum(nil))
	}
}

// take looks at the next record, or at why it is the last one.
func (f *baseFollower) take(record []byte, err error) error {
	switch {
	case err != nil && f.failed == nil: // of what the chunks are
		return f.damaged("%v", err)
	case err != nil:
		return err
	case f.records == 0:
		err = f.head(record)
	}
	f.records++
	return err
}

// head reads the first record.
func (f *baseFollower) head(record []byte) error {
	head, err := projections.ReadHead(record)
	if _, newer := errors.AsType[*events.UnsupportedError](err); newer {
		return err
	}
	if err != nil {
		return f.damaged("%v", err)
	}
	f.base.Head = head
	return f.fits(head)
}

// fits reports whether the history goes on from a head.
func (f *baseFollower) fits(h projections.Head) error {
	switch before := f.bounds.First - 1; {
	case Origin{h.Stream, h.Cluster, h.RecoveryEpoch} != f.origin:
		return f.damaged("it is of the %s stream, cluster %v, recovery epoch %d", events.StreamName(h.Stream), h.Cluster, h.RecoveryEpoch)
	case h.Revision != before:
		return f.damaged("it is of revision %d", h.Revision)
	case h.Digest != f.bounds.Previous:
		return f.damaged("its digest is %v, but that before the first change %v", h.Digest, f.bounds.Previous)
	}
	return nil
}

func (f *baseFollower) damaged(format string, args ...any) error {
	return &DamagedError{Stream: f.origin.Stream, Revision: f.bounds.First - 1, Reason: "the model there, which all later changes are folded into: " + fmt.Sprintf(format, args...)}
}
