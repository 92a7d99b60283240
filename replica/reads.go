package replica

import (
	"fmt"

	"github.com/heliosdb/metadata/raftlog"
)

// reader waits until it is certain what may be answered.
type reader struct {
	since   uint64 // tick of its arrival
	patient bool   // does not give up by itself: a command's answer
	term    uint64 // the member has to lead in this term throughout; 0: any may answer
	need    uint64 // revision that has to be applied
	round   uint64 // first ReadIndex round that began after its arrival
	index   uint64 // that has to be applied, once the round has told
	unknown string // request id whose outcome is unknown if leadership is lost
	done    func(lost error)
}

// decided reports whether it is a command's answer.
func (q *reader) decided() bool { return q.patient }

// reads are the calls that wait, and the ReadIndex round under way. One round at a
// time serves everybody who arrived before it began; who arrives later waits for the
// next one.
type reads struct {
	lastID    uint64
	startedAt uint64 // tick
	askAgain  bool   // the round under way is probably lost

	waiting   []reader // for a round to begin
	asked     []reader // for the answer to one
	confirmed []reader // for their index and revision to be applied
	behind    []reader // for a revision only
	nearest   uint64   // lowest revision in behind
}

// init makes round ids unique among members and starts: raft tells reads apart by
// nothing else, and a late answer to an earlier process would be a stale one.
func (s *reads) init(member, seed uint64) {
	const seedBits = 44
	s.lastID = member<<(seedBits+4) | seed&(1<<seedBits-1)
}

func (s *reads) count() int {
	return len(s.waiting) + len(s.asked) + len(s.confirmed) + len(s.behind)
}

func (s *reads) lists() []*[]reader {
	return []*[]reader{&s.waiting, &s.asked, &s.confirmed, &s.behind}
}

// Read asks for a model that is fresh enough. Its Done is called inside a later
// Ready.
func (r *Replica[D]) Read(q Read[D]) {
	refuse := func(err error) {
		r.answers = append(r.answers, func() { q.Done(ReadAnswer[D]{Err: err}) })
	}
	late := reader{since: r.ticks, need: q.AtLeast}
	switch {
	case r.failed != nil:
		refuse(r.stopping())
		return
	case r.reads.count() >= r.cfg.MaxWaiting:
		refuse(r.limitReached("replica.MaxWaiting", r.cfg.MaxWaiting, fmt.Sprintf("%d calls waiting", r.reads.count())))
		return
	case q.Leading && (r.lead == nil || !r.lead.ready):
		refuse(r.notLeading())
		return
	case q.Leading:
		late.term = r.lead.term
	}
	late.done = func(lost error) {
		if lost != nil {
			q.Done(ReadAnswer[D]{Err: lost})
			return
		}
		q.Done(ReadAnswer[D]{State: r.state, Term: late.term})
	}
	if q.AtLeast != 0 {
		r.await(late)
		return
	}
	r.reads.waiting = append(r.reads.waiting, late)
}

func (r *Replica[D]) await(q reader) {
	s := &r.reads
	if len(s.behind) == 0 || q.need < s.nearest {
		s.nearest = q.need
	}
	s.behind = append(s.behind, q)
	if s.nearest <= r.state.Head.Revision {
		r.settleReads()
	}
}

// startRound begins a ReadIndex round when somebody waits for one and none is under
// way, or the one under way seems lost. Each try has an id of its own.
func (r *Replica[D]) startRound() bool {
	if r.lead != nil && !r.lead.ready {
		// A leader does not know what was committed before its term until its own
		// empty entry is applied. Raft waits for that too, but not if it is the only
		// voter: it answers with the commit index that it found on its disk.
		return false
	}
	s := &r.reads
	again := len(s.asked) > 0 && (s.askAgain || r.ticks-s.startedAt >= uint64(r.cfg.ReadRetryTicks))
	if !again && (len(s.asked) > 0 || len(s.waiting) == 0) {
		return false
	}
	if err := r.group.ReadIndex(s.lastID + 1); err != nil {
		return false // no leader is known: follow or expireReads comes back to it
	}
	s.lastID++
	s.startedAt, s.askAgain = r.ticks, false
	r.stats.Rounds++
	for _, q := range s.waiting {
		q.round = s.lastID
		s.asked = append(s.asked, q)
	}
	s.waiting = nil
	return true
}

// confirmReads takes the answers of rounds. One of an earlier try counts for
// everybody who was there when that try began.
func (r *Replica[D]) confirmReads(states []raftlog.ReadState) {
	s := &r.reads
	for _, rs := range states {
		keep := s.asked[:0]
		for _, q := range s.asked {
			if q.round > rs.ID {
				keep = append(keep, q)
				continue
			}
			q.index = rs.Index
			s.confirmed = append(s.confirmed, q)
		}
		clear(s.asked[len(keep):])
		s.asked = keep
	}
}

// settleReads answers everybody whose index and revision are applied.
func (r *Replica[D]) settleReads() {
	s, revision := &r.reads, r.state.Head.Revision
	s.confirmed = r.settle(s.confirmed, func(q *reader) bool { return q.index <= r.applied && q.need <= revision })
	if len(s.behind) == 0 || s.nearest > revision {
		return
	}
	s.behind = r.settle(s.behind, func(q *reader) bool { return q.need <= revision })
	s.nearest = 0
	for i, q := range s.behind {
		if i == 0 || q.need < s.nearest {
			s.nearest = q.need
		}
	}
}

func (r *Replica[D]) settle(list []reader, ripe func(*reader) bool) []reader {
	keep := list[:0]
	for i := range list {
		q := list[i]
		if ripe(&q) {
			r.answers = append(r.answers, func() { q.done(nil) })
			continue
		}
		keep = append(keep, q)
	}
	clear(list[len(keep):])
	return keep
}

// failReads answers those that match with an error.
func (r *Replica[D]) failReads(match func(*reader) bool, why func(*reader) error) {
	for _, list := range r.reads.lists() {
		keep := (*list)[:0]
		for i := range *list {
			q := (*list)[i]
			if !match(&q) {
				keep = append(keep, q)
				continue
			}
			err := why(&q)
			r.answers = append(r.answers, func() { q.done(err) })
		}
		clear((*list)[len(keep):])
		*list = keep
	}
}

// expireReads fails reads that have waited longer than PatienceTicks.
func (r *Replica[D]) expireReads() {
	if r.reads.count() == 0 {
		return
	}
	late := func(q *reader) bool { return !q.patient && r.ticks-q.since >= uint64(r.cfg.PatienceTicks) }
	r.failReads(late, func(q *reader) error {
		switch {
		case q.round != 0 && q.index != 0 || q.need != 0:
			return r.tooLate("the %s stream of member %d is at revision %d, index %d; the read waits for revision %d, index %d: ask another member or try again",
				r.name, r.cfg.Log.Member, r.state.Head.Revision, r.applied, q.need, q.index)
		case r.soft.Leader == 0:
			return r.notLeading()
		default:
			return r.noLeader("its leader did not confirm in time that it still leads")
		}
	})
}
