package member

import (
	"context"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/history"
	"github.com/heliosdb/metadata/history/backfill"
	"github.com/heliosdb/metadata/history/retention"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/raftlog"
)

// What a stream's history lacks is filled in from other members, and what lies below its
// floor is trimmed: in one goroutine, so that a fill and a trim never meet.

const (
	// partTimeout is how long a member may take to give a part of a history.
	partTimeout = 5 * time.Second
	// trimTicks is how often history is compared with its floor: what a member that was
	// behind has stored since the last trim may lie below it.
	trimTicks = 50
)

// keepPast fills in and trims the stream's history until the streams end.
func (s *stream[D]) keepPast() {
	head := s.replica.View().Head
	fill := backfill.New(backfill.Options{
		Group: s.group, Peers: s.member.others(),
		Origin: history.Origin{Stream: s.id, Cluster: head.Cluster, RecoveryEpoch: head.RecoveryEpoch},
	})
	ticker := time.NewTicker(s.member.config.Tick)
	defer ticker.Stop()
	trimmed := uint64(0)
	for ticks := 0; ; ticks++ {
		floor := s.life.floor(s.id).OldestRevision()
		trimmed = s.trimPast(floor, trimmed, ticks%trimTicks == 0)
		fill.Tick(floor)
		s.carryOutFill(fill)
		select {
		case <-s.life.ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// carryOutFill carries out what a Fill wants until it rests.
func (s *stream[D]) carryOutFill(fill *backfill.Fill) {
	log := s.member.log.With("stream", s.name)
	for s.life.ctx.Err() == nil {
		out, more := fill.Ready()
		if !more {
			break
		}
		if g := out.Begun; g != nil {
			log.Info("filling in history from other members", "first", g.First, "last", g.Last)
		}
		if g := out.Ended; g != nil {
			if floor := s.life.floor(s.id).OldestRevision(); g.Last < floor {
				log.Info("what the history lacked was trimmed", "last", g.Last, "oldest", floor)
			} else {
				log.Info("history filled in", "first", max(g.First, floor), "last", g.Last)
			}
		}
		switch {
		case out.Look != nil:
			gap, err := backfill.Look(s.member.store, s.group, *out.Look)
			if err != nil {
				log.Warn("what the history lacks cannot be told", "error", err)
			}
			fill.Looked(gap, err)
		case out.Ask != nil:
			past, err := s.askPart(out.Ask)
			if err != nil {
				log.Debug("no history from a member", "peer", out.Ask.To, "below", out.Ask.Below, "error", err)
				fill.Failed(out.Ask.To)
			} else if err := fill.Answered(out.Ask.To, past); err != nil {
				log.Warn("history of a member refused: it is not what this member was given the end of; see to that member's disk and memory",
					"peer", out.Ask.To, "error", err)
			}
		case out.Store != nil:
			err := s.member.store.FillHistory(s.group, out.Store)
			if err != nil {
				log.Warn("history not filled in", "error", err)
			}
			fill.Stored(err)
		}
	}
}

// askPart asks a member for a part of the history.
func (s *stream[D]) askPart(q *backfill.Request) ([]raftlog.Past, error) {
	ctx, cancel := context.WithTimeout(s.life.ctx, partTimeout)
	defer cancel()
	payload, err := proto.Marshal(&metadatav1.HistoryPartRequest{Stream: s.id, Below: q.Below, MaxBytes: uint32(q.MaxBytes)})
	if err != nil {
		return nil, err
	}
	answer, err := s.member.transport.Call(ctx, q.To, methodPart, payload)
	if err != nil {
		return nil, err
	}
	var part metadatav1.HistoryPart
	if err := proto.Unmarshal(answer, &part); err != nil {
		return nil, err
	}
	return backfill.Decode(&part), nil
}

// servePart gives another member a part of this one's history.
func (s *stream[D]) servePart(q *metadatav1.HistoryPartRequest) ([]byte, error) {
	past, err := backfill.Serve(s.member.store, s.group, q.GetBelow(), int(q.GetMaxBytes()))
	if err != nil {
		return nil, err
	}
	return proto.Marshal(backfill.Encode(past))
}

// trimPast deletes what lies below the floor, but for what leads to the model right before it
// while that is not archived. It returns below which revision that is. It does so only if that
// has changed since the last time, or if told to.
func (s *stream[D]) trimPast(floor, trimmed uint64, again bool) uint64 {
	below, err := retention.Below(s.member.store, s.group, floor)
	if err == nil && (again || below != trimmed) {
		err = retention.Trim(s.member.store, s.group, below)
	}
	if err != nil {
		s.member.log.Warn("history not trimmed", "stream", s.name, "below", floor, "error", err)
	}
	return below
}

// others returns the ids of the other members.
func (m *Member) others() (ids []uint64) {
	for _, id := range m.initial() {
		if id != m.identity.Member {
			ids = append(ids, id)
		}
	}
	return ids
}
