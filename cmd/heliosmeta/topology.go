package main

import (
	"context"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/client"
	"github.com/heliosdb/metadata/cmd/heliosmeta/internal/output"
	"github.com/heliosdb/metadata/cmd/heliosmeta/internal/past"
	"github.com/heliosdb/metadata/internal/keytext"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

func (s *session) topologyCommand() *cobra.Command {
	var at string
	get := &cobra.Command{
		Use: "get", Short: "Show all nodes and shards, and holes in the shard map", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if at != "" {
				return s.fromService(func(p past.Past) error { return s.topologyAsOf(cmd.Context(), p, at) })
			}
			return s.topologyGet(cmd.Context())
		},
	}
	addAtFlag(get, &at)
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
	return s.printTopology(res, res.GetTopology())
}

// printTopology prints an answer with a topology.
func (s *session) printTopology(res proto.Message, t *metadatav1.Topology) error {
	err := s.printer().Message(res, func(r *output.Rows) {
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
