package main

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/heliosdb/metadata/client"
	"github.com/heliosdb/metadata/cmd/heliosmeta/internal/output"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

func (s *session) nodeCommand() *cobra.Command {
	var ofType string
	list := &cobra.Command{
		Use: "list", Short: "List nodes by id", Args: cobra.NoArgs, Aliases: []string{"ls"},
		RunE: func(cmd *cobra.Command, _ []string) error { return s.nodeList(cmd.Context(), ofType) },
	}
	list.Flags().StringVar(&ofType, "type", "", "only nodes of this type: compute or storage")
	_ = list.RegisterFlagCompletionFunc("type", cobra.FixedCompletions([]string{"compute", "storage"}, noFiles))
	get := &cobra.Command{
		Use: "get ID", Short: "Show a node", Args: cobra.ExactArgs(1), ValidArgsFunction: s.completeNodes,
		RunE: func(cmd *cobra.Command, args []string) error { return s.nodeGet(cmd.Context(), args[0]) },
	}
	return noun("node", "Nodes: who computes and who stores", list, get, s.nodeLoadCommand(), s.nodeRegisterCommand(), s.nodeUnregisterCommand(), s.nodeDrainCommand())
}

// parseNodeType reads a type's name, in any case.
func parseNodeType(text string) (metadatav1.NodeType, error) {
	n := metadatav1.NodeType_value["NODE_TYPE_"+strings.ToUpper(text)]
	if n == 0 {
		return 0, usage("there is no node type %q; there are compute and storage", text)
	}
	return metadatav1.NodeType(n), nil
}

func (s *session) nodeList(ctx context.Context, ofType string) error {
	read, err := s.readOptions()
	if err != nil {
		return err
	}
	req := &metadatav1.ListNodesRequest{Read: read}
	if ofType != "" {
		if req.NodeType, err = parseNodeType(ofType); err != nil {
			return err
		}
	}
	res, err := call(ctx, s, func(ctx context.Context, c *client.Client) (*metadatav1.ListNodesResponse, error) {
		return listNodes(ctx, c, req)
	})
	if err != nil {
		return err
	}
	return s.printer().Message(res, func(r *output.Rows) { nodeRows(r, res.GetNodes()) })
}

func nodeRows(r *output.Rows, nodes []*metadatav1.NodeInfo) {
	r.Row("NODE", "TYPE", "ADDRESS", "STATUS", "SINCE", "EPOCH", "LABELS")
	for _, n := range nodes {
		r.Row(n.GetNodeId(), nodeTypeName(n), n.GetAddr(), nodeStatusName(n), showTime(n.GetStatusTime()), n.GetEpoch(), showPairs(n.GetLabels()))
	}
}

func (s *session) nodeGet(ctx context.Context, id string) error {
	read, err := s.readOptions()
	if err != nil {
		return err
	}
	res, err := call(ctx, s, func(ctx context.Context, c *client.Client) (*metadatav1.GetNodeResponse, error) {
		return c.GetNode(ctx, &metadatav1.GetNodeRequest{NodeId: id, Read: read})
	})
	if err != nil {
		return err
	}
	return s.printer().Message(res, func(r *output.Rows) { nodeRows(r, []*metadatav1.NodeInfo{res.GetNode()}) })
}

