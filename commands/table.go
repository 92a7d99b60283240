package commands

import (
	"cmp"
	"fmt"
	"strconv"

	"github.com/heliosdb/metadata/projections/schema"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

func (d *schemaDraft) createTable(c *metadatav1.CreateTableRequest) error {
	t, err := newTable(c.GetTable())
	if err != nil {
		return within("table", err)
	}
	namespace, ok := d.Namespace(t.Namespace)
	if !ok {
		return notFound("there is no namespace %q; create it first", t.Namespace).With("namespace", t.Namespace)
	}
	if err := d.checkTableName(t.Namespace, t.Name); err != nil {
		return err
	}
	if d.TableCount() >= MaxTables {
		return limit("MaxTables", "there are %d tables, which is the limit", d.TableCount())
	}
	if t.TableId, err = d.claimTableID(t.TableId); err != nil {
		return within("table", err)
	}
	t.NamespaceId = namespace.ID()
	t.Version = 1
	t.CreatedRevision, t.UpdatedRevision = d.revision, d.revision
	t.CreateTime, t.UpdateTime = d.stamp, d.stamp
	created := new(struct { // one allocation instead of three
		event metadatav1.Event
		kind  metadatav1.Event_TableCreated
		body  metadatav1.TableCreated
	})
	created.event.Kind, created.kind.TableCreated, created.body.Table = &created.kind, &created.body, t
	return d.emitTable(func() string { return fmt.Sprintf("table %q", t.Name) }, &created.event)
}

// newTable checks a table as a client describes it, and returns it with the ids
// of its columns and without what the service sets. It shares with the description
// what nobody changes in either.
func newTable(in *metadatav1.TableSchema) (t *metadatav1.TableSchema, err error) {
	if err := checkTable(in); err != nil {
		return nil, err
	}
	t = &metadatav1.TableSchema{
		TableId:    in.TableId,
		Namespace:  cmp.Or(in.Namespace, publicNamespace),
		Name:       in.Name,
		PrimaryKey: in.PrimaryKey,
		Comment:    in.Comment,
		Properties: orNil(in.Properties),
	}
	// All ids that the client chose are taken before any is assigned, so that
	// the order of the columns does not matter.
	ids := newColumnIDs(in)
	t.Columns = copyColumns(in.Columns)
	for _, c := range t.Columns {
		if c.ColumnId == 0 {
			if c.ColumnId, err = ids.next(); err != nil {
				return nil, err
			}
		}
	}
	return t, nil
}

func checkTable(t *metadatav1.TableSchema) error {
	if err := checkName("name", t.GetName()); err != nil {
		return err
	}
	if n := len(t.RetiredColumnIds); n > 0 {
		return invalid("retired_column_ids", "the service sets them; a new table has none, not %d", n)
	}
	if n := len(t.Columns); n < 1 || n > MaxColumns {
		return invalid("columns", "%d were given; 1 to %d are allowed", n, MaxColumns)
	}
	if err := checkColumns(t.Columns); err != nil {
		return err
	}
	if err := checkPrimaryKey(t); err != nil {
		return err
	}
	if err := checkText("comment", t.Comment); err != nil {
		return err
	}
	return checkProperties("properties", t.Properties)
}

// checkTableName checks that a name is free.
func (d *schemaDraft) checkTableName(namespace, name string) error {
	taken, ok := d.TableByName(namespace, name)
	if !ok {
		return nil
	}
	return alreadyExists("table %q exists already in namespace %q, with id %d", name, namespace, taken.ID()).
		With("table", name).With("namespace", namespace).With("table_id", strconv.FormatUint(taken.ID(), 10))
}

// claimTableID returns the id that a new table gets.
func (d *schemaDraft) claimTableID(id uint64) (uint64, error) {
	if id == 0 {
		id = d.FreeTableID()
		if id > MaxID {
			return 0, limit("MaxID", "all table ids up to %d were used", MaxID)
		}
		return id, nil
	}
	if id > MaxID {
		return 0, invalid("table_id", "%d is above %d, the largest table id", id, MaxID)
	}
	if _, ok := d.Table(id); ok {
		return 0, within("table_id", alreadyExists("table id %d is taken; choose another, or 0 to have one assigned", id).
			With("table_id", strconv.FormatUint(id, 10)))
	}
	if d.UsedTableID(id) {
		return 0, within("table_id", usedID("table", id))
	}
	return id, nil
}

func (d *schemaDraft) dropTable(c *metadatav1.DropTableRequest) error {
	t, err := d.findTable(c.GetTable())
	if err != nil {
		return err
	}
	if err := checkVersion(func() string { return describeTable(t) }, t.Version(), c.ExpectedVersion); err != nil {
		return err
	}
	d.emit(&metadatav1.Event{Kind: &metadatav1.Event_TableDropped{TableDropped: &metadatav1.TableDropped{Table: t.Message()}}})
	return nil
}

// findTable finds the table that a command names. An id counts before a name.
func (d *schemaDraft) findTable(ref *metadatav1.TableRef) (*schema.Table, error) {
	if id := ref.GetTableId(); id != 0 {
		if t, ok := d.Table(id); ok {
			return t, nil
		}
		return nil, notFound("there is no table with id %d", id).With("table_id", strconv.FormatUint(id, 10))
	}
	if ref.GetName() == "" {
		return nil, invalid("table", "it names neither an id nor a name")
	}
	namespace := cmp.Or(ref.Namespace, publicNamespace)
	if t, ok := d.TableByName(namespace, ref.Name); ok {
		return t, nil
	}
	return nil, notFound("there is no table %q in namespace %q", ref.Name, namespace).
		With("table", ref.Name).With("namespace", namespace)
}

func describeTable(t *schema.Table) string {
	return fmt.Sprintf("table %q (id %d)", t.Name(), t.ID())
}
