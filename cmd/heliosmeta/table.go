package main

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/heliosdb/metadata/client"
	"github.com/heliosdb/metadata/cmd/heliosmeta/internal/document"
	"github.com/heliosdb/metadata/cmd/heliosmeta/internal/output"
	"github.com/heliosdb/metadata/cmd/heliosmeta/internal/past"
	"github.com/heliosdb/metadata/internal/sqltype"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

const tableUsage = "[NAMESPACE.]NAME"

func (s *session) tableCommand() *cobra.Command {
	var namespace, at string
	list := &cobra.Command{
		Use: "list", Short: "List tables by namespace and name", Args: cobra.NoArgs, Aliases: []string{"ls"},
		RunE: func(cmd *cobra.Command, _ []string) error {
			if at != "" {
				return s.fromService(func(p past.Past) error { return s.tablesAsOf(cmd.Context(), p, namespace, at) })
			}
			return s.tableList(cmd.Context(), namespace)
		},
	}
	addAtFlag(list, &at)
	list.Flags().StringVarP(&namespace, "namespace", "n", "", "only tables of this namespace")
	_ = list.RegisterFlagCompletionFunc("namespace", s.completeNamespaces)
	get := &cobra.Command{
		Use: "get " + tableUsage, Short: "Show a table and its columns", Args: cobra.ExactArgs(1), ValidArgsFunction: s.completeTables,
		RunE: func(cmd *cobra.Command, args []string) error {
			if at != "" {
				return s.fromService(func(p past.Past) error { return s.tableAsOf(cmd.Context(), p, args[0], at) })
			}
			return s.tableGet(cmd.Context(), args[0])
		},
	}
	addAtFlag(get, &at)
	drop := &cobra.Command{
		Use: "drop " + tableUsage, Short: "Drop a table", Args: cobra.ExactArgs(1), ValidArgsFunction: s.completeTables,
		RunE: func(cmd *cobra.Command, args []string) error {
			req := &metadatav1.DropTableRequest{Table: tableRef(args[0]), ExpectedVersion: s.expectedVersion(), Write: s.writeOptions()}
			res, err := call(cmd.Context(), s, func(ctx context.Context, c *client.Client) (*metadatav1.DropTableResponse, error) {
				return c.DropTable(ctx, req)
			})
			if err != nil {
				return err
			}
			return s.reportWrite(res, "dropped %s", describeObject(res.GetTable()))
		},
	}
	s.addVersionFlag(drop, "table")
	s.addWriteFlags(drop)
	return noun("table", "Tables: their columns, keys and properties", list, get, s.tableCreateCommand(), s.tableAlterCommand(), drop)
}

// tableRef reads a table's name: the namespace ends at the first dot, because
// names have none.
func tableRef(text string) *metadatav1.TableRef {
	namespace, name, dotted := strings.Cut(text, ".")
	if !dotted {
		return &metadatav1.TableRef{Name: text}
	}
	return &metadatav1.TableRef{Namespace: namespace, Name: name}
}

func (s *session) tableList(ctx context.Context, namespace string) error {
	read, err := s.readOptions()
	if err != nil {
		return err
	}
	res, err := call(ctx, s, func(ctx context.Context, c *client.Client) (*metadatav1.ListTablesResponse, error) {
		return listTables(ctx, c, &metadatav1.ListTablesRequest{Namespace: namespace, Read: read})
	})
	if err != nil {
		return err
	}
	return s.printer().Message(res, func(r *output.Rows) { tablesRows(r, res.GetTables()) })
}

func tablesRows(r *output.Rows, tables []*metadatav1.TableSchema) {
	r.Row("NAMESPACE", "NAME", "ID", "VERSION", "COLUMNS", "PRIMARY KEY", "COMMENT")
	for _, t := range tables {
		r.Row(t.GetNamespace(), t.GetName(), t.GetTableId(), t.GetVersion(), len(t.GetColumns()),
			strings.Join(t.GetPrimaryKey(), ","), t.GetComment())
	}
}

func (s *session) tableGet(ctx context.Context, name string) error {
	read, err := s.readOptions()
	if err != nil {
		return err
	}
	res, err := call(ctx, s, func(ctx context.Context, c *client.Client) (*metadatav1.GetTableResponse, error) {
		return c.GetTable(ctx, &metadatav1.GetTableRequest{Table: tableRef(name), Read: read})
	})
	if err != nil {
		return err
	}
	return s.printer().Message(res, func(r *output.Rows) { tableRows(r, res.GetTable()) })
}