func (s *session) nodeRegisterCommand() *cobra.Command {
	node := &metadatav1.NodeInfo{Capacity: new(metadatav1.NodeCapacity)}
	var ofType string
	c := &cobra.Command{
		Use: "register ID --addr HOST:PORT --type TYPE", Short: "Register a node, or register it again under a new epoch",
		Long: `Register a node, or register it again under a new epoch.

Nodes register themselves; this is for trying things out and for nodes that do not
run yet. A node that sends no heartbeats goes offline when its lease runs out.`,
		Args: cobra.ExactArgs(1), ValidArgsFunction: s.completeNodes,
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			node.NodeId = args[0]
			if node.NodeType, err = parseNodeType(ofType); err != nil {
				return err
			}
			req := &metadatav1.RegisterNodeRequest{Node: node, Write: s.writeOptions()}
			res, err := call(cmd.Context(), s, func(ctx context.Context, c *client.Client) (*metadatav1.RegisterNodeResponse, error) {
				return c.RegisterNode(ctx, req)
			})
			if err != nil {
				return err
			}
			return s.reportWrite(res, "registered %s; it goes offline after %v without a heartbeat",
				describeObject(res.GetNode()), res.GetLeaseDuration().AsDuration())
		},
	}
	flags := c.Flags()
	flags.StringVar(&node.Addr, "addr", "", "HOST:PORT where other nodes reach it")
	flags.StringVar(&ofType, "type", "", "compute or storage")
	flags.StringToStringVar(&node.Labels, "label", nil, "KEY=VALUE; may be given several times")
	flags.Uint64Var(&node.Capacity.CpuMillis, "cpu-millis", 0, "thousandths of a CPU that it offers")
	flags.Uint64Var(&node.Capacity.MemoryBytes, "memory-bytes", 0, "bytes of memory that it offers")
	flags.Uint64Var(&node.Capacity.DiskBytes, "disk-bytes", 0, "bytes of disk that it offers")
	flags.StringVar(&node.Incarnation, "incarnation", "", "name of the run of the node's process")
	_ = c.MarkFlagRequired("addr")
	_ = c.MarkFlagRequired("type")
	_ = c.RegisterFlagCompletionFunc("type", cobra.FixedCompletions([]string{"compute", "storage"}, noFiles))
	s.addWriteFlags(c)
	return c
}

func (s *session) nodeUnregisterCommand() *cobra.Command {
	var epoch uint64
	c := &cobra.Command{
		Use: "unregister ID", Short: "Remove a node that no shard names", Args: cobra.ExactArgs(1), ValidArgsFunction: s.completeNodes,
		RunE: func(cmd *cobra.Command, args []string) error {
			req := &metadatav1.UnregisterNodeRequest{NodeId: args[0], ExpectedEpoch: epoch, Write: s.writeOptions()}
			res, err := call(cmd.Context(), s, func(ctx context.Context, c *client.Client) (*metadatav1.UnregisterNodeResponse, error) {
				return c.UnregisterNode(ctx, req)
			})
			if err != nil {
				return err
			}
			return s.reportWrite(res, "removed %s", describeObject(res.GetNode()))
		},
	}
	c.Flags().Uint64Var(&epoch, "expected-epoch", 0, "refuse unless the registration has this epoch; 0: any")
	s.addWriteFlags(c)
	return c
}

func (s *session) nodeDrainCommand() *cobra.Command {
	req := new(metadatav1.DrainNodeRequest)
	c := &cobra.Command{
		Use: "drain ID", Short: "Keep new shards away from a node, or cancel that", Args: cobra.ExactArgs(1), ValidArgsFunction: s.completeNodes,
		RunE: func(cmd *cobra.Command, args []string) error {
			req.NodeId, req.Write = args[0], s.writeOptions()
			res, err := call(cmd.Context(), s, func(ctx context.Context, c *client.Client) (*metadatav1.DrainNodeResponse, error) {
				return c.DrainNode(ctx, req)
			})
			if err != nil {
				return err
			}
			if err := s.reportWrite(res, "%s", describeObject(res.GetNode())); err != nil {
				return err
			}
			if n := len(res.GetShardIds()); n > 0 && !req.GetCancel() {
				s.say("%d shards still name the node; next: heliosmeta shard list --node %s, then heliosmeta shard move", n, args[0])
			}
			return nil
		},
	}
	c.Flags().BoolVar(&req.Cancel, "cancel", false, "let shards be placed on the node again")
	c.Flags().Uint64Var(&req.ExpectedEpoch, "expected-epoch", 0, "refuse unless the registration has this epoch; 0: any")
	s.addWriteFlags(c)
	return c
}
