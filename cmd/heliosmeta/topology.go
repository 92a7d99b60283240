package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/heliosdb/metadata/client"
	"github.com/heliosdb/metadata/cmd/heliosmeta/internal/output"
	"github.com/heliosdb/metadata/internal/keytext"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

func (s *session) topologyCommand() *cobra.Command {
	get := &cobra.Command{
		Use: "get", Short: "Show all nodes and shards, and holes in the shard map", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return s.topologyGet(cmd.Context()) },
	}
	return noun("topology", "Nodes and shards of one moment", get)
}

func (s *session) topologyGet(ctx context.Context) error {
	read, err := s.readOptions()
	if err != nil {
		return err
	}
	res, err := call(ctx, s, func(ctx context.Context, c *client.Client) (*metadatav1.GetTopologyResponse, error) {
		return getTopology(ctx, c, read)
	})
	if err != nil {
		return err
	}
	t := res.GetTopology()
	err = s.printer().Message(res, func(r *output.Rows) {
		nodeRows(r, t.GetNodes())
		r.Text("")
		shardRows(r, t.GetShards())
	})
	if err != nil || s.format != output.Table || len(t.GetShards()) == 0 {
		return err
	}
	for _, hole := range t.GetHoles() {
		s.say("no shard holds %s", keytext.Range(hole))
	}
	return nil
}
