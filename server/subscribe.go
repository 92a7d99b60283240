package server

import (
	"context"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/feed"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// Subscribe is of the contract. It ends with STOPPING when the server drains, so
// that the client resumes at another member.
func (s service) Subscribe(ctx context.Context, r *metadatav1.SubscribeRequest, stream *connect.ServerStream[metadatav1.SubscribeResponse]) error {
	asJSON := callerOf(ctx).json
	return s.frames(ctx, r, func(frame feed.Frame) error {
		if asJSON {
			return sendParts(stream, frame.Message())
		}
		raw, err := frame.Encoded()
		if err != nil {
			return err
		}
		encoded := new(metadatav1.SubscribeResponse)
		encoded.ProtoReflect().SetUnknown(raw) // goes to the wire as it is
		return stream.Send(encoded)
	})
}

// frames sends a subscription's frames until it ends or the server drains.
func (s service) frames(ctx context.Context, r *metadatav1.SubscribeRequest, send func(feed.Frame) error) error {
	ctx, cancel := s.untilDrained(ctx)
	defer cancel()
	return s.orStopping(s.member.Subscribe(ctx, r, send))
}

func sendParts(stream *connect.ServerStream[metadatav1.SubscribeResponse], frame *metadatav1.SubscribeResponse) error {
	for _, part := range splitFrame(frame, MessageMaxBytes/jsonGrowth) {
		if err := stream.Send(part); err != nil {
			return err
		}
	}
	return nil
}

// splitFrame cuts a frame into several that say the same, each at most limit
// bytes if the objects and changes in it allow that. JSON makes frames grow
// beyond what may be sent. The frame itself is shared and stays as it is.
func splitFrame(frame *metadatav1.SubscribeResponse, limit int) []*metadatav1.SubscribeResponse {
	if proto.Size(frame) <= limit {
		return []*metadatav1.SubscribeResponse{frame}
	}
	switch f := frame.GetFrame().(type) {
	case *metadatav1.SubscribeResponse_Changes:
		return splitChanges(f.Changes, limit)
	case *metadatav1.SubscribeResponse_Snapshot:
		return splitChunk(f.Snapshot, limit)
	}
	return []*metadatav1.SubscribeResponse{frame}
}

func splitChanges(all *metadatav1.Changes, limit int) (frames []*metadatav1.SubscribeResponse) {
	for group := range groups(all.GetChanges(), limit) {
		frames = append(frames, &metadatav1.SubscribeResponse{Frame: &metadatav1.SubscribeResponse_Changes{
			Changes: &metadatav1.Changes{Stream: all.GetStream(), Changes: group},
		}})
	}
	return frames
}

func splitChunk(all *metadatav1.SnapshotChunk, limit int) (frames []*metadatav1.SubscribeResponse) {
	add := func(fill func(*metadatav1.SnapshotChunk)) {
		part := &metadatav1.SnapshotChunk{
			Stream: all.GetStream(), Revision: all.GetRevision(),
			FeatureLevel: all.GetFeatureLevel(), Digest: all.GetDigest(),
		}
		fill(part)
		frames = append(frames, &metadatav1.SubscribeResponse{
			Frame: &metadatav1.SubscribeResponse_Snapshot{Snapshot: part},
		})
	}
	for group := range groups(all.GetNamespaces(), limit) {
		add(func(c *metadatav1.SnapshotChunk) { c.Namespaces = group })
	}
	for group := range groups(all.GetTables(), limit) {
		add(func(c *metadatav1.SnapshotChunk) { c.Tables = group })
	}
	for group := range groups(all.GetNodes(), limit) {
		add(func(c *metadatav1.SnapshotChunk) { c.Nodes = group })
	}
	for group := range groups(all.GetShards(), limit) {
		add(func(c *metadatav1.SnapshotChunk) { c.Shards = group })
	}
	if len(frames) > 0 {
		frames[len(frames)-1].GetSnapshot().Last = all.GetLast()
	}
	return frames
}

// groups yields the messages in groups of at most limit bytes, or of one.
func groups[M proto.Message](all []M, limit int) func(yield func([]M) bool) {
	return func(yield func([]M) bool) {
		first, size := 0, 0
		for i, m := range all {
			n := proto.Size(m)
			if i > first && size+n > limit {
				if !yield(all[first:i]) {
					return
				}
				first, size = i, 0
			}
			size += n
		}
		if first < len(all) {
			yield(all[first:])
		}
	}
}
