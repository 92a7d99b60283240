package member

import (
	"context"
	"errors"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/raftlog"
	"github.com/heliosdb/metadata/raftlog/transport"
)

// What a member in quarantine asks the others, beside its rebuild.

// ask makes a call and puts what is made of the answer into the queue.
func (re *rebuilding) ask(ctx context.Context, to uint64, method uint8, q proto.Message, patience time.Duration, then func([]byte, error) error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	payload, err := proto.Marshal(q)
	if err == nil {
		payload, err = re.m.transport.Call(ctx, to, method, payload)
	}
	re.inputs.push(func() {
		if err := then(payload, err); err != nil {
			re.m.log.Debug("asked in quarantine", "peer", to, "method", method, "error", err)
		}
	})
}

func (re *rebuilding) askOffer(ctx context.Context, c *groupRebuild, q raftlog.OfferRequest) {
	request := &metadatav1.RebuildOfferRequest{Stream: c.stream, Round: q.Round}
	re.ask(ctx, q.To, methodOffer, request, offerPatience, func(payload []byte, err error) error {
		var answer metadatav1.RebuildOfferAnswer
		if err == nil {
			err = proto.Unmarshal(payload, &answer)
		}
		if err != nil {
			return err
		}
		a, err := offerOf(&answer)
		if err == nil {
			err = c.Offered(q.To, a)
		}
		return err
	})
}

func (re *rebuilding) askChunk(ctx context.Context, c *groupRebuild, q raftlog.ChunkRequest) {
	request := &metadatav1.CheckpointChunkRequest{Stream: c.stream, Index: q.Index, Chunk: q.Chunk}
	re.ask(ctx, q.To, methodChunk, request, chunkTimeout, func(payload []byte, err error) error {
		if err != nil {
			c.ChunkFailed(q.To, q.Index, q.Chunk, err)
			return err
		}
		c.Chunk(q.To, q.Index, q.Chunk, payload)
		return nil
	})
}

func (re *rebuilding) askEntries(ctx context.Context, c *groupRebuild, q raftlog.EntriesRequest) {
	request := &metadatav1.RebuildEntriesRequest{
		Stream: c.stream, Term: q.Term, AfterIndex: q.After.Index, AfterTerm: q.After.Term, UpTo: q.UpTo, MaxBytes: uint32(q.MaxBytes),
	}
	re.ask(ctx, q.To, methodEntries, request, chunkTimeout, func(payload []byte, err error) error {
		if err != nil {
			if refused(err) {
				c.EntriesFailed(q, err)
			}
			return err // what was lost on the way is asked for again
		}
		var answer metadatav1.RebuildEntriesAnswer
		if err := proto.Unmarshal(payload, &answer); err != nil {
			c.EntriesFailed(q, err)
			return err
		}
		entries := make([]*raftpb.Entry, len(answer.GetEntries()))
		for i, b := range answer.GetEntries() {
			entries[i] = &raftpb.Entry{}
			if err := proto.Unmarshal(b, entries[i]); err != nil {
				c.EntriesFailed(q, err)
				return err
			}
		}
		return c.Entries(q, entries)
	})
}

// refused reports that the other member itself has answered that it does not give what it
// was asked for. Time that passed, a broken connection and too many calls at once say nothing.
func refused(err error) bool {
	answer, ok := errors.AsType[*transport.RemoteError](err)
	return ok && (answer.Code == transport.CodeInternal || answer.Code >= transport.FirstHandlerCode)
}

// offerOf reads an answer from the wire.
func offerOf(a *metadatav1.RebuildOfferAnswer) (raftlog.OfferAnswer, error) {
	answer := raftlog.OfferAnswer{Round: a.GetRound(), Quarantined: a.GetQuarantined(), Term: a.GetTerm(), Leader: a.GetLeader()}
	o := a.GetOffer()
	if o == nil {
		return answer, nil
	}
	answer.Offer = &raftlog.Offer{
		Term: o.GetTerm(), Last: o.GetLast(), Commit: o.GetCommit(),
		Start: raftlog.LogStart{Index: o.GetStartIndex(), Term: o.GetStartTerm()},
	}
	err := answer.Offer.Checkpoint.UnmarshalBinary(o.GetCheckpoint())
	if newer, ok := errors.AsType[*raftlog.FormatError](err); ok {
		// It proves nothing, no checksum covers it. The member goes on waiting for an offer
		// that it can read, and says what it was told.
		answer.Offer, answer.Newer, err = nil, newer, nil
	}
	return answer, err
}
