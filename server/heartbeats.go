package server

import (
	"context"
	"errors"
	"fmt"
	"io"

	"connectrpc.com/connect"

	"github.com/heliosdb/metadata/internal/failure"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// Heartbeat is of the contract.
func (s service) Heartbeat(ctx context.Context, beat *metadatav1.HeartbeatRequest) (*metadatav1.HeartbeatResponse, error) {
	answers, err := s.beat(ctx, []*metadatav1.HeartbeatRequest{beat})
	if err != nil {
		return nil, err
	}
	if granted := answers[0].GetGranted(); granted != nil {
		return granted, nil
	}
	refused := answers[0].GetRefused()
	reason := failure.ParseName(refused.GetReason())
	if reason == metadatav1.ErrorReason_ERROR_REASON_UNSPECIFIED {
		return nil, fmt.Errorf("a beat was refused for %q, which is no reason", refused.GetReason())
	}
	return nil, failure.New(reason, "%s", refused.GetMessage())
}

// beat asks the member, which owes one answer for each beat.
func (s service) beat(ctx context.Context, beats []*metadatav1.HeartbeatRequest) ([]*metadatav1.StreamHeartbeatsResponse, error) {
	answers, err := s.member.Heartbeat(ctx, beats)
	if err == nil && len(answers) != len(beats) {
		return nil, fmt.Errorf("%d answers to %d beats", len(answers), len(beats))
	}
	return answers, err
}

// StreamHeartbeats is of the contract.
func (s service) StreamHeartbeats(ctx context.Context, stream *connect.BidiStream[metadatav1.StreamHeartbeatsRequest, metadatav1.StreamHeartbeatsResponse]) error {
	return s.heartbeats(ctx, connectDuplex[metadatav1.StreamHeartbeatsRequest, metadatav1.StreamHeartbeatsResponse]{stream, callOf(ctx)})
}

// beats are the two directions of a heartbeat stream.
type beats = duplex[metadatav1.StreamHeartbeatsRequest, metadatav1.StreamHeartbeatsResponse]

// heartbeats answers the beats of one stream. Beats that arrive while others are being
// answered go to the member together. When maxBeatsInFlight of them wait, no
// more are read: the sender waits.
func (s service) heartbeats(ctx context.Context, stream beats) error {
	ctx, cancel := s.untilDrained(ctx)
	defer cancel()
	waiting := make(chan *metadatav1.HeartbeatRequest, maxBeatsInFlight)
	received := make(chan error, 1)
	go func() {
		defer close(waiting)
		received <- receiveBeats(ctx, stream, waiting)
	}()
	defer func() {
		cancel()
		stream.finish(func() {
			for range waiting { // until it is closed
			}
		})
	}()
	err := s.answerBeats(ctx, stream, waiting)
	if err == nil {
		err = <-received
	}
	return s.orStopping(err)
}

// receiveBeats moves beats into waiting until the client ends the stream.
func receiveBeats(ctx context.Context, stream beats, waiting chan<- *metadatav1.HeartbeatRequest) error {
	for {
		message, err := stream.Receive()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		select {
		case waiting <- message.GetHeartbeat():
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// answerBeats answers in order until waiting is closed and empty.
func (s service) answerBeats(ctx context.Context, stream beats, waiting <-chan *metadatav1.HeartbeatRequest) error {
	for {
		var beats []*metadatav1.HeartbeatRequest
		select {
		case beat, open := <-waiting:
			if !open {
				return nil
			}
			beats = append(beats, beat)
		case <-ctx.Done():
			return ctx.Err()
		}
		for range len(waiting) { // only this goroutine takes, so that many are there
			beats = append(beats, <-waiting)
		}
		answers, err := s.beat(ctx, beats)
		if err != nil {
			if answers = refuseAll(beats, err); answers == nil {
				return err
			}
		}
		for _, answer := range answers {
			if err := stream.Send(answer); err != nil {
				return err
			}
		}
	}
}

// refuseAll answers beats that the topology's leader did not get to see, so that
// the stream outlives an election. Only an error that ends the call has no such
// answers.
func refuseAll(beats []*metadatav1.HeartbeatRequest, err error) []*metadatav1.StreamHeartbeatsResponse {
	f := failure.As(err)
	if f == nil || f.Reason == metadatav1.ErrorReason_ERROR_REASON_STOPPING {
		return nil
	}
	answers := make([]*metadatav1.StreamHeartbeatsResponse, len(beats))
	for i, beat := range beats {
		answers[i] = &metadatav1.StreamHeartbeatsResponse{Answer: &metadatav1.StreamHeartbeatsResponse_Refused{
			Refused: &metadatav1.HeartbeatRefused{
				NodeId: beat.GetNodeId(), Reason: failure.Name(f.Reason), Message: f.Message,
			},
		}}
	}
	return answers
}

// untilDrained returns a context that also ends when the server drains.
func (s *Server) untilDrained(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(s.life, cancel)
	return ctx, func() { stop(); cancel() }
}

// orStopping replaces the error of a stream that ended because of the server.
func (s *Server) orStopping(err error) error {
	if err != nil && s.draining() {
		return errStopping
	}
	return err
}
