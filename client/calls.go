package client

import (
	"context"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/proto/heliosdb/metadata/v1/metadatav1connect"
)

// CreateNamespace creates a namespace.
func (c *Client) CreateNamespace(
	ctx context.Context, req *metadatav1.CreateNamespaceRequest,
) (*metadatav1.CreateNamespaceResponse, error) {
	return write(ctx, c, schemaStream, req, "CreateNamespace", service.CreateNamespace)
}

// DropNamespace drops an empty namespace.
func (c *Client) DropNamespace(
	ctx context.Context, req *metadatav1.DropNamespaceRequest,
) (*metadatav1.DropNamespaceResponse, error) {
	return write(ctx, c, schemaStream, req, "DropNamespace", service.DropNamespace)
}

// ListNamespaces lists namespaces by name.
func (c *Client) ListNamespaces(
	ctx context.Context, req *metadatav1.ListNamespacesRequest,
) (*metadatav1.ListNamespacesResponse, error) {
	return readPage(ctx, c, req, service.ListNamespaces)
}

// CreateTable creates a table.
func (c *Client) CreateTable(
	ctx context.Context, req *metadatav1.CreateTableRequest,
) (*metadatav1.CreateTableResponse, error) {
	return write(ctx, c, schemaStream, req, "CreateTable", service.CreateTable)
}

// AlterTable changes a table.
func (c *Client) AlterTable(
	ctx context.Context, req *metadatav1.AlterTableRequest,
) (*metadatav1.AlterTableResponse, error) {
	return write(ctx, c, schemaStream, req, "AlterTable", service.AlterTable)
}

// DropTable drops a table.
func (c *Client) DropTable(
	ctx context.Context, req *metadatav1.DropTableRequest,
) (*metadatav1.DropTableResponse, error) {
	return write(ctx, c, schemaStream, req, "DropTable", service.DropTable)
}

// GetTable returns a table.
func (c *Client) GetTable(
	ctx context.Context, req *metadatav1.GetTableRequest,
) (*metadatav1.GetTableResponse, error) {
	return read(ctx, c, req, "GetTable", service.GetTable)
}

// ListTables lists tables by namespace and name.
func (c *Client) ListTables(
	ctx context.Context, req *metadatav1.ListTablesRequest,
) (*metadatav1.ListTablesResponse, error) {
	return readPage(ctx, c, req, service.ListTables)
}

// RegisterNode registers a node.
func (c *Client) RegisterNode(
	ctx context.Context, req *metadatav1.RegisterNodeRequest,
) (*metadatav1.RegisterNodeResponse, error) {
	return write(ctx, c, topologyStream, req, "RegisterNode", service.RegisterNode)
}

// UnregisterNode removes a node.
func (c *Client) UnregisterNode(
	ctx context.Context, req *metadatav1.UnregisterNodeRequest,
) (*metadatav1.UnregisterNodeResponse, error) {
	return write(ctx, c, topologyStream, req, "UnregisterNode", service.UnregisterNode)
}

// DrainNode keeps new shards away from a node.
func (c *Client) DrainNode(
	ctx context.Context, req *metadatav1.DrainNodeRequest,
) (*metadatav1.DrainNodeResponse, error) {
	return write(ctx, c, topologyStream, req, "DrainNode", service.DrainNode)
}

// GetNode returns a node.
func (c *Client) GetNode(
	ctx context.Context, req *metadatav1.GetNodeRequest,
) (*metadatav1.GetNodeResponse, error) {
	return read(ctx, c, req, "GetNode", service.GetNode)
}

// ListNodes lists nodes by id.
func (c *Client) ListNodes(
	ctx context.Context, req *metadatav1.ListNodesRequest,
) (*metadatav1.ListNodesResponse, error) {
	return readPage(ctx, c, req, service.ListNodes)
}

