package member

import (
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/heliosdb/metadata/raftlog"
)

const (
	// campaignStagger keeps members of different rank from standing for election
	// at the same instant, which splits the vote.
	campaignStagger = 15 * time.Millisecond
	// campaignTries is how often a member asks whether the others would elect it, before it
	// leaves that to raft's time-outs; retryCampaign is between two times, at least.
	campaignTries = 10
	retryCampaign = 20 * time.Millisecond
	// candidacy is for how long a candidate waits for votes, at least, before it or
	// another one stands again.
	candidacy = 100 * time.Millisecond
	// flapWindow and maxFlaps bound how often a broken connection cuts an election
	// short: while connections flap, elections wait for their time-out.
	flapWindow = 10 * time.Second
	maxFlaps   = 3
)

// flaps counts how often connections broke lately.
type flaps struct {
	mu    sync.Mutex
	times map[uint64][]time.Time
}

// steady notes a break and reports whether the connection is not flapping.
func (f *flaps) steady(id uint64, now time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.times == nil {
		f.times = make(map[uint64][]time.Time)
	}
	recent := slices.DeleteFunc(f.times[id], func(t time.Time) bool { return now.Sub(t) > flapWindow })
	f.times[id] = append(recent, now)
	return len(f.times[id]) <= maxFlaps
}

// rankWithout is this member's place among the initial members but one.
func (m *Member) rankWithout(id uint64) int {
	rank := 0
	for _, other := range m.initial() {
		if other != id && other < m.identity.Member {
			rank++
		}
	}
	return rank
}

// firstCampaign is how long a member waits after its start before it stands for
// election if it hears of no leader: long enough to have met the others, and not
// at the same instant as they.
func (m *Member) firstCampaign() time.Duration {
	if len(m.identity.Peers) == 1 {
		return 0
	}
	return m.config.Tick + time.Duration(m.rankWithout(0))*campaignStagger
}

// peerGone is told when a member's process is known to be gone, or at least its port
// refuses. If it led, the others elect a new leader at once instead of waiting for the
// time-out: every follower forgets the old one, so that it may vote, and they campaign in
// turn. If it lives it may go on sending; nobody listens to it until the election is over.
func (s *stream[D]) peerGone(id uint64) {
	s.inputs.push(func() {
		soft := s.soft.Load()
		if soft.Role == raftlog.Leader || (soft.Leader != id && soft.Leader != 0) {
			return
		}
		s.doWithout(id, true)
	})
}

// peerBack is told when a member can be reached. While there is no leader the two may be
// enough to elect one.
func (s *stream[D]) peerBack() {
	s.inputs.push(func() {
		if s.soft.Load().Leader == 0 {
			s.campaignAfter(time.Duration(s.member.rankWithout(0)) * campaignStagger)
		}
	})
}

// campaignAfter stands for election after a while, and again, as long as there is no
// leader. It replaces what an earlier call has begun.
func (s *stream[D]) campaignAfter(wait time.Duration) {
	s.campaigns = campaignTries
	s.campaignSoon(wait)
}

func (s *stream[D]) campaignSoon(wait time.Duration) {
	s.nextCampaign++
	number := s.nextCampaign
	time.AfterFunc(wait, func() {
		s.inputs.push(func() {
			if number == s.nextCampaign {
				s.campaign()
			}
		})
	})
}

// campaign stands for election unless somebody leads. When the term has moved, somebody
// waits for votes, which disks have to store first: to stand against them at once would
// take the term away from under them, again and again.
func (s *stream[D]) campaign() {
	soft := s.soft.Load()
	if soft.Leader != 0 || s.life.ctx.Err() != nil {
		return
	}
	if soft.Term != s.seenTerm {
		s.seenTerm = soft.Term
		s.campaignSoon(candidacy + rand.N(candidacy))
		return
	}
	if s.campaigns == 0 {
		return
	}
	s.campaigns--
	if err := s.replica.Campaign(); err != nil {
		s.member.log.Debug("campaign not started", "stream", s.name, "error", err)
	}
	s.campaignSoon(retryCampaign + rand.N(retryCampaign))
}
