package simulation

import (
	"time"

	"github.com/heliosdb/metadata/feed"
	"github.com/heliosdb/metadata/history"
	"github.com/heliosdb/metadata/history/backfill"
	"github.com/heliosdb/metadata/history/retention"
	"github.com/heliosdb/metadata/history/stored"
	"github.com/heliosdb/metadata/projections"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/raftlog"
)

// What members do with the past, as package member does: the same machine fills it in.

// partTimeout is how long a member may take to give a part of a history.
const partTimeout = 5 * time.Second

// newHistory is what a member's disk holds of a stream's past.
func newHistory(m *member, s metadatav1.Stream) feed.History {
	return stored.NewHistory(m.store, s, func() uint64 {
		if m.run == nil {
			return 0
		}
		return m.run.floor(s)
	})
}

// keeping fills in and trims the history of one stream, in one life of a member.
type keeping struct {
	m      *member
	stream metadatav1.Stream
	group  raftlog.GroupID
	fill   *backfill.Fill
}

func newKeeping(m *member, head projections.Head) *keeping {
	var others []uint64
	for _, id := range m.initial() {
		if id != m.id {
			others = append(others, id)
		}
	}
	group := groupOf(head.Stream)
	return &keeping{m: m, stream: head.Stream, group: group, fill: backfill.New(backfill.Options{
		Group: group, Peers: others,
		Origin: history.Origin{Stream: head.Stream, Cluster: head.Cluster, RecoveryEpoch: head.RecoveryEpoch},
	})}
}

// begin lets it run until the member's life ends.
func (k *keeping) begin() {
	k.m.later(k.m.w.plan.tick, func() {
		if k.m.run == nil {
			return // another stream's log could not be restored
		}
		floor := k.m.run.floor(k.stream)
		k.m.run.of(k.stream).keepBase(floor)
		if k.m.run == nil {
			return // its disk has failed
		}
		k.trim(floor)
		k.fill.Tick(floor)
		k.carryOut()
		k.begin()
	})
}

// trim deletes what lies below the floor, but for what leads to the model right before it.
func (k *keeping) trim(floor uint64) {
	below, err := retention.Below(k.m.store, k.group, floor)
	if err == nil {
		err = retention.Trim(k.m.store, k.group, below)
	}
	if err != nil && !k.m.disk.failed(err) {
		k.m.w.violate("trim", "member %d: %v", k.m.id, err)
	}
}

// carryOut carries out what the Fill wants.
func (k *keeping) carryOut() {
	for {
		out, more := k.fill.Ready()
		if !more {
			return
		}
		if g := out.Begun; g != nil {
			k.m.w.counts.add("gaps found", 1)
			k.m.log("%s: fills in revisions %d to %d", k.stream, g.First, g.Last)
		}
		if g := out.Ended; g != nil {
			k.m.w.counts.add("gaps filled in", 1)
			k.m.log("%s: has filled in revisions %d to %d", k.stream, g.First, g.Last)
		}
		switch {
		case out.Look != nil:
			k.onDisk(func() { k.fill.Looked(backfill.Look(k.m.store, k.group, *out.Look)) })
		case out.Ask != nil:
			k.ask(*out.Ask)
		case out.Store != nil:
			k.onDisk(func() { k.store(out.Store) })
		}
	}
}

// onDisk has the disk do something and goes on with what follows.
func (k *keeping) onDisk(job func()) {
	k.m.later(k.m.disk.latency(), func() {
		if k.m.disk.stalled {
			k.onDisk(job)
			return
		}
		life := k.m.life
		job()
		if k.m.life == life {
			k.carryOut()
		}
	})
}

func (k *keeping) store(past []raftlog.Past) {
	k.m.w.fillGoesOn(k.m)
	err := k.m.store.FillHistory(k.group, past)
	if err != nil {
		k.m.log("%s: history not filled in: %v", k.stream, err)
	} else {
		k.m.w.counts.add("parts filled in", 1)
	}
	k.fill.Stored(err)
}

// part is what a member gives of its history.
type part struct {
	past    []raftlog.Past
	altered bool
}

func (k *keeping) ask(q backfill.Request) {
	k.m.callPeer(q.To, partTimeout, func(peer *member, answer func(any, error)) {
		if peer.run == nil {
			answer(nil, errRefused)
			return
		}
		answer(peer.givePart(k.stream, q))
	}, func(reply any, err error) {
		given, _ := reply.(part)
		if err != nil {
			k.fill.Failed(q.To)
		} else if err := k.fill.Answered(q.To, given.past); err != nil {
			k.m.w.counts.add("parts refused", 1)
			k.m.log("%s: part refused: %v", k.stream, err)
			if !given.altered {
				k.m.w.violate("part refused", "member %d refused what member %d has of the %s: %v", k.m.id, q.To, k.stream, err)
			}
		}
		k.carryOut()
	})
}

// givePart gives another member a part of this one's history.
func (m *member) givePart(s metadatav1.Stream, q backfill.Request) (part, error) {
	past, err := backfill.Serve(m.store, groupOf(s), q.Below, min(q.MaxBytes, m.w.plan.partBytes))
	if err != nil || len(past) == 0 || m.w.partTrap == 0 || m.w.quiet {
		return part{past: past}, err
	}
	m.w.partTrap--
	m.w.fault(faultPart)
	return part{past: m.alter(s, past), altered: true}, nil
}
