package backfill

import (
	"fmt"
	"slices"

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

// Look returns what a storage lacks of a group's history from its floor on: the newest hole, or
// what is damaged right behind it, or, without one, the oldest run that is damaged. Its digest is what the storage knows for certain: the
// entry behind the gap names it, and so does the checkpoint at whose revision the gap ends.
func Look(s raftlog.Storage, g raftlog.GroupID, floor uint64) (Gap, error) {
	checkpoints, err := s.Checkpoints(g)
	if err != nil {
		return Gap{}, err
	}
	newest := checkpoints[len(checkpoints)-1]
	_, last, err := s.HistoryBounds(g)
	if err != nil {
		return Gap{}, err
	}
	var gap Gap
	if gap.First, gap.Last, err = s.HistoryGap(g, max(last, newest.Seq)+1); err != nil {
		return Gap{}, err
	}
	damaged, err := s.HistoryDamage(g)
	if err != nil {
		return Gap{}, err
	}
	if next := raftlog.SpanOf(damaged, gap.Last+1); next.Last != 0 { // what is behind the hole has to come first
		gap.First, gap.Last = next.First, next.Last
	}
	if gap.none() || gap.Last < floor {
		at := slices.IndexFunc(damaged, func(d raftlog.Span) bool { return d.Last >= floor })
		if at < 0 {
			return Gap{}, nil
		}
		gap.First, gap.Last = damaged[at].First, damaged[at].Last
	}
	gap.Digest, err = digestAt(s, g, gap, newest)
	return gap, err
}

// digestAt returns the digest of the stream where a gap ends.
func digestAt(s raftlog.Storage, g raftlog.GroupID, gap Gap, newest raftlog.Descriptor) (digest events.Digest, err error) {
	behind, err := s.ReadHistory(g, gap.Last+1, 1)
	if err != nil {
		return digest, err
	}
	if len(behind) > 0 {
		past, err := replica.DecodePast(&behind[0])
		if err != nil {
			return digest, fmt.Errorf("backfill: what follows revision %d: %w", gap.Last, err)
		}
		return past.Previous, nil
	}
	if newest.Seq != gap.Last {
		return digest, fmt.Errorf("backfill: the history of group %d lacks %d to %d, and nothing follows that says what they were", g, gap.First, gap.Last)
	}
	head, err := projections.ReadHead(newest.Meta)
	if err != nil {
		return digest, fmt.Errorf("backfill: the checkpoint at index %d: %w", newest.Index, err)
	}
	return head.Digest, nil
}
