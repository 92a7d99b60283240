package raftlog

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	pb "go.etcd.io/raft/v3/raftpb"
)

// others returns the other voters, ascending.
func (r *Rebuild) others() []uint64 { return slices.Sorted(maps.Keys(r.voters)) }

func (r *Rebuild) bad(from uint64, format string, args ...any) error {
	return &BadAnswerError{From: from, Group: r.cfg.Group, Detail: fmt.Sprintf(format, args...)}
}

// checkOffer refuses an offer that contradicts itself, or what is installed.
func (r *Rebuild) checkOffer(from uint64, a OfferAnswer) error {
	o, at := a.Offer, r.at()
	if err := o.Checkpoint.Validate(); err != nil {
		return r.bad(from, "%v", err)
	}
	cp := o.Checkpoint
	switch {
	case cp.Group != r.cfg.Group:
		return r.bad(from, "it offers a checkpoint of group %d", cp.Group)
	case o.Term != a.Term:
		return r.bad(from, "it offers as leader of term %d but is in term %d", o.Term, a.Term)
	case r.cfg.Known && o.Term > r.cfg.Promise.Term && o.Term-r.cfg.Promise.Term > MaxTermJump:
		return r.bad(from, "term %d is more than MaxTermJump (%d) ahead of term %d", o.Term, MaxTermJump, r.cfg.Promise.Term)
	case o.Start.Index > cp.Index || cp.Index > o.Commit || o.Commit > o.Last:
		return r.bad(from, "a log after %d, a checkpoint at %d, a commit at %d and an end at %d are not in order", o.Start.Index, cp.Index, o.Commit, o.Last)
	case o.Start.Term > cp.Term || cp.Term > o.Term:
		return r.bad(from, "terms %d, %d and %d run backwards", o.Start.Term, cp.Term, o.Term)
	case o.Last < at.Index || (o.Last == at.Index && o.Term != at.Term):
		return r.bad(from, "its log ends at %d, of term %d; what is installed already goes up to %d, of term %d", o.Last, o.Term, at.Index, at.Term)
	case o.Start.Index > at.Index && cp.Chunks == 0:
		return r.bad(from, "the checkpoint at %d is empty", cp.Index)
	}
	return nil
}

// checkEntries checks that a batch continues the log.
func (r *Rebuild) checkEntries(entries []*pb.Entry) error {
	total, at := 0, r.have
	for _, e := range entries {
		switch {
		case e.GetIndex() != at.Index+1 || e.GetIndex() > r.offer.Last:
			return r.bad(r.from, "entry %d where %d is due, at most %d", e.GetIndex(), at.Index+1, r.offer.Last)
		case e.GetTerm() < at.Term || e.GetTerm() > r.offer.Term:
			return r.bad(r.from, "entry %d has term %d between %d and %d", e.GetIndex(), e.GetTerm(), at.Term, r.offer.Term)
		case len(e.GetData()) > r.cfg.MaxEntryBytes:
			return r.bad(r.from, "entry %d has %d bytes, over the limit MaxEntryBytes of %d", e.GetIndex(), len(e.GetData()), r.cfg.MaxEntryBytes)
		}
		if _, err := confChangeOf(e); err != nil {
			return r.bad(r.from, "entry %d: %v", e.GetIndex(), err)
		}
		at = LogStart{Index: e.GetIndex(), Term: e.GetTerm()}
		total += len(e.GetData())
	}
	switch {
	case len(entries) > 1 && total > r.cfg.BatchBytes:
		return r.bad(r.from, "%d bytes in %d entries, %d were asked for", total, len(entries), r.cfg.BatchBytes)
	case at.Index == r.offer.Last && at.Term != r.offer.Term:
		return r.bad(r.from, "its log ends with an entry of term %d, though it was confirmed in term %d", at.Term, r.offer.Term)
	}
	return nil
}

// certain reports that no vote that this member may have forgotten is of a term above
// the offer's.
func (r *Rebuild) certain() bool {
	n := len(r.voters) + 1
	if r.cfg.Known || n/2+1 >= n-1 {
		return true
	}
	for _, v := range r.voters {
		if !v.heard || (!v.quarantined && v.term > r.offer.Term) {
			return false
		}
	}
	return true
}

// hardState is what the member remembers from now on. It never goes back.
func (r *Rebuild) hardState() HardState {
	hs := HardState{
		Term: r.offer.Term, Vote: r.from,
		Commit: max(r.at().Index, min(r.offer.Commit, r.offer.Last)),
	}
	if r.cfg.Promise.Term > hs.Term {
		hs.Term, hs.Vote = r.cfg.Promise.Term, r.cfg.Promise.Vote
	}
	return hs
}

