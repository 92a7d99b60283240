package client

import (
	"context"
	"errors"
	"io"
	"iter"

	"google.golang.org/protobuf/proto"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/proto/heliosdb/metadata/v1/metadatav1connect"
)

// ReadChanges returns a page of changes.
func (c *Client) ReadChanges(
	ctx context.Context, req *metadatav1.ReadChangesRequest,
) (*metadatav1.ReadChangesResponse, error) {
	return readPast(ctx, c, req, service.ReadChanges)
}

// GetTableAsOf returns a table as it was.
func (c *Client) GetTableAsOf(
	ctx context.Context, req *metadatav1.GetTableAsOfRequest,
) (*metadatav1.GetTableAsOfResponse, error) {
	return readPast(ctx, c, req, service.GetTableAsOf)
}

// ListTablesAsOf lists the tables that there were, by namespace and name.
func (c *Client) ListTablesAsOf(
	ctx context.Context, req *metadatav1.ListTablesAsOfRequest,
) (*metadatav1.ListTablesAsOfResponse, error) {
	return readPast(ctx, c, req, service.ListTablesAsOf)
}

// GetTopologyAsOf returns nodes and shards as they were.
func (c *Client) GetTopologyAsOf(
	ctx context.Context, req *metadatav1.GetTopologyAsOfRequest,
) (*metadatav1.GetTopologyAsOfResponse, error) {
	return readPast(ctx, c, req, service.GetTopologyAsOf)
}

// DiffRevisions says how the objects of a stream differ between two revisions.
func (c *Client) DiffRevisions(
	ctx context.Context, req *metadatav1.DiffRevisionsRequest,
) (*metadatav1.DiffRevisionsResponse, error) {
	return readPast(ctx, c, req, service.DiffRevisions)
}

// ObjectLog returns a page of the changes of one object.
func (c *Client) ObjectLog(
	ctx context.Context, req *metadatav1.ObjectLogRequest,
) (*metadatav1.ObjectLogResponse, error) {
	return readPast(ctx, c, req, service.ObjectLog)
}

// GetHead says where a stream stands on the member that answers.
func (c *Client) GetHead(
	ctx context.Context, req *metadatav1.GetHeadRequest,
) (*metadatav1.GetHeadResponse, error) {
	return readPast(ctx, c, req, service.GetHead)
}

// ListSignedHeads returns the signed heads of a stream, oldest first.
func (c *Client) ListSignedHeads(
	ctx context.Context, req *metadatav1.ListSignedHeadsRequest,
) (*metadatav1.ListSignedHeadsResponse, error) {
	return readPage(ctx, c, req, service.ListSignedHeads)
}

// VerifyHistory has one member verify what it keeps, until its context ends or it is
// closed. Name the member by a client with a single endpoint.
func (c *Client) VerifyHistory(
	ctx context.Context, req *metadatav1.VerifyHistoryRequest,
) (*Answers[metadatav1.VerifyHistoryResponse], error) {
	at := c.endpoints[c.first(0)].grpc
	return openAnswers[metadatav1.VerifyHistoryResponse](ctx, at, metadatav1connect.HistoryServiceVerifyHistoryProcedure, req)
}

// StreamChanges yields the changes of a selection, oldest first and each once, whatever
// breaks: it goes on at another member, which may be one that has what the first lacks, and
// waits for one that has not come to what is to follow. It ends with the last change, with an
// answer that another attempt cannot change, or when for Options.Timeout no member could go
// on; with follow it waits for one without end, but a minute at most for members that say that
// they are behind. An error is yielded last. Only the very first message has what the contract
// says of first messages.
func (c *Client) StreamChanges(
	ctx context.Context, req *metadatav1.StreamChangesRequest,
) iter.Seq2[*metadatav1.StreamChangesResponse, error] {
	return func(yield func(*metadatav1.StreamChangesResponse, error) bool) {
		s := &changeStream{relay: c.relay(req.GetFollow()), request: proto.CloneOf(req)}
		err := s.run(ctx, func(at *endpoint) error { return s.session(ctx, at, yield) })
		if err != nil {
			yield(nil, err)
		}
	}
}

// changeStream is one StreamChanges over all members.
type changeStream struct {
	*relay
	request *metadatav1.StreamChangesRequest // for what is still to come
}

// session yields what one member sends; nil: that was all.
func (s *changeStream) session(ctx context.Context, at *endpoint, yield func(*metadatav1.StreamChangesResponse, error) bool) error {
	stream, err := openAnswers[metadatav1.StreamChangesResponse](
		ctx, at.grpc, metadatav1connect.HistoryServiceStreamChangesProcedure, s.request)
	if err != nil {
		return err
	}
	defer stream.Close()
	for {
		message, err := stream.Receive()
		switch {
		case errors.Is(err, io.EOF) && s.request.GetFollow():
			return errEnded
		case errors.Is(err, io.EOF) || err != nil && s.isComplete():
			return nil
		case err != nil:
			return err
		}
		if err := s.admit(at, message.GetClusterId(), message.GetRecoveryEpoch()); err != nil {
			return err
		}
		if s.begun {
			message.PreviousDigest, message.ClusterId, message.RecoveryEpoch = nil, "", 0
		}
		if looked := message.GetLookedAtRevision(); looked > 0 && s.request.GetSelection() != nil {
			s.request.Selection.FirstRevision = looked + 1
		}
		s.came()
		if !yield(message, nil) {
			return errUnwanted
		}
	}
}

// isComplete reports whether all that was asked for has come, so that a break matters nothing.
func (s *changeStream) isComplete() bool {
	last := s.request.GetSelection().GetLastRevision()
	return s.begun && last > 0 && s.request.GetSelection().GetFirstRevision() > last
}

// Answers are what one member sends in answer to a call, for one goroutine.
type Answers[M any] struct{ stream stream }

// openAnswers makes a call that is answered by a stream.
func openAnswers[M any](ctx context.Context, n *connection, procedure string, req proto.Message) (*Answers[M], error) {
	s := n.open(ctx, procedure, oneRequest)
	if err := s.Send(req); err != nil && !errors.Is(err, io.EOF) {
		_ = s.CloseResponse() // it has not begun
		return nil, err
	}
	_ = s.CloseRequest() // what fails is said to who receives
	return &Answers[M]{s}, nil
}

// Receive returns the next answer; [io.EOF] after the last one.
func (a *Answers[M]) Receive() (*M, error) {
	m := new(M)
	if err := a.stream.Receive(m); err != nil {
		a.Close()
		return nil, err
	}
	return m, nil
}

// Close ends the call. It may be called more than once, and by any goroutine.
func (a *Answers[M]) Close() { _ = a.stream.CloseResponse() }
