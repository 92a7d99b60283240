package retention

import (
	"fmt"
	"slices"

	"github.com/heliosdb/metadata/raftlog"
)

// Base says what a member has to do for the model right before a floor: what is kept can be read
// as it was only as long as a member has that model, or what leads to it.
type Base uint8

// Values of Base.
const (
	// BaseKept: the member has it, or nothing was trimmed.
	BaseKept Base = iota
	// BaseLater: the newest checkpoint does not reach there yet, and leads to it with what the
	// log needs anyway.
	BaseLater
	// BaseFold: the changes that lead to it are still there. It is to be folded and archived,
	// and they can go.
	BaseFold
	// BaseFetch: they are not, or are damaged; another member has it.
	BaseFetch
)

// BaseOf says what has to be done for the model right before a history's floor.
func BaseOf(s raftlog.Storage, g raftlog.GroupID, floor uint64) (Base, error) {
	if floor <= 1 {
		return BaseKept, nil
	}
	nearest, newest, err := checkpointsBefore(s, g, floor)
	switch {
	case err != nil:
		return 0, err
	case nearest == floor-1:
		return BaseKept, nil
	case newest < floor-1:
		return BaseLater, nil
	}
	_, lacks, err := s.HistoryGap(g, floor)
	if err != nil {
		return 0, fmt.Errorf("retention: whether the model before revision %d can be folded: %w", floor, err)
	}
	damaged, err := s.HistoryDamage(g)
	if err != nil {
		return 0, err
	}
	broken := slices.ContainsFunc(damaged, func(d raftlog.Span) bool { return d.First < floor && d.Last > nearest })
	if lacks > nearest || broken {
		return BaseFetch, nil
	}
	return BaseFold, nil
}

// Below returns the revision below which a storage may delete its history: no later than the
// floor, and never what the nearest model before the floor needs.
func Below(s raftlog.Storage, g raftlog.GroupID, floor uint64) (uint64, error) {
	if floor <= 1 {
		return floor, nil
	}
	nearest, _, err := checkpointsBefore(s, g, floor)
	return nearest + 1, err
}

// Trim deletes what a storage has below a revision, if there is something: records, and archived
// checkpoints that nothing is read with any more, those too that were replaced only since it was
// trimmed last.
func Trim(s raftlog.Storage, g raftlog.GroupID, below uint64) error {
	first, _, err := s.HistoryBounds(g)
	if err != nil {
		return err
	}
	archived, err := s.Archived(g)
	if err != nil {
		return err
	}
	records := first != 0 && first < below
	checkpoints := len(archived) > 0 && archived[0].Seq+1 < below
	if !records && !checkpoints {
		return nil
	}
	return s.TrimHistory(g, below)
}

// checkpointsBefore returns the revision of the last checkpoint before a floor, and of the newest
// one of all; genesis counts as revision 0.
func checkpointsBefore(s raftlog.Storage, g raftlog.GroupID, floor uint64) (nearest, newest uint64, err error) {
	current, err := s.Checkpoints(g) // first: one that is archived between the two is in both
	if err != nil {
		return 0, 0, err
	}
	archived, err := s.Archived(g)
	if err != nil {
		return 0, 0, err
	}
	for _, d := range append(archived, current...) {
		if newest = max(newest, d.Seq); d.Seq < floor {
			nearest = max(nearest, d.Seq)
		}
	}
	return nearest, newest, nil
}
