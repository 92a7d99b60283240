package server

import (
	"context"

	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/history"
	"github.com/heliosdb/metadata/internal/failure"
	"github.com/heliosdb/metadata/projections"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// local reads what the member has.
var local = &metadatav1.ReadOptions{Consistency: metadatav1.Consistency_CONSISTENCY_LOCAL}

// past returns the history of a stream when it is as fresh as asked. Later pages, which have a
// token, are of the revision of the first one, however fresh the member is.
func (s service) past(ctx context.Context, stream metadatav1.Stream, t *token, o *metadatav1.ReadOptions) (history.Live, error) {
	if t != nil {
		o = local
	}
	// What a model shows is in the history already: changes are published to the feed first.
	if _, _, err := s.headOf(ctx, stream, o); err != nil {
		return nil, err
	}
	return s.member.History(ctx, stream)
}

// revisionAt returns the revision that a point in a stream names; field is where the request
// has it.
func revisionAt(ctx context.Context, source history.Source, field string, at *metadatav1.HistoryPoint) (uint64, error) {
	p, ok := at.GetPoint().(*metadatav1.HistoryPoint_Time)
	if !ok {
		return at.GetRevision(), nil
	}
	if err := p.Time.CheckValid(); err != nil {
		return 0, failure.InvalidField(field+".time", "it lies outside of the years 1 to 9999")
	}
	return history.AtTime(ctx, source, p.Time.AsTime())
}

// pageRevision returns the revision that a page of a model of the past is read at: for the
// first one that of the request, history.Now if it names none, for later ones that of the first.
func pageRevision(ctx context.Context, source history.Live, t *token, at *metadatav1.HistoryPoint) (uint64, error) {
	switch {
	case t != nil:
		return t.revision, sameHistory(ctx, source, t)
	case at == nil:
		return history.Now, nil
	}
	return revisionAt(ctx, source, "at", at)
}

// sameHistory refuses tokens of another history, and waits a little where this member is behind
// the one that gave it.
func sameHistory(ctx context.Context, source history.Live, t *token) error {
	if o := source.Origin(); o.Cluster != t.cluster || o.RecoveryEpoch != t.epoch {
		return failure.New(metadatav1.ErrorReason_ERROR_REASON_PAGE_REVISION_GONE,
			"the page token is of another cluster, or of before a restore; begin without a token")
	}
	waiting, cancel := context.WithTimeout(ctx, catchUp)
	defer cancel()
	err := source.Await(waiting, t.revision)
	if err != nil && ctx.Err() == nil && waiting.Err() != nil {
		bounds, err := source.Bounds(ctx)
		if err != nil {
			return err
		}
		return history.Future(source.Origin().Stream, t.revision, bounds.Last)
	}
	return err
}

// pastToken is the token for the page behind a cursor.
func pastToken(h history.Origin, rpc listing, revision uint64, filter [filterBytes]byte, cursor []byte) string {
	t := token{rpc: rpc, cluster: h.Cluster, epoch: h.RecoveryEpoch, revision: revision, filter: filter, cursor: cursor}
	return t.encode()
}

// originOf returns whose model it is.
func originOf(h projections.Head) history.Origin {
	return history.Origin{Stream: h.Stream, Cluster: h.Cluster, RecoveryEpoch: h.RecoveryEpoch}
}

// encodingOf is the encoding of a part of a request, for tokens.
func encodingOf(m proto.Message) []byte {
	if !m.ProtoReflect().IsValid() {
		return nil
	}
	raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil { // it was decoded from one
		return nil
	}
	return append(raw, 1) // an empty message is another one than none
}

// oldestKept returns the oldest revision of a stream that the cluster keeps.
func (s service) oldestKept(ctx context.Context, stream metadatav1.Stream) (uint64, error) {
	state, err := s.member.Service(ctx, local)
	if err != nil {
		return 0, err
	}
	return max(state.Model.Floor(stream).OldestRevision(), 1), nil
}

// fits refuses an answer that is larger than one message may be: what makes it up cannot be
// divided.
func fits(answer proto.Message) error {
	if size := proto.Size(answer); size > MessageMaxBytes {
		return failure.New(metadatav1.ErrorReason_ERROR_REASON_LIMIT_REACHED,
			"one object makes the answer %d bytes large, MessageMaxBytes is %d; read its changes with ReadChanges instead", size, MessageMaxBytes).
			With("limit", "MessageMaxBytes")
	}
	return nil
}
