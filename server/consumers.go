package server

import (
	"context"

	"github.com/heliosdb/metadata/internal/failure"
	"github.com/heliosdb/metadata/projections"
	consumers "github.com/heliosdb/metadata/projections/service"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// CreateConsumer is of the contract.
func (s service) CreateConsumer(ctx context.Context, r *metadatav1.CreateConsumerRequest) (*metadatav1.CreateConsumerResponse, error) {
	return write[*metadatav1.CreateConsumerResponse](ctx, s, r, &r.Write)
}

// OpenConsumer is of the contract.
func (s service) OpenConsumer(ctx context.Context, r *metadatav1.OpenConsumerRequest) (*metadatav1.OpenConsumerResponse, error) {
	return write[*metadatav1.OpenConsumerResponse](ctx, s, r, &r.Write)
}

// AcknowledgeConsumer is of the contract.
func (s service) AcknowledgeConsumer(ctx context.Context, r *metadatav1.AcknowledgeConsumerRequest) (*metadatav1.AcknowledgeConsumerResponse, error) {
	return write[*metadatav1.AcknowledgeConsumerResponse](ctx, s, r, &r.Write)
}

// DeleteConsumer is of the contract.
func (s service) DeleteConsumer(ctx context.Context, r *metadatav1.DeleteConsumerRequest) (*metadatav1.DeleteConsumerResponse, error) {
	return write[*metadatav1.DeleteConsumerResponse](ctx, s, r, &r.Write)
}

// GetConsumer is of the contract.
func (s service) GetConsumer(ctx context.Context, r *metadatav1.GetConsumerRequest) (*metadatav1.GetConsumerResponse, error) {
	state, err := s.member.Service(ctx, r.GetRead())
	if err != nil {
		return nil, err
	}
	consumer, ok := state.Model.Consumer(r.GetName())
	if !ok {
		return nil, failure.New(metadatav1.ErrorReason_ERROR_REASON_NOT_FOUND, "there is no consumer %q", r.GetName()).
			With("consumer", r.GetName())
	}
	return describeConsumer(state, consumer, s.member.Position()), nil
}

// ListConsumers is of the contract.
func (s service) ListConsumers(ctx context.Context, r *metadatav1.ListConsumersRequest) (*metadatav1.ListConsumersResponse, error) {
	state, err := s.member.Service(ctx, r.GetRead())
	if err != nil {
		return nil, err
	}
	answer, position := new(metadatav1.ListConsumersResponse), s.member.Position()
	for consumer := range state.Model.Consumers("") {
		answer.Consumers = append(answer.Consumers, describeConsumer(state, consumer, position))
	}
	return answer, nil
}

// consumerStatus describes all consumers as this member knows them; none if it cannot tell now.
func (s service) consumerStatus(ctx context.Context) (all []*metadatav1.ConsumerStatus) {
	state, err := s.member.Service(ctx, local)
	if err != nil {
		return nil
	}
	position := s.member.Position()
	for consumer := range state.Model.Consumers("") {
		one := describeConsumer(state, consumer, position)
		all = append(all, &metadatav1.ConsumerStatus{
			Name: consumer.Name(), Lag: one.GetLag(), AcknowledgedTime: one.GetConsumer().GetAcknowledgedTime(),
		})
	}
	return all
}

// describeConsumer says how far a consumer is behind a position.
func describeConsumer(state *projections.Service, c *consumers.Consumer, at *metadatav1.Position) *metadatav1.GetConsumerResponse {
	lag := new(metadatav1.ConsumerLag)
	behind := func(stream metadatav1.Stream, newest uint64) uint64 {
		acknowledged := c.Revision(stream)
		if !c.Reads(stream) {
			return 0
		}
		if oldest := state.Model.Floor(stream).OldestRevision(); oldest > 0 && acknowledged < oldest-1 {
			lag.Trimmed = true
		}
		return newest - min(newest, acknowledged) // it may have read from a member that is ahead
	}
	lag.SchemaChanges = behind(metadatav1.Stream_STREAM_SCHEMA, at.GetSchemaRevision())
	lag.TopologyChanges = behind(metadatav1.Stream_STREAM_TOPOLOGY, at.GetTopologyRevision())
	return &metadatav1.GetConsumerResponse{Consumer: c.Message(), Lag: lag}
}
