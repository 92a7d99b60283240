package simulation

import (
	"context"
	"errors"

	"github.com/heliosdb/metadata/history"
	"github.com/heliosdb/metadata/history/retention"
	"github.com/heliosdb/metadata/internal/failure"
	"github.com/heliosdb/metadata/projections"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/raftlog"
	"github.com/heliosdb/metadata/replica"
)

// Members archive the model right before a floor, or get it from another one, as package member
// has them do it: the same code decides.

// keepBase sees to it that the member has the model right before the floor.
func (s *stream[D]) keepBase(floor uint64) {
	todo, err := retention.BaseOf(s.m.store, s.group, floor)
	switch {
	case err != nil:
		s.m.w.violate("base", "member %d: %v", s.m.id, err)
	case todo == retention.BaseFold:
		s.foldBase(floor - 1)
	case todo == retention.BaseFetch && !s.asksBase:
		s.fetchBase(floor)
	}
}

// foldBase archives the model of a revision.
func (s *stream[D]) foldBase(revision uint64) {
	state, err := s.past.models.At(context.Background(), revision)
	if failure.Is(err, metadatav1.ErrorReason_ERROR_REASON_DAMAGED) && s.foldIsHurt(revision) {
		return // it is known now, and another member is asked
	}
	if err != nil {
		s.m.w.violate("base", "member %d, %s: what was trimmed and is not deleted does not lead to revision %d: %v", s.m.id, s.id, revision, err)
		return
	}
	_, err = replica.WriteBase(context.Background(), s.m.store, s.group, state)
	if _, damaged := errors.AsType[*raftlog.DamageError](err); damaged && s.hurtWithin(revision, revision) {
		return // so is this: the model was there, but not the record that says of which entry it is
	}
	s.archived(err)
}

// archived judges how the archiving of a base ended.
func (s *stream[D]) archived(err error) {
	switch {
	case err == nil:
		s.m.w.counts.add("bases archived", 1)
	case !errors.Is(err, raftlog.ErrFull) && !s.m.disk.failed(err):
		s.m.w.violate("base", "member %d, %s: %v", s.m.id, s.id, err)
	}
}

// givenBase is the model that a member gives, and how its checkpoint is described.
type givenBase[D projections.Domain[D]] struct {
	descriptor raftlog.Descriptor
	state      *projections.State[D]
	altered    bool
}

// fetchBase asks another member, once everything behind the floor is there.
func (s *stream[D]) fetchBase(floor uint64) {
	bounds, err := s.past.source.Bounds(context.Background())
	if err != nil || bounds.First > floor || len(s.m.w.members) == 1 {
		return
	}
	peer := s.m.w.members[s.m.w.rng.IntN(len(s.m.w.members))].id
	if peer == s.m.id {
		return
	}
	s.asksBase = true
	s.m.callPeer(peer, partTimeout, func(peer *member, answer func(any, error)) {
		if peer.run == nil {
			answer(nil, errRefused)
			return
		}
		answer(peer.run.of(s.id).(*stream[D]).giveBase(floor - 1))
	}, func(reply any, err error) {
		s.asksBase = false
		if given, ok := reply.(givenBase[D]); ok && err == nil {
			s.takeBase(given)
		}
	})
}

// giveBase gives the model of a revision, or what is none.
func (s *stream[D]) giveBase(revision uint64) (any, error) {
	d, err := replica.FindPast(s.m.store, s.group, revision)
	if err != nil {
		return nil, err
	}
	state, err := replica.ReadPast(s.m.store, d, s.genesis)
	if err != nil || s.m.w.quiet || !s.m.w.chance(0.7) {
		return givenBase[D]{descriptor: d, state: state}, err
	}
	s.m.w.fault(faultPart)
	altered := *state
	altered.Model = s.genesis.Model
	return givenBase[D]{descriptor: d, state: &altered, altered: true}, nil
}

// takeBase archives what another member has given, unless it does not lead to what this one has.
func (s *stream[D]) takeBase(given givenBase[D]) {
	err := history.Confirm(context.Background(), s.past.source, given.state, s.replica.View())
	if failure.As(err) != nil { // what leads to the model is not all stored yet, or was trimmed meanwhile
		return
	}
	if err != nil {
		s.m.w.counts.add("bases refused", 1)
		if !given.altered {
			s.m.w.violate("base refused", "member %d: %v", s.m.id, err)
		}
		return
	}
	if given.altered {
		if !s.vanishes(given.state) {
			s.m.w.violate("base", "member %d, %s: a model of revision %d was taken that never was", s.m.id, s.id, given.state.Head.Revision)
		}
		return // later changes have replaced what was altered: nobody could tell
	}
	_, err = replica.WriteBaseAs(context.Background(), s.m.store, given.descriptor, given.state)
	s.m.w.counts.add("bases given", 1)
	s.archived(err)
}

// vanishes reports whether what is wrong with a model makes no difference to this member's own.
func (s *stream[D]) vanishes(altered *projections.State[D]) (same bool) {
	defer func() {
		if recover() != nil { // the changes do not even follow it
			same = false
		}
	}()
	for now := s.replica.View(); altered.Head.Revision < now.Head.Revision; {
		altered = altered.Fold(s.m.w.judge.chain(s.id).changes[altered.Head.Revision])
	}
	return altered.Hash() == s.replica.View().Hash()
}
