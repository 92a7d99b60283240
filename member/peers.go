package member

import (
	"context"
	"fmt"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/internal/failure"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/raftlog"
	"github.com/heliosdb/metadata/raftlog/transport"
)

// Methods of calls between members. They are wire format: never renumber one.
const (
	methodCommand uint8 = 1 // ForwardedCommand -> the rpc's response
	methodBeats   uint8 = 2 // ForwardedBeats -> ForwardedBeatAnswers
	methodChunk   uint8 = 3 // CheckpointChunkRequest -> the chunk's bytes
	methodStatus  uint8 = 4 // nothing -> MemberStatus
	methodHistory uint8 = 5 // HistoryProbe -> nothing, if the history holds it
	methodOffer   uint8 = 6 // RebuildOfferRequest -> RebuildOfferAnswer
	methodEntries uint8 = 7 // RebuildEntriesRequest -> RebuildEntriesAnswer
	methodGivenUp uint8 = 8 // CheckpointGivenUp -> nothing
	methodHashes  uint8 = 9 // nothing -> CheckpointHashes
	// methodResigned is a stream (4 bytes, big-endian) and a term (8) -> nothing
	methodResigned uint8 = 10
	methodPart     uint8 = 11 // HistoryPartRequest -> HistoryPart
	methodBase     uint8 = 12 // HistoryBaseRequest -> the descriptor's stored form
	// methodBaseChunk is CheckpointChunkRequest -> the chunk's bytes, of archived checkpoints too
	methodBaseChunk uint8 = 13
	methodReports   uint8 = 14 // NodeReportsRequest -> NodeReportsResponse
)

// codeFailure marks a RemoteError whose payload is a ForwardedError.
const codeFailure = transport.FirstHandlerCode

// peers receives what other members send.
type peers struct{ m *Member }

// Message implements transport.Handler.
func (p peers) Message(from uint64, group raftlog.GroupID, msg *raftpb.Message) {
	r := p.m.running.Load()
	if r == nil {
		return
	}
	for _, s := range r.all() {
		if s.groupID() == group {
			s.step(from, msg)
		}
	}
}

// Call implements transport.Handler.
func (p peers) Call(ctx context.Context, from uint64, method uint8, payload []byte) ([]byte, error) {
	r := p.m.running.Load()
	var answer []byte
	var err error
	if r == nil {
		answer, err = p.m.serveIdle(method, payload)
	} else {
		answer, err = p.serve(ctx, r, from, method, payload)
	}
	if err != nil {
		return nil, remote(err)
	}
	return answer, nil
}

func (p peers) serve(ctx context.Context, r *running, from uint64, method uint8, payload []byte) ([]byte, error) {
	switch method {
	case methodCommand:
		return p.m.serveForwarded(ctx, r, payload)
	case methodBeats:
		return p.m.serveBeats(ctx, r, payload)
	case methodReports:
		return p.m.serveReports(r, payload)
	case methodChunk:
		return serveStream(r, payload, func(s streamer, q *metadatav1.CheckpointChunkRequest) ([]byte, error) {
			return s.serveChunk(ctx, from, q)
		})
	case methodOffer:
		return serveStream(r, payload, func(s streamer, q *metadatav1.RebuildOfferRequest) ([]byte, error) {
			return s.serveOffer(ctx, from, q)
		})
	case methodEntries:
		return serveStream(r, payload, func(s streamer, q *metadatav1.RebuildEntriesRequest) ([]byte, error) {
			return s.serveEntries(ctx, from, q)
		})
	case methodGivenUp:
		return serveStream(r, payload, func(s streamer, q *metadatav1.CheckpointGivenUp) ([]byte, error) {
			s.givenUp(from, q.GetIndex())
			return nil, nil
		})
	case methodHashes:
		return proto.Marshal(p.m.hashes.Report())
	case methodResigned:
		return nil, serveResigned(r, from, payload)
	case methodStatus:
		return proto.Marshal(p.m.ownStatus(r))
	case methodPart:
		return serveStream(r, payload, func(s streamer, q *metadatav1.HistoryPartRequest) ([]byte, error) {
			return s.servePart(q)
		})
	case methodBase:
		return serveStream(r, payload, func(s streamer, q *metadatav1.HistoryBaseRequest) ([]byte, error) {
			return s.serveBase(q)
		})
	case methodBaseChunk:
		return serveStream(r, payload, func(s streamer, q *metadatav1.CheckpointChunkRequest) ([]byte, error) {
			return s.serveBaseChunk(q)
		})
	case methodHistory:
		return nil, p.m.holdsHistory(r, payload)
	}
	return nil, fmt.Errorf("member %d calls unknown method %d; it may run a newer version", from, method)
}

