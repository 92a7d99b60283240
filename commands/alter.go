package commands

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/internal/canonical"
	"github.com/heliosdb/metadata/internal/sqltype"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// alterTable carries out the steps on a copy of the table. If the copy ends up
// as the table was, nothing happened.
func (d *schemaDraft) alterTable(c *metadatav1.AlterTableRequest) (unchanged proto.Message, err error) {
	record, err := d.findTable(c.GetTable())
	if err != nil {
		return nil, err
	}
	what := func() string { return describeTable(record) }
	if err := checkVersion(what, record.Version(), c.ExpectedVersion); err != nil {
		return nil, err
	}
	if n := len(c.Alterations); n < 1 || n > MaxAlterations {
		return nil, invalid("alterations", "%d were given; 1 to %d are allowed", n, MaxAlterations)
	}
	after := record.Message()
	namespace, name, before := after.Namespace, after.Name, encodeTable(after)
	a := &alteration{schema: d, table: after, ids: newColumnIDs(after)}
	for i, step := range c.Alterations {
		if err := a.carryOut(step); err != nil {
			return nil, element("alterations", i, err)
		}
	}
	switch n := len(after.Columns); {
	case n == 0:
		return nil, invalid("alterations", "they leave %s without columns", what())
	case n > MaxColumns:
		return nil, limit("MaxColumns", "%s would have %d columns; at most %d are allowed", what(), n, MaxColumns)
	}
	if bytes.Equal(before, encodeTable(after)) {
		return after, nil
	}
	after.Version++
	after.UpdatedRevision = d.revision
	after.UpdateTime = d.stamp
	return nil, d.emitTable(what, &metadatav1.Event{Kind: &metadatav1.Event_TableAltered{TableAltered: &metadatav1.TableAltered{
		Table:             after,
		PreviousNamespace: namespace,
		PreviousName:      name,
	}}})
}

// encodeTable returns the encoding of a table of the model, or of one that steps made
// of it. Text that is not UTF-8 has been refused with the command.
func encodeTable(t *metadatav1.TableSchema) []byte {
	encoded, err := canonical.Marshal(t)
	if err != nil {
		panic(fmt.Sprintf("commands: table %d cannot be encoded: %v", t.TableId, err))
	}
	return encoded
}

// alteration is an AlterTable under way.
type alteration struct {
	schema *schemaDraft
	table  *metadatav1.TableSchema // as the steps so far made it
	ids    columnIDs
}

func (a *alteration) carryOut(step *metadatav1.TableAlteration) error {
	switch s := step.GetAction().(type) {
	case *metadatav1.TableAlteration_AddColumn:
		return within("add_column", a.addColumn(s.AddColumn.GetColumn()))
	case *metadatav1.TableAlteration_DropColumn:
		return within("drop_column", a.dropColumn(s.DropColumn.GetName()))
	case *metadatav1.TableAlteration_RenameColumn:
		return within("rename_column", a.renameColumn(s.RenameColumn.GetName(), s.RenameColumn.GetNewName()))
	case *metadatav1.TableAlteration_ChangeColumn:
		return within("change_column", a.changeColumn(s.ChangeColumn))
	case *metadatav1.TableAlteration_RenameTable:
		return within("rename_table", a.renameTable(s.RenameTable.GetNewNamespace(), s.RenameTable.GetNewName()))
	case *metadatav1.TableAlteration_SetProperties:
		return within("set_properties", a.setProperties(s.SetProperties))
	case *metadatav1.TableAlteration_SetComment:
		a.table.Comment = s.SetComment.GetComment()
		return within("set_comment", checkText("comment", a.table.Comment))
	}
	return invalid("", "the step says nothing to do")
}

func (a *alteration) addColumn(in *metadatav1.ColumnSchema) error {
	if err := checkColumn(in); err != nil {
		return within("column", err)
	}
	if err := a.checkFree(in.Name); err != nil {
		return err
	}
	c := copyColumns([]*metadatav1.ColumnSchema{in})[0]
	var err error
	if c.ColumnId == 0 {
		c.ColumnId, err = a.ids.next()
	} else {
		err = a.ids.take(c.ColumnId)
	}
	if err != nil {
		return within("column", err)
	}
	a.table.Columns = append(a.table.Columns, c)
	return nil
}

