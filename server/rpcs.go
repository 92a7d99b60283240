package server

import (
	"context"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/proto/heliosdb/metadata/v1/metadatav1connect"
)

// unaryRPC is a unary rpc of the contract, for those who serve it without Connect.
type unaryRPC struct {
	spec    connect.Spec
	request func() proto.Message // an empty one
	handle  func(ctx context.Context, request proto.Message) (proto.Message, error)
}

// unaryRPCs are those of MetadataService.
func (s service) unaryRPCs() []unaryRPC {
	return []unaryRPC{
		newUnaryRPC(metadatav1connect.MetadataServiceCreateNamespaceProcedure, s.CreateNamespace),
		newUnaryRPC(metadatav1connect.MetadataServiceDropNamespaceProcedure, s.DropNamespace),
		newUnaryRPC(metadatav1connect.MetadataServiceListNamespacesProcedure, s.ListNamespaces),
		newUnaryRPC(metadatav1connect.MetadataServiceCreateTableProcedure, s.CreateTable),
		newUnaryRPC(metadatav1connect.MetadataServiceAlterTableProcedure, s.AlterTable),
		newUnaryRPC(metadatav1connect.MetadataServiceDropTableProcedure, s.DropTable),
		newUnaryRPC(metadatav1connect.MetadataServiceGetTableProcedure, s.GetTable),
		newUnaryRPC(metadatav1connect.MetadataServiceListTablesProcedure, s.ListTables),
		newUnaryRPC(metadatav1connect.MetadataServiceRegisterNodeProcedure, s.RegisterNode),
		newUnaryRPC(metadatav1connect.MetadataServiceUnregisterNodeProcedure, s.UnregisterNode),
		newUnaryRPC(metadatav1connect.MetadataServiceDrainNodeProcedure, s.DrainNode),
		newUnaryRPC(metadatav1connect.MetadataServiceGetNodeProcedure, s.GetNode),
		newUnaryRPC(metadatav1connect.MetadataServiceListNodesProcedure, s.ListNodes),
		newUnaryRPC(metadatav1connect.MetadataServiceUpdateShardMapProcedure, s.UpdateShardMap),
		newUnaryRPC(metadatav1connect.MetadataServiceGetShardProcedure, s.GetShard),
		newUnaryRPC(metadatav1connect.MetadataServiceListShardsProcedure, s.ListShards),
		newUnaryRPC(metadatav1connect.MetadataServiceGetTopologyProcedure, s.GetTopology),
		newUnaryRPC(metadatav1connect.MetadataServiceApplyBatchProcedure, s.ApplyBatch),
		newUnaryRPC(metadatav1connect.MetadataServiceHeartbeatProcedure, s.Heartbeat),
	}
}

// clusterRPCs are those of ClusterService.
func (s service) clusterRPCs() []unaryRPC {
	return []unaryRPC{
		newUnaryRPC(metadatav1connect.ClusterServiceStatusProcedure, s.Status),
		newUnaryRPC(metadatav1connect.ClusterServiceNodeReportsProcedure, s.NodeReports),
	}
}

// consumerRPCs are those of ConsumerService.
func (s service) consumerRPCs() []unaryRPC {
	return []unaryRPC{
		newUnaryRPC(metadatav1connect.ConsumerServiceCreateConsumerProcedure, s.CreateConsumer),
		newUnaryRPC(metadatav1connect.ConsumerServiceOpenConsumerProcedure, s.OpenConsumer),
		newUnaryRPC(metadatav1connect.ConsumerServiceAcknowledgeConsumerProcedure, s.AcknowledgeConsumer),
		newUnaryRPC(metadatav1connect.ConsumerServiceDeleteConsumerProcedure, s.DeleteConsumer),
		newUnaryRPC(metadatav1connect.ConsumerServiceGetConsumerProcedure, s.GetConsumer),
		newUnaryRPC(metadatav1connect.ConsumerServiceListConsumersProcedure, s.ListConsumers),
	}
}

// historyRPCs are the unary ones of HistoryService.
func (s service) historyRPCs() []unaryRPC {
	return []unaryRPC{
		newUnaryRPC(metadatav1connect.HistoryServiceReadChangesProcedure, s.ReadChanges),
		newUnaryRPC(metadatav1connect.HistoryServiceGetTableAsOfProcedure, s.GetTableAsOf),
		newUnaryRPC(metadatav1connect.HistoryServiceListTablesAsOfProcedure, s.ListTablesAsOf),
		newUnaryRPC(metadatav1connect.HistoryServiceGetTopologyAsOfProcedure, s.GetTopologyAsOf),
		newUnaryRPC(metadatav1connect.HistoryServiceDiffRevisionsProcedure, s.DiffRevisions),
		newUnaryRPC(metadatav1connect.HistoryServiceObjectLogProcedure, s.ObjectLog),
		newUnaryRPC(metadatav1connect.HistoryServiceGetHeadProcedure, s.GetHead),
		newUnaryRPC(metadatav1connect.HistoryServiceListSignedHeadsProcedure, s.ListSignedHeads),
	}
}

func newUnaryRPC[Q, A any, PQ interface {
	*Q
	proto.Message
}, PA interface {
	*A
	proto.Message
}](procedure string, handle func(context.Context, PQ) (PA, error)) unaryRPC {
	return unaryRPC{
		spec:    connect.Spec{StreamType: connect.StreamTypeUnary, Procedure: procedure},
		request: func() proto.Message { return PQ(new(Q)) },
		handle: func(ctx context.Context, request proto.Message) (proto.Message, error) {
			answer, err := handle(ctx, request.(PQ))
			if err != nil {
				return nil, err
			}
			return answer, nil
		},
	}
}
