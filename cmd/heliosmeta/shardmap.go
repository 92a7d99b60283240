package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/heliosdb/metadata/client"
	"github.com/heliosdb/metadata/cmd/heliosmeta/internal/output"
	"github.com/heliosdb/metadata/internal/keytext"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// updateShardMap carries out one step and shows what became of the map.
func (s *session) updateShardMap(ctx context.Context, step *metadatav1.ShardMapChange) error {
	req := &metadatav1.UpdateShardMapRequest{Changes: []*metadatav1.ShardMapChange{step}, Write: s.writeOptions()}
	res, err := call(ctx, s, func(ctx context.Context, c *client.Client) (*metadatav1.UpdateShardMapResponse, error) {
		return c.UpdateShardMap(ctx, req)
	})
	if err != nil {
		return err
	}
	if s.format != output.Table || s.writing.dryRun || !res.GetResult().GetChanged() {
		return s.reportWrite(res, "")
	}
	if len(res.GetShards()) > 0 {
		err = s.printer().Rows(func(r *output.Rows) { shardRows(r, res.GetShards()) })
	}
	for _, id := range res.GetRemovedShardIds() {
		s.say("shard %d is gone", id)
	}
	for _, hole := range res.GetHoles() {
		s.say("no shard holds %s", keytext.Range(hole))
	}
	return err
}

// nodeFlags add the three nodes of a shard.
func (s *session) nodeFlags(c *cobra.Command, m *metadatav1.ShardInfo) {
	c.Flags().StringVar(&m.PrimaryNode, "primary", "", "node that serves the shard")
	c.Flags().StringVar(&m.MirrorNode, "mirror", "", "node with a copy")
	c.Flags().StringVar(&m.WitnessNode, "witness", "", "node that only votes")
	for _, name := range []string{"primary", "mirror", "witness"} {
		_ = c.RegisterFlagCompletionFunc(name, s.completeNodeFlag)
	}
}

func (s *session) shardPutCommand() *cobra.Command {
	shard := new(metadatav1.ShardInfo)
	var start, end string
	c := &cobra.Command{
		Use: "put --start KEY --end KEY --primary NODE", Short: "Create a shard, or replace range and nodes of the one with --id",
		Example: `  heliosmeta shard put --start a --end 0xff --primary storage-1 --mirror storage-2`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if shard.KeyRange, err = parseRange(start, end); err != nil {
				return err
			}
			put := &metadatav1.PutShard{Shard: shard}
			if cmd.Flags().Changed("expected-version") {
				put.ExpectedVersion = new(s.writing.expected)
			}
			return s.updateShardMap(cmd.Context(), &metadatav1.ShardMapChange{Action: &metadatav1.ShardMapChange_Put{Put: put}})
		},
	}
	c.Flags().Uint64Var(&shard.ShardId, "id", 0, "the shard's id; 0: a new shard with an id that the service assigns")
	c.Flags().StringVar(&start, "start", "", "first key; empty: from the beginning")
	c.Flags().StringVar(&end, "end", "", "first key behind the range; empty: no upper bound")
	c.Flags().Uint64Var(&s.writing.expected, "expected-version", 0, "refuse unless the shard has this version; 0: unless it is new")
	s.nodeFlags(c, shard)
	_ = c.MarkFlagRequired("primary")
	s.addWriteFlags(c)
	return c
}

func (s *session) shardMoveCommand() *cobra.Command {
	to := new(metadatav1.ShardInfo)
	c := &cobra.Command{
		Use: "move ID [--primary NODE] [--mirror NODE] [--witness NODE]", Short: "Change the nodes of a shard; roles not named stay",
		Args: cobra.ExactArgs(1), ValidArgsFunction: s.completeShards,
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := parseShardID(args[0])
			if err != nil {
				return err
			}
			changed := cmd.Flags().Changed
			if !changed("primary") && !changed("mirror") && !changed("witness") {
				return usage("nothing to move; give --primary, --mirror or --witness (empty for none)")
			}
			step, err := s.moveStep(cmd.Context(), id, to, changed)
			if err != nil {
				return err
			}
			return s.updateShardMap(cmd.Context(), step)
		},
	}
	s.nodeFlags(c, to)
	s.addVersionFlag(c, "shard")
	s.addWriteFlags(c)
	return c
}

