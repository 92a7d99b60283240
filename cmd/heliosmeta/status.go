package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/heliosdb/metadata/client"
	"github.com/heliosdb/metadata/cmd/heliosmeta/internal/output"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

func (s *session) statusCommand() *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "Show what is wrong, if anything, and what to do; the members and the consumers",
		Long: `Show what is wrong, if anything, and what to do; the members and the consumers.

A member's LAG is in log entries behind its leader, a consumer's in changes of the schema and
the topology that it has not acknowledged. It needs no leader. The exit code is 5 if something critical is wrong.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return s.status(cmd.Context()) },
	}
}

func (s *session) status(ctx context.Context) error {
	res, err := call(ctx, s, func(ctx context.Context, c *client.Client) (*metadatav1.StatusResponse, error) {
		return c.Status(ctx, new(metadatav1.StatusRequest))
	})
	if err != nil {
		return err
	}
	if err := s.printer().Message(res, func(r *output.Rows) { statusRows(r, res) }); err != nil {
		return err
	}
	for _, alarm := range res.GetAlarms() {
		if alarm.GetSeverity() == metadatav1.Severity_SEVERITY_CRITICAL {
			return &toldError{exitUnavailable}
		}
	}
	return nil
}

// statusRows is one screen: what is wrong first.
func statusRows(r *output.Rows, res *metadatav1.StatusResponse) {
	r.Text("cluster %s (id %s), position %s, as member %d sees it", res.GetClusterName(), res.GetClusterId(),
		showPosition(res.GetPosition()), res.GetMemberId())
	r.Text("")
	if len(res.GetAlarms()) == 0 {
		r.Text("Nothing is wrong: %d of %d members answer, each stream has a leader.", len(res.GetMembers()), len(res.GetMembers()))
	}
	for _, alarm := range res.GetAlarms() {
		severity := strings.TrimPrefix(alarm.GetSeverity().String(), "SEVERITY_")
		r.Text("%s: %s", severity, alarm.GetMessage())
		if alarm.GetAdvice() != "" {
			r.Text("  next: %s", alarm.GetAdvice())
		}
	}
	if next := nextCommand(res); next != "" {
		r.Text("  try:  %s", next)
	}
	r.Text("")
	r.Row("MEMBER", "API", "RAFT", "SCHEMA", "TOPOLOGY", "LAG", "STORE", "FREE", "MEMORY", "UP", "VERSION")
	for _, m := range res.GetMembers() {
		if !m.GetReachable() {
			r.Row(m.GetMemberId(), m.GetApiAddress(), m.GetRaftAddress(), "no answer", "no answer", "", "", "", "", "", m.GetVersion())
			continue
		}
		r.Row(m.GetMemberId(), m.GetApiAddress(), m.GetRaftAddress(), part(m, metadatav1.Stream_STREAM_SCHEMA),
			part(m, metadatav1.Stream_STREAM_TOPOLOGY), lag(m), showBytes(m.GetStoreBytes()), showBytes(m.GetFreeBytes()),
			showBytes(m.GetMemoryBytes()), m.GetUptime().AsDuration().Round(time.Second), m.GetVersion())
	}
	if len(res.GetConsumers()) == 0 {
		return
	}
	r.Text("")
	r.Row("CONSUMER", "LAG", "ACKNOWLEDGED")
	for _, c := range res.GetConsumers() {
		r.Row(c.GetName(), showLag(c.GetLag()), showTime(c.GetAcknowledgedTime()))
	}
}

// nextCommand is what to type when members do not answer: the command that asks
// one that does for its view, or starts one again.
func nextCommand(res *metadatav1.StatusResponse) string {
	var answering []string
	for _, m := range res.GetMembers() {
		if m.GetReachable() && m.GetMemberId() != res.GetMemberId() && m.GetApiAddress() != "" {
			answering = append(answering, m.GetApiAddress())
		}
	}
	if len(res.GetAlarms()) == 0 || len(answering) == 0 {
		return ""
	}
	return "heliosmeta status --endpoints " + answering[0] + "  (how another member sees it)"
}

// part is a member's part in a stream: role, term and revision.
func part(m *metadatav1.MemberStatus, stream metadatav1.Stream) string {
	for _, s := range m.GetStreams() {
		if s.GetStream() == stream {
			role := strings.ToLower(strings.TrimPrefix(s.GetRole().String(), "ROLE_"))
			return fmt.Sprintf("%s t%d r%d", role, s.GetTerm(), s.GetRevision())
		}
	}
	if m.GetQuarantine() != nil {
		return "quarantine"
	}
	return "starting"
}

// lag is how far the member is behind in the stream in which it is behind most.
func lag(m *metadatav1.MemberStatus) uint64 {
	var most uint64
	for _, s := range m.GetStreams() {
		most = max(most, s.GetLag())
	}
	return most
}

// showBytes prints a size with a binary unit.
func showBytes(n uint64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	value, prefix := float64(n)/unit, 0
	for value >= unit && prefix < len("KMGTPE")-1 {
		value /= unit
		prefix++
	}
	return fmt.Sprintf("%.1f %ciB", value, "KMGTPE"[prefix])
}
