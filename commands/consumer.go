package commands

import (
	"cmp"
	"math"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/internal/failure"
	"github.com/heliosdb/metadata/projections/service"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// The streams that consumers read.
const (
	schemaStream   = metadatav1.Stream_STREAM_SCHEMA
	topologyStream = metadatav1.Stream_STREAM_TOPOLOGY
)

func (d *serviceDraft) createConsumer(c *metadatav1.CreateConsumerRequest) error {
	in := c.GetConsumer()
	if err := checkConsumer(in); err != nil {
		return within("consumer", err)
	}
	if _, taken := d.Consumer(in.Name); taken {
		return alreadyExists("consumer %q exists already", in.Name).With("consumer", in.Name)
	}
	if d.ConsumerCount() >= MaxConsumers {
		return limit("MaxConsumers", "there are %d consumers, which is the limit", d.ConsumerCount())
	}
	position, err := d.beginning(in, c.FromOldest)
	if err != nil {
		return within("consumer.position", err)
	}
	d.record(&metadatav1.Event{Kind: &metadatav1.Event_ConsumerCreated{ConsumerCreated: &metadatav1.ConsumerCreated{
		Consumer: &metadatav1.Consumer{
			Name:             in.Name,
			Filter:           copyFilter(in.Filter),
			Description:      in.Description,
			Position:         position,
			CreatedRevision:  d.revision,
			UpdatedRevision:  d.revision,
			AcknowledgedTime: d.stamp,
		},
	}}})
	return nil
}

// beginning returns where a new consumer begins: where it says, or else behind the
// newest changes, or before the oldest ones that are kept. What was trimmed before that is not
// there any more.
func (d *serviceDraft) beginning(in *metadatav1.Consumer, fromOldest bool) (*metadatav1.Position, error) {
	at := in.Position
	switch {
	case fromOldest && at != nil:
		return nil, invalid("", "there is one although from_oldest is set; leave one of them out")
	case fromOldest:
		return d.positionOf(d.beforeOldest(), events.NewFilter(in.Filter)), nil
	case at == nil:
		return d.positionOf(d.newest(), events.NewFilter(in.Filter)), nil
	}
	if err := d.checkOrigin(at); err != nil {
		return nil, err
	}
	filter := events.NewFilter(in.Filter)
	for _, s := range [...]metadatav1.Stream{schemaStream, topologyStream} {
		after, oldest := revisionOf(at, s), d.Floor(s).OldestRevision()
		if filter.MatchStream(s) && oldest > 0 && after < oldest-1 {
			return nil, reject(metadatav1.ErrorReason_ERROR_REASON_HISTORY_TRIMMED,
				"the history of the %s stream behind revision %d was trimmed; the oldest revision left is %d; begin at %d or later",
				events.StreamName(s), after, oldest, oldest-1).
				With("oldest_revision", strconv.FormatUint(oldest, 10)).With("stream", s.String())
		}
	}
	return d.positionOf(at, filter), nil
}

// newest returns the position behind the newest changes that the deciding member has. Where it
// lags so far that they are trimmed, that is where the histories begin.
func (d *serviceDraft) newest() *metadatav1.Position {
	at, oldest := d.env.Newest, d.beforeOldest()
	return &metadatav1.Position{
		SchemaRevision:   max(at.GetSchemaRevision(), oldest.SchemaRevision),
		TopologyRevision: max(at.GetTopologyRevision(), oldest.TopologyRevision),
	}
}

// beforeOldest returns the position before all that is kept.
func (d *serviceDraft) beforeOldest() *metadatav1.Position {
	before := func(s metadatav1.Stream) uint64 { return max(d.Floor(s).OldestRevision(), 1) - 1 }
	return &metadatav1.Position{SchemaRevision: before(schemaStream), TopologyRevision: before(topologyStream)}
}

// openConsumer hands a consumer to who asks, and fences off who had it. The epoch is the
// revision, so that it fences off also who had a deleted consumer of that name.
func (d *serviceDraft) openConsumer(c *metadatav1.OpenConsumerRequest) error {
	record, err := d.findConsumer(c.GetName())
	if err != nil {
		return err
	}
	if err := checkLength("owner", c.Owner, MaxOwnerBytes); err != nil {
		return err
	}
	opened := record.Message()
	opened.Epoch, opened.UpdatedRevision = d.revision, d.revision
	opened.Owner = cmp.Or(c.Owner, d.env.Actor)
	d.record(&metadatav1.Event{Kind: &metadatav1.Event_ConsumerOpened{ConsumerOpened: &metadatav1.ConsumerOpened{Consumer: opened}}})
	return nil
}

// acknowledgeConsumer moves a consumer forward, each stream by itself. A position that
// it has passed already changes nothing.
func (d *serviceDraft) acknowledgeConsumer(c *metadatav1.AcknowledgeConsumerRequest) (unchanged proto.Message, err error) {
	record, err := d.findConsumer(c.GetName())
	if err != nil {
		return nil, err
	}
	if err := checkHolder(record, c.Epoch); err != nil {
		return nil, err
	}
	if c.Position == nil {
		return nil, invalid("position", "there is none; say up to where changes were carried out")
	}
	if err := d.checkOrigin(c.Position); err != nil {
		return nil, within("position", err)
	}
	consumer := record.Message()
	position := d.positionOf(c.Position, events.NewFilter(consumer.Filter))
	position.SchemaRevision = max(position.SchemaRevision, record.Revision(schemaStream))
	position.TopologyRevision = max(position.TopologyRevision, record.Revision(topologyStream))
	if position.SchemaRevision == record.Revision(schemaStream) && position.TopologyRevision == record.Revision(topologyStream) {
		return consumer, nil
	}
	consumer.Position, consumer.AcknowledgedTime, consumer.UpdatedRevision = position, d.stamp, d.revision
	d.record(&metadatav1.Event{Kind: &metadatav1.Event_ConsumerAcknowledged{ConsumerAcknowledged: &metadatav1.ConsumerAcknowledged{Consumer: consumer}}})
	return nil, nil
}

func (d *serviceDraft) deleteConsumer(c *metadatav1.DeleteConsumerRequest) error {
	record, err := d.findConsumer(c.GetName())
	if err != nil {
		return err
	}
	d.record(&metadatav1.Event{Kind: &metadatav1.Event_ConsumerDeleted{ConsumerDeleted: &metadatav1.ConsumerDeleted{Consumer: record.Message()}}})
	return nil
}

func (d *serviceDraft) findConsumer(name string) (*service.Consumer, error) {
	if name == "" {
		return nil, invalid("name", "the name is empty")
	}
	c, ok := d.Consumer(name)
	if !ok {
		return nil, notFound("there is no consumer %q", name).With("consumer", name)
	}
	return c, nil
}

// checkHolder refuses whoever does not have the consumer, or not any more.
func checkHolder(c *service.Consumer, epoch uint64) error {
	if epoch == 0 {
		return invalid("epoch", "it is 0; send the epoch that OpenConsumer gave")
	}
	if epoch != c.Epoch() {
		return reject(metadatav1.ErrorReason_ERROR_REASON_CONSUMER_FENCED,
			"consumer %q is held with epoch %d, not %d; open it again if this process is to have it", c.Name(), c.Epoch(), epoch).
			With("consumer", c.Name()).With("epoch", strconv.FormatUint(c.Epoch(), 10))
	}
	return nil
}

// checkOrigin refuses a position that was not issued in this cluster and recovery
// epoch. One that names neither is anybody's.
func (d *serviceDraft) checkOrigin(p *metadatav1.Position) error {
	cluster, epoch := p.GetClusterId(), p.GetRecoveryEpoch()
	if cluster == "" && epoch == 0 {
		return nil
	}
	foreign := func(what string, theirs, ours any) *failure.Error {
		return reject(metadatav1.ErrorReason_ERROR_REASON_FOREIGN_POSITION,
			"it belongs to %s %v, this is %v; start anew", what, theirs, ours)
	}
	if own := d.head.Cluster.String(); cluster != "" && cluster != own {
		return foreign("cluster", cluster, own)
	}
	if epoch != d.head.RecoveryEpoch {
		return foreign("recovery epoch", epoch, d.head.RecoveryEpoch)
	}
	return nil
}

// positionOf returns a position as it is kept: with its origin, and without streams that
// the filter leaves out.
func (d *serviceDraft) positionOf(p *metadatav1.Position, filter *events.Filter) *metadatav1.Position {
	kept := &metadatav1.Position{ClusterId: d.head.Cluster.String(), RecoveryEpoch: d.head.RecoveryEpoch}
	if filter.MatchStream(schemaStream) {
		kept.SchemaRevision = revisionOf(p, schemaStream)
	}
	if filter.MatchStream(topologyStream) {
		kept.TopologyRevision = revisionOf(p, topologyStream)
	}
	return kept
}

func revisionOf(p *metadatav1.Position, s metadatav1.Stream) uint64 {
	if s == schemaStream {
		return p.GetSchemaRevision()
	}
	return p.GetTopologyRevision()
}

func checkConsumer(c *metadatav1.Consumer) error {
	if err := checkChosen("name", "name", c.GetName()); err != nil {
		return err
	}
	if err := checkLength("description", c.Description, MaxDescriptionBytes); err != nil {
		return err
	}
	if err := checkFilter(c.Filter); err != nil {
		return within("filter", err)
	}
	return checkConsumerSize(c)
}

// checkFilter refuses filters that name what cannot be consumed, or let nothing through.
func checkFilter(f *metadatav1.Filter) error {
	for i, s := range f.GetStreams() {
		if s != schemaStream && s != topologyStream {
			return element("streams", i, invalid("", "%v cannot be consumed; %v and %v can", s, schemaStream, topologyStream))
		}
	}
	for i, k := range f.GetKinds() {
		if s := events.StreamOfObject(k); s != schemaStream && s != topologyStream {
			return element("kinds", i, invalid("", "%v cannot be consumed; namespaces, tables, nodes and shards can", k))
		}
	}
	if c := events.NewFilter(f); !c.MatchStream(schemaStream) && !c.MatchStream(topologyStream) {
		return invalid("", "its streams and kinds exclude each other, so nothing can match; leave one of them out")
	}
	return nil
}

// checkConsumerSize refuses a consumer that could not be opened or acknowledged some
// day, because what the service sets would make it too large.
func checkConsumerSize(c *metadatav1.Consumer) error {
	largest := &metadatav1.Consumer{
		Name:        c.Name,
		Filter:      copyFilter(c.Filter),
		Description: c.Description,
		Position: &metadatav1.Position{
			ClusterId: events.ClusterID{}.String(), RecoveryEpoch: math.MaxUint64,
			SchemaRevision: math.MaxUint64, TopologyRevision: math.MaxUint64,
		},
		Epoch:            math.MaxUint64,
		Owner:            strings.Repeat("o", max(MaxOwnerBytes, MaxActorBytes)),
		CreatedRevision:  math.MaxUint64,
		UpdatedRevision:  math.MaxUint64,
		AcknowledgedTime: &timestamppb.Timestamp{Seconds: math.MinInt64, Nanos: math.MaxInt32},
	}
	if size := proto.Size(largest); size > MaxConsumerBytes {
		return limit("MaxConsumerBytes",
			"with the longest owner and position the consumer would have %d bytes; at most %d are allowed: shorten its filter or its description",
			size, MaxConsumerBytes)
	}
	return nil
}

// copyFilter copies what the contract knows of a filter. One that says nothing is
// absent, so that equal consumers have equal messages.
func copyFilter(f *metadatav1.Filter) *metadatav1.Filter {
	if events.NewFilter(f) == nil {
		return nil
	}
	return &metadatav1.Filter{
		Streams: f.Streams, Kinds: f.Kinds, Namespaces: f.Namespaces, Tables: f.Tables, Nodes: f.Nodes, Shards: f.Shards,
	}
}
