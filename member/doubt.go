package member

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/raftlog"
)

// doubtPause is how long a member that found no loss does not look again.
const doubtPause = time.Second

// doubted looks at a refused message. A leader that counts on entries which this member
// does not have may prove that it has lost some; whether it does is looked into.
func (s *stream[D]) doubted(err error) {
	bad, ok := errors.AsType[*raftlog.BadMessageError](err)
	if !ok || bad.Reason != raftlog.BadCommit || !s.member.doubting.CompareAndSwap(false, true) {
		return
	}
	s.life.jobs.Go(func() { // what it finds out belongs to this life
		if lost := s.lookInto(s.life.ctx, bad.From); lost != nil {
			s.member.log.Error("a message counts on entries that this member lacks, but it is not taken for proof of a loss",
				"stream", s.name, "from", bad.From, "message", bad.Detail, "reason", lost)
			s.member.doubting.Store(false)
			return
		}
		// Nothing is damaged, so it may be an old copy of the directory, floor included.
		s.member.condemnAs(s.life, &condemnedError{
			why:   fmt.Sprintf("older than its member: in the %s stream, member %d leads and counts on entries that it lacks (%s)", s.name, bad.From, bad.Detail),
			votes: raftlog.VotesUnknown,
		})
	})
}

// lookInto returns nil if this member has lost entries and can be rebuilt, else what
// speaks against it. One message proves nothing: anybody may be wrong, the leader's memory too. Its
// sender has to be confirmed as leader, its log has to be longer than ours, and
// a quorum of others has to be sound, neither in quarantine nor in doubt itself. Members
// that doubt themselves at the same time see one another, because each says so before it
// asks: never do more of them go into quarantine than can be rebuilt.
func (s *stream[D]) lookInto(ctx context.Context, leader uint64) error {
	answers := s.askAround(ctx)
	sound := 0
	for _, a := range answers {
		if !a.GetQuarantined() && !a.GetDoubting() {
			sound++
		}
	}
	offer, own := answers[leader].GetOffer(), s.status.Load().Last
	var against error
	switch quorum := len(s.member.identity.Peers)/2 + 1; {
	case offer == nil:
		against = fmt.Errorf("member %d is not confirmed as leader", leader)
	case offer.GetLast() <= own:
		against = fmt.Errorf("its log ends at %d, ours at %d", offer.GetLast(), own)
	case sound < quorum:
		against = fmt.Errorf("%d other members are sound, a rebuild takes %d", sound, quorum)
	}
	if against == nil {
		return nil
	}
	select {
	case <-time.After(doubtPause):
	case <-ctx.Done():
	}
	return against
}

// askAround asks all others at once what they could rebuild this member from.
func (s *stream[D]) askAround(ctx context.Context) map[uint64]*metadatav1.RebuildOfferAnswer {
	ctx, cancel := context.WithTimeout(ctx, offerPatience)
	defer cancel()
	var (
		mu      sync.Mutex
		wg      sync.WaitGroup
		answers = make(map[uint64]*metadatav1.RebuildOfferAnswer)
	)
	question, err := proto.Marshal(&metadatav1.RebuildOfferRequest{Stream: s.id})
	if err != nil {
		return nil
	}
	for _, id := range s.member.initial() {
		if id == s.member.identity.Member {
			continue
		}
		wg.Go(func() {
			payload, err := s.member.transport.Call(ctx, id, methodOffer, question)
			var answer metadatav1.RebuildOfferAnswer
			if err != nil || proto.Unmarshal(payload, &answer) != nil {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			answers[id] = &answer
		})
	}
	wg.Wait()
	return answers
}
