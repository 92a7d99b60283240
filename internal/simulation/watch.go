package simulation

import (
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/internal/hashwatch"
	realmember "github.com/heliosdb/metadata/member"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/raftlog"
)

// Members compare the checkpoints that they write, as package member does: the same
// machine decides. What is injected here is a checkpoint with other bytes than the
// others'. They restore the same model all the same (it is cut into other chunks):
// what a leader decides on a wrong model is not the watch's to prevent.

// faultWrong is what the watch is for.
const faultWrong = "checkpoint differs from the others'"

// Builds of members. The newer one writes other bytes, as after an upgrade with a bug.
const (
	olderBuild = "older"
	newerBuild = "newer"
)

// wrongChunks and newerChunks are sizes that no plan has.
const (
	wrongChunks = 90
	newerChunks = 150
)

// hashTimeout bounds a question for hashes.
const hashTimeout = time.Second

// watching is a process's part in the comparison.
type watching struct {
	*hashwatch.Watch
	lived bool                         // its streams have run before
	wrong []*metadatav1.CheckpointHash // what this life wrote, and is not what it should be
}

// newWatching begins a process: what an earlier one has written is not compared.
func (m *member) newWatching() {
	if m.w.plan.upgrade && m.lived && m.w.chance(0.5) {
		m.build = newerBuild
	}
	m.watch = watching{Watch: hashwatch.New(hashwatch.Options{Member: m.id, Members: m.initial(), Build: m.build})}
}

// watchOthers begins to compare, in a new life of the streams.
func (m *member) watchOthers() {
	if m.watch.lived {
		m.watch.Begin()
		m.watch.wrong = nil
	}
	m.watch.lived = true
	m.nextRound()
}

func (m *member) nextRound() {
	m.later(m.w.plan.compare, func() {
		out := m.watch.Tick()
		for _, id := range out.Ask {
			m.askHashes(id)
		}
		m.nextRound()
		m.compared(out)
	})
}

func (m *member) askHashes(id uint64) {
	m.callPeer(id, hashTimeout, func(peer *member, answer func(any, error)) {
		if peer.run == nil {
			answer(nil, errRefused)
			return
		}
		answer(proto.CloneOf(peer.watch.Report()), nil)
	}, func(reply any, err error) {
		if err != nil {
			m.watch.Failed(id)
			return
		}
		out, err := m.watch.Reported(id, reply.(*metadatav1.CheckpointHashes))
		if err != nil {
			m.w.violate("watch", "member %d: %v", m.id, err)
		}
		m.compared(out)
	})
}

// compared carries out what follows from a comparison. Only a member that was made to
// differ may be condemned.
func (m *member) compared(out hashwatch.Output) {
	for _, d := range out.Alarms {
		m.w.counts.add("checkpoints seen to differ", 1)
		m.log("sees that the %s differs at revision %d (m%d): %s", events.StreamName(d.GetStream()), d.GetRevision(), d.GetMemberId(), d.GetDescription())
	}
	if out.Condemned == "" {
		return
	}
	if len(m.watch.wrong) == 0 {
		m.w.violate("condemned without reason", "member %d: %s", m.id, out.Condemned)
		return
	}
	m.w.counts.add("condemned for its checkpoint", 1)
	m.leave()()
	if err := m.disk.drain(); err != nil {
		m.fail(err)
		return
	}
	m.condemn(out.Condemned)
}

// wrongCheckpoint waits for the next checkpoint of anybody.
func (w *world) wrongCheckpoint() bool {
	w.wrongTrap = true
	return false
}

// goesWrong springs the trap. A member that differs counts as harmed: it will have to be
// rebuilt from the others.
func (m *member) goesWrong() bool {
	w := m.w
	if !w.wrongTrap || !w.harmable(m) || w.chance(0.5) {
		return false
	}
	w.wrongTrap = false
	return true
}

// chunkBytes is how a member's build cuts its checkpoints.
func (m *member) chunkBytes() int {
	if m.build == newerBuild {
		return newerChunks
	}
	return m.w.plan.chunkBytes
}

// wrote hands a checkpoint to the judge and to the watch.
func (m *member) wrote(s metadatav1.Stream, d raftlog.Descriptor, level uint32, wrong bool) {
	c := realmember.HashOf(s, d, level)
	if wrong && d.Chunks > 1 {
		m.log("wrote another checkpoint at revision %d of the %s than it should", d.Seq, events.StreamName(s))
		m.w.fault(faultWrong)
		m.w.noteHarm(m, false).wrong = true
		m.watch.wrong = append(m.watch.wrong, c)
	} else {
		m.w.judge.checkpoint(m, d)
	}
	m.compared(m.watch.Wrote(c))
}

// unnoticed says of a member that differs from enough others that it goes on.
func (m *member) unnoticed() bool {
	for _, c := range m.watch.wrong {
		n := 0
		for _, other := range m.w.members {
			if other != m && other.build == m.build && other.disagrees(c) {
				n++
			}
		}
		if n >= max(2, len(m.w.members)/2+1) && m.reports(c) {
			return true
		}
	}
	return false
}

func (m *member) disagrees(c *metadatav1.CheckpointHash) bool {
	for _, own := range m.watch.Report().GetCheckpoints() {
		if samePlace(own, c) && !own.GetPast() && string(own.GetHash()) != string(c.GetHash()) {
			return true
		}
	}
	return false
}

func (m *member) reports(c *metadatav1.CheckpointHash) bool {
	for _, own := range m.watch.Report().GetCheckpoints() {
		if proto.Equal(own, c) {
			return true
		}
	}
	return false
}

func samePlace(a, b *metadatav1.CheckpointHash) bool {
	return a.GetStream() == b.GetStream() && a.GetRevision() == b.GetRevision() && a.GetIndex() == b.GetIndex() && a.GetFormat() == b.GetFormat()
}
