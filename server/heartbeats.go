package server

import (
	"context"
	"errors"
	"fmt"
	"io"

	"connectrpc.com/connect"
	"golang.org/x/sync/semaphore"

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

// heartbeats answers the beats of one stream, a message for each message. Those that
// arrive while others are being answered go to the member together. When
// maxBeatsInFlight beats wait, no more are read: the sender waits.
func (s service) heartbeats(ctx context.Context, stream beats) error {
	ctx, cancel := s.untilDrained(ctx)
	defer cancel()
	w := waitingBeats{
		messages: make(chan *metadatav1.StreamHeartbeatsRequest, maxBeatsInFlight),
		room:     semaphore.NewWeighted(maxBeatsInFlight),
	}
	received := make(chan error, 1)
	go func() {
		defer close(w.messages)
		received <- w.receive(ctx, stream)
	}()
	defer func() {
		cancel()
		stream.finish(func() {
			for range w.messages { // until it is closed
			}
		})
	}()
	err := s.answerBeats(ctx, stream, &w)
	if err == nil {
		err = <-received
	}
	return s.orStopping(err)
}

// waitingBeats are what a stream has received and not answered.
type waitingBeats struct {
	messages chan *metadatav1.StreamHeartbeatsRequest
	room     *semaphore.Weighted // for further beats
}

// weight is how many beats a message has.
func weight(m *metadatav1.StreamHeartbeatsRequest) int { return 1 + len(m.GetMore()) }

// receive takes in messages until the client ends the stream.
func (w *waitingBeats) receive(ctx context.Context, stream beats) error {
	for {
		message, err := stream.Receive()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := w.room.Acquire(ctx, int64(weight(message))); err != nil {
			return err
		}
		w.messages <- message // there is room: each has a beat
	}
}

// take waits for messages and adds all that are there. Without any, no more will come.
func (w *waitingBeats) take(ctx context.Context, to []*metadatav1.StreamHeartbeatsRequest) ([]*metadatav1.StreamHeartbeatsRequest, error) {
	select {
	case message, open := <-w.messages:
		if !open {
			return nil, nil
		}
		to = append(to, message)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	for range len(w.messages) { // only this goroutine takes, so that many are there
		to = append(to, <-w.messages)
	}
	return to, nil
}

// answerBeats answers in order until the client has ended the stream.
func (s service) answerBeats(ctx context.Context, stream beats, w *waitingBeats) error {
	var messages []*metadatav1.StreamHeartbeatsRequest
	for {
		var err error
		if messages, err = w.take(ctx, messages[:0]); len(messages) == 0 {
			return err
		}
		beats := beatsOf(messages)
		answers, err := s.beat(ctx, beats)
		if err != nil {
			if answers = refuseAll(beats, err); answers == nil {
				return err
			}
		}
		for _, m := range messages {
			if err := stream.Send(together(answers[:weight(m)])); err != nil {
				return err
			}
			answers = answers[weight(m):]
		}
		w.room.Release(int64(len(beats)))
		clear(messages)
	}
}

// beatsOf returns the beats of messages, in order. The slice is the member's then.
func beatsOf(messages []*metadatav1.StreamHeartbeatsRequest) []*metadatav1.HeartbeatRequest {
	n := 0
	for _, m := range messages {
		n += weight(m)
	}
	beats := make([]*metadatav1.HeartbeatRequest, 0, n)
	for _, m := range messages {
		beats = append(append(beats, m.GetHeartbeat()), m.GetMore()...)
	}
	return beats
}

// together makes one message of the answers to one. What is the same in all leases is
// said once.
func together(answers []*metadatav1.StreamHeartbeatsResponse) *metadatav1.StreamHeartbeatsResponse {
	said := false
	for _, a := range answers {
		granted := a.GetGranted()
		if granted == nil {
			continue
		}
		if said {
			granted.LeaseDuration, granted.Position = nil, nil
		}
		said = true
	}
	answers[0].More = answers[1:]
	return answers[0]
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