// RebuildStatus says how far a Rebuild is, for people.
type RebuildStatus struct {
	From    uint64 // the leader it takes from; 0: none yet
	Percent int
	// Waiting says what it waits for while From is 0.
	Waiting string
	// Stuck is set while so many members are in quarantine that no leader can be
	// confirmed any more.
	Stuck bool
}

// Shares of the percentage.
const transferShare, entriesShare = 80, 20

// Status describes the machine.
func (r *Rebuild) Status() RebuildStatus {
	s := RebuildStatus{From: r.from}
	switch r.phase {
	case rebuildAsking:
		s.From = 0
		s.Waiting, s.Stuck = r.waiting()
	case rebuildTransferring, rebuildInstalling:
		s.Percent = transferShare
		if r.receiver != nil && r.offer.Checkpoint.Bytes > 0 {
			_, bytes := r.receiver.Progress()
			s.Percent = int(transferShare * bytes / r.offer.Checkpoint.Bytes)
		}
	case rebuildFetching, rebuildFinishing:
		at, share, rest := r.at().Index, 0, transferShare+entriesShare
		if r.base != nil {
			share, rest = transferShare, entriesShare
		}
		s.Percent = share + int(uint64(rest)*(r.have.Index-at)/max(r.offer.Last-at, 1))
	case rebuildDone:
		s.Percent = 100
	}
	return s
}

// waiting says why no leader is followed.
func (r *Rebuild) waiting() (text string, stuck bool) {
	if r.Found() {
		return fmt.Sprintf("member %d offers what it needs; nothing is set aside before all groups have an offer", r.from), false
	}
	var sound, quarantined, silent []uint64
	var leader uint64
	for _, id := range r.others() {
		v := r.voters[id]
		switch {
		case !v.heard || r.round-v.round > 1:
			silent = append(silent, id)
		case v.quarantined:
			quarantined = append(quarantined, id)
		default:
			sound = append(sound, id)
			leader = max(leader, v.leader)
		}
	}
	n := len(r.voters) + 1
	quorum := n/2 + 1
	var parts []string
	if stuck = len(sound)+len(silent) < quorum; stuck {
		parts = append(parts, fmt.Sprintf("%d of %d members are needed that have their data, and members %s are in quarantine",
			quorum, n, list(append(quarantined, r.cfg.Member))))
		return strings.Join(parts, "; "), true
	}
	if len(quarantined) > 0 {
		parts = append(parts, "in quarantine as well: member "+list(quarantined))
	}
	if len(silent) > 0 {
		parts = append(parts, "no answer from member "+list(silent))
	}
	for _, id := range r.others() {
		if e := r.voters[id].newer; e != nil {
			parts = append(parts, fmt.Sprintf("what member %d offers cannot be read: checkpoint format %d is not known to this build (it knows %d): upgrade this member",
				id, e.Have, e.Know))
		}
	}
	switch {
	case len(sound) < quorum:
		parts = append(parts, fmt.Sprintf("%d of %d members have to run, beside this one", quorum, n))
	case r.offer != nil:
		parts = append(parts, r.uncertain())
	case leader != 0:
		parts = append(parts, fmt.Sprintf("member %d has to confirm that it leads", leader))
	default:
		parts = append(parts, "the others have no leader")
	}
	if r.why != "" {
		parts = append(parts, "it begins again because "+r.why)
	}
	return strings.Join(parts, "; "), false
}

// uncertain says which voters keep a member waiting that has forgotten its votes.
func (r *Rebuild) uncertain() string {
	var unheard, ahead []uint64
	for _, id := range r.others() {
		switch v := r.voters[id]; {
		case !v.heard:
			unheard = append(unheard, id)
		case !v.quarantined && v.term > r.offer.Term:
			ahead = append(ahead, id)
		}
	}
	if len(unheard) > 0 {
		return fmt.Sprintf("this member does not know any more for whom it voted: member %s has to answer once before it may vote again", list(unheard))
	}
	return fmt.Sprintf("this member does not know any more for whom it voted: member %s has to follow leader %d", list(ahead), r.from)
}

func list(ids []uint64) string {
	slices.Sort(ids)
	var b strings.Builder
	for i, id := range ids {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprint(&b, id)
	}
	return b.String()
}