// serveStream decodes a request that names its stream, and has that stream serve it.
func serveStream[Q any, M interface {
	*Q
	proto.Message
	GetStream() metadatav1.Stream
}](r *running, payload []byte, serve func(streamer, M) ([]byte, error)) ([]byte, error) {
	q := M(new(Q))
	if err := proto.Unmarshal(payload, q); err != nil {
		return nil, err
	}
	for _, s := range r.all() {
		if s.streamID() == q.GetStream() {
			return serve(s, q)
		}
	}
	return nil, fmt.Errorf("stream %s is not known; the asking member may run a newer version", q.GetStream())
}

// serveIdle serves what needs no streams, before genesis and in quarantine.
func (m *Member) serveIdle(method uint8, payload []byte) ([]byte, error) {
	switch {
	case method == methodStatus:
		return proto.Marshal(m.ownStatus(nil))
	case method == methodOffer && m.quarantine.Load() != nil:
		var q metadatav1.RebuildOfferRequest
		if err := proto.Unmarshal(payload, &q); err != nil {
			return nil, err
		}
		return proto.Marshal(&metadatav1.RebuildOfferAnswer{Round: q.GetRound(), Quarantined: true})
	}
	return nil, m.notRunning()
}

// PeerUp implements transport.Handler. It also comes when a connection broke and
// was opened again at once.
func (p peers) PeerUp(id uint64, _ transport.Hello) {
	if r := p.m.running.Load(); r != nil {
		for _, s := range r.all() {
			s.linkBroke(id)
			s.peerBack()
		}
	}
}

// PeerDown implements transport.Handler.
func (p peers) PeerDown(id uint64, refused bool) {
	p.m.log.Warn("connection to a member broke", "peer", id, "refused", refused)
	r := p.m.running.Load()
	if r == nil {
		return
	}
	gone := refused && p.m.flaps.steady(id, time.Now())
	for _, s := range r.all() {
		s.linkBroke(id)
		if gone {
			s.peerGone(id)
		}
	}
}

// step passes a message to the stream. A peer that sends faster than the stream
// takes loses messages, not our memory.
func (s *stream[D]) step(from uint64, msg *raftpb.Message) {
	s.inputs.offer(func() {
		if !s.heardFrom(from, msg) {
			return
		}
		if err := s.replica.Step(from, msg); err != nil {
			s.doubted(err)
			s.member.log.Warn("message refused", "stream", s.name, "from", from, "type", msg.GetType(), "error", err)
			return
		}
		if msg.GetType() == raftpb.MsgAppResp && !msg.GetReject() && s.sender.Acknowledged(from, msg.GetIndex()) {
			s.endTransfer(from)
			// Raft sees it for itself unless the log was cut behind that checkpoint meanwhile.
			s.replica.ReportSnapshot(from, true)
		}
	}, maxInboxMessages)
}

// linkBroke says that what was sent to a member before may be lost.
func (s *stream[D]) linkBroke(id uint64) {
	s.inputs.push(func() {
		if !s.replica.Offered(id) { // a member in quarantine asks for the rest again
			s.transferFailed(id)
		}
		s.replica.ReportUnreachable(id)
	})
}

func (s *stream[D]) groupID() raftlog.GroupID    { return s.group }
func (s *stream[D]) streamID() metadatav1.Stream { return s.id }

// remote turns a failure into what crosses to another member.
func remote(err error) error {
	f := failure.As(err)
	if f == nil {
		return err
	}
	e := &metadatav1.ForwardedError{
		Reason: int32(f.Reason), Message: f.Message, Metadata: f.Metadata,
		RetryAfterMillis: uint64(f.RetryAfter.Milliseconds()), RequestId: f.RequestID,
	}
	for _, field := range f.Fields {
		e.Fields = append(e.Fields, &metadatav1.ForwardedFieldError{Field: field.Path, Description: field.Description})
	}
	payload, mErr := proto.Marshal(e)
	if mErr != nil {
		return err
	}
	return &transport.RemoteError{Code: codeFailure, Reason: f.Message, Payload: payload}
}

// fromRemote is the failure that another member answered; nil if it is none.
func fromRemote(err *transport.RemoteError) *failure.Error {
	var e metadatav1.ForwardedError
	if err.Code != codeFailure || proto.Unmarshal(err.Payload, &e) != nil {
		return nil //nolint:nilerr // what cannot be decoded is no failure of a member; the caller keeps the error it has
	}
	f := &failure.Error{
		Reason: metadatav1.ErrorReason(e.GetReason()), Message: e.GetMessage(), Metadata: e.GetMetadata(),
		RetryAfter: time.Duration(e.GetRetryAfterMillis()) * time.Millisecond, RequestID: e.GetRequestId(),
	}
	for _, field := range e.GetFields() {
		f.Fields = append(f.Fields, failure.Field{Path: field.GetField(), Description: field.GetDescription()})
	}
	return f
}
