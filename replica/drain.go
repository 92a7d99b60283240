package replica

import "github.com/heliosdb/metadata/raftlog"

// drain is the way out of a member that stops: it takes no more commands and hands
// leadership on once what is in flight has been answered.
type drain struct {
	on      bool
	askedAt uint64 // tick of the last attempt
	asked   bool
	since   uint64 // tick
}

// Drain begins to hand over: new commands are refused with STOPPING, reads are still
// answered. Drained says when it is done. There is no way back.
func (r *Replica[D]) Drain() {
	if r.drain.on {
		return
	}
	r.drain = drain{on: true, since: r.ticks}
	r.tickDrain()
}

// Drained reports that nothing waits here and this member does not lead, or that
// nobody has taken over for several elections. A driver sets a time limit of its own.
func (r *Replica[D]) Drained() bool {
	switch {
	case r.failed != nil:
		return true
	case !r.drain.on || len(r.answers) > 0:
		return false
	case r.lead == nil:
		return r.soft.Role != raftlog.Leader
	case len(r.conf.GetVoters()) == 1:
		return r.lead.count() == 0
	}
	return r.ticks-r.drain.since >= drainPatience*r.electionTicks()
}

// drainPatience is after how many elections without a successor a leader gives up.
const drainPatience = 4

func (r *Replica[D]) electionTicks() uint64 {
	if n := r.cfg.Log.ElectionTicks; n > 0 {
		return uint64(n)
	}
	return raftlog.DefaultElectionTicks
}

// tickDrain asks for the transfer when all is answered, or when that takes longer
// than an election, and again when an attempt came to nothing.
func (r *Replica[D]) tickDrain() {
	d := &r.drain
	if !d.on || r.lead == nil {
		return
	}
	patience := r.electionTicks()
	switch {
	case r.lead.count() > 0 && r.ticks-d.since < patience:
		return
	case d.asked && r.ticks-d.askedAt < patience:
		return
	}
	if to := r.successor(); to != 0 {
		d.asked, d.askedAt = true, r.ticks
		r.log.Info("handing leadership over", "to", to)
		_ = r.group.TransferLeader(to) // fails on others only, and this one leads
	}
}

// successor returns the voter that has most of the log among those heard of lately;
// 0 if there is none right now. Of equals, the one with the lowest id.
func (r *Replica[D]) successor() uint64 {
	st := r.group.Status()
	var best uint64
	for _, id := range st.Conf.GetVoters() {
		p, ok := st.Progress[id]
		if id == r.cfg.Log.Member || !ok || !p.RecentActive || p.Learner || p.State == progressSnapshot {
			continue
		}
		if best == 0 || p.Match > st.Progress[best].Match || (p.Match == st.Progress[best].Match && id < best) {
			best = id
		}
	}
	return best
}
