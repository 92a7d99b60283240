package member

import (
	"context"

	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/history"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// refuseAhead refuses a command of the service stream with a position that the cluster has not
// come to: FUTURE_REVISION. The decision knows only its own stream, and cannot. A position that
// this member has not come to either may be one that others have; a round of reads tells.
func (m *Member) refuseAhead(ctx context.Context, r *running, command proto.Message) error {
	position, filter := consumed(r, command)
	if ours := m.checkOrigin(position) == nil; position == nil || !ours { // whose it is, is said by the decision
		return nil
	}
	for _, id := range positioned {
		claimed := claimedRevision(position, id)
		if claimed <= r.revision(id) || !events.NewFilter(filter).MatchStream(id) {
			continue
		}
		newest, err := r.confirmed(ctx, m, id)
		if err != nil {
			return err
		}
		if claimed > newest {
			return history.Future(id, claimed, newest)
		}
	}
	return nil
}

// consumed returns the position that a command is to move a consumer to, nil if there is none,
// and what the consumer reads.
func consumed(r *running, command proto.Message) (*metadatav1.Position, *metadatav1.Filter) {
	switch c := command.(type) {
	case *metadatav1.CreateConsumerRequest:
		return c.GetConsumer().GetPosition(), c.GetConsumer().GetFilter()
	case *metadatav1.AcknowledgeConsumerRequest:
		known, ok := r.service.replica.View().Model.Consumer(c.GetName())
		if !ok {
			return c.GetPosition(), nil
		}
		return c.GetPosition(), known.Message().GetFilter()
	}
	return nil, nil
}

// confirmed returns a revision of a stream that is at least that of every change acknowledged
// before the call.
func (r *running) confirmed(ctx context.Context, m *Member, id metadatav1.Stream) (uint64, error) {
	if id == metadatav1.Stream_STREAM_TOPOLOGY {
		state, err := view(ctx, m, r.topology, nil, 0)
		if err != nil {
			return 0, err
		}
		return state.Head.Revision, nil
	}
	state, err := view(ctx, m, r.schema, nil, 0)
	if err != nil {
		return 0, err
	}
	return state.Head.Revision, nil
}

// claimedRevision returns a position's revision of a stream.
func claimedRevision(p *metadatav1.Position, id metadatav1.Stream) uint64 {
	if id == metadatav1.Stream_STREAM_TOPOLOGY {
		return p.GetTopologyRevision()
	}
	return p.GetSchemaRevision()
}