func tableRows(r *output.Rows, t *metadatav1.TableSchema) {
	r.Text("%s", describeObject(t))
	if t.GetComment() != "" {
		r.Text("comment: %s", t.GetComment())
	}
	if len(t.GetProperties()) > 0 {
		r.Text("properties: %s", showPairs(t.GetProperties()))
	}
	r.Text("created at revision %d, %s; last changed at revision %d, %s", t.GetCreatedRevision(), showTime(t.GetCreateTime()),
		t.GetUpdatedRevision(), showTime(t.GetUpdateTime()))
	r.Text("")
	r.Row("COLUMN", "ID", "TYPE", "NULL", "KEY", "DEFAULT", "TOAST", "COMMENT")
	for _, c := range t.GetColumns() {
		null, key := "no", ""
		if c.GetNullable() {
			null = "yes"
		}
		if i := slices.Index(t.GetPrimaryKey(), c.GetName()); i >= 0 {
			key = strconv.Itoa(i + 1)
		}
		toast := strings.TrimPrefix(c.GetToastStrategy().String(), "TOAST_STRATEGY_")
		if c.GetToastStrategy() == metadatav1.ToastStrategy_TOAST_STRATEGY_UNSPECIFIED {
			toast = ""
		}
		r.Row(c.GetName(), c.GetColumnId(), sqltype.Format(c.GetDataType()), null, key, c.GetDefault(), toast, c.GetComment())
	}
}

func (s *session) tableCreateCommand() *cobra.Command {
	var files, columns, key []string
	var comment string
	c := &cobra.Command{
		Use:   "create {-f FILE... | " + tableUsage + " --column COLUMN...}",
		Short: "Create tables from documents, or one from flags",
		Example: `  heliosmeta table create -f orders.yaml
  heliosmeta table create shop.orders --column 'id INT64' --column 'total DECIMAL(15, 2) NOT NULL' --primary-key id`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if (len(files) > 0) == (len(args) == 1) {
				return usage("give either -f FILE or a name with --column")
			}
			if len(files) > 0 {
				return s.tableCreateFiles(cmd.Context(), files)
			}
			table, err := tableOfFlags(args[0], columns, key)
			if err != nil {
				return err
			}
			table.Comment = comment
			return s.tableCreate(cmd.Context(), table)
		},
	}
	c.Flags().StringArrayVarP(&files, "filename", "f", nil, "file of Table documents, - for stdin; may be given several times")
	c.Flags().StringArrayVar(&columns, "column", nil, `column as "NAME TYPE [NOT NULL] [DEFAULT EXPRESSION]"; may be given several times`)
	c.Flags().StringSliceVar(&key, "primary-key", nil, "columns of the primary key, separated by commas")
	c.Flags().StringVar(&comment, "comment", "", "free text, with --column")
	s.addWriteFlags(c)
	return c
}

func tableOfFlags(name string, columns, key []string) (*metadatav1.TableSchema, error) {
	if len(columns) == 0 {
		return nil, usage("a table has at least one column; add --column 'NAME TYPE'")
	}
	ref := tableRef(name)
	table := &metadatav1.TableSchema{Namespace: ref.GetNamespace(), Name: ref.GetName(), PrimaryKey: key}
	for _, text := range columns {
		column, err := parseColumn(text)
		if err != nil {
			return nil, usage("--column %v", err)
		}
		// As in SQL, a key column needs no NOT NULL.
		column.Nullable = column.Nullable && !slices.Contains(key, column.GetName())
		table.Columns = append(table.Columns, column)
	}
	return table, nil
}

func (s *session) tableCreate(ctx context.Context, table *metadatav1.TableSchema) error {
	res, err := call(ctx, s, func(ctx context.Context, c *client.Client) (*metadatav1.CreateTableResponse, error) {
		return c.CreateTable(ctx, &metadatav1.CreateTableRequest{Table: table, Write: s.writeOptions()})
	})
	if err != nil {
		return err
	}
	return s.reportWrite(res, "created %s", describeObject(res.GetTable()))
}

// tableCreateFiles creates what documents describe: one table by its own command,
// several all or none.
func (s *session) tableCreateFiles(ctx context.Context, files []string) error {
	set, err := s.readDocuments(files)
	if err != nil {
		return err
	}
	if err := onlyTables(set); err != nil {
		return err
	}
	if len(set.Tables) == 1 {
		return s.tableCreate(ctx, set.Tables[0])
	}
	batch := &metadatav1.ApplyBatchRequest{Write: s.writeOptions()}
	for _, t := range set.Tables {
		batch.Commands = append(batch.Commands, &metadatav1.Command{Command: &metadatav1.Command_CreateTable{
			CreateTable: &metadatav1.CreateTableRequest{Table: t},
		}})
	}
	res, err := call(ctx, s, func(ctx context.Context, c *client.Client) (*metadatav1.ApplyBatchResponse, error) {
		return c.ApplyBatch(ctx, batch)
	})
	if err != nil {
		return err
	}
	return s.reportWrite(res, "created %d tables", len(set.Tables))
}

func onlyTables(set *document.Set) error {
	if len(set.Namespaces)+len(set.Nodes)+len(set.Shards) > 0 {
		return usage("there are documents of other kinds than Table; use heliosmeta apply -f")
	}
	if len(set.Tables) == 0 {
		return usage("there are no documents to create tables from")
	}
	return nil
}
