// Package retention decides where the history of a stream should begin: behind what is too
// old, too large or too much, and never, below a hard limit, behind what consumers need.
//
// It only decides. Who leads the service stream submits the decision as a command, which
// looks at the consumers once more; members trim when that is applied. It reads the
// storage a few records at a time, and no clock: the same storage and time make the same
// decision.
package retention

import (
	"errors"
	"fmt"
	"slices"
	"sort"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/projections/service"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/raftlog"
	"github.com/heliosdb/metadata/replica"
)

// worthwhile is which part of what would stay has to go, at least: trimming is a change
// itself, so that a history is a tenth longer than it might be.
const worthwhile = 10

// Policy says how much of a history is kept. A limit of 0 is none.
type Policy struct {
	MaxAge     time.Duration // of changes
	MaxBytes   uint64        // on a member's disk, about
	MaxChanges uint64
	// HardBytes is the size above which what consumers need is trimmed too.
	HardBytes uint64
}

// Verdict says where a history should begin.
type Verdict struct {
	// Floor is where it is to begin from now on, at a record's first revision; nil: nothing
	// is to be trimmed now.
	Floor *metadatav1.HistoryFloor
	// Pass says that the hard limit wants what consumers need to be trimmed.
	Pass bool
	// Held is, when consumers hold trimming back, about where the history would begin
	// without them; 0: they do not.
	Held uint64
}

// Command returns the command that has the history begin there. There has to be a floor.
func (v Verdict) Command() *metadatav1.TrimHistory {
	return &metadatav1.TrimHistory{Floor: v.Floor, PassConsumers: v.Pass}
}

// Kept is what a decision has to know beside the storage.
type Kept struct {
	Oldest uint64 // the history's floor; 0: nothing was trimmed
	Needed uint64 // the first revision that a consumer needs; 0: none needs any
}

// KeptOf returns what the service stream says of the history of a stream.
func KeptOf(m *service.Model, stream metadatav1.Stream) Kept {
	kept := Kept{Oldest: m.Floor(stream).OldestRevision()}
	if acknowledged, read := m.Acknowledged(stream); read {
		kept.Needed = acknowledged + 1
	}
	return kept
}

// Agreed returns the latest time that the clocks of a majority of all members have reached, given
// those that are known; the zero time if fewer are. One clock that is wrong, or as many as are
// no majority, make no change too old: what is trimmed never comes back.
func Agreed(clocks []time.Time, members int) time.Time {
	majority := members/2 + 1
	if len(clocks) < majority {
		return time.Time{}
	}
	latest := slices.SortedFunc(slices.Values(clocks), func(a, b time.Time) int { return b.Compare(a) })
	return latest[majority-1]
}

// Decide decides for the history of a stream as a storage holds it, at a time ([Agreed]): at the
// zero time, nothing is too old. A member that lacks a part of it, or has damaged it, decides only
// what that part cannot change.
func (p Policy) Decide(s raftlog.Storage, stream metadatav1.Stream, now time.Time, kept Kept) (Verdict, error) {
	h := &holding{storage: s, group: raftlog.GroupID(stream)}
	if err := h.look(kept.Oldest); err != nil || h.last == 0 {
		return Verdict{}, err
	}
	wanted := max(h.youngerThan(p.MaxAge, now), h.smallerThan(p.MaxBytes), h.fewerThan(p.MaxChanges))
	hard := h.smallerThan(p.HardBytes)
	if h.err != nil {
		return Verdict{}, h.err
	}
	var v Verdict
	begin := max(wanted, hard)
	if kept.Needed != 0 && begin > kept.Needed {
		v.Pass = hard > kept.Needed
		if !v.Pass && h.worthwhile(begin) {
			v.Held = begin
		}
		begin = max(kept.Needed, hard)
	}
	floor, err := h.floorAt(begin, stream)
	if err != nil || floor == nil {
		return Verdict{Held: v.Held}, err
	}
	v.Floor = floor
	return v, nil
}

// holding is what a storage holds of a history. The first error stays.
type holding struct {
	storage           raftlog.Storage
	group             raftlog.GroupID
	oldest, top, last uint64 // revisions: the oldest one, the first one of the newest record, the newest one
	err               error
}

