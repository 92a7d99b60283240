package member

import (
	"context"

	"google.golang.org/protobuf/proto"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/raftlog"
	"github.com/heliosdb/metadata/replica"
)

// onStream runs f on the stream's goroutine and waits for it; false if the stream or
// the caller ends first.
func (s *stream[D]) onStream(ctx context.Context, f func()) bool {
	done := make(chan struct{})
	if !s.call(func() { f(); close(done) }) {
		return false
	}
	select {
	case <-done:
		return true
	case <-ctx.Done():
	case <-s.life.ctx.Done():
	}
	return false
}

// serveOffer answers a member in quarantine: what it can be rebuilt from, if this
// member is confirmed to lead.
func (s *stream[D]) serveOffer(ctx context.Context, from uint64, q *metadatav1.RebuildOfferRequest) ([]byte, error) {
	var now raftlog.SoftState
	if !s.onStream(ctx, func() { now = s.replica.Status().SoftState }) {
		return nil, s.member.notRunning()
	}
	answer := &metadatav1.RebuildOfferAnswer{Round: q.GetRound(), Term: now.Term, Leader: now.Leader, Doubting: s.member.doubting.Load()}
	if now.Role != raftlog.Leader {
		return proto.Marshal(answer)
	}
	_, term, err := s.read(ctx, replica.Read[D]{Leading: true})
	if err != nil || term != now.Term {
		return proto.Marshal(answer) // it could not be confirmed: what it says is its term
	}
	var offer raftlog.Offer
	asked := s.onStream(ctx, func() {
		offer, err = s.replica.Offer(from, term)
		if p := s.pinned[from]; err == nil && (p == nil || p.index != offer.Checkpoint.Index) {
			s.startTransfer(from, offer.Checkpoint.Index)
		}
	})
	if !asked || err != nil {
		return proto.Marshal(answer)
	}
	checkpoint, err := offer.Checkpoint.MarshalBinary()
	if err != nil {
		return nil, err
	}
	answer.Offer = &metadatav1.RebuildOffer{
		Term: offer.Term, Last: offer.Last, Commit: offer.Commit,
		StartIndex: offer.Start.Index, StartTerm: offer.Start.Term, Checkpoint: checkpoint,
	}
	return proto.Marshal(answer)
}

// serveEntries gives a member in quarantine a piece of the log.
func (s *stream[D]) serveEntries(ctx context.Context, from uint64, q *metadatav1.RebuildEntriesRequest) ([]byte, error) {
	var answer metadatav1.RebuildEntriesAnswer
	var err error
	request := raftlog.EntriesRequest{
		To: s.member.identity.Member, Group: s.group, Term: q.GetTerm(), UpTo: q.GetUpTo(),
		After: raftlog.LogStart{Index: q.GetAfterIndex(), Term: q.GetAfterTerm()}, MaxBytes: int(q.GetMaxBytes()),
	}
	asked := s.onStream(ctx, func() {
		entries, failed := s.replica.EntriesAfter(from, request)
		err = failed
		for _, e := range entries {
			b, failed := proto.Marshal(e)
			if failed != nil {
				err = failed
				return
			}
			answer.Entries = append(answer.Entries, b)
		}
	})
	switch {
	case !asked:
		return nil, s.member.notRunning()
	case err != nil:
		return nil, err
	}
	return proto.Marshal(&answer)
}

// givenUp hears that a member will not take the checkpoint that it was offered, or
// none at all with index 0: raft offers anew at once. If too many inputs wait, it is not
// heard; raft offers anew later.
func (s *stream[D]) givenUp(to, index uint64) {
	s.call(func() {
		if p := s.pinned[to]; index != 0 && (p == nil || p.index != index) {
			return
		}
		s.endTransfer(to)
		s.replica.EndOffer(to)
		s.replica.ReportSnapshot(to, false)
		s.replica.ReportUnreachable(to)
	})
}

// callForLogs tells the others that this member follows again after a quarantine:
// what they sent it meanwhile is lost.
func (m *Member) callForLogs(r *running) {
	if !m.rebuilt {
		return
	}
	m.rebuilt = false
	r.jobs.Go(func() { m.warnOfHistory(r.ctx) })
	for _, s := range r.all() {
		for _, id := range m.initial() {
			if id != m.identity.Member {
				r.jobs.Go(func() { m.giveUp(r.ctx, id, s.streamID(), 0) })
			}
		}
	}
}

// giveUp tells a member that its checkpoint is not being taken.
func (m *Member) giveUp(ctx context.Context, to uint64, id metadatav1.Stream, index uint64) {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	payload, err := proto.Marshal(&metadatav1.CheckpointGivenUp{Stream: id, Index: index})
	if err == nil {
		_, err = m.transport.Call(ctx, to, methodGivenUp, payload)
	}
	if err != nil {
		m.log.Debug("a leader does not know that its checkpoint is not taken", "peer", to, "error", err)
	}
}
