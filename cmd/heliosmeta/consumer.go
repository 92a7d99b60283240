package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/samber/lo"
	"github.com/spf13/cobra"

	"github.com/heliosdb/metadata/client"
	"github.com/heliosdb/metadata/cmd/heliosmeta/internal/output"
	"github.com/heliosdb/metadata/internal/filterflags"
	"github.com/heliosdb/metadata/internal/positiontext"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

func (s *session) consumerCommand() *cobra.Command {
	list := &cobra.Command{
		Use: "list", Short: "List consumers by name, and how far they are behind", Args: cobra.NoArgs, Aliases: []string{"ls"},
		RunE: func(cmd *cobra.Command, _ []string) error { return s.consumerList(cmd.Context()) },
	}
	get := &cobra.Command{
		Use: "get NAME", Short: "Show a consumer", Args: cobra.ExactArgs(1), ValidArgsFunction: s.completeConsumers,
		RunE: func(cmd *cobra.Command, args []string) error { return s.consumerGet(cmd.Context(), args[0]) },
	}
	remove := &cobra.Command{
		Use: "delete NAME", Short: "Delete a consumer; the history is no longer kept for it", Args: cobra.ExactArgs(1), ValidArgsFunction: s.completeConsumers,
		RunE: func(cmd *cobra.Command, args []string) error {
			req := &metadatav1.DeleteConsumerRequest{Name: args[0], Write: s.writeOptions()}
			res, err := call(cmd.Context(), s, func(ctx context.Context, c *client.Client) (*metadatav1.DeleteConsumerResponse, error) {
				return c.DeleteConsumer(ctx, req)
			})
			if err != nil {
				return err
			}
			return s.reportWrite(res, "deleted %s", describeObject(res.GetConsumer()))
		},
	}
	s.addWriteFlags(remove)
	return noun("consumer", "Consumers: who reads changes, and how far they are", list, get, s.consumerCreateCommand(), remove)
}

func (s *session) consumerCreateCommand() *cobra.Command {
	consumer := new(metadatav1.Consumer)
	var filter filterflags.Flags
	var from string
	c := &cobra.Command{
		Use: "create NAME", Short: "Create a consumer",
		Long: `Create a consumer.

The service keeps its position, and the history behind that. It begins with the next
change (--from latest), with all that is kept of the history (--from beginning), or
behind a position (--from 12:4). heliosmeta cdc run --create does the same for itself.`,
		Example: `  heliosmeta consumer create audit --from beginning
  heliosmeta consumer create tables --kind table --description "feeds the search index"`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			consumer.Name = args[0]
			if consumer.Filter, err = filter.Filter(); err != nil {
				return usage("%v", err)
			}
			req := &metadatav1.CreateConsumerRequest{Consumer: consumer, Write: s.writeOptions()}
			if consumer.Position, req.FromOldest, err = positiontext.ParseStart(from); err != nil {
				return usage("--from: %v", err)
			}
			res, err := call(cmd.Context(), s, func(ctx context.Context, c *client.Client) (*metadatav1.CreateConsumerResponse, error) {
				return c.CreateConsumer(ctx, req)
			})
			if err != nil {
				return err
			}
			return s.reportWrite(res, "created %s", describeObject(res.GetConsumer()))
		},
	}
	c.Flags().StringVar(&from, "from", "latest", "where it begins: latest, beginning or SCHEMA:TOPOLOGY")
	c.Flags().StringVar(&consumer.Description, "description", "", "what it is for")
	_ = c.RegisterFlagCompletionFunc("from", cobra.FixedCompletions([]string{"latest", "beginning"}, noFiles))
	filter.AddTo(c)
	s.addWriteFlags(c)
	return c
}

func (s *session) consumerList(ctx context.Context) error {
	read, err := s.readOptions()
	if err != nil {
		return err
	}
	res, err := call(ctx, s, func(ctx context.Context, c *client.Client) (*metadatav1.ListConsumersResponse, error) {
		return c.ListConsumers(ctx, &metadatav1.ListConsumersRequest{Read: read})
	})
	if err != nil {
		return err
	}
	return s.printer().Message(res, func(r *output.Rows) { consumerRows(r, res.GetConsumers()) })
}

func (s *session) consumerGet(ctx context.Context, name string) error {
	read, err := s.readOptions()
	if err != nil {
		return err
	}
	res, err := call(ctx, s, func(ctx context.Context, c *client.Client) (*metadatav1.GetConsumerResponse, error) {
		return c.GetConsumer(ctx, &metadatav1.GetConsumerRequest{Name: name, Read: read})
	})
	if err != nil {
		return err
	}
	return s.printer().Message(res, func(r *output.Rows) { consumerRows(r, []*metadatav1.GetConsumerResponse{res}) })
}

func consumerRows(r *output.Rows, consumers []*metadatav1.GetConsumerResponse) {
	r.Row("CONSUMER", "POSITION", "LAG", "ACKNOWLEDGED", "EPOCH", "OWNER", "FILTER", "DESCRIPTION")
	for _, one := range consumers {
		c := one.GetConsumer()
		r.Row(c.GetName(), showPosition(c.GetPosition()), showLag(one.GetLag()), showTime(c.GetAcknowledgedTime()), c.GetEpoch(),
			c.GetOwner(), showFilter(c.GetFilter()), c.GetDescription())
	}
}

// showLag is how many changes of the schema and the topology are not acknowledged, as
// positions are shown.
func showLag(lag *metadatav1.ConsumerLag) string {
	text := showPosition(&metadatav1.Position{SchemaRevision: lag.GetSchemaChanges(), TopologyRevision: lag.GetTopologyChanges()})
	if lag.GetTrimmed() {
		text += " (some are trimmed)"
	}
	return text
}

// showFilter is a filter as flags say it.
func showFilter(f *metadatav1.Filter) string {
	var parts []string
	add := func(field string, values ...string) {
		if len(values) > 0 {
			parts = append(parts, field+"="+strings.Join(values, ","))
		}
	}
	add("stream", lo.Map(f.GetStreams(), func(s metadatav1.Stream, _ int) string { return streamName(s) })...)
	add("kind", lo.Map(f.GetKinds(), func(k metadatav1.ObjectKind, _ int) string {
		return strings.ToLower(strings.TrimPrefix(k.String(), "OBJECT_KIND_"))
	})...)
	add("namespace", f.GetNamespaces()...)
	add("table", f.GetTables()...)
	add("node", f.GetNodes()...)
	add("shard", lo.Map(f.GetShards(), func(id uint64, _ int) string { return fmt.Sprint(id) })...)
	return strings.Join(parts, " ")
}