// look finds out what there is. last stays 0 if nothing is.
func (h *holding) look(floor uint64) error {
	first, last, err := h.storage.HistoryBounds(h.group)
	if err != nil || last == 0 {
		return err
	}
	newest, err := h.storage.ReadHistory(h.group, last, 1)
	if err != nil || len(newest) == 0 {
		return err
	}
	h.oldest, h.top, h.last = max(first, floor), newest[0].First, newest[0].Last
	return nil
}

// search returns the first revision, of those that may be the oldest one, that passes a
// test which all behind it pass too. The newest record always stays.
func (h *holding) search(passes func(revision uint64) bool) uint64 {
	if h.err != nil || h.oldest >= h.top || passes(h.oldest) {
		return 0
	}
	n := sort.Search(int(h.top-h.oldest), func(i int) bool { return h.err != nil || passes(h.oldest+uint64(i)) })
	return h.oldest + uint64(n)
}

// youngerThan returns where the history begins without the records that are too old as a
// whole; 0: none is. Those that the member cannot read count as too old, see floorAt.
func (h *holding) youngerThan(age time.Duration, now time.Time) uint64 {
	if age == 0 || now.IsZero() {
		return 0
	}
	return h.search(func(revision uint64) bool {
		past, ok := h.record(revision)
		return ok && !past.Changes[len(past.Changes)-1].Time().Before(now.Add(-age))
	})
}

// smallerThan returns where the last so many bytes of the history begin; 0: it has less.
func (h *holding) smallerThan(size uint64) uint64 {
	if size == 0 {
		return 0
	}
	return h.search(func(revision uint64) bool {
		bytes, err := h.storage.HistoryBytes(h.group, revision)
		h.fail(err)
		return err == nil && bytes <= size
	})
}

// fewerThan returns where the last so many changes of the history begin; 0: it has less.
func (h *holding) fewerThan(changes uint64) uint64 {
	if changes == 0 {
		return 0
	}
	return h.search(func(revision uint64) bool { return h.last-revision < changes })
}

// worthwhile reports whether enough goes when the history begins at a revision.
func (h *holding) worthwhile(begin uint64) bool {
	return begin > h.oldest && (begin-h.oldest)*worthwhile >= h.last-begin+1
}

// floorAt returns the floor of a history that begins with the record of a revision; nil if
// that is not worthwhile. What comes right before it has to be read: if that is too old, so
// is everything before it, and else nothing is known of what the member lacks or is damaged.
func (h *holding) floorAt(begin uint64, stream metadatav1.Stream) (*metadatav1.HistoryFloor, error) {
	if begin <= h.oldest {
		return nil, nil
	}
	past, ok := h.record(min(begin, h.top))
	if !ok || !h.worthwhile(past.Changes[0].Revision()) {
		return nil, h.err
	}
	first := past.Changes[0]
	before, err := h.storage.ReadHistoryBefore(h.group, first.Revision(), 1)
	if isLacking(err) || err == nil && len(before) == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &metadatav1.HistoryFloor{
		Stream: stream, OldestRevision: first.Revision(), PreviousDigest: past.Previous[:], OldestTime: timestamppb.New(first.Time()),
	}, nil
}

// record reads the record that holds a revision; false if the member lacks it, or it is damaged.
func (h *holding) record(revision uint64) (past replica.Past, ok bool) {
	read, err := h.storage.ReadHistory(h.group, revision, 1)
	if isLacking(err) || err == nil && len(read) == 0 {
		return past, false
	}
	if err == nil {
		past, err = replica.DecodePast(&read[0])
		if _, newer := errors.AsType[*events.UnsupportedError](err); err != nil && !newer {
			return past, false
		}
	}
	if err != nil {
		h.fail(fmt.Errorf("retention: history of revision %d: %w", revision, err))
		return past, false
	}
	return past, true
}

// isLacking reports whether an error says that a record is not there, or not as it was written.
func isLacking(err error) bool {
	_, lacks := errors.AsType[*raftlog.GapError](err)
	_, damaged := errors.AsType[*raftlog.DamageError](err)
	return lacks || damaged
}

func (h *holding) fail(err error) {
	if h.err == nil {
		h.err = err
	}
}
