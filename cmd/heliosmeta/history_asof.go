package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/heliosdb/metadata/cmd/heliosmeta/internal/moment"
	"github.com/heliosdb/metadata/cmd/heliosmeta/internal/output"
	"github.com/heliosdb/metadata/cmd/heliosmeta/internal/past"
	"github.com/heliosdb/metadata/history/objects"
)

const atUsage = "as it was then: " + moment.Usage

// addAtFlag adds --at to a command.
func addAtFlag(c *cobra.Command, at *string) { c.Flags().StringVar(at, "at", "", atUsage) }

func (s *session) historyAsOfCommand(where *pastFlags) *cobra.Command {
	var at, namespace string
	table := &cobra.Command{
		Use: "table " + tableUsage, Short: "Show a table as it was", Args: cobra.ExactArgs(1), ValidArgsFunction: s.completeTables,
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.withPast(where, func(p past.Past) error { return s.tableAsOf(cmd.Context(), p, args[0], at) })
		},
	}
	tables := &cobra.Command{
		Use: "tables", Short: "List the tables that there were", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return s.withPast(where, func(p past.Past) error { return s.tablesAsOf(cmd.Context(), p, namespace, at) })
		},
	}
	tables.Flags().StringVarP(&namespace, "namespace", "n", "", "only tables of this namespace")
	topology := &cobra.Command{
		Use: "topology", Short: "Show the nodes and shards that there were", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return s.withPast(where, func(p past.Past) error { return s.topologyAsOf(cmd.Context(), p, at) })
		},
	}
	c := noun("as-of", "Tables, nodes and shards as they were", table, tables, topology)
	c.Long = `Tables, nodes and shards as they were at a revision or time (--at); without it, at the end
of what is read. From a running service, table get, table list and topology get with --at
say the same.`
	for _, verb := range c.Commands() {
		addAtFlag(verb, &at)
	}
	return c
}

// fromService reads the past of the service, for commands that know no other.
func (s *session) fromService(do func(past.Past) error) error { return s.withPast(new(pastFlags), do) }

func (s *session) tableAsOf(ctx context.Context, p past.Past, name, at string) error {
	point, err := parsePoint("--at", at)
	if err != nil {
		return err
	}
	res, err := p.Table(ctx, tableRef(name), point)
	if err != nil {
		return err
	}
	return s.printer().Message(res, func(r *output.Rows) {
		r.Text("as of schema revision %d", res.GetRevision())
		if c := res.GetChangedBy(); c != nil {
			r.Text("made so by %s", changeHead(c))
		}
		tableRows(r, res.GetTable())
	})
}

func (s *session) tablesAsOf(ctx context.Context, p past.Past, namespace, at string) error {
	point, err := parsePoint("--at", at)
	if err != nil {
		return err
	}
	res, err := p.Tables(ctx, namespace, point)
	if err != nil {
		return err
	}
	if err := s.printer().Message(res, func(r *output.Rows) { tablesRows(r, res.GetTables()) }); err != nil {
		return err
	}
	s.say("as of schema revision %d", res.GetRevision())
	return nil
}

func (s *session) topologyAsOf(ctx context.Context, p past.Past, at string) error {
	point, err := parsePoint("--at", at)
	if err != nil {
		return err
	}
	res, err := p.Topology(ctx, point)
	if err != nil {
		return err
	}
	if err := s.printTopology(res, res.GetTopology()); err != nil {
		return err
	}
	s.say("as of topology revision %d", res.GetRevision())
	return nil
}

func (s *session) historyBlameCommand(where *pastFlags) *cobra.Command {
	var at string
	table := &cobra.Command{
		Use: "table " + tableUsage, Short: "Show which change last set each column and property of a table, who and when",
		Example: `  heliosmeta history blame table shop.orders
  heliosmeta history blame table shop.orders --at 2026-03-04 --data /var/lib/heliosdb`,
		Args: cobra.ExactArgs(1), ValidArgsFunction: s.completeTables,
		RunE: func(cmd *cobra.Command, args []string) error {
			point, err := parsePoint("--at", at)
			if err != nil {
				return err
			}
			return s.withPast(where, func(p past.Past) error {
				blame, err := past.BlameTable(cmd.Context(), p, tableRef(args[0]), point)
				if err != nil {
					return err
				}
				return s.printBlame(blame)
			})
		},
	}
	addAtFlag(table, &at)
	return noun("blame", "Who last set what of an object", table)
}

func (s *session) printBlame(b *past.Blame) error {
	value := struct {
		Table    string          `json:"table"`
		ID       uint64          `json:"table_id"`
		Revision uint64          `json:"revision"`
		Parts    []objects.Blame `json:"parts"`
	}{tableName(b.Table), b.Table.GetTableId(), b.Revision, b.Parts}
	return s.printer().Value(value, func(r *output.Rows) {
		r.Text("%s as of schema revision %d", describeObject(b.Table), b.Revision)
		r.Row("PART", "REVISION", "TIME", "ACTOR", "VALUE")
		for _, part := range b.Parts {
			if part.Revision == 0 {
				r.Row(part.Path, "before what is kept", "", "", part.Value)
				continue
			}
			r.Row(part.Path, part.Revision, part.Time.Format(time.RFC3339), part.Actor, part.Value)
		}
	})
}
