package simulation

import (
	"time"

	"github.com/heliosdb/metadata/raftlog"
)

// rankWithout is this member's place among the members but one.
func (m *member) rankWithout(id uint64) int {
	rank := 0
	for _, other := range m.initial() {
		if other != id && other < m.id {
			rank++
		}
	}
	return rank
}

// peerDown comes when another member's process has ended: soon if its machine is there
// to refuse connections, after a while if not.
func (m *member) peerDown(id uint64) {
	if m.id == id || !m.alive {
		return
	}
	refused := m.w.chance(0.6)
	wait := within(m.w.rng, 0, 20*time.Millisecond)
	if !refused {
		wait = within(m.w.rng, 200*time.Millisecond, 3*time.Second)
	}
	m.later(wait, func() {
		if m.w.member(id).alive || m.w.net.isCut(end(id), end(m.id)) {
			return
		}
		m.linkDown[id] = true
		m.linkBroke(id)
		if refused {
			m.peerGone(id)
		}
	})
}

// dial begins a process's connections: what an earlier one knew of them is gone with
// it. Those that cannot be made are noticed after a while.
func (m *member) dial() {
	clear(m.linkDown)
	for _, other := range m.w.members {
		if other == m {
			continue
		}
		m.later(within(m.w.rng, 0, 100*time.Millisecond), func() {
			if !other.alive || m.w.net.isCut(end(m.id), end(other.id)) {
				m.linkDown[other.id] = true
				m.linkBroke(other.id)
			}
		})
	}
}

// peerUp comes when another member listens again.
func (m *member) peerUp(id uint64) {
	if m.id == id || !m.alive {
		return
	}
	m.later(within(m.w.rng, 0, 50*time.Millisecond), func() {
		m.linkDown[id] = false
		m.linkBroke(id)
	})
}

// linkBroke says that what was sent to a member before may be lost.
func (m *member) linkBroke(id uint64) {
	if m.run != nil {
		for _, s := range m.run.all() {
			s.linkBroke(id)
		}
	}
}

// peerGone is told, rightly or not, that a member's process is gone.
func (m *member) peerGone(id uint64) {
	if m.run != nil {
		for _, s := range m.run.all() {
			s.peerGone(id, m.rankWithout(id))
		}
	}
}

// peerGone has the stream elect another leader at once, if the member led.
func (s *stream[D]) peerGone(id uint64, rank int) {
	s.push(func() {
		if s.soft.Role == raftlog.Leader || (s.soft.Leader != id && s.soft.Leader != 0) {
			return
		}
		if s.soft.Leader == id && s.replica.ForgetLeader() != nil {
			return
		}
		s.campaignAfter(time.Duration(rank)*campaignStagger, campaignTries)
	})
}

// campaignAfter stands for election after a while, and again, as long as there is no
// leader.
func (s *stream[D]) campaignAfter(wait time.Duration, tries int) {
	if tries == 0 {
		return
	}
	s.m.later(wait, func() {
		s.push(func() {
			if s.soft.Leader != 0 {
				return
			}
			_ = s.replica.Campaign() // refused when it cannot be promoted; the next try may do better
			s.campaignAfter(within(s.m.w.rng, 10*time.Millisecond, 50*time.Millisecond), tries-1)
		})
	})
}
