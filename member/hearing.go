package member

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/raftlog"
)

// Raft alone finds a lost leader after one to two election time-outs, because it
// draws at random when to stand, and a leader that nobody can answer after two to four:
// it has to notice, and then the others. What is here decides sooner, at the first
// time-out, and in turn instead of at random. None of it is needed for safety: to forget
// a leader, to stand for election or to lose a message is always allowed. Nor can one
// member that is wrong unseat a leader, because the others refuse its pre-vote while they
// hear the leader.

const (
	// ignoreTicks is for how many ticks a leader that was found useless is not listened
	// to, so that an election without it can end.
	ignoreTicks = 3
	// resignTimeout is for one message that says that this member should not lead.
	resignTimeout = time.Second
)

// hearing is whom a member hears in a stream, in ticks. The stream's goroutine owns it.
type hearing struct {
	now      uint64            // ticks since the stream began to run
	last     map[uint64]uint64 // when a peer was last heard: a leader as leader, others at all
	resigned uint64            // when this member last asked the others to do without it
	ignored  raftlog.SoftState // leader and term that are not listened to,
	until    uint64            // until then
}

// silence is for how long a peer has not been heard.
func (h *hearing) silence(id uint64) uint64 { return h.now - h.last[id] }

// heardFrom notes a message. It returns false if it is to be left out.
func (s *stream[D]) heardFrom(from uint64, msg *raftpb.Message) bool {
	h, soft := &s.hearing, s.soft.Load()
	leading := msg.GetType() == raftpb.MsgApp || msg.GetType() == raftpb.MsgHeartbeat
	if leading && h.now < h.until && from == h.ignored.Leader && msg.GetTerm() == h.ignored.Term {
		return false
	}
	if leading || msg.GetType() == raftpb.MsgSnap || soft.Role == raftlog.Leader {
		h.last[from] = h.now
	}
	return true
}

// listen looks, once a tick, whether the stream needs another leader.
func (s *stream[D]) listen() {
	h, soft := &s.hearing, s.soft.Load()
	h.now++
	switch {
	case soft.Role == raftlog.Follower && soft.Leader != 0 && h.silence(soft.Leader) >= ElectionTicks:
		s.member.log.Info("the leader is silent", "stream", s.name, "leader", soft.Leader, "term", soft.Term)
		s.doWithout(soft.Leader, false)
	case soft.Role == raftlog.Leader && h.now-h.resigned >= ElectionTicks && (s.unheard() || s.status.Load().Stalled):
		h.resigned = h.now
		s.resign(soft.Term)
	}
}

// unheard reports whether this member, a leader, has not heard a majority for so long
// that it cannot lead.
func (s *stream[D]) unheard() bool {
	members, heard := s.member.initial(), 1
	for _, id := range members {
		if id != s.member.identity.Member && s.hearing.silence(id) < ElectionTicks {
			heard++
		}
	}
	return 2*heard <= len(members)
}

// heardAnew begins a new leader's time, or that of this member as a leader.
func (s *stream[D]) heardAnew(soft raftlog.SoftState) {
	h := &s.hearing
	if soft.Role == raftlog.Leader {
		for _, id := range s.member.initial() {
			h.last[id] = h.now
		}
		h.resigned = h.now
	}
	if soft.Leader != 0 {
		h.last[soft.Leader] = h.now
	}
}

// resign tells the others that this member leads but should not: it hears no majority,
// or its disk takes no writes. They may hear it nevertheless.
func (s *stream[D]) resign(term uint64) {
	m := s.member
	m.log.Warn("this member cannot lead and tells the others", "stream", s.name, "term", term,
		"hears_majority", !s.unheard(), "disk_stalls", s.status.Load().Stalled)
	payload := appendResignation(nil, s.id, term)
	for _, id := range m.initial() {
		if id == m.identity.Member {
			continue
		}
		s.life.jobs.Go(func() {
			ctx, cancel := context.WithTimeout(s.life.ctx, resignTimeout)
			defer cancel()
			if _, err := m.transport.Call(ctx, id, methodResigned, payload); err != nil {
				m.log.Debug("resignation not confirmed", "stream", s.name, "peer", id, "error", err)
			}
		})
	}
}

const resignationBytes = 4 + 8 // stream, term

// appendResignation encodes what resign sends.
func appendResignation(b []byte, id metadatav1.Stream, term uint64) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint32(b, uint32(id)), term)
}

// serveResigned is told by the leader of a term that it should not lead.
func serveResigned(r *running, from uint64, payload []byte) error {
	if len(payload) != resignationBytes {
		return fmt.Errorf("a resignation of %d bytes, it has %d", len(payload), resignationBytes)
	}
	id, term := metadatav1.Stream(binary.BigEndian.Uint32(payload)), binary.BigEndian.Uint64(payload[4:])
	for _, s := range r.all() {
		if s.streamID() == id {
			s.leaderResigned(from, term)
			return nil
		}
	}
	return fmt.Errorf("stream %d is not known; the leader may run a newer version", id)
}

// leaderResigned elects another leader if the one that says so leads this term.
func (s *stream[D]) leaderResigned(from, term uint64) {
	s.inputs.push(func() {
		if soft := s.soft.Load(); soft.Role == raftlog.Follower && soft.Leader == from && soft.Term == term {
			s.doWithout(from, true)
		}
	})
}

// doWithout forgets a leader and stands for election when it is this member's turn. One that
// is known to be useless, and may go on sending, is not listened to for a moment.
func (s *stream[D]) doWithout(id uint64, useless bool) {
	if soft := s.soft.Load(); soft.Leader == id {
		if err := s.replica.ForgetLeader(); err != nil {
			s.member.log.Debug("leader not forgotten", "stream", s.name, "error", err)
			return
		}
		if useless {
			s.hearing.ignored, s.hearing.until = *soft, s.hearing.now+ignoreTicks
		}
		s.seenTerm = soft.Term
	}
	s.campaignAfter(time.Duration(s.member.rankWithout(id)) * campaignStagger)
}
