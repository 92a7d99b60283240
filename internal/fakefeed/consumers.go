package fakefeed

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"connectrpc.com/connect"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/proto/heliosdb/metadata/v1/metadatav1connect"
)

// Refusal is an error as the service says it, with pairs of keys and values.
func Refusal(code connect.Code, reason metadatav1.ErrorReason, text string, pairs ...string) error {
	err := connect.NewError(code, errors.New(text))
	info := &errdetails.ErrorInfo{Reason: reason.String()[len("ERROR_REASON_"):], Domain: "metadata.heliosdb", Metadata: make(map[string]string)}
	for pair := range slices.Chunk(pairs, 2) {
		info.Metadata[pair[0]] = pair[1]
	}
	if detail, bad := connect.NewErrorDetail(info); bad == nil {
		err.AddDetail(detail)
	}
	return err
}

// consumers serves ConsumerService.
type consumers struct{ *Service }

// begin asks whether a call fails, and takes the lock if not.
func (c consumers) begin(method string) error {
	if err := c.failing(method); err != nil {
		return err
	}
	c.mu.Lock()
	return nil
}

func (c consumers) find(name string) (*metadatav1.Consumer, error) {
	if found := c.consumers[name]; found != nil {
		return found, nil
	}
	return nil, Refusal(connect.CodeNotFound, metadatav1.ErrorReason_ERROR_REASON_NOT_FOUND, fmt.Sprintf("there is no consumer %q", name))
}

// result is what the fake says of each write.
func (c consumers) result() *metadatav1.WriteResult {
	return &metadatav1.WriteResult{Position: c.head(), Changed: true}
}

// CreateConsumer is of the contract.
func (c consumers) CreateConsumer(_ context.Context, r *metadatav1.CreateConsumerRequest) (*metadatav1.CreateConsumerResponse, error) {
	if err := c.begin("CreateConsumer"); err != nil {
		return nil, err
	}
	defer c.mu.Unlock()
	created := proto.CloneOf(r.GetConsumer())
	if _, err := c.find(created.GetName()); err == nil {
		return nil, Refusal(connect.CodeAlreadyExists, metadatav1.ErrorReason_ERROR_REASON_ALREADY_EXISTS, fmt.Sprintf("consumer %q exists", created.GetName()))
	}
	switch {
	case r.GetFromOldest() && created.Position != nil:
		return nil, Refusal(connect.CodeInvalidArgument, metadatav1.ErrorReason_ERROR_REASON_INVALID_FIELD, "consumer.position: there is one although from_oldest is set")
	case r.GetFromOldest():
		created.Position = &metadatav1.Position{SchemaRevision: c.before(schemaStream), TopologyRevision: c.before(topologyStream)}
	case created.Position == nil:
		created.Position = c.head()
	}
	if err := c.kept(created); err != nil {
		return nil, err
	}
	created.Position.ClusterId, created.Position.RecoveryEpoch = ClusterID, c.epoch
	created.AcknowledgedTime = &timestamppb.Timestamp{Seconds: 60}
	c.consumers[created.GetName()] = created
	return &metadatav1.CreateConsumerResponse{Consumer: proto.CloneOf(created), Result: c.result()}, nil
}

// before returns the revision before the oldest one of a stream that is kept. The lock is held.
func (s *Service) before(stream metadatav1.Stream) uint64 { return cmp.Or(s.oldest[stream], 1) - 1 }

// kept refuses a consumer that begins where something was trimmed. The lock is held.
func (c consumers) kept(created *metadatav1.Consumer) error {
	at := map[metadatav1.Stream]uint64{
		schemaStream: created.GetPosition().GetSchemaRevision(), topologyStream: created.GetPosition().GetTopologyRevision(),
	}
	for _, s := range []metadatav1.Stream{schemaStream, topologyStream} {
		read := len(created.GetFilter().GetStreams()) == 0 || slices.Contains(created.GetFilter().GetStreams(), s)
		if before := c.before(s); read && at[s] < before {
			return Refusal(connect.CodeOutOfRange, metadatav1.ErrorReason_ERROR_REASON_HISTORY_TRIMMED,
				fmt.Sprintf("consumer.position: the history of the stream behind revision %d was trimmed; begin at %d or later", at[s], before),
				"oldest_revision", fmt.Sprint(before+1), "stream", s.String())
		}
	}
	return nil
}

// past serves what HistoryService says of the beginning.
type past struct {
	metadatav1connect.UnimplementedHistoryServiceHandler
	*Service
}

