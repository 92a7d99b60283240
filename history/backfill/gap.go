package backfill

import (
	"fmt"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/projections"
	"github.com/heliosdb/metadata/raftlog"
	"github.com/heliosdb/metadata/replica"
)

// Gap is revisions that a history lacks.
type Gap struct {
	First, Last uint64        // 0, 0: none are missing
	Digest      events.Digest // of the stream at Last
}

func (g Gap) none() bool { return g.First > g.Last || g.Last == 0 }

// Look returns the newest gap before a revision in what a storage holds of a group's
// history; below 0: of all. Its digest is what the storage knows for certain: the entry
// behind the gap names it, and so does the checkpoint at whose revision the gap ends. It
// reads the records down to the gap: a second for some millions.
func Look(s raftlog.Storage, g raftlog.GroupID, below uint64) (Gap, error) {
	var newest raftlog.Descriptor
	if below == 0 {
		checkpoints, err := s.Checkpoints(g)
		if err != nil {
			return Gap{}, err
		}
		_, last, err := s.HistoryBounds(g)
		if err != nil {
			return Gap{}, err
		}
		if n := len(checkpoints); n > 0 {
			newest = checkpoints[n-1]
		}
		below = max(last, newest.Seq) + 1
	}
	first, last, err := s.HistoryGap(g, below)
	if err != nil || last == 0 {
		return Gap{}, err
	}
	behind, err := s.ReadHistory(g, last+1, 1)
	if err != nil {
		return Gap{}, err
	}
	gap := Gap{First: first, Last: last}
	if len(behind) > 0 {
		past, err := replica.DecodePast(&behind[0])
		if err != nil {
			return Gap{}, fmt.Errorf("backfill: what follows revision %d: %w", last, err)
		}
		gap.Digest = past.Previous
		return gap, nil
	}
	if newest.Seq != last {
		return Gap{}, fmt.Errorf("backfill: the history of group %d lacks %d to %d, and nothing follows: it has just changed", g, first, last)
	}
	head, err := projections.ReadHead(newest.Meta)
	if err != nil {
		return Gap{}, fmt.Errorf("backfill: the checkpoint at index %d: %w", newest.Index, err)
	}
	gap.Digest = head.Digest
	return gap, nil
}
