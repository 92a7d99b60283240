package server

import (
	"cmp"
	"context"
	"crypto/sha256"
	"iter"

	"connectrpc.com/connect"

	"github.com/heliosdb/metadata/history"
	"github.com/heliosdb/metadata/projections"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// StreamBase is of the contract. It ends with STOPPING when the server drains: the client goes
// on at another member.
func (s service) StreamBase(ctx context.Context, r *metadatav1.StreamBaseRequest, stream *connect.ServerStream[metadatav1.StreamBaseResponse]) error {
	return s.streamBase(ctx, r, stream.Send)
}

func (s service) streamBase(ctx context.Context, r *metadatav1.StreamBaseRequest, send func(*metadatav1.StreamBaseResponse) error) error {
	ctx, cancel := s.untilDrained(ctx)
	defer cancel()
	return s.orStopping(s.sendBase(ctx, r, send))
}

// sendBase sends the model before a revision, in chunks.
func (s service) sendBase(ctx context.Context, r *metadatav1.StreamBaseRequest, send func(*metadatav1.StreamBaseResponse) error) error {
	if _, err := s.past(ctx, r.GetStream(), nil, r.GetRead()); err != nil {
		return err
	}
	oldest, err := s.oldestKept(ctx, r.GetStream())
	if err != nil {
		return err
	}
	first := cmp.Or(r.GetFirstRevision(), oldest)
	if first < oldest { // 1 too: nothing leads on from the model before the first change
		return history.Trimmed(r.GetStream(), first, oldest)
	}
	head, chunks, err := s.checkpointAt(ctx, r.GetStream(), first-1)
	if err != nil {
		return err
	}
	answer := &metadatav1.StreamBaseResponse{
		Revision: head.Revision, Digest: head.Digest[:], CheckpointFormat: projections.CheckpointFormat,
	}
	sum, left := sha256.New(), r.GetOffset()
	for chunk := range chunks {
		if err := ctx.Err(); err != nil {
			return err
		}
		sum.Write(chunk)
		skipped := min(left, uint64(len(chunk)))
		if left -= skipped; skipped == uint64(len(chunk)) {
			continue
		}
		answer.Chunk = chunk[skipped:]
		if err := send(answer); err != nil {
			return err
		}
		answer = new(metadatav1.StreamBaseResponse)
	}
	answer.ModelHash = sum.Sum(nil)
	return send(answer)
}

// checkpointAt returns the model of a stream behind a revision, as the chunks of its checkpoint.
func (s service) checkpointAt(ctx context.Context, stream metadatav1.Stream, revision uint64) (projections.Head, iter.Seq[[]byte], error) {
	switch stream {
	case schemaStream:
		return headAndChunks(s.member.SchemaAt(ctx, revision))
	case topologyStream:
		return headAndChunks(s.member.TopologyAt(ctx, revision))
	}
	return headAndChunks(s.member.ServiceAt(ctx, revision))
}

func headAndChunks[D projections.Domain[D]](state *projections.State[D], err error) (projections.Head, iter.Seq[[]byte], error) {
	if err != nil {
		return projections.Head{}, nil, err
	}
	return state.Head, state.Chunks(baseChunkBytes), nil
}
