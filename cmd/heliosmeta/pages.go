package main

import (
	"context"

	"github.com/heliosdb/metadata/client"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// pageSize is the most that a page may have.
const pageSize = 1000

// listNamespaces reads all pages. So do the others below: lists are printed as one
// object, of the revision of their first page.
func listNamespaces(ctx context.Context, c *client.Client, read *metadatav1.ReadOptions) (*metadatav1.ListNamespacesResponse, error) {
	all := new(metadatav1.ListNamespacesResponse)
	req := &metadatav1.ListNamespacesRequest{PageSize: pageSize, Read: read}
	for {
		page, err := c.ListNamespaces(ctx, req)
		if err != nil {
			return nil, err
		}
		all.Namespaces = append(all.Namespaces, page.GetNamespaces()...)
		all.Position = page.GetPosition()
		if req.PageToken = page.GetNextPageToken(); req.PageToken == "" {
			return all, nil
		}
	}
}

func listTables(ctx context.Context, c *client.Client, req *metadatav1.ListTablesRequest) (*metadatav1.ListTablesResponse, error) {
	all := new(metadatav1.ListTablesResponse)
	req.PageSize = pageSize
	for {
		page, err := c.ListTables(ctx, req)
		if err != nil {
			return nil, err
		}
		all.Tables = append(all.Tables, page.GetTables()...)
		all.Position = page.GetPosition()
		if req.PageToken = page.GetNextPageToken(); req.PageToken == "" {
			return all, nil
		}
	}
}

func listNodes(ctx context.Context, c *client.Client, req *metadatav1.ListNodesRequest) (*metadatav1.ListNodesResponse, error) {
	all := new(metadatav1.ListNodesResponse)
	req.PageSize = pageSize
	for {
		page, err := c.ListNodes(ctx, req)
		if err != nil {
			return nil, err
		}
		all.Nodes = append(all.Nodes, page.GetNodes()...)
		all.Position = page.GetPosition()
		if req.PageToken = page.GetNextPageToken(); req.PageToken == "" {
			return all, nil
		}
	}
}

func listShards(ctx context.Context, c *client.Client, req *metadatav1.ListShardsRequest) (*metadatav1.ListShardsResponse, error) {
	all := new(metadatav1.ListShardsResponse)
	req.PageSize = pageSize
	for {
		page, err := c.ListShards(ctx, req)
		if err != nil {
			return nil, err
		}
		all.Shards = append(all.Shards, page.GetShards()...)
		all.Position = page.GetPosition()
		if req.PageToken = page.GetNextPageToken(); req.PageToken == "" {
			return all, nil
		}
	}
}

func getTopology(ctx context.Context, c *client.Client, read *metadatav1.ReadOptions) (*metadatav1.GetTopologyResponse, error) {
	all := &metadatav1.GetTopologyResponse{Topology: new(metadatav1.Topology)}
	req := &metadatav1.GetTopologyRequest{PageSize: pageSize, Read: read}
	for {
		page, err := c.GetTopology(ctx, req)
		if err != nil {
			return nil, err
		}
		all.Topology.Nodes = append(all.Topology.Nodes, page.GetTopology().GetNodes()...)
		all.Topology.Shards = append(all.Topology.Shards, page.GetTopology().GetShards()...)
		all.Topology.Holes = append(all.Topology.Holes, page.GetTopology().GetHoles()...)
		all.Position = page.GetPosition()
		if req.PageToken = page.GetNextPageToken(); req.PageToken == "" {
			return all, nil
		}
	}
}
