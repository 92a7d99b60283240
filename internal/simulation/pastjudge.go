package simulation

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"

	"github.com/heliosdb/metadata/history"
	"github.com/heliosdb/metadata/history/retention"
	"github.com/heliosdb/metadata/history/stored"
	"github.com/heliosdb/metadata/internal/failure"
	"github.com/heliosdb/metadata/raftlog"
	"github.com/heliosdb/metadata/replica"
)

// lacks says what a member that has come as far as everybody lacks of a stream's history, or
// has although it was trimmed; "" if it holds what it should.
func (m *member) lacks(s metadatav1.Stream) string {
	newest, floor := m.run.of(s).head().Revision, max(m.w.judge.floor(s), 1)
	first, last, err := m.store.HistoryBounds(groupOf(s))
	switch {
	case err != nil:
		return err.Error()
	case newest == 0:
		return ""
	case last != newest:
		return fmt.Sprintf("has history up to revision %d of %d", last, newest)
	}
	base, err := retention.BaseOf(m.store, groupOf(s), floor)
	switch {
	case err != nil:
		return err.Error()
	case base == retention.BaseFold || base == retention.BaseFetch:
		return fmt.Sprintf("lacks the model right before revision %d, where the history begins", floor)
	case base == retention.BaseKept && first < floor:
		return fmt.Sprintf("has history from revision %d on, which begins at %d", first, floor)
	}
	if first, last, err := m.store.HistoryGap(groupOf(s), newest+1); err != nil || last >= floor {
		return fmt.Sprintf("lacks revisions %d to %d of the history, which begins at %d (%v)", first, last, floor, err)
	}
	return m.hurts(s, floor)
}

// hurts says what of a stream's history is damaged on a member's disk; "" if nothing is. A
// verification, as an operator has it done, has to name the first of it, and the member to replace
// it then.
func (m *member) hurts(s metadatav1.Stream, floor uint64) string {
	hurt := m.store.DamagedHistory(groupOf(s))
	hurt = slices.DeleteFunc(hurt, func(h raftlog.Span) bool { return h.Last < floor })
	if len(hurt) == 0 {
		return ""
	}
	source := m.run.of(s).pastSource()
	_, err := history.Verify(context.Background(), stored.NewVerified(source), history.VerifyOptions{})
	damaged, ok := errors.AsType[*history.DamagedError](err)
	switch {
	case ok && damaged.Revision == max(hurt[0].First, floor):
		m.w.counts.add("damage named", 1)
	case failure.Is(err, metadatav1.ErrorReason_ERROR_REASON_DAMAGED) && m.run.of(s).beginningIsHurt(): // right behind a gap
	default:
		m.w.violate("damage", "member %d has revisions %d to %d of the %s damaged, and verification says %v", m.id, hurt[0].First, hurt[0].Last, s, err)
	}
	return fmt.Sprintf("has revisions %d to %d of the history damaged", hurt[0].First, hurt[0].Last)
}

// history checks what a member's disk holds of a stream's past against the chain: all that is
// kept, byte for byte, with its digests.
func (j *judge) history(m *member, s metadatav1.Stream) {
	c, floor := j.chain(s), max(j.floor(s), 1)
	if len(c.changes) == 0 {
		return
	}
	all, err := m.store.ReadHistory(groupOf(s), floor, math.MaxInt)
	if err != nil {
		j.w.violate("history", "member %d: %v", m.id, err)
		return
	}
	next := floor
	for i := range all {
		past, err := replica.DecodePast(&all[i])
		if err != nil {
			j.w.violate("history", "member %d: %v", m.id, err)
			return
		}
		if all[i].First != next || past.Previous != c.digests[next-1] || past.Digest != c.digests[all[i].Last] {
			j.w.violate("history", "member %d holds a record of revisions %d to %d of the %s where %d is next, with digests that are not the chain's", m.id, all[i].First, all[i].Last, s, next)
			return
		}
		for _, change := range past.Changes {
			if string(change.Raw()) != string(c.changes[change.Revision()-1].Raw()) {
				j.w.violate("history", "member %d holds another change %d of the %s than was committed", m.id, change.Revision(), s)
				return
			}
		}
		next = all[i].Last + 1
	}
	if next != uint64(len(c.changes))+1 {
		j.w.violate("history", "member %d holds the %s up to revision %d of %d", m.id, s, next-1, len(c.changes))
	}
}
