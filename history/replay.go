package history

import (
	"context"
	"encoding/hex"
	"fmt"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/internal/failure"
	"github.com/heliosdb/metadata/projections"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// Replay folds the changes behind a state with this build's fold, up to a revision (0: all
// that there are), and returns the state there. Beside the model it holds a few chunks of
// changes, however many there are.
//
// The source has to be of the state's stream, cluster and recovery epoch, and to hold
// everything behind it: HISTORY_TRIMMED if it does not, FUTURE_REVISION if it ends before
// the revision. A change that cannot be folded is a [*projections.FoldError]; other errors
// are those of the source. Members give every change a request id; where some of the last
// [projections.MaxRequests] have none, all are folded a second time.
func Replay[D projections.Domain[D]](
	ctx context.Context, source Source, from *projections.State[D], until uint64, progress Progress,
) (*projections.State[D], error) {
	last, err := replayUntil(ctx, source, from.Head, until)
	if err != nil {
		return nil, err
	}
	return foldTo(from, last, func(draft *projections.Draft[D]) error {
		for changes, err := range Scan(ctx, source, from.Head.Revision+1, last) {
			if err == nil {
				err = foldInto(draft, changes, func(revision uint64) { progress.At(revision, last) })
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// foldTo returns the state at a later revision. It has fold give the changes in between to a draft,
// and again to another if the first cannot know what to remember of them.
func foldTo[D projections.Domain[D]](
	from *projections.State[D], last uint64, fold func(*projections.Draft[D]) error,
) (*projections.State[D], error) {
	draft := from.DraftTo(last)
	err := fold(draft)
	if err == nil && !draft.Complete() {
		draft = from.Draft()
		err = fold(draft)
	}
	if err != nil {
		return nil, err
	}
	return draft.Freeze(), nil
}

// Confirm reports whether a state leads to a later state of the stream, of which the caller is
// certain: it folds the changes in between and compares. nil: it does. It does not notice a
// difference that those changes have undone. Errors are those of Replay, or say what differs.
func Confirm[D projections.Domain[D]](ctx context.Context, source Source, earlier, later *projections.State[D]) error {
	folded, err := Replay(ctx, source, earlier, later.Head.Revision, nil)
	if err != nil {
		return err
	}
	if folded.Head != later.Head || folded.Hash() != later.Hash() {
		return fmt.Errorf("the state of the %s stream at revision %d does not lead to the one at %d: it gives another model, digest %v instead of %v",
			events.StreamName(later.Head.Stream), earlier.Head.Revision, later.Head.Revision, folded.Head.Digest, later.Head.Digest)
	}
	return nil
}

// replayUntil returns the last revision to fold, if the source can follow the head.
func replayUntil(ctx context.Context, source Source, head projections.Head, until uint64) (uint64, error) {
	if o := source.Origin(); o != (Origin{head.Stream, head.Cluster, head.RecoveryEpoch}) {
		return 0, fmt.Errorf("the history is of the %s stream, cluster %v, recovery epoch %d; the state of the %s stream, cluster %v, recovery epoch %d",
			events.StreamName(o.Stream), o.Cluster, o.RecoveryEpoch, events.StreamName(head.Stream), head.Cluster, head.RecoveryEpoch)
	}
	bounds, err := source.Bounds(ctx)
	if err != nil {
		return 0, err
	}
	last := bounds.Last
	if until > 0 {
		last = until
	}
	name := events.StreamName(head.Stream)
	switch {
	case last > bounds.Last:
		return 0, failure.New(metadatav1.ErrorReason_ERROR_REASON_FUTURE_REVISION,
			"revision %d of the %s stream is not there yet: its history ends at %d", last, name, bounds.Last)
	case last < head.Revision:
		return 0, fmt.Errorf("cannot replay the %s stream to revision %d: the state is at %d already", name, last, head.Revision)
	case bounds.First > head.Revision+1:
		return 0, failure.New(metadatav1.ErrorReason_ERROR_REASON_HISTORY_TRIMMED,
			"cannot replay the %s stream from revision %d: its history begins at %d; start from a checkpoint", name, head.Revision+1, bounds.First).
			With("oldest_revision", fmt.Sprint(bounds.First)).With("stream", head.Stream.String())
	case bounds.First == head.Revision+1 && bounds.Previous != head.Digest:
		return 0, fmt.Errorf("cannot replay the %s stream: its digest before revision %d is %v in the history, but %v in the state",
			name, bounds.First, bounds.Previous, head.Digest)
	}
	return last, nil
}

// foldInto folds changes from outside: what a member would stop for is an error here.
func foldInto[D projections.Domain[D]](draft *projections.Draft[D], changes []*events.Change, done func(revision uint64)) (err error) {
	defer func() {
		switch failed := recover().(type) {
		case nil:
		case *projections.FoldError:
			err = failed
		default:
			panic(failed)
		}
	}()
	for _, c := range changes {
		draft.Fold(c)
		done(c.Revision())
	}
	return nil
}

// DifferenceError says in what a replayed state is not what a member says.
type DifferenceError struct {
	Stream   metadatav1.Stream
	Revision uint64 // of the replayed state
	Member   uint64 // id of the member
	What     string // such as "digest"
	Replayed string
	Said     string // by the member
}

// Error names the difference with both values.
func (e *DifferenceError) Error() string {
	return fmt.Sprintf("the %s stream replayed to revision %d has %s %s, but member %d says %s",
		events.StreamName(e.Stream), e.Revision, e.What, e.Replayed, e.Member, e.Said)
}

// HashComparable reports whether a member's answer has a model hash that this build can be
// held against: hashes of different checkpoint formats are not comparable.
func HashComparable(head *metadatav1.GetHeadResponse) bool {
	return len(head.GetModelHash()) > 0 && head.GetCheckpointFormat() == projections.CheckpointFormat
}

// Compare holds a replayed state against what a member says of the same stream: cluster,
// revision, digest, time and feature level, and the hash of the model if it is
// [HashComparable]. The first difference is a [*DifferenceError].
func Compare[D projections.Domain[D]](state *projections.State[D], head *metadatav1.GetHeadResponse) error {
	replayed := state.Head
	pairs := []struct{ what, replayed, said string }{
		{"cluster id", replayed.Cluster.String(), head.GetClusterId()},
		{"recovery epoch", fmt.Sprint(replayed.RecoveryEpoch), fmt.Sprint(head.GetRecoveryEpoch())},
		{"revision", fmt.Sprint(replayed.Revision), fmt.Sprint(head.GetRevision())},
		{"digest", replayed.Digest.String(), hex.EncodeToString(head.GetDigest())},
		{"time", timeText(replayed), saidTime(head)},
		{"feature level", fmt.Sprint(replayed.FeatureLevel), fmt.Sprint(head.GetFeatureLevel())},
	}
	if HashComparable(head) {
		hash := state.Hash()
		pairs = append(pairs, struct{ what, replayed, said string }{"model hash", hex.EncodeToString(hash[:]), hex.EncodeToString(head.ModelHash)})
	}
	for _, p := range pairs {
		if p.replayed != p.said {
			return &DifferenceError{replayed.Stream, replayed.Revision, head.GetMemberId(), p.what, p.replayed, p.said}
		}
	}
	return nil
}

const noTime = "none"

func timeText(h projections.Head) string {
	if h.Time.IsZero() {
		return noTime
	}
	return h.Time.String()
}

func saidTime(h *metadatav1.GetHeadResponse) string {
	if h.GetTime() == nil {
		return noTime
	}
	return h.Time.AsTime().String()
}
