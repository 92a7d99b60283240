package fakefeed

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// errBroken is how subscriptions break.
var errBroken = connect.NewError(connect.CodeUnavailable, errors.New("broken, as the test wants it"))

// Subscribe is of the contract, but that it never sends a snapshot.
func (s *Service) Subscribe(
	ctx context.Context, r *metadatav1.SubscribeRequest, stream *connect.ServerStream[metadatav1.SubscribeResponse],
) error {
	s.mu.Lock()
	at := proto.CloneOf(r.GetAfter())
	first := at == nil
	if first {
		at = s.head()
	}
	if at.GetClusterId() == "" {
		at.ClusterId, at.RecoveryEpoch = ClusterID, s.epoch
	}
	s.mu.Unlock()
	interval := time.Duration(r.GetBookmarkIntervalMillis()) * time.Millisecond
	for {
		frame, wake, err := s.next(at, r.GetFilter())
		if err != nil {
			return err
		}
		if frame == nil && !first {
			select {
			case <-wake:
				continue
			case <-time.After(cmp.Or(interval, 10*time.Millisecond)):
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if frame == nil || first {
			first = false
			frame = &metadatav1.SubscribeResponse{Frame: &metadatav1.SubscribeResponse_Bookmark{Bookmark: &metadatav1.Bookmark{Position: proto.CloneOf(at)}}}
		} else if changes := frame.GetChanges(); changes.GetStream() == schemaStream {
			at.SchemaRevision += uint64(len(changes.GetChanges()))
		} else {
			at.TopologyRevision += uint64(len(changes.GetChanges()))
		}
		if err := stream.Send(frame); err != nil {
			return err
		}
		if s.Broken != nil && s.Broken() {
			return errBroken
		}
	}
}

// next returns the changes behind a position, or a channel that is closed when there may
// be some.
func (s *Service) next(at *metadatav1.Position, filter *metadatav1.Filter) (*metadatav1.SubscribeResponse, <-chan struct{}, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if at.GetClusterId() != ClusterID || at.GetRecoveryEpoch() != s.epoch {
		return nil, nil, Refusal(connect.CodeFailedPrecondition, metadatav1.ErrorReason_ERROR_REASON_FOREIGN_POSITION, "the position is another cluster's")
	}
	for _, stream := range []metadatav1.Stream{schemaStream, topologyStream} {
		if len(filter.GetStreams()) > 0 && !slices.Contains(filter.GetStreams(), stream) {
			continue
		}
		after := at.GetSchemaRevision()
		if stream == topologyStream {
			after = at.GetTopologyRevision()
		}
		all := s.changes[stream]
		if after > uint64(len(all)) {
			return nil, nil, Refusal(connect.CodeOutOfRange, metadatav1.ErrorReason_ERROR_REASON_FUTURE_REVISION, "this member has not come so far")
		}
		if oldest := s.oldest[stream]; after+1 < oldest && after < uint64(len(all)) {
			return nil, nil, Refusal(connect.CodeOutOfRange, metadatav1.ErrorReason_ERROR_REASON_HISTORY_TRIMMED, "the history was trimmed",
				"oldest_revision", fmt.Sprint(oldest), "stream", stream.String())
		}
		if rest := all[after:]; len(rest) > 0 {
			changes := &metadatav1.Changes{Stream: stream, Changes: rest[:min(len(rest), cmp.Or(s.FrameChanges, 3))]}
			return &metadatav1.SubscribeResponse{Frame: &metadatav1.SubscribeResponse_Changes{Changes: changes}}, nil, nil
		}
	}
	return nil, s.wake, nil
}
