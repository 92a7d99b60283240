package simulation

import (
	"bytes"
	"slices"
	"time"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/history/backfill"
	"github.com/heliosdb/metadata/history/retention"
	"github.com/heliosdb/metadata/raftlog"
	"github.com/heliosdb/metadata/raftlog/memstore"
)

// Faults of what members do with the past.

// alterPart waits for the next parts that members give each other.
func (w *world) alterPart() bool {
	w.partTrap = 1 + w.rng.IntN(5)
	return false
}

// alter makes something else of a part: with a change that was never made, or with bytes changed,
// or of another stream, or of another place in this one.
func (m *member) alter(s metadatav1.Stream, past []raftlog.Past) []raftlog.Past {
	past = slices.Clone(past)
	r := &past[m.w.rng.IntN(len(past))]
	switch m.w.rng.IntN(7) {
	case 0:
		r.Content = bytes.Clone(r.Content)
		r.Content[m.w.rng.IntN(len(r.Content))] ^= 1 << m.w.rng.IntN(8)
	case 1:
		r.Data = bytes.Clone(r.Data)
		r.Data[m.w.rng.IntN(len(r.Data))] ^= 1 << m.w.rng.IntN(8)
	case 2:
		r.First, r.Last = r.First+1, r.Last+1
	case 3:
		other := streams[int(s)%len(streams)]
		if foreign := m.partBefore(other, m.run.of(other).head().Revision+1); len(foreign) > 0 {
			return foreign
		}
		fallthrough
	case 4:
		if earlier := m.partBefore(s, past[0].First); len(earlier) > 0 {
			return earlier
		}
		fallthrough
	default:
		m.forge(r)
	}
	return past
}

// partBefore returns what this member has right before a revision.
func (m *member) partBefore(s metadatav1.Stream, below uint64) []raftlog.Past {
	past, err := backfill.Serve(m.store, groupOf(s), below, backfill.MaxPartBytes)
	if err != nil {
		return nil
	}
	return past
}

// forge has somebody else make the first change of a record.
func (m *member) forge(r *raftlog.Past) {
	b, err := events.DecodeBatch(r.Content)
	if err != nil {
		m.w.violate("history", "member %d holds entry %d, which is no batch: %v", m.id, r.Entry, err)
		return
	}
	c := b.Changes[0]
	b.Changes[0] = events.Seal(events.Header{
		Revision: c.Revision(), Time: c.Time(), Actor: "nobody", RequestID: c.RequestID(), CommandHash: c.CommandHash(),
	}, c.Events())
	r.Content = b.Encode()
}

// crashInFill waits for the next part that is filled in.
func (w *world) crashInFill() bool {
	w.fillTrap = true
	return false
}

// fillGoesOn springs the trap: the member crashes before or after the part is stored.
func (w *world) fillGoesOn(m *member) {
	if !w.fillTrap || w.quiet {
		return
	}
	w.fillTrap = false
	w.after(around(w.rng, time.Millisecond), func() {
		if w.quiet || !m.alive {
			return
		}
		w.fault(faultInFill)
		m.crash()
		w.after(within(w.rng, 50*time.Millisecond, 3*time.Second), m.start)
	})
}

// damageHistory damages what a disk has of a stream's past, behind the back of whoever uses it:
// a record, or an entry before the start of the log, that others hold.
func (w *world) damageHistory() bool {
	m := w.members[w.rng.IntN(len(w.members))]
	if m.store.Condemned() != "" || !w.judge.begun() || !w.kept(m) {
		return false
	}
	s := pick(w.rng, streams...)
	first, last, err := m.store.HistoryBounds(groupOf(s))
	floor := max(w.judge.floor(s), 1)
	if err != nil || last < max(first, floor) {
		return false
	}
	revision := max(first, floor) + w.rng.Uint64N(last+1-max(first, floor))
	past, err := m.store.ReadHistory(groupOf(s), revision, 1)
	loaded, loadErr := m.store.Load(groupOf(s))
	if err != nil || loadErr != nil || len(past) == 0 || past[0].Entry > loaded.Start.Index {
		return false // it is missing, or in the log: what is damaged there is another fault
	}
	r := past[0].Record
	if w.chance(0.5) {
		m.log("has its record of revisions %d to %d of the %s damaged", r.First, r.Last, s)
		m.store.DamageRecord(groupOf(s), r.First)
	} else {
		m.log("has its entry %d, of revisions %d to %d of the %s, damaged", r.Entry, r.First, r.Last, s)
		m.store.DamageEntry(groupOf(s), r.Entry)
	}
	return true
}

// kept reports whether others durably hold all of the history that a member could be the
// last one to have: of the revisions up to the newest checkpoint, and the model right before the
// floor. What lies behind that is in the logs.
func (w *world) kept(without *member) bool {
	for _, s := range streams {
		floor, newest := max(w.judge.floor(s), 1), uint64(0)
		var gaps [][]gap
		based := false
		for _, m := range w.members {
			disk := m.store.Copy() // what a crash would leave
			checkpoints, err := disk.Checkpoints(groupOf(s))
			if err != nil || len(checkpoints) == 0 {
				continue
			}
			newest = max(newest, checkpoints[len(checkpoints)-1].Seq)
			if m != without && w.harms[m.id] == nil {
				gaps = append(gaps, gapsOf(disk, groupOf(s)))
				based = based || hasBase(disk, groupOf(s), floor)
			}
		}
		if !based {
			return false
		}
		for revision := floor; revision <= newest; revision++ {
			if !slices.ContainsFunc(gaps, func(lacks []gap) bool {
				return !slices.ContainsFunc(lacks, func(g gap) bool { return g.first <= revision && revision <= g.last })
			}) {
				return false
			}
		}
	}
	return true
}

// hasBase reports whether a disk has the model right before a floor, or all that leads there.
func hasBase(s *memstore.Store, g raftlog.GroupID, floor uint64) bool {
	switch base, err := retention.BaseOf(s, g, floor); {
	case err != nil || base == retention.BaseFetch:
		return false
	case base == retention.BaseKept:
		return true
	}
	return !slices.ContainsFunc(s.DamagedHistory(g), func(d raftlog.Span) bool { return d.First < floor }) // known or not
}

// gap is revisions that a history lacks.
type gap struct{ first, last uint64 }

// gapsOf returns all that a history lacks, or cannot read.
func gapsOf(s *memstore.Store, g raftlog.GroupID) (gaps []gap) {
	for _, d := range s.DamagedHistory(g) {
		gaps = append(gaps, gap{d.First, d.Last})
	}
	for below := uint64(1 << 62); ; {
		first, last, err := s.HistoryGap(g, below)
		if err != nil || last == 0 {
			return gaps
		}
		gaps, below = append(gaps, gap{first, last}), first
	}
}