func (a *alteration) checkFree(name string) error {
	if findColumn(a.table.Columns, name) < 0 {
		return nil
	}
	return alreadyExists("table %q has a column %q already", a.table.Name, name).With("column", name)
}

// find returns the index of a column that the command names.
func (a *alteration) find(name string) (int, error) {
	at := findColumn(a.table.Columns, name)
	if at < 0 {
		return 0, invalid("name", "table %q has no column %q", a.table.Name, name)
	}
	return at, nil
}

func (a *alteration) dropColumn(name string) error {
	at, err := a.find(name)
	if err != nil {
		return err
	}
	if slices.Contains(a.table.PrimaryKey, name) {
		return invalid("name", "column %q is in the primary key and cannot be dropped", name)
	}
	id := a.table.Columns[at].ColumnId
	a.table.Columns = slices.Delete(a.table.Columns, at, at+1)
	where, _ := slices.BinarySearch(a.table.RetiredColumnIds, id)
	a.table.RetiredColumnIds = slices.Insert(a.table.RetiredColumnIds, where, id)
	return nil
}

func (a *alteration) renameColumn(name, to string) error {
	at, err := a.find(name)
	if err != nil {
		return err
	}
	if err := checkName("new_name", to); err != nil {
		return err
	}
	if to == name {
		return nil
	}
	if err := a.checkFree(to); err != nil {
		return err
	}
	a.table.Columns[at].Name = to
	if i := slices.Index(a.table.PrimaryKey, name); i >= 0 {
		a.table.PrimaryKey[i] = to
	}
	return nil
}

func (a *alteration) changeColumn(s *metadatav1.ChangeColumn) error {
	at, err := a.find(s.GetName())
	if err != nil {
		return err
	}
	if s.DropDefault && s.Default != nil {
		return invalid("drop_default", "default is given too; set one of them")
	}
	c := a.table.Columns[at]
	if s.DataType != nil {
		if p := sqltype.Check(s.DataType); p != nil {
			return invalid("data_type"+p.Path, "%s", p.Description)
		}
		c.DataType = copyType(s.DataType)
	}
	if s.Nullable != nil {
		if *s.Nullable && slices.Contains(a.table.PrimaryKey, c.Name) {
			return invalid("nullable", "column %q is in the primary key and may not be nullable", c.Name)
		}
		c.Nullable = *s.Nullable
	}
	if s.Default != nil || s.DropDefault {
		c.Default = s.Default
	}
	if s.Comment != nil {
		c.Comment = *s.Comment
	}
	if s.ToastStrategy != nil {
		c.ToastStrategy = *s.ToastStrategy
	}
	return checkColumn(c)
}

func (a *alteration) renameTable(namespace, name string) error {
	namespace, name = cmp.Or(namespace, a.table.Namespace), cmp.Or(name, a.table.Name)
	if err := checkName("new_name", name); err != nil {
		return err
	}
	target, ok := a.schema.Namespace(namespace)
	if !ok {
		return notFound("there is no namespace %q; create it first", namespace).With("namespace", namespace)
	}
	if taken, ok := a.schema.TableByName(namespace, name); ok && taken.ID() != a.table.TableId {
		return a.schema.checkTableName(namespace, name)
	}
	a.table.Namespace, a.table.NamespaceId, a.table.Name = namespace, target.ID(), name
	return nil
}

func (a *alteration) setProperties(s *metadatav1.SetProperties) error {
	pairs := maps.Clone(a.table.Properties)
	if pairs == nil {
		pairs = make(map[string]string)
	}
	for i, key := range s.GetRemove() {
		if _, ok := s.Set[key]; ok {
			return element("remove", i, invalid("", "%q is in set too; choose one", key))
		}
		delete(pairs, key)
	}
	maps.Copy(pairs, s.GetSet())
	if err := checkProperties("set", pairs); err != nil {
		return err
	}
	a.table.Properties = orNil(pairs)
	return nil
}
