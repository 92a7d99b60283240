package client

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"iter"

	"connectrpc.com/connect"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/history"
	"github.com/heliosdb/metadata/projections"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/proto/heliosdb/metadata/v1/metadatav1connect"
)

// Base yields the checkpoint of the model right before the first revision, as
// [history.BaseKeeper] says: its chunks as they come, which a member after the first goes on
// with where that breaks off, and an error if they are not what the members say that they are.
// A service that knows no bases, because it runs an older version, is one that has none.
func (h *History) Base(ctx context.Context, revision uint64) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		b := &baseStream{
			relay: h.client.relay(false), history: h, revision: revision, sum: sha256.New(), yield: yield,
			request: &metadatav1.StreamBaseRequest{Stream: h.origin.Stream, FirstRevision: revision + 1, Read: h.read},
		}
		err := b.run(ctx, func(at *endpoint) error { return b.session(ctx, at) })
		if connect.CodeOf(err) == connect.CodeUnimplemented {
			err = history.NoBase(h.origin.Stream, revision+1, "the service runs an older version, which does not hand it out; a stopped member's directory has it")
		}
		if err != nil {
			yield(nil, err)
		}
	}
}

// baseStream is one StreamBase over all members.
type baseStream struct {
	*relay
	history  *History
	revision uint64
	request  *metadatav1.StreamBaseRequest // for what is still to come
	sum      hash.Hash                     // of what has come
	yield    func([]byte, error) bool
}

// session yields what one member sends; nil: that was all, and fits.
func (b *baseStream) session(ctx context.Context, at *endpoint) error {
	stream, err := openAnswers[metadatav1.StreamBaseResponse](
		ctx, at.grpc, metadatav1connect.HistoryServiceStreamBaseProcedure, b.request)
	if err != nil {
		return err
	}
	defer stream.Close()
	for first := true; ; first = false {
		m, err := stream.Receive()
		switch {
		case errors.Is(err, io.EOF):
			return connect.NewError(connect.CodeUnavailable, errors.New("client: the member ended the base before it was whole"))
		case err != nil:
			return err
		case first:
			if err := b.expected(m); err != nil {
				return err
			}
		}
		chunk := m.GetChunk()
		b.sum.Write(chunk)
		b.request.Offset += uint64(len(chunk))
		b.came()
		if len(chunk) > 0 && !b.yield(chunk, nil) {
			return errUnwanted
		}
		if said := m.GetModelHash(); len(said) > 0 {
			return b.whole(said)
		}
	}
}

// expected reports whether a member sends what was asked for. Members of one format write the
// same bytes.
func (b *baseStream) expected(m *metadatav1.StreamBaseResponse) error {
	switch {
	case m.GetCheckpointFormat() > projections.CheckpointFormat:
		return &events.UnsupportedError{What: fmt.Sprintf("checkpoint format %d", m.GetCheckpointFormat())}
	case m.GetRevision() != b.revision:
		return fmt.Errorf("client: a member gives the model of revision %d of the %s stream for that of revision %d",
			m.GetRevision(), events.StreamName(b.history.origin.Stream), b.revision)
	}
	return nil
}

// whole compares what has come with the hash that a member has named.
func (b *baseStream) whole(said []byte) error {
	if got := b.sum.Sum(nil); !bytes.Equal(got, said) {
		return fmt.Errorf("client: the model of revision %d of the %s stream has the hash %x, but members say %x: it came damaged, or from members of different builds; try again",
			b.revision, events.StreamName(b.history.origin.Stream), got, said)
	}
	return nil
}
