package server

import (
	"context"
	"errors"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/history"
	"github.com/heliosdb/metadata/projections"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// GetHead is of the contract. One model of a stream is hashed at a time: it takes seconds of a
// large one.
func (s service) GetHead(ctx context.Context, r *metadatav1.GetHeadRequest) (*metadatav1.GetHeadResponse, error) {
	head, hash, err := s.headOf(ctx, r.GetStream(), r.GetRead())
	if err != nil {
		return nil, err
	}
	source, err := s.member.History(ctx, r.GetStream())
	if err != nil {
		return nil, err
	}
	bounds, err := source.Bounds(ctx)
	if err != nil {
		return nil, err
	}
	answer := &metadatav1.GetHeadResponse{
		MemberId: s.member.Stats().MemberID, ClusterId: head.Cluster.String(), RecoveryEpoch: head.RecoveryEpoch,
		Revision: head.Revision, Digest: head.Digest[:], FeatureLevel: head.FeatureLevel,
		HeldFromRevision: bounds.First, CheckpointFormat: projections.CheckpointFormat,
	}
	if !head.Time.IsZero() {
		answer.Time = timestamppb.New(head.Time)
	}
	if answer.Floor, err = s.floorOf(ctx, source, bounds); err != nil {
		return nil, err
	}
	if r.GetModelHash() {
		answer.ModelHash, err = s.hashed(ctx, r.GetStream(), hash)
	}
	return answer, err
}

// headOf returns where a stream stands on the member, once that is as fresh as asked, and what
// hashes its model there.
func (s service) headOf(ctx context.Context, stream metadatav1.Stream, o *metadatav1.ReadOptions) (projections.Head, func() [32]byte, error) {
	switch stream {
	case metadatav1.Stream_STREAM_SCHEMA:
		return headAndHash(s.member.Schema(ctx, o))
	case metadatav1.Stream_STREAM_TOPOLOGY:
		return headAndHash(s.member.Topology(ctx, o))
	}
	return headAndHash(s.member.Service(ctx, o))
}

func headAndHash[D projections.Domain[D]](state *projections.State[D], err error) (projections.Head, func() [32]byte, error) {
	if err != nil {
		return projections.Head{}, nil, err
	}
	return state.Head, state.Hash, nil
}

// hashed hashes a model when its turn has come.
func (s service) hashed(ctx context.Context, stream metadatav1.Stream, hash func() [32]byte) ([]byte, error) {
	turn := s.hashing[stream]
	select {
	case turn <- struct{}{}:
		defer func() { <-turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	sum := hash()
	return sum[:], nil
}

// floorOf returns where a history begins. The time of a change that the member cannot read, because it
// lacks it or its disk has damaged it, is left out: all others can be read.
func (s service) floorOf(ctx context.Context, source history.Source, bounds history.Bounds) (*metadatav1.HistoryFloor, error) {
	o := source.Origin()
	state, err := s.member.Service(ctx, local)
	if err != nil {
		return nil, err
	}
	if floor := state.Model.Floor(o.Stream); floor.OldestRevision() > 0 {
		return floor.Message(), nil
	}
	first := events.FirstDigest(o.Cluster, o.Stream)
	floor := &metadatav1.HistoryFloor{Stream: o.Stream, OldestRevision: 1, PreviousDigest: first[:]}
	if bounds.First == 1 && bounds.Last > 0 {
		if c, err := history.ReadOne(ctx, source, 1); err == nil {
			floor.OldestTime = timestamppb.New(c.Time())
		}
	}
	return floor, ctx.Err()
}

// ListSignedHeads is of the contract.
func (s service) ListSignedHeads(ctx context.Context, r *metadatav1.ListSignedHeadsRequest) (*metadatav1.ListSignedHeadsResponse, error) {
	state, err := s.member.Service(ctx, r.GetRead())
	if err != nil {
		return nil, err
	}
	answer := new(metadatav1.ListSignedHeadsResponse)
	for h := range state.Model.SignedHeads(r.GetStream()) {
		answer.Heads = append(answer.Heads, h.Message())
	}
	return answer, nil
}

// VerifyHistory is of the contract.
func (s service) VerifyHistory(ctx context.Context, r *metadatav1.VerifyHistoryRequest, stream *connect.ServerStream[metadatav1.VerifyHistoryResponse]) error {
	return s.verifyHistory(ctx, r, stream.Send)
}

func (s service) verifyHistory(ctx context.Context, r *metadatav1.VerifyHistoryRequest, send func(*metadatav1.VerifyHistoryResponse) error) error {
	ctx, cancel := s.untilDrained(ctx)
	defer cancel()
	return s.orStopping(s.verify(ctx, r.GetStream(), send))
}

// verify has the member verify a stream, and sends how far it is now and then, and what came
// out.
func (s service) verify(ctx context.Context, stream metadatav1.Stream, send func(*metadatav1.VerifyHistoryResponse) error) error {
	source, err := s.member.History(ctx, stream)
	if err != nil {
		return err
	}
	bounds, err := source.Bounds(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var gone error // why the client cannot be told
	var told time.Time
	progress := func(done, last uint64) {
		if now := s.edge.now(); now.Sub(told) >= progressEvery {
			told = now
			gone = send(&metadatav1.VerifyHistoryResponse{FirstRevision: bounds.First, VerifiedRevision: done, LastRevision: last})
		}
		if gone != nil {
			cancel()
		}
	}
	verified, err := s.member.VerifyHistory(ctx, stream, progress)
	if gone != nil {
		return gone
	}
	outcome := &metadatav1.VerifyHistoryResponse{
		FirstRevision: verified.First, VerifiedRevision: verified.Last, LastRevision: max(bounds.Last, verified.Last),
		Done: true, Digest: verified.Digest[:],
	}
	damaged, ok := errors.AsType[*history.DamagedError](err)
	if err != nil && !ok {
		return err
	}
	if ok {
		outcome.DamagedRevision, outcome.Damage = damaged.Revision, damaged.Reason
	}
	return send(outcome)
}
