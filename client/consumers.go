package client

import (
	"context"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// CreateConsumer creates a consumer.
func (c *Client) CreateConsumer(
	ctx context.Context, req *metadatav1.CreateConsumerRequest,
) (*metadatav1.CreateConsumerResponse, error) {
	return write(ctx, c, serviceStream, req, unshared, service.CreateConsumer)
}

// OpenConsumer takes a consumer over; Consume does so by itself.
func (c *Client) OpenConsumer(
	ctx context.Context, req *metadatav1.OpenConsumerRequest,
) (*metadatav1.OpenConsumerResponse, error) {
	return write(ctx, c, serviceStream, req, unshared, service.OpenConsumer)
}

// AcknowledgeConsumer moves a consumer's position forward; Consume does so by itself.
func (c *Client) AcknowledgeConsumer(
	ctx context.Context, req *metadatav1.AcknowledgeConsumerRequest,
) (*metadatav1.AcknowledgeConsumerResponse, error) {
	return write(ctx, c, serviceStream, req, unshared, service.AcknowledgeConsumer)
}

// DeleteConsumer deletes a consumer.
func (c *Client) DeleteConsumer(
	ctx context.Context, req *metadatav1.DeleteConsumerRequest,
) (*metadatav1.DeleteConsumerResponse, error) {
	return write(ctx, c, serviceStream, req, unshared, service.DeleteConsumer)
}

// GetConsumer returns a consumer.
func (c *Client) GetConsumer(
	ctx context.Context, req *metadatav1.GetConsumerRequest,
) (*metadatav1.GetConsumerResponse, error) {
	return readPage(ctx, c, req, service.GetConsumer)
}

// ListConsumers lists consumers by name.
func (c *Client) ListConsumers(
	ctx context.Context, req *metadatav1.ListConsumersRequest,
) (*metadatav1.ListConsumersResponse, error) {
	return readPage(ctx, c, req, service.ListConsumers)
}
