package stored

import (
	"context"
	"slices"

	"github.com/heliosdb/metadata/projections"
	"github.com/heliosdb/metadata/raftlog"
	"github.com/heliosdb/metadata/replica"
)

// Bases are the states of a stream that a member's folds begin with: the one before its first change,
// its checkpoints, archived ones too, and the one that is published. They are history.Bases.
type Bases[D projections.Domain[D]] struct {
	Store   raftlog.Storage
	Genesis *projections.State[D]
	// Published returns the state that the member publishes.
	Published func() *projections.State[D]
	// Unreadable is told of a checkpoint that is passed over because it cannot be read, and why; of
	// one that is damaged, that is a *raftlog.DamageError.
	Unreadable func(d raftlog.Descriptor, err error)
}

// Nearest implements history.Bases. A checkpoint that cannot be read is passed over.
func (b Bases[D]) Nearest(ctx context.Context, from, to uint64) (*projections.State[D], error) {
	if now := b.Published(); now.Head.Revision >= from && now.Head.Revision <= to {
		return now, nil
	}
	descriptors, err := Checkpoints(b.Store, raftlog.GroupID(b.Genesis.Head.Stream))
	if err != nil {
		return nil, err
	}
	for _, d := range slices.Backward(descriptors) {
		if d.Seq < from || d.Seq > to || d.Index == raftlog.GenesisIndex {
			continue
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		state, err := replica.ReadPast(b.Store, d, b.Genesis)
		if err == nil {
			return state, nil
		}
		b.Unreadable(d, err)
	}
	if from == 0 {
		return b.Genesis, nil
	}
	return nil, nil
}

// Checkpoints returns the checkpoints of a group, archived and current ones, oldest first.
func Checkpoints(store raftlog.Storage, g raftlog.GroupID) ([]raftlog.Descriptor, error) {
	current, err := store.Checkpoints(g) // first: one that is archived between the two is in both
	if err != nil {
		return nil, err
	}
	archived, err := store.Archived(g)
	return append(archived, current...), err
}
