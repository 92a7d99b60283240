package simulation

import (
	"strconv"

	"github.com/heliosdb/metadata/internal/failure"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/raftlog"
)

// began checks, for one group, what a member starts with that had lost something: at least what
// anybody had applied by then, and what its floor says that it has promised. Only a
// member of a cluster that has not lived yet may begin anew.
func (h *harm) began(m *member, l *raftlog.Loaded) {
	if h == nil || h.copied {
		return
	}
	stream := metadatav1.Stream(l.Group)
	least := h.last[l.Group] // nothing is missing: all that it had
	switch {
	case h.rebuilt:
		least = h.safe[l.Group]
	case h.wrong:
		least = 0 // it lost nothing, but entries may have been replaced since
	}
	if last := l.LastIndex(); last < least {
		m.w.violate("started with less", "member %d lost something and starts with a log of the %s that ends at %d, others count on entry %d (rebuilt: %v)", m.id, stream, last, least, h.rebuilt)
	}
	if p, hard := h.floor[l.Group], l.HardState; h.known && (hard.Term < p.Term || (hard.Term == p.Term && p.Vote != 0 && hard.Vote == 0)) {
		m.w.violate("started with less", "member %d promised term %d and a vote for %d of the %s, and starts with %+v", m.id, p.Term, p.Vote, stream, hard)
	}
}

// returned lets go of a member that runs again with what it has to have.
func (h harms) returned(m *member) {
	if !h.oldCopy(m) {
		delete(h, m.id)
	}
}

// historyGone reports whether a subscription failed for want of history that no member
// has at the moment: those that do are in quarantine, or about to fill it in. Whoever wants
// all of it would have to wait.
func (w *world) historyGone(err error) bool {
	f := failure.As(err)
	if f == nil || f.Reason != metadatav1.ErrorReason_ERROR_REASON_HISTORY_GAP {
		return false
	}
	stream := metadatav1.Stream(metadatav1.Stream_value[f.Metadata["stream"]])
	revision, err := strconv.ParseUint(f.Metadata["revision"], 10, 64)
	if err != nil {
		return false
	}
	for _, m := range w.members {
		if changes, err := newHistory(m, stream).Read(revision, 1); err == nil && len(changes) > 0 {
			return false
		}
	}
	w.counts.add("subscriptions that found no history", 1)
	return true
}

// silent checks that a member in quarantine takes no part.
func (m *member) silent(what string) {
	if m.rebuild != nil || m.store.Condemned() != "" {
		m.w.violate("spoke in quarantine", "member %d %s although its directory is condemned: %s", m.id, what, m.store.Condemned())
	}
}

// begun reports whether every member has got past the first start. Until then nothing
// has been acknowledged, and a member that is damaged keeps the blank ones waiting:
// they cannot tell that they have not been wiped.
func (j *judge) begun() bool {
	for _, m := range j.w.members {
		if !m.lived {
			return false
		}
	}
	return true
}

func (d *shadow) last() uint64 { return d.start + uint64(len(d.terms)) }