// moveStep fills in the roles that were not named from the shard as it is; the
// step holds only for that version of it.
func (s *session) moveStep(
	ctx context.Context, id uint64, to *metadatav1.ShardInfo, named func(string) bool,
) (*metadatav1.ShardMapChange, error) {
	move := &metadatav1.MoveShard{
		ShardId: id, PrimaryNode: to.GetPrimaryNode(), MirrorNode: to.GetMirrorNode(), WitnessNode: to.GetWitnessNode(),
		ExpectedVersion: s.expectedVersion(),
	}
	if !named("primary") || !named("mirror") || !named("witness") {
		res, err := call(ctx, s, func(ctx context.Context, c *client.Client) (*metadatav1.GetShardResponse, error) {
			return c.GetShard(ctx, &metadatav1.GetShardRequest{Shard: &metadatav1.GetShardRequest_ShardId{ShardId: id}})
		})
		if err != nil {
			return nil, err
		}
		now := res.GetShard()
		for role, field := range map[string]struct{ to, from *string }{
			"primary": {&move.PrimaryNode, &now.PrimaryNode},
			"mirror":  {&move.MirrorNode, &now.MirrorNode},
			"witness": {&move.WitnessNode, &now.WitnessNode},
		} {
			if !named(role) {
				*field.to = *field.from
			}
		}
		if move.ExpectedVersion == nil {
			move.ExpectedVersion = new(now.GetVersion())
		}
	}
	return &metadatav1.ShardMapChange{Action: &metadatav1.ShardMapChange_Move{Move: move}}, nil
}

func (s *session) shardSplitCommand() *cobra.Command {
	var at []string
	c := &cobra.Command{
		Use: "split ID --at KEY...", Short: "Cut a shard in two or more on the same nodes", Args: cobra.ExactArgs(1), ValidArgsFunction: s.completeShards,
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := parseShardID(args[0])
			if err != nil {
				return err
			}
			split := &metadatav1.SplitShard{ShardId: id, ExpectedVersion: s.expectedVersion()}
			for _, text := range at {
				key, err := keytext.Parse(text)
				if err != nil {
					return usage("--at: %v", err)
				}
				split.SplitKeys = append(split.SplitKeys, key)
			}
			return s.updateShardMap(cmd.Context(), &metadatav1.ShardMapChange{Action: &metadatav1.ShardMapChange_Split{Split: split}})
		},
	}
	c.Flags().StringArrayVar(&at, "at", nil, "first key of a child; may be given several times, ascending")
	_ = c.MarkFlagRequired("at")
	s.addVersionFlag(c, "shard")
	s.addWriteFlags(c)
	return c
}

func (s *session) shardMergeCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "merge ID ID...", Short: "Join neighbours, in order of their keys, on the nodes of the first", Args: cobra.MinimumNArgs(2), ValidArgsFunction: s.completeShards,
		RunE: func(cmd *cobra.Command, args []string) error {
			merge := new(metadatav1.MergeShards)
			for _, text := range args {
				id, err := parseShardID(text)
				if err != nil {
					return err
				}
				merge.ShardIds = append(merge.ShardIds, id)
			}
			return s.updateShardMap(cmd.Context(), &metadatav1.ShardMapChange{Action: &metadatav1.ShardMapChange_Merge{Merge: merge}})
		},
	}
	s.addWriteFlags(c)
	return c
}

func (s *session) shardDeleteCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "delete ID", Short: "Delete a shard and leave a hole", Args: cobra.ExactArgs(1), ValidArgsFunction: s.completeShards,
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := parseShardID(args[0])
			if err != nil {
				return err
			}
			return s.updateShardMap(cmd.Context(), &metadatav1.ShardMapChange{Action: &metadatav1.ShardMapChange_Delete{
				Delete: &metadatav1.DeleteShard{ShardId: id, ExpectedVersion: s.expectedVersion()},
			}})
		},
	}
	s.addVersionFlag(c, "shard")
	s.addWriteFlags(c)
	return c
}
