package simulation

import (
	"errors"
	"fmt"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/raftlog"
	"github.com/heliosdb/metadata/replica"
)

// What a member in quarantine asks the others.

func (c *groupRebuild) askOffer(q raftlog.OfferRequest) {
	m := c.re.m
	m.callPeer(q.To, offerPatience, func(peer *member, answer func(any, error)) {
		switch {
		case peer.run != nil:
			peer.run.of(c.stream).serveOffer(m.id, q.Round, answer)
		case peer.rebuild != nil:
			answer(raftlog.OfferAnswer{Round: q.Round, Quarantined: true}, nil)
		default:
			answer(nil, errRefused)
		}
	}, func(reply any, err error) {
		a, ok := reply.(raftlog.OfferAnswer)
		if err != nil || !ok {
			return
		}
		if err := c.Offered(q.To, a); err != nil {
			m.log("rebuild: %v", err)
			m.w.counts.add("rebuild answers refused", 1)
		}
		c.re.carryOut(c)
	})
}

func (c *groupRebuild) askChunk(q raftlog.ChunkRequest) {
	m := c.re.m
	m.callPeer(q.To, chunkTimeout, func(peer *member, answer func(any, error)) {
		if peer.run == nil {
			answer(nil, errRefused)
			return
		}
		served := peer.run.of(c.stream)
		served.push(func() { answer(served.serveChunk(m.id, chunkRequest{c.stream, q.Index, q.Chunk})) })
	}, func(reply any, err error) {
		if err != nil {
			c.ChunkFailed(q.To, q.Index, q.Chunk, err)
		} else {
			c.Chunk(q.To, q.Index, q.Chunk, reply.([]byte))
		}
		c.re.carryOut(c)
	})
}

func (c *groupRebuild) askEntries(q raftlog.EntriesRequest) {
	m := c.re.m
	m.callPeer(q.To, chunkTimeout, func(peer *member, answer func(any, error)) {
		if peer.run == nil {
			answer(nil, errRefused)
			return
		}
		peer.run.of(c.stream).serveEntries(m.id, q, answer)
	}, func(reply any, err error) {
		if err == nil {
			err = c.Entries(q, reply.([]*raftpb.Entry))
		} else {
			c.EntriesFailed(q, err)
		}
		if err != nil {
			m.log("rebuild: entries after %d: %v", q.After.Index, err)
		}
		c.re.carryOut(c)
	})
}

// How the others answer.

// serveOffer says what a member in quarantine can be rebuilt from, if this one is
// confirmed to lead.
func (s *stream[D]) serveOffer(from, round uint64, answer func(any, error)) {
	s.push(func() {
		now := s.replica.Status().SoftState
		a := raftlog.OfferAnswer{Round: round, Term: now.Term, Leader: now.Leader}
		if now.Role != raftlog.Leader {
			answer(a, nil)
			return
		}
		s.read(replica.Read[D]{Leading: true, Done: func(r replica.ReadAnswer[D]) {
			if r.Err != nil || r.Term != now.Term {
				answer(a, nil) // it could not be confirmed: what it says is its term
				return
			}
			s.push(func() { answer(s.offering(from, r.Term, a), nil) })
		}})
	})
}

// offering completes the answer of a confirmed leader.
func (s *stream[D]) offering(from, term uint64, a raftlog.OfferAnswer) raftlog.OfferAnswer {
	offer, err := s.replica.Offer(from, term)
	if err != nil {
		return a
	}
	if p := s.pinned[from]; p == nil || p.Descriptor().Index != offer.Checkpoint.Index {
		s.startTransfer(from, offer.Checkpoint.Index)
	}
	a.Offer = &offer
	return a
}

// serveEntries gives a member in quarantine a piece of the log.
func (s *stream[D]) serveEntries(from uint64, q raftlog.EntriesRequest, answer func(any, error)) {
	s.push(func() {
		entries, err := s.replica.EntriesAfter(from, q)
		copied := make([]*raftpb.Entry, len(entries))
		for i, e := range entries {
			copied[i] = proto.CloneOf(e)
		}
		answer(copied, err)
	})
}

// givenUp hears that a member is out of quarantine: what it was sent before is lost.
func (s *stream[D]) givenUp(to uint64) {
	s.push(func() {
		s.endTransfer(to)
		s.replica.EndOffer(to)
		s.replica.ReportSnapshot(to, false)
		s.replica.ReportUnreachable(to)
	})
}

// counted looks at a refused message: a leader that counts on entries which this
// member does not have proves that it has lost some. That is a bug unless the
// directory was exchanged for an old copy.
func (s *stream[D]) counted(err error) bool {
	bad, ok := errors.AsType[*raftlog.BadMessageError](err)
	if !ok || bad.Reason != raftlog.BadCommit || !s.m.w.harms.oldCopy(s.m) {
		return false
	}
	s.m.outOfDate(fmt.Sprintf("older than its member: in the %s stream, member %d leads and counts on entries that it lacks (%s)",
		events.StreamName(s.id), bad.From, bad.Detail))
	return true
}