// GetHead is of the contract: the head, the floor and whose they are.
func (p past) GetHead(_ context.Context, r *metadatav1.GetHeadRequest) (*metadatav1.GetHeadResponse, error) {
	if err := p.failing("GetHead"); err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return &metadatav1.GetHeadResponse{
		ClusterId: ClusterID, RecoveryEpoch: p.epoch, Revision: uint64(len(p.changes[r.GetStream()])),
		Floor: &metadatav1.HistoryFloor{Stream: r.GetStream(), OldestRevision: p.oldest[r.GetStream()]},
	}, nil
}

// OpenConsumer is of the contract.
func (c consumers) OpenConsumer(_ context.Context, r *metadatav1.OpenConsumerRequest) (*metadatav1.OpenConsumerResponse, error) {
	if err := c.begin("OpenConsumer"); err != nil {
		return nil, err
	}
	defer c.mu.Unlock()
	opened, err := c.find(r.GetName())
	if err != nil {
		return nil, err
	}
	opened.Epoch++
	opened.Owner = r.GetOwner()
	return &metadatav1.OpenConsumerResponse{Consumer: proto.CloneOf(opened), Result: c.result()}, nil
}

// AcknowledgeConsumer is of the contract.
func (c consumers) AcknowledgeConsumer(_ context.Context, r *metadatav1.AcknowledgeConsumerRequest) (*metadatav1.AcknowledgeConsumerResponse, error) {
	if err := c.begin("AcknowledgeConsumer"); err != nil {
		return nil, err
	}
	defer c.mu.Unlock()
	moved, err := c.find(r.GetName())
	switch {
	case err != nil:
		return nil, err
	case r.GetEpoch() != moved.GetEpoch():
		return nil, Refusal(connect.CodeFailedPrecondition, metadatav1.ErrorReason_ERROR_REASON_CONSUMER_FENCED, fmt.Sprintf("consumer %q was opened again", r.GetName()))
	}
	p := moved.GetPosition()
	p.SchemaRevision = max(p.SchemaRevision, r.GetPosition().GetSchemaRevision())
	p.TopologyRevision = max(p.TopologyRevision, r.GetPosition().GetTopologyRevision())
	c.acked = append(c.acked, proto.CloneOf(r.GetPosition()))
	return &metadatav1.AcknowledgeConsumerResponse{Consumer: proto.CloneOf(moved), Result: c.result()}, nil
}

// DeleteConsumer is of the contract.
func (c consumers) DeleteConsumer(_ context.Context, r *metadatav1.DeleteConsumerRequest) (*metadatav1.DeleteConsumerResponse, error) {
	if err := c.begin("DeleteConsumer"); err != nil {
		return nil, err
	}
	defer c.mu.Unlock()
	deleted, err := c.find(r.GetName())
	if err != nil {
		return nil, err
	}
	delete(c.consumers, r.GetName())
	return &metadatav1.DeleteConsumerResponse{Consumer: deleted, Result: c.result()}, nil
}

// GetConsumer is of the contract.
func (c consumers) GetConsumer(_ context.Context, r *metadatav1.GetConsumerRequest) (*metadatav1.GetConsumerResponse, error) {
	if err := c.begin("GetConsumer"); err != nil {
		return nil, err
	}
	defer c.mu.Unlock()
	found, err := c.find(r.GetName())
	if err != nil {
		return nil, err
	}
	return c.described(found), nil
}

// ListConsumers is of the contract.
func (c consumers) ListConsumers(context.Context, *metadatav1.ListConsumersRequest) (*metadatav1.ListConsumersResponse, error) {
	if err := c.begin("ListConsumers"); err != nil {
		return nil, err
	}
	defer c.mu.Unlock()
	res := new(metadatav1.ListConsumersResponse)
	for _, name := range slices.Sorted(maps.Keys(c.consumers)) {
		res.Consumers = append(res.Consumers, c.described(c.consumers[name]))
	}
	return res, nil
}

// described adds to a consumer how far it is behind. The lock is held.
func (c consumers) described(found *metadatav1.Consumer) *metadatav1.GetConsumerResponse {
	head, p := c.head(), found.GetPosition()
	lag := &metadatav1.ConsumerLag{
		SchemaChanges:   head.GetSchemaRevision() - p.GetSchemaRevision(),
		TopologyChanges: head.GetTopologyRevision() - p.GetTopologyRevision(),
		Trimmed: p.GetSchemaRevision()+1 < cmp.Or(c.oldest[schemaStream], 1) ||
			p.GetTopologyRevision()+1 < cmp.Or(c.oldest[topologyStream], 1),
	}
	return &metadatav1.GetConsumerResponse{Consumer: proto.CloneOf(found), Lag: lag}
}
