package plan

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/internal/sqltype"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

func (p *Plan) table(have, want *metadatav1.TableSchema) {
	name := "table " + want.GetNamespace() + "." + want.GetName()
	if have == nil {
		p.line(Add, "%s (columns: %d)", name, len(want.GetColumns()))
		p.Schema = append(p.Schema, &metadatav1.Command{Command: &metadatav1.Command_CreateTable{
			CreateTable: &metadatav1.CreateTableRequest{Table: want},
		}})
		return
	}
	a := &alteration{have: have, want: want}
	a.identity()
	a.columns()
	a.rest()
	p.object(name, a.below)
	if len(a.steps) == 0 {
		return
	}
	p.Schema = append(p.Schema, &metadatav1.Command{Command: &metadatav1.Command_AlterTable{
		AlterTable: &metadatav1.AlterTableRequest{
			Table:           &metadatav1.TableRef{TableId: have.GetTableId()},
			Alterations:     a.steps,
			ExpectedVersion: new(have.GetVersion()),
		},
	}})
}

// alteration is the way from one table to another.
type alteration struct {
	have, want *metadatav1.TableSchema
	below      parts
	steps      []*metadatav1.TableAlteration
}

// identity compares what never changes.
func (a *alteration) identity() {
	if id := a.want.GetTableId(); id != 0 && id != a.have.GetTableId() {
		a.below.add(Cannot, "table id %d cannot become %d: ids stay; correct the document", a.have.GetTableId(), id)
	}
	if !slices.Equal(a.have.GetPrimaryKey(), a.want.GetPrimaryKey()) {
		a.below.add(Cannot, "primary key (%s) cannot become (%s): primary keys cannot be altered; create another table",
			strings.Join(a.have.GetPrimaryKey(), ", "), strings.Join(a.want.GetPrimaryKey(), ", "))
	}
}

// columns drops, changes and adds columns, in this order: dropping first makes
// room below the limit.
func (a *alteration) columns() {
	have := byName(a.have)
	want := byName(a.want)
	for _, c := range a.have.GetColumns() {
		if want[c.GetName()] != nil {
			continue
		}
		if slices.Contains(a.have.GetPrimaryKey(), c.GetName()) {
			a.below.add(Cannot, "column %s cannot be dropped: it is in the primary key", c.GetName())
			continue
		}
		a.below.add(Remove, "column %s", c.GetName())
		a.steps = append(a.steps, &metadatav1.TableAlteration{Action: &metadatav1.TableAlteration_DropColumn{
			DropColumn: &metadatav1.DropColumn{Name: c.GetName()},
		}})
	}
	for _, c := range a.want.GetColumns() {
		if present := have[c.GetName()]; present != nil {
			a.changeColumn(present, c)
		}
	}
	for _, c := range a.want.GetColumns() {
		if have[c.GetName()] != nil {
			continue
		}
		a.below.add(Add, "column %s %s", c.GetName(), describe(c))
		a.steps = append(a.steps, &metadatav1.TableAlteration{Action: &metadatav1.TableAlteration_AddColumn{
			AddColumn: &metadatav1.AddColumn{Column: c},
		}})
	}
}

func (a *alteration) changeColumn(have, want *metadatav1.ColumnSchema) {
	if id := want.GetColumnId(); id != 0 && id != have.GetColumnId() {
		a.below.add(Cannot, "column %s: id %d cannot become %d: ids stay; correct the document", have.GetName(), have.GetColumnId(), id)
	}
	step := &metadatav1.ChangeColumn{Name: have.GetName()}
	var changes []string
	change := func(what, from, to string) { changes = append(changes, fmt.Sprintf("%s %s -> %s", what, from, to)) }
	if !proto.Equal(have.GetDataType(), want.GetDataType()) {
		step.DataType = want.GetDataType()
		change("type", sqltype.Format(have.GetDataType()), sqltype.Format(want.GetDataType()))
	}
	switch {
	case have.GetNullable() == want.GetNullable():
	case want.GetNullable() && slices.Contains(a.have.GetPrimaryKey(), have.GetName()):
		a.below.add(Cannot, "column %s cannot become nullable: it is in the primary key", have.GetName())
	default:
		step.Nullable = new(want.GetNullable())
		change("nullable", strconv.FormatBool(have.GetNullable()), strconv.FormatBool(want.GetNullable()))
	}
	if showDefault(have) != showDefault(want) {
		step.Default, step.DropDefault = want.Default, want.Default == nil
		change("default", showDefault(have), showDefault(want))
	}
	if have.GetComment() != want.GetComment() {
		step.Comment = new(want.GetComment())
		change("comment", strconv.Quote(have.GetComment()), strconv.Quote(want.GetComment()))
	}
	if have.GetToastStrategy() != want.GetToastStrategy() {
		step.ToastStrategy = new(want.GetToastStrategy())
		change("toast", showToast(have), showToast(want))
	}
	if len(changes) == 0 {
		return
	}
	a.below.add(Change, "column %s: %s", have.GetName(), strings.Join(changes, ", "))
	a.steps = append(a.steps, &metadatav1.TableAlteration{Action: &metadatav1.TableAlteration_ChangeColumn{ChangeColumn: step}})
}

// rest compares comment and properties.
func (a *alteration) rest() {
	if from, to := a.have.GetComment(), a.want.GetComment(); from != to {
		a.below.add(Change, "comment %q -> %q", from, to)
		a.steps = append(a.steps, &metadatav1.TableAlteration{Action: &metadatav1.TableAlteration_SetComment{
			SetComment: &metadatav1.SetComment{Comment: to},
		}})
	}
	step := new(metadatav1.SetProperties)
	have, want := a.have.GetProperties(), a.want.GetProperties()
	for _, key := range slices.Sorted(maps.Keys(have)) {
		if _, stays := want[key]; !stays {
			a.below.add(Remove, "property %s=%s", key, have[key])
			step.Remove = append(step.Remove, key)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(want)) {
		value, known := have[key]
		switch {
		case !known:
			a.below.add(Add, "property %s=%s", key, want[key])
		case value != want[key]:
			a.below.add(Change, "property %s=%s -> %s", key, value, want[key])
		default:
			continue
		}
		if step.Set == nil {
			step.Set = make(map[string]string)
		}
		step.Set[key] = want[key]
	}
	if len(step.GetSet())+len(step.GetRemove()) > 0 {
		a.steps = append(a.steps, &metadatav1.TableAlteration{Action: &metadatav1.TableAlteration_SetProperties{SetProperties: step}})
	}
}

func byName(t *metadatav1.TableSchema) map[string]*metadatav1.ColumnSchema {
	columns := make(map[string]*metadatav1.ColumnSchema, len(t.GetColumns()))
	for _, c := range t.GetColumns() {
		columns[c.GetName()] = c
	}
	return columns
}

// describe is a column behind its name.
func describe(c *metadatav1.ColumnSchema) string {
	text := sqltype.Format(c.GetDataType())
	if !c.GetNullable() {
		text += " NOT NULL"
	}
	if c.Default != nil {
		text += " DEFAULT " + c.GetDefault()
	}
	return text
}

func showDefault(c *metadatav1.ColumnSchema) string {
	if c.Default == nil {
		return "none"
	}
	return strconv.Quote(c.GetDefault())
}

func showToast(c *metadatav1.ColumnSchema) string {
	if c.GetToastStrategy() == metadatav1.ToastStrategy_TOAST_STRATEGY_UNSPECIFIED {
		return "the type's default"
	}
	return strings.TrimPrefix(c.GetToastStrategy().String(), "TOAST_STRATEGY_")
}