// UpdateShardMap changes the shard map.
func (c *Client) UpdateShardMap(
	ctx context.Context, req *metadatav1.UpdateShardMapRequest,
) (*metadatav1.UpdateShardMapResponse, error) {
	return write(ctx, c, topologyStream, req, "UpdateShardMap", service.UpdateShardMap)
}

// GetShard returns a shard by id or key.
func (c *Client) GetShard(
	ctx context.Context, req *metadatav1.GetShardRequest,
) (*metadatav1.GetShardResponse, error) {
	return read(ctx, c, req, "GetShard", service.GetShard)
}

// ListShards lists shards by key.
func (c *Client) ListShards(
	ctx context.Context, req *metadatav1.ListShardsRequest,
) (*metadatav1.ListShardsResponse, error) {
	return readPage(ctx, c, req, service.ListShards)
}

// GetTopology returns nodes and shards of one revision.
func (c *Client) GetTopology(
	ctx context.Context, req *metadatav1.GetTopologyRequest,
) (*metadatav1.GetTopologyResponse, error) {
	return readPage(ctx, c, req, service.GetTopology)
}

// ApplyBatch carries out commands of one stream as one change.
func (c *Client) ApplyBatch(
	ctx context.Context, req *metadatav1.ApplyBatchRequest,
) (*metadatav1.ApplyBatchResponse, error) {
	return write(ctx, c, streamOfBatch(req), req, "ApplyBatch", service.ApplyBatch)
}

// Heartbeat renews a node's lease. A beat that reaches the service late is a beat
// nevertheless, so it is retried like a read; count the lease from before the call.
func (c *Client) Heartbeat(
	ctx context.Context, req *metadatav1.HeartbeatRequest,
) (*metadatav1.HeartbeatResponse, error) {
	t := c.tries(topologyStream)
	t.attempt, t.longest = c.patience.beat, c.patience.beat
	return perform(ctx, t, req, func(a try) (*metadatav1.HeartbeatResponse, error) {
		return callOnce(a, req, "Heartbeat", service.Heartbeat)
	})
}

// StreamHeartbeats opens a stream of beats to one member, until its context ends or it is
// closed. It does not reconnect.
func (c *Client) StreamHeartbeats(ctx context.Context) (*HeartbeatStream, error) {
	s := c.endpoints[c.first(topologyStream)].grpc.open(ctx, metadatav1connect.MetadataServiceStreamHeartbeatsProcedure, duplex)
	if err := s.Send(nil); err != nil {
		_ = s.CloseResponse() // it has not begun
		return nil, err
	}
	return &HeartbeatStream{s}, nil
}

// Subscribe opens a subscription to one member, until its context ends or it is closed.
// It does not resume: see Watch.
func (c *Client) Subscribe(ctx context.Context, req *metadatav1.SubscribeRequest) (*Subscription, error) {
	return c.endpoints[c.first(0)].grpc.subscribe(ctx, req)
}

// Status describes the cluster as the first member that answers sees it.
func (c *Client) Status(
	ctx context.Context, req *metadatav1.StatusRequest,
) (*metadatav1.StatusResponse, error) {
	return readPage(ctx, c, req, service.Status)
}

// NodeReports returns what nodes have said in their latest heartbeats, as the topology's
// leader knows it.
func (c *Client) NodeReports(
	ctx context.Context, req *metadatav1.NodeReportsRequest,
) (*metadatav1.NodeReportsResponse, error) {
	return readPage(ctx, c, req, service.NodeReports)
}

// streamOfBatch returns the stream that the first command of a batch belongs to.
func streamOfBatch(req *metadatav1.ApplyBatchRequest) metadatav1.Stream {
	if len(req.GetCommands()) == 0 {
		return schemaStream
	}
	switch req.GetCommands()[0].GetCommand().(type) {
	case *metadatav1.Command_RegisterNode, *metadatav1.Command_UnregisterNode,
		*metadatav1.Command_DrainNode, *metadatav1.Command_UpdateShardMap:
		return topologyStream
	}
	return schemaStream
}
