package server

import (
	"context"
	"fmt"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// write hands a command to the member. options is the command's own field for
// its WriteOptions, so that a missing request id can be filled in. Answers fit
// into a message: commands that would make larger ones are rejected.
func write[R proto.Message](ctx context.Context, s service, command proto.Message, options **metadatav1.WriteOptions) (R, error) {
	var none R
	if *options == nil {
		*options = &metadatav1.WriteOptions{}
	}
	if (*options).GetRequestId() == "" {
		(*options).RequestId = s.newRequestID()
	}
	reply, err := s.member.Write(ctx, command, callerOf(ctx).actor)
	if err != nil {
		return none, err
	}
	answer, ok := reply.(R)
	if !ok {
		return none, fmt.Errorf("the member answered %T to %T", reply, command)
	}
	return answer, nil
}

// CreateNamespace is of the contract.
func (s service) CreateNamespace(ctx context.Context, r *metadatav1.CreateNamespaceRequest) (*metadatav1.CreateNamespaceResponse, error) {
	return write[*metadatav1.CreateNamespaceResponse](ctx, s, r, &r.Write)
}

// DropNamespace is of the contract.
func (s service) DropNamespace(ctx context.Context, r *metadatav1.DropNamespaceRequest) (*metadatav1.DropNamespaceResponse, error) {
	return write[*metadatav1.DropNamespaceResponse](ctx, s, r, &r.Write)
}

// CreateTable is of the contract.
func (s service) CreateTable(ctx context.Context, r *metadatav1.CreateTableRequest) (*metadatav1.CreateTableResponse, error) {
	return write[*metadatav1.CreateTableResponse](ctx, s, r, &r.Write)
}

// AlterTable is of the contract.
func (s service) AlterTable(ctx context.Context, r *metadatav1.AlterTableRequest) (*metadatav1.AlterTableResponse, error) {
	return write[*metadatav1.AlterTableResponse](ctx, s, r, &r.Write)
}

// DropTable is of the contract.
func (s service) DropTable(ctx context.Context, r *metadatav1.DropTableRequest) (*metadatav1.DropTableResponse, error) {
	return write[*metadatav1.DropTableResponse](ctx, s, r, &r.Write)
}

// RegisterNode is of the contract. The lease is what the member that is asked
// was configured with; all members are configured alike.
func (s service) RegisterNode(ctx context.Context, r *metadatav1.RegisterNodeRequest) (*metadatav1.RegisterNodeResponse, error) {
	answer, err := write[*metadatav1.RegisterNodeResponse](ctx, s, r, &r.Write)
	if err != nil {
		return nil, err
	}
	lease, interval := s.member.Leases()
	answer.LeaseDuration, answer.HeartbeatInterval = durationpb.New(lease), durationpb.New(interval)
	return answer, nil
}

// UnregisterNode is of the contract.
func (s service) UnregisterNode(ctx context.Context, r *metadatav1.UnregisterNodeRequest) (*metadatav1.UnregisterNodeResponse, error) {
	return write[*metadatav1.UnregisterNodeResponse](ctx, s, r, &r.Write)
}

// DrainNode is of the contract.
func (s service) DrainNode(ctx context.Context, r *metadatav1.DrainNodeRequest) (*metadatav1.DrainNodeResponse, error) {
	return write[*metadatav1.DrainNodeResponse](ctx, s, r, &r.Write)
}

// UpdateShardMap is of the contract.
func (s service) UpdateShardMap(ctx context.Context, r *metadatav1.UpdateShardMapRequest) (*metadatav1.UpdateShardMapResponse, error) {
	return write[*metadatav1.UpdateShardMapResponse](ctx, s, r, &r.Write)
}

// ApplyBatch is of the contract.
func (s service) ApplyBatch(ctx context.Context, r *metadatav1.ApplyBatchRequest) (*metadatav1.ApplyBatchResponse, error) {
	return write[*metadatav1.ApplyBatchResponse](ctx, s, r, &r.Write)
}
