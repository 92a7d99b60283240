package client

import (
	"context"
	"errors"
	"io"

	"google.golang.org/grpc"

	"github.com/heliosdb/metadata/client/follow"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/proto/heliosdb/metadata/v1/metadatav1connect"
)

// HeartbeatStream is an open stream of beats to one member. One goroutine may send while
// another receives.
type HeartbeatStream struct{ stream stream }

// Send sends a beat. It returns [io.EOF] if the stream has ended: Receive says why.
func (s *HeartbeatStream) Send(m *metadatav1.StreamHeartbeatsRequest) error {
	return s.stream.Send(m)
}

// Receive returns the next answer; [io.EOF] after the last one.
func (s *HeartbeatStream) Receive() (*metadatav1.StreamHeartbeatsResponse, error) {
	m := new(metadatav1.StreamHeartbeatsResponse)
	if err := s.stream.Receive(m); err != nil {
		_ = s.stream.CloseResponse() // it has ended
		return nil, err
	}
	return m, nil
}

// CloseRequest says that no beat will follow. The member answers those that it has got.
func (s *HeartbeatStream) CloseRequest() error { return s.stream.CloseRequest() }

// Close ends the stream; a Receive that waits fails. It may be called more than once, and by
// any goroutine.
func (s *HeartbeatStream) Close() { _ = s.stream.CloseResponse() }

// Subscription is an open subscription to one member, for one goroutine.
type Subscription struct{ stream stream }

// subscribe opens a subscription.
func (n *connection) subscribe(ctx context.Context, req *metadatav1.SubscribeRequest) (*Subscription, error) {
	s := n.open(ctx, metadatav1connect.MetadataServiceSubscribeProcedure, oneRequest, grpc.ForceCodecV2(undecoded{}))
	if err := s.Send(req); err != nil && !errors.Is(err, io.EOF) {
		_ = s.CloseResponse() // it has not begun
		return nil, err
	}
	_ = s.CloseRequest() // what fails is said to who receives
	return &Subscription{s}, nil
}

// Receive returns the next frame. After an error, which is [io.EOF] if the member ended
// the subscription without one, there are no more.
func (s *Subscription) Receive() (*metadatav1.SubscribeResponse, error) {
	frame, err := s.ReceiveFrame()
	if err != nil {
		return nil, err
	}
	return frame.Message()
}

// ReceiveFrame is Receive for those who decode what they want of the changes, or nothing.
func (s *Subscription) ReceiveFrame() (follow.Frame, error) {
	var raw []byte
	if err := s.stream.Receive(&raw); err != nil {
		s.Close()
		return follow.Frame{}, err
	}
	return follow.ParseFrame(raw)
}

// Close ends the subscription; a Receive that waits fails. It may be called more than
// once, and by any goroutine.
func (s *Subscription) Close() { _ = s.stream.CloseResponse() }
