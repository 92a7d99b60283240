package pebblestore

import (
	"math"
	"time"

	"github.com/heliosdb/metadata/raftlog"
)

// lowerFloor takes back, before it happens, what replaced entries make untrue.
func (s *Store) lowerFloor(ws []*raftlog.Write, next map[raftlog.GroupID]*groupState) error {
	lowered := false
	for _, w := range ws {
		keep := uint64(math.MaxUint64)
		if len(w.Entries) > 0 {
			keep = w.Entries[0].GetIndex() - 1
		}
		if w.Install != nil {
			keep = min(keep, w.Install.Index)
		}
		p := s.floor.promises[w.Group]
		if p.Last > keep && next[w.Group] != nil {
			p.Last, lowered = keep, true
			s.floor.promises[w.Group] = p
		}
	}
	if !lowered {
		return nil
	}
	return s.writeFloor(s.promises())
}

// promises returns what the floor says now, for a next write of it.
func (s *Store) promises() map[raftlog.GroupID]raftlog.Promise {
	out := map[raftlog.GroupID]raftlog.Promise{}
	for g, p := range s.floor.promises {
		out[g] = p
	}
	return out
}

// promiseVotes writes the floor if a term or vote is durable that is not in it.
func (s *Store) promiseVotes() error {
	for g, st := range s.groups {
		if p := s.floor.promises[g]; p.Term != st.durable.Term || p.Vote != st.durable.Vote {
			return s.writeDurable()
		}
	}
	return nil
}

// promiseLoaded does so for what an earlier process has stored but not put into the
// floor any more: raft repeats a vote that it has loaded without another write.
func (s *Store) promiseLoaded() error {
	if s.floor == nil {
		return nil
	}
	promises := s.promises()
	for g, st := range s.groups {
		p := promises[g]
		if st.short != nil || p.Term == st.hard.Term && p.Vote == st.hard.Vote {
			continue
		}
		p.Term, p.Vote = st.hard.Term, st.hard.Vote
		promises[g], st.durable = p, p
	}
	if sameVotes(promises, s.floor.promises) {
		return nil
	}
	return s.writeFloor(promises)
}

// writeDurable brings the whole floor up to what is durable, if it is not.
func (s *Store) writeDurable() error {
	changed := false
	promises := map[raftlog.GroupID]raftlog.Promise{}
	for g, st := range s.groups {
		promises[g] = st.durable
		changed = changed || s.floor.promises[g] != st.durable
	}
	if !changed {
		return nil
	}
	return s.writeFloor(promises)
}

func (s *Store) writeFloor(promises map[raftlog.GroupID]raftlog.Promise) error {
	err := s.floor.write(promises)
	if err != nil {
		s.opts.Fatal(err)
	}
	return err
}

// raiseFloor lets the last durable index follow, until the store is closed.
func (s *Store) raiseFloor() {
	ticks := s.opts.FloorTicks
	if ticks == nil {
		t := time.NewTicker(FloorInterval)
		defer t.Stop()
		ticks = t.C
	}
	for {
		select {
		case <-s.stop:
			return
		case <-ticks:
		}
		s.writing.Lock()
		if s.floor != nil && !s.closed && s.mark == nil {
			_ = s.writeDurable() // Fatal was called
		}
		s.writing.Unlock()
	}
}
