package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/heliosdb/metadata/client"
	"github.com/heliosdb/metadata/cmd/heliosmeta/internal/output"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"google.golang.org/protobuf/types/known/timestamppb"
)

func (s *session) namespaceCommand() *cobra.Command {
	list := &cobra.Command{
		Use: "list", Short: "List namespaces", Args: cobra.NoArgs, Aliases: []string{"ls"},
		RunE: func(cmd *cobra.Command, _ []string) error { return s.namespaceList(cmd.Context()) },
	}
	var comment string
	var properties map[string]string
	create := &cobra.Command{
		Use: "create NAME", Short: "Create a namespace", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			req := &metadatav1.CreateNamespaceRequest{
				Namespace: &metadatav1.Namespace{Name: args[0], Comment: comment, Properties: properties},
				Write:     s.writeOptions(),
			}
			res, err := call(cmd.Context(), s, func(ctx context.Context, c *client.Client) (*metadatav1.CreateNamespaceResponse, error) {
				return c.CreateNamespace(ctx, req)
			})
			if err != nil {
				return err
			}
			return s.reportWrite(res, "created %s", describeObject(res.GetNamespace()))
		},
	}
	create.Flags().StringVar(&comment, "comment", "", "free text")
	create.Flags().StringToStringVar(&properties, "property", nil, "KEY=VALUE; may be given several times")
	s.addWriteFlags(create)
	drop := &cobra.Command{
		Use: "drop NAME", Short: "Drop an empty namespace", Args: cobra.ExactArgs(1), ValidArgsFunction: s.completeNamespaces,
		RunE: func(cmd *cobra.Command, args []string) error {
			req := &metadatav1.DropNamespaceRequest{Name: args[0], ExpectedVersion: s.expectedVersion(), Write: s.writeOptions()}
			res, err := call(cmd.Context(), s, func(ctx context.Context, c *client.Client) (*metadatav1.DropNamespaceResponse, error) {
				return c.DropNamespace(ctx, req)
			})
			if err != nil {
				return err
			}
			return s.reportWrite(res, "dropped %s", describeObject(res.GetNamespace()))
		},
	}
	s.addVersionFlag(drop, "namespace")
	s.addWriteFlags(drop)
	return noun("namespace", "Namespaces: what tables are grouped in", list, create, drop)
}

func (s *session) namespaceList(ctx context.Context) error {
	read, err := s.readOptions()
	if err != nil {
		return err
	}
	res, err := call(ctx, s, func(ctx context.Context, c *client.Client) (*metadatav1.ListNamespacesResponse, error) {
		return listNamespaces(ctx, c, read)
	})
	if err != nil {
		return err
	}
	return s.printer().Message(res, func(r *output.Rows) {
		r.Row("NAME", "ID", "VERSION", "CREATED", "PROPERTIES", "COMMENT")
		for _, n := range res.GetNamespaces() {
			r.Row(n.GetName(), n.GetNamespaceId(), n.GetVersion(), showTime(n.GetCreateTime()), showPairs(n.GetProperties()), n.GetComment())
		}
	})
}

// showTime prints a time to the second; nothing if there is none.
func showTime(t *timestamppb.Timestamp) string {
	if t == nil {
		return ""
	}
	return t.AsTime().Format(time.RFC3339)
}

// showPairs prints properties or labels in order of their keys.
func showPairs(pairs map[string]string) string {
	texts := make([]string, 0, len(pairs))
	for _, key := range slices.Sorted(maps.Keys(pairs)) {
		texts = append(texts, fmt.Sprintf("%s=%s", key, pairs[key]))
	}
	return strings.Join(texts, ",")
}
