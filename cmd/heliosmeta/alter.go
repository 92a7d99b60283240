package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/heliosdb/metadata/client"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// step is a flag that adds a step to an alteration: steps are carried out in the
// order in which their flags are given.
type step struct {
	steps *[]*metadatav1.TableAlteration
	value string // how the value is written, for help
	parse func(string) (*metadatav1.TableAlteration, error)
}

// String, Set and Type implement a flag's value.
func (f *step) String() string { return "" }

// Set adds a step.
func (f *step) Set(text string) error {
	alteration, err := f.parse(text)
	if err == nil {
		*f.steps = append(*f.steps, alteration)
	}
	return err
}

// Type names the value in help.
func (f *step) Type() string { return f.value }

func (s *session) tableAlterCommand() *cobra.Command {
	var steps []*metadatav1.TableAlteration
	c := &cobra.Command{
		Use: "alter " + tableUsage, Short: "Change a table, all steps or none, in the order of the flags",
		Example: `  heliosmeta table alter shop.orders --add-column 'note STRING' --rename-column total=sum --comment 'What was bought'`,
		Args:    cobra.ExactArgs(1), ValidArgsFunction: s.completeTables,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(steps) == 0 {
				return usage("nothing to alter; give at least one step such as --add-column 'NAME TYPE'")
			}
			req := &metadatav1.AlterTableRequest{
				Table: tableRef(args[0]), Alterations: steps, ExpectedVersion: s.expectedVersion(), Write: s.writeOptions(),
			}
			res, err := call(cmd.Context(), s, func(ctx context.Context, c *client.Client) (*metadatav1.AlterTableResponse, error) {
				return c.AlterTable(ctx, req)
			})
			if err != nil {
				return err
			}
			return s.reportWrite(res, "altered %s", describeObject(res.GetTable()))
		},
	}
	flag := func(name, value, help string, parse func(string) (*metadatav1.TableAlteration, error)) {
		c.Flags().Var(&step{&steps, value, parse}, name, help)
	}
	flag("add-column", "COLUMN", `append a column: "NAME TYPE [NOT NULL] [DEFAULT EXPRESSION]"`, parseAddColumn)
	flag("drop-column", "NAME", "drop a column", func(text string) (*metadatav1.TableAlteration, error) {
		return &metadatav1.TableAlteration{Action: &metadatav1.TableAlteration_DropColumn{
			DropColumn: &metadatav1.DropColumn{Name: text},
		}}, nil
	})
	flag("rename-column", "OLD=NEW", "rename a column", parseRenameColumn)
	flag("change-column", "COLUMN", `give a column another type, nullability and default: "NAME TYPE [NOT NULL] [DEFAULT EXPRESSION]"`, parseChangeColumn)
	flag("column-comment", "NAME=TEXT", "replace the comment of a column", parseColumnComment)
	flag("toast", "NAME=STRATEGY", "store a column's large values as PLAIN, EXTENDED, EXTERNAL or MAIN", parseToast)
	flag("rename", tableUsage, "rename the table, or move it to another namespace", func(text string) (*metadatav1.TableAlteration, error) {
		ref := tableRef(text)
		return &metadatav1.TableAlteration{Action: &metadatav1.TableAlteration_RenameTable{
			RenameTable: &metadatav1.RenameTable{NewName: ref.GetName(), NewNamespace: ref.GetNamespace()},
		}}, nil
	})
	flag("set-property", "KEY=VALUE", "add or replace a property", parseSetProperty)
	flag("remove-property", "KEY", "remove a property", func(text string) (*metadatav1.TableAlteration, error) {
		return properties(&metadatav1.SetProperties{Remove: []string{text}}), nil
	})
	flag("comment", "TEXT", "replace the table's comment", func(text string) (*metadatav1.TableAlteration, error) {
		return &metadatav1.TableAlteration{Action: &metadatav1.TableAlteration_SetComment{
			SetComment: &metadatav1.SetComment{Comment: text},
		}}, nil
	})
	s.addVersionFlag(c, "table")
	s.addWriteFlags(c)
	return c
}

func parseAddColumn(text string) (*metadatav1.TableAlteration, error) {
	column, err := parseColumn(text)
	if err != nil {
		return nil, err
	}
	return &metadatav1.TableAlteration{Action: &metadatav1.TableAlteration_AddColumn{
		AddColumn: &metadatav1.AddColumn{Column: column},
	}}, nil
}

func parseRenameColumn(text string) (*metadatav1.TableAlteration, error) {
	from, to, err := pair(text)
	if err != nil {
		return nil, err
	}
	return &metadatav1.TableAlteration{Action: &metadatav1.TableAlteration_RenameColumn{
		RenameColumn: &metadatav1.RenameColumn{Name: from, NewName: to},
	}}, nil
}

// parseChangeColumn states the column anew: what is left out is taken away.
func parseChangeColumn(text string) (*metadatav1.TableAlteration, error) {
	column, err := parseColumn(text)
	if err != nil {
		return nil, err
	}
	return change(&metadatav1.ChangeColumn{
		Name: column.GetName(), DataType: column.GetDataType(), Nullable: new(column.GetNullable()),
		Default: column.Default, DropDefault: column.Default == nil,
	}), nil
}

func parseColumnComment(text string) (*metadatav1.TableAlteration, error) {
	name, comment, err := pair(text)
	return change(&metadatav1.ChangeColumn{Name: name, Comment: &comment}), err
}

func parseToast(text string) (*metadatav1.TableAlteration, error) {
	name, strategy, err := pair(text)
	if err != nil {
		return nil, err
	}
	value, known := metadatav1.ToastStrategy_value["TOAST_STRATEGY_"+strings.ToUpper(strategy)]
	if !known || value == 0 {
		return nil, fmt.Errorf("there is no TOAST strategy %q; there are PLAIN, EXTENDED, EXTERNAL and MAIN", strategy)
	}
	return change(&metadatav1.ChangeColumn{Name: name, ToastStrategy: new(metadatav1.ToastStrategy(value))}), nil
}

func parseSetProperty(text string) (*metadatav1.TableAlteration, error) {
	key, value, err := pair(text)
	return properties(&metadatav1.SetProperties{Set: map[string]string{key: value}}), err
}

func change(c *metadatav1.ChangeColumn) *metadatav1.TableAlteration {
	return &metadatav1.TableAlteration{Action: &metadatav1.TableAlteration_ChangeColumn{ChangeColumn: c}}
}

func properties(p *metadatav1.SetProperties) *metadatav1.TableAlteration {
	return &metadatav1.TableAlteration{Action: &metadatav1.TableAlteration_SetProperties{SetProperties: p}}
}

// pair reads A=B.
func pair(text string) (a, b string, err error) {
	a, b, found := strings.Cut(text, "=")
	if !found || a == "" {
		return "", "", fmt.Errorf("%q has no \"=\" with something before it", text)
	}
	return a, b, nil
}
