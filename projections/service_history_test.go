package projections

import (
	"fmt"
	"slices"

	"github.com/heliosdb/metadata/events"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

var allStreams = []metadatav1.Stream{
	metadatav1.Stream_STREAM_SCHEMA, metadatav1.Stream_STREAM_TOPOLOGY, metadatav1.Stream_STREAM_SERVICE,
}

// filters are what consumers of histories read: everything, or one stream.
var filters = []*metadatav1.Filter{
	nil,
	{Streams: allStreams[:1], Namespaces: []string{"shop"}},
	{Kinds: []metadatav1.ObjectKind{metadatav1.ObjectKind_OBJECT_KIND_SHARD}},
}

func (h *history) serviceEvent() *metadatav1.Event {
	switch action := h.pick(12); {
	case action < 2:
		return h.createConsumer()
	case action < 8:
		return h.consumerEvent(action)
	case action < 11:
		stream, after := allStreams[h.pick(3)], uint64(0)
		if heads := h.now.heads[stream]; len(heads) > 0 {
			after = heads[len(heads)-1].Revision
		}
		return headSigned(stream, after+1+uint64(h.pick(5)))
	}
	stream := allStreams[h.pick(3)]
	return historyTrimmed(stream, h.now.floors[stream].GetOldestRevision()+1+uint64(h.pick(9)))
}

func (h *history) createConsumer() *metadatav1.Event {
	c := &metadatav1.Consumer{
		Name: fmt.Sprint("c", h.pick(8)), Filter: filters[h.pick(len(filters))], Description: "for tests",
		Position: position(0, 0), CreatedRevision: h.revision, UpdatedRevision: h.revision,
	}
	if h.now.consumers[c.Name] != nil {
		return nil
	}
	h.acknowledge(c)
	return &metadatav1.Event{Kind: &metadatav1.Event_ConsumerCreated{ConsumerCreated: &metadatav1.ConsumerCreated{Consumer: c}}}
}

func (h *history) consumerEvent(action int) *metadatav1.Event {
	c := proto.CloneOf(of(h, h.now.consumers))
	if c == nil {
		return nil
	}
	switch action {
	case 2:
		return &metadatav1.Event{Kind: &metadatav1.Event_ConsumerDeleted{ConsumerDeleted: &metadatav1.ConsumerDeleted{Consumer: c}}}
	case 3:
		c.Epoch++
		c.Owner, c.UpdatedRevision = fmt.Sprint("run", h.revision), h.revision
		return &metadatav1.Event{Kind: &metadatav1.Event_ConsumerOpened{ConsumerOpened: &metadatav1.ConsumerOpened{Consumer: c}}}
	}
	h.acknowledge(c)
	c.UpdatedRevision = h.revision
	return &metadatav1.Event{Kind: &metadatav1.Event_ConsumerAcknowledged{ConsumerAcknowledged: &metadatav1.ConsumerAcknowledged{Consumer: c}}}
}

// acknowledge moves a consumer forward where it reads.
func (h *history) acknowledge(c *metadatav1.Consumer) {
	filter := events.NewFilter(c.Filter)
	if filter.MatchStream(metadatav1.Stream_STREAM_SCHEMA) {
		c.Position.SchemaRevision += uint64(h.pick(9))
	}
	if filter.MatchStream(metadatav1.Stream_STREAM_TOPOLOGY) {
		c.Position.TopologyRevision += uint64(h.pick(300))
	}
	c.AcknowledgedTime = timestamppb.New(epoch0)
}

func position(schema, topology uint64) *metadatav1.Position {
	return &metadatav1.Position{ClusterId: cluster.String(), RecoveryEpoch: 1, SchemaRevision: schema, TopologyRevision: topology}
}

func consumerCreated(name string, schema uint64) *metadatav1.Event {
	return &metadatav1.Event{Kind: &metadatav1.Event_ConsumerCreated{ConsumerCreated: &metadatav1.ConsumerCreated{
		Consumer: &metadatav1.Consumer{Name: name, Position: position(schema, 0)}}}}
}

func consumerAcknowledged(name string, schema uint64) *metadatav1.Event {
	return &metadatav1.Event{Kind: &metadatav1.Event_ConsumerAcknowledged{ConsumerAcknowledged: &metadatav1.ConsumerAcknowledged{
		Consumer: &metadatav1.Consumer{Name: name, Position: position(schema, 0), Epoch: 1}}}}
}

func headSigned(s metadatav1.Stream, revision uint64) *metadatav1.Event {
	return &metadatav1.Event{Kind: &metadatav1.Event_HeadSigned{HeadSigned: &metadatav1.HeadSigned{
		Head: &metadatav1.SignedHead{
			Stream: s, Revision: revision, Digest: digest(), Time: timestamppb.New(epoch0), KeyId: digest()[:8], Signature: slices.Repeat(digest(), 2),
		}}}}
}

func historyTrimmed(s metadatav1.Stream, oldest uint64) *metadatav1.Event {
	return &metadatav1.Event{Kind: &metadatav1.Event_HistoryTrimmed{HistoryTrimmed: &metadatav1.HistoryTrimmed{
		Floor: &metadatav1.HistoryFloor{Stream: s, OldestRevision: oldest, PreviousDigest: digest(), OldestTime: timestamppb.New(epoch0)},
	}}}
}

func digest() []byte { return []byte("0123456789abcdef0123456789abcdef") }
