package main

import (
	"context"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/heliosdb/metadata/client"
	"github.com/heliosdb/metadata/cmd/heliosmeta/internal/output"
	"github.com/heliosdb/metadata/internal/keytext"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

func (s *session) shardCommand() *cobra.Command {
	var node, start, end string
	list := &cobra.Command{
		Use: "list", Short: "List shards by key", Args: cobra.NoArgs, Aliases: []string{"ls"},
		RunE: func(cmd *cobra.Command, _ []string) error {
			keys, err := parseRange(start, end)
			if err != nil {
				return err
			}
			return s.shardList(cmd.Context(), &metadatav1.ListShardsRequest{NodeId: node, KeyRange: keys})
		},
	}
	list.Flags().StringVar(&node, "node", "", "only shards that name this node")
	list.Flags().StringVar(&start, "start", "", "only shards that hold keys from this one on")
	list.Flags().StringVar(&end, "end", "", "only shards that hold keys before this one")
	_ = list.RegisterFlagCompletionFunc("node", s.completeNodeFlag)
	var key string
	get := &cobra.Command{
		Use: "get {ID | --key KEY}", Short: "Show a shard by id, or the one that holds a key", Args: cobra.MaximumNArgs(1), ValidArgsFunction: s.completeShards,
		RunE: func(cmd *cobra.Command, args []string) error {
			byKey := cmd.Flags().Changed("key")
			if byKey == (len(args) == 1) {
				return usage("give either a shard's id or --key")
			}
			return s.shardGet(cmd.Context(), args, key)
		},
	}
	get.Flags().StringVar(&key, "key", "", "a key that the shard holds")
	return noun("shard", "Shards: which node holds which keys", list, get, s.shardPutCommand(), s.shardMoveCommand(),
		s.shardSplitCommand(), s.shardMergeCommand(), s.shardDeleteCommand())
}

func parseRange(start, end string) (*metadatav1.KeyRange, error) {
	first, err := keytext.Parse(start)
	if err != nil {
		return nil, usage("--start: %v", err)
	}
	last, err := keytext.Parse(end)
	if err != nil {
		return nil, usage("--end: %v", err)
	}
	return &metadatav1.KeyRange{Start: first, End: last}, nil
}

func parseShardID(text string) (uint64, error) {
	id, err := strconv.ParseUint(text, 10, 64)
	if err != nil || id == 0 {
		return 0, usage("shard id %q is no number above 0", text)
	}
	return id, nil
}

func (s *session) shardList(ctx context.Context, req *metadatav1.ListShardsRequest) (err error) {
	if req.Read, err = s.readOptions(); err != nil {
		return err
	}
	res, err := call(ctx, s, func(ctx context.Context, c *client.Client) (*metadatav1.ListShardsResponse, error) {
		return listShards(ctx, c, req)
	})
	if err != nil {
		return err
	}
	return s.printer().Message(res, func(r *output.Rows) { shardRows(r, res.GetShards()) })
}

func shardRows(r *output.Rows, shards []*metadatav1.ShardInfo) {
	r.Row("SHARD", "RANGE", "PRIMARY", "MIRROR", "WITNESS", "EPOCH", "VERSION")
	for _, m := range shards {
		r.Row(m.GetShardId(), keytext.Range(m.GetKeyRange()), m.GetPrimaryNode(), m.GetMirrorNode(), m.GetWitnessNode(), m.GetEpoch(), m.GetVersion())
	}
}

func (s *session) shardGet(ctx context.Context, args []string, key string) error {
	read, err := s.readOptions()
	if err != nil {
		return err
	}
	req := &metadatav1.GetShardRequest{Read: read}
	if len(args) == 1 {
		id, err := parseShardID(args[0])
		if err != nil {
			return err
		}
		req.Shard = &metadatav1.GetShardRequest_ShardId{ShardId: id}
	} else {
		bytes, err := keytext.Parse(key)
		if err != nil {
			return usage("--key: %v", err)
		}
		req.Shard = &metadatav1.GetShardRequest_Key{Key: bytes}
	}
	res, err := call(ctx, s, func(ctx context.Context, c *client.Client) (*metadatav1.GetShardResponse, error) {
		return c.GetShard(ctx, req)
	})
	if err != nil {
		return err
	}
	return s.printer().Message(res, func(r *output.Rows) { shardRows(r, []*metadatav1.ShardInfo{res.GetShard()}) })
}
