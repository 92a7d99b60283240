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
	campaignTries   = 6
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

// peerGone is told when a member's process is known to be gone. If it led, the
// others elect a new leader at once instead of waiting for the time-out: every
// follower forgets the old one, so that it may vote, and they campaign in turn.
func (s *stream[D]) peerGone(id uint64, rank int) {
	s.inputs.push(func() {
		soft := s.soft.Load()
		if soft.Role == raftlog.Leader || (soft.Leader != id && soft.Leader != 0) {
			return
		}
		if soft.Leader == id {
			if err := s.replica.ForgetLeader(); err != nil {
				s.member.log.Debug("leader not forgotten", "stream", s.name, "error", err)
				return
			}
		}
		s.campaignAfter(time.Duration(rank)*campaignStagger, campaignTries)
	})
}

// campaignAfter stands for election after a while, and again, as long as there is
// no leader.
func (s *stream[D]) campaignAfter(wait time.Duration, tries int) {
	if tries == 0 {
		return
	}
	time.AfterFunc(wait, func() {
		s.inputs.push(func() {
			if s.soft.Load().Leader != 0 || s.life.ctx.Err() != nil {
				return
			}
			if err := s.replica.Campaign(); err != nil {
				s.member.log.Debug("campaign not started", "stream", s.name, "error", err)
			}
			s.campaignAfter(10*time.Millisecond+rand.N(40*time.Millisecond), tries-1)
		})
	})
}
