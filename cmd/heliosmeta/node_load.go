package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/heliosdb/metadata/client"
	"github.com/heliosdb/metadata/cmd/heliosmeta/internal/output"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// maxReported is how many nodes one NodeReports may name.
const maxReported = 1000

func (s *session) nodeLoadCommand() *cobra.Command {
	return &cobra.Command{
		Use: "load [ID...]", Short: "Show how busy nodes are, as they say in their heartbeats",
		Long: `Show how busy nodes are, as they say in their heartbeats; without IDs, all nodes.

The topology's leader alone knows it, and only what was said since it began to lead: of a
node that has not beaten since, "-" is shown. HEARD is how long ago the heartbeat came.`,
		ValidArgsFunction: s.completeNodes,
		RunE:              func(cmd *cobra.Command, args []string) error { return s.nodeLoad(cmd.Context(), args) },
	}
}

func (s *session) nodeLoad(ctx context.Context, ids []string) error {
	if len(ids) == 0 {
		read, err := s.readOptions()
		if err != nil {
			return err
		}
		nodes, err := call(ctx, s, func(ctx context.Context, c *client.Client) (*metadatav1.ListNodesResponse, error) {
			return listNodes(ctx, c, &metadatav1.ListNodesRequest{Read: read})
		})
		if err != nil {
			return err
		}
		for _, n := range nodes.GetNodes() {
			ids = append(ids, n.GetNodeId())
		}
	}
	res, err := call(ctx, s, func(ctx context.Context, c *client.Client) (*metadatav1.NodeReportsResponse, error) {
		return nodeReports(ctx, c, ids)
	})
	if err != nil {
		return err
	}
	return s.printer().Message(res, func(r *output.Rows) { loadRows(r, ids, res.GetReports()) })
}

// nodeReports asks about any number of nodes.
func nodeReports(ctx context.Context, c *client.Client, ids []string) (*metadatav1.NodeReportsResponse, error) {
	all := new(metadatav1.NodeReportsResponse)
	for some := range slices.Chunk(ids, maxReported) {
		answer, err := c.NodeReports(ctx, &metadatav1.NodeReportsRequest{NodeIds: some})
		if err != nil {
			return nil, err
		}
		all.Reports = append(all.Reports, answer.GetReports()...)
		all.Leader = answer.GetLeader()
	}
	return all, nil
}

func loadRows(r *output.Rows, ids []string, reports []*metadatav1.NodeReport) {
	known := make(map[string]*metadatav1.NodeReport, len(reports))
	for _, report := range reports {
		known[report.GetNodeId()] = report
	}
	r.Row("NODE", "HEARD", "LEASE LEFT", "CPU", "MEMORY", "DISK", "REQUESTS/S")
	for _, id := range ids {
		heard, left, cpu, memory, disk, requests := "-", "-", "-", "-", "-", "-"
		if report := known[id]; report != nil {
			heard = showAge(report.GetAge().AsDuration())
			left = showAge(report.GetLeaseRemaining().AsDuration())
		}
		if load := known[id].GetLoad(); load != nil {
			cpu = strconv.FormatFloat(float64(load.GetCpuMillis())/1000, 'f', -1, 64)
			memory, disk = showBytes(load.GetMemoryBytes()), showBytes(load.GetDiskBytes())
			requests = strconv.FormatFloat(load.GetRequestsPerSecond(), 'f', 1, 64)
		}
		r.Row(id, heard, left, cpu, memory, disk, requests)
	}
}

// showAge prints a short time.
func showAge(d time.Duration) string { return fmt.Sprint(d.Round(100 * time.Millisecond)) }
