package server

import (
	"context"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/proto/heliosdb/metadata/v1/metadatav1connect"
)

// service is the handlers of the contract's rpcs.
type service struct{ *Server }

var (
	_ metadatav1connect.MetadataServiceHandler = service{}
	_ metadatav1connect.ClusterServiceHandler  = service{}
	_ metadatav1connect.HistoryServiceHandler  = service{}
	_ metadatav1connect.ConsumerServiceHandler = service{}
)

// Status is of the contract.
func (s service) Status(ctx context.Context, _ *metadatav1.StatusRequest) (*metadatav1.StatusResponse, error) {
	status, err := s.member.Status(ctx)
	if err != nil {
		return nil, err
	}
	status.Consumers = s.consumerStatus(ctx)
	return status, nil
}

// NodeReports is of the contract.
func (s service) NodeReports(ctx context.Context, r *metadatav1.NodeReportsRequest) (*metadatav1.NodeReportsResponse, error) {
	return s.member.NodeReports(ctx, r)
}
