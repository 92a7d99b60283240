package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/heliosdb/metadata/client"
	"github.com/heliosdb/metadata/cmd/heliosmeta/internal/config"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// maxCompletions bounds what a shell is offered.
const maxCompletions = 1000

const noFiles = cobra.ShellCompDirectiveNoFileComp

var localRead = &metadatav1.ReadOptions{Consistency: metadatav1.Consistency_CONSISTENCY_LOCAL}

// names asks the service for names, quickly or not at all: a shell that waits is
// worse than one that does not help.
func (s *session) names(cmd *cobra.Command, list func(context.Context, *client.Client) ([]string, error)) ([]string, cobra.ShellCompDirective) {
	// Completion does not run PersistentPreRunE.
	if err := config.Fill(cmd.Flags(), config.Source{LookupEnv: s.lookupEnv}); err != nil {
		return nil, noFiles
	}
	s.timeout = s.completionTime
	s.err = discard{}
	names, err := call(cmd.Context(), s, list)
	if err != nil {
		return nil, noFiles
	}
	return names[:min(len(names), maxCompletions)], noFiles
}

// discard keeps completion silent.
type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

func (s *session) completeNamespaces(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, noFiles
	}
	return s.names(cmd, func(ctx context.Context, c *client.Client) (names []string, err error) {
		page, err := c.ListNamespaces(ctx, &metadatav1.ListNamespacesRequest{PageSize: pageSize, Read: localRead})
		for _, n := range page.GetNamespaces() {
			names = append(names, n.GetName())
		}
		return names, err
	})
}

func (s *session) completeTables(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, noFiles
	}
	return s.names(cmd, func(ctx context.Context, c *client.Client) (names []string, err error) {
		page, err := c.ListTables(ctx, &metadatav1.ListTablesRequest{PageSize: pageSize, Read: localRead})
		for _, t := range page.GetTables() {
			names = append(names, tableName(t))
		}
		return names, err
	})
}

func (s *session) completeNodes(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, noFiles
	}
	return s.completeNodeFlag(cmd, args, "")
}

// completeNodeFlag is completeNodes for flags, whatever arguments there are.
func (s *session) completeNodeFlag(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	return s.names(cmd, func(ctx context.Context, c *client.Client) (names []string, err error) {
		page, err := c.ListNodes(ctx, &metadatav1.ListNodesRequest{PageSize: pageSize, Read: localRead})
		for _, n := range page.GetNodes() {
			names = append(names, n.GetNodeId())
		}
		return names, err
	})
}

func (s *session) completeShards(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	return s.names(cmd, func(ctx context.Context, c *client.Client) (names []string, err error) {
		page, err := c.ListShards(ctx, &metadatav1.ListShardsRequest{PageSize: pageSize, Read: localRead})
		for _, shard := range page.GetShards() {
			names = append(names, fmt.Sprint(shard.GetShardId()))
		}
		return names, err
	})
}

func (s *session) completeConsumers(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, noFiles
	}
	return s.names(cmd, func(ctx context.Context, c *client.Client) (names []string, err error) {
		all, err := c.ListConsumers(ctx, &metadatav1.ListConsumersRequest{Read: localRead})
		for _, one := range all.GetConsumers() {
			names = append(names, one.GetConsumer().GetName())
		}
		return names, err
	})
}
