package client

import (
	"context"
	"errors"
	"io"
	"iter"
	"time"

	"google.golang.org/protobuf/proto"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/proto/heliosdb/metadata/v1/metadatav1connect"
)

// ReadChanges returns a page of changes.
func (c *Client) ReadChanges(
	ctx context.Context, req *metadatav1.ReadChangesRequest,
) (*metadatav1.ReadChangesResponse, error) {
	return readPage(ctx, c, req, service.ReadChanges)
}

// GetTableAsOf returns a table as it was.
func (c *Client) GetTableAsOf(
	ctx context.Context, req *metadatav1.GetTableAsOfRequest,
) (*metadatav1.GetTableAsOfResponse, error) {
	return readPage(ctx, c, req, service.GetTableAsOf)
}

// ListTablesAsOf lists the tables that there were, by namespace and name.
func (c *Client) ListTablesAsOf(
	ctx context.Context, req *metadatav1.ListTablesAsOfRequest,
) (*metadatav1.ListTablesAsOfResponse, error) {
	return readPage(ctx, c, req, service.ListTablesAsOf)
}

// GetTopologyAsOf returns nodes and shards as they were.
func (c *Client) GetTopologyAsOf(
	ctx context.Context, req *metadatav1.GetTopologyAsOfRequest,
) (*metadatav1.GetTopologyAsOfResponse, error) {
	return readPage(ctx, c, req, service.GetTopologyAsOf)
}

// DiffRevisions says how the objects of a stream differ between two revisions.
func (c *Client) DiffRevisions(
	ctx context.Context, req *metadatav1.DiffRevisionsRequest,
) (*metadatav1.DiffRevisionsResponse, error) {
	return readPage(ctx, c, req, service.DiffRevisions)
}

// ObjectLog returns a page of the changes of one object.
func (c *Client) ObjectLog(
	ctx context.Context, req *metadatav1.ObjectLogRequest,
) (*metadatav1.ObjectLogResponse, error) {
	return readPage(ctx, c, req, service.ObjectLog)
}

// GetHead says where a stream stands on the member that answers.
func (c *Client) GetHead(
	ctx context.Context, req *metadatav1.GetHeadRequest,
) (*metadatav1.GetHeadResponse, error) {
	return readPage(ctx, c, req, service.GetHead)
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
// breaks: it goes on at another member, which may be one that has what the first lacks. It
// ends with the last change, with an answer that another attempt cannot change, or when
// for Options.Timeout no member could go on; with follow it waits for one without end. An
// error is yielded last. Only the very first message has what the contract says of first
// messages.
func (c *Client) StreamChanges(
	ctx context.Context, req *metadatav1.StreamChangesRequest,
) iter.Seq2[*metadatav1.StreamChangesResponse, error] {
	return func(yield func(*metadatav1.StreamChangesResponse, error) bool) {
		s := &changeStream{client: c, request: proto.CloneOf(req), index: c.first(0), progress: time.Now()}
		for pause := newBackoff(); ; {
			before := s.progress
			err := s.session(ctx, yield)
			if s.progress != before {
				pause.Reset()
			}
			switch wait, again := s.judge(ctx, err); {
			case errors.Is(err, errUnwanted) || errors.Is(err, io.EOF) && !req.GetFollow():
				return
			case !again || !sleep(ctx, max(wait, pause.NextBackOff())):
				yield(nil, causeOf(ctx, err))
				return
			}
			c.metrics.reconnects.Add(1)
			s.index = c.answering((s.index + 1) % len(c.endpoints))
		}
	}
}

// errUnwanted ends a stream whose reader wants no more.
var errUnwanted = errors.New("no more is wanted")

// changeStream is one StreamChanges over all members.
type changeStream struct {
	client   *Client
	request  *metadatav1.StreamChangesRequest // for what is still to come
	begun    bool                             // a message was yielded
	index    int                              // of the endpoint to ask
	progress time.Time                        // of the last message
	gaps     int                              // members in a row that lack what is to follow
}

// session yields what one member sends. io.EOF: it has sent all.
func (s *changeStream) session(ctx context.Context, yield func(*metadatav1.StreamChangesResponse, error) bool) error {
	stream, err := openAnswers[metadatav1.StreamChangesResponse](
		ctx, s.client.endpoints[s.index].grpc, metadatav1connect.HistoryServiceStreamChangesProcedure, s.request)
	if err != nil {
		return err
	}
	defer stream.Close()
	for {
		message, err := stream.Receive()
		if err != nil {
			return err
		}
		s.progress, s.gaps = time.Now(), 0
		if s.begun {
			message.PreviousDigest, message.ClusterId, message.RecoveryEpoch = nil, "", 0
		}
		if at := message.GetLookedAtRevision(); at > 0 && s.request.GetSelection() != nil {
			s.request.Selection.FirstRevision = at + 1
		}
		s.begun = true
		if !yield(message, nil) {
			return errUnwanted
		}
	}
}

// judge decides whether another member is to go on, and after which pause.
func (s *changeStream) judge(ctx context.Context, err error) (wait time.Duration, again bool) {
	if errors.Is(err, io.EOF) {
		err = errEnded
	}
	wait, again = retryable(err)
	if isAboutEndpoint(err) || Reason(err) == metadatav1.ErrorReason_ERROR_REASON_HISTORY_GAP {
		s.gaps++
		again = again && s.gaps < len(s.client.endpoints) // else nobody knows better
	}
	late := !s.request.GetFollow() && time.Since(s.progress) > s.client.opts.Timeout
	return wait, again && !late && ctx.Err() == nil
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
