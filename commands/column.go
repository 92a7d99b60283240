package commands

import (
	"slices"

	"github.com/heliosdb/metadata/internal/sqltype"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// fewColumns is how many columns are searched one by one: up to about so many, as
// nearly all tables have, that costs less than an index of their names.
const fewColumns = 32

// checkColumns checks the columns of a new table, without the rest of it.
func checkColumns(columns []*metadatav1.ColumnSchema) error {
	var names map[string]int
	if len(columns) > fewColumns {
		names = make(map[string]int, len(columns))
	}
	ids := make(map[uint32]int) // costs nothing while clients choose none
	for i, c := range columns {
		if err := checkColumn(c); err != nil {
			return element("columns", i, err)
		}
		first := -1
		if names == nil {
			first = findColumn(columns[:i], c.Name)
		} else if at, ok := names[c.Name]; ok {
			first = at
		} else {
			names[c.Name] = i
		}
		if first >= 0 {
			return element("columns", i, invalid("name", "%q is the name of columns[%d] too", c.Name, first))
		}
		if c.ColumnId == 0 {
			continue
		}
		if first, ok := ids[c.ColumnId]; ok {
			return element("columns", i, invalid("column_id", "%d is the id of columns[%d] too", c.ColumnId, first))
		}
		ids[c.ColumnId] = i
	}
	return nil
}

// checkColumn checks a column by itself, without its table.
func checkColumn(c *metadatav1.ColumnSchema) error {
	if err := checkName("name", c.GetName()); err != nil {
		return err
	}
	if c.ColumnId > MaxColumnID {
		return invalid("column_id", "%d is above %d, the largest column id", c.ColumnId, MaxColumnID)
	}
	if p := sqltype.Check(c.DataType); p != nil {
		return invalid("data_type"+p.Path, "%s", p.Description)
	}
	if err := checkToast(c); err != nil {
		return err
	}
	if err := checkText("default", c.GetDefault()); err != nil {
		return err
	}
	return checkText("comment", c.Comment)
}

// checkToast checks that the column's type takes its TOAST strategy.
func checkToast(c *metadatav1.ColumnSchema) error {
	strategy := c.ToastStrategy
	if strategy == metadatav1.ToastStrategy_TOAST_STRATEGY_UNSPECIFIED {
		return nil
	}
	if _, ok := metadatav1.ToastStrategy_name[int32(strategy)]; !ok {
		return invalid("toast_strategy", "there is no TOAST strategy %d; there are PLAIN, EXTENDED, EXTERNAL and MAIN", int32(strategy))
	}
	if kind := c.DataType.GetKind(); !sqltype.Toastable(kind) {
		return invalid("toast_strategy", "%s cannot be toasted: only STRING, BYTES, JSON, DECIMAL, VECTOR, LIST, STRUCT and MAP take a strategy; leave it unspecified",
			sqltype.Name(kind))
	}
	return nil
}

// checkPrimaryKey checks a primary key against the columns of its table.
func checkPrimaryKey(t *metadatav1.TableSchema) error {
	if len(t.PrimaryKey) > MaxPrimaryKey {
		return invalid("primary_key", "%d columns were given; at most %d are allowed", len(t.PrimaryKey), MaxPrimaryKey)
	}
	for i, name := range t.PrimaryKey {
		at := findColumn(t.Columns, name)
		switch {
		case at < 0:
			return element("primary_key", i, invalid("", "the table has no column %q", name))
		case t.Columns[at].Nullable:
			return element("primary_key", i, invalid("", "column %q is nullable; columns of the primary key may not be", name))
		case slices.Contains(t.PrimaryKey[:i], name):
			return element("primary_key", i, invalid("", "column %q is in the primary key already", name))
		}
	}
	return nil
}

// findColumn returns the index of the column with this name; -1 if there is none.
func findColumn(columns []*metadatav1.ColumnSchema, name string) int {
	return slices.IndexFunc(columns, func(c *metadatav1.ColumnSchema) bool { return c.Name == name })
}

// columnIDs gives ids within one table.
type columnIDs struct {
	used []uint64 // a bit for each id of present and dropped columns
	last uint32   // no id up to it is free
}

func newColumnIDs(t *metadatav1.TableSchema) columnIDs {
	ids := columnIDs{used: make([]uint64, len(t.GetColumns())/64+1)}
	for _, c := range t.GetColumns() {
		ids.mark(c.GetColumnId())
	}
	for _, id := range t.GetRetiredColumnIds() {
		ids.mark(id)
	}
	return ids
}

func (ids *columnIDs) has(id uint32) bool {
	at := int(id / 64)
	return at < len(ids.used) && ids.used[at]&(1<<(id%64)) != 0
}

func (ids *columnIDs) mark(id uint32) {
	if more := int(id/64) + 1 - len(ids.used); more > 0 {
		ids.used = append(ids.used, make([]uint64, more)...)
	}
	ids.used[id/64] |= 1 << (id % 64)
}

// next returns the smallest id that was never used.
func (ids *columnIDs) next() (uint32, error) {
	for id := ids.last + 1; id <= MaxColumnID; id++ {
		if !ids.has(id) {
			ids.mark(id)
			ids.last = id
			return id, nil
		}
	}
	return 0, limit("MaxColumnID", "the table has used all %d column ids; create a new table", MaxColumnID)
}

// take marks an id that a client chose.
func (ids *columnIDs) take(id uint32) error {
	if ids.has(id) {
		return within("column_id", usedID("column", uint64(id)))
	}
	ids.mark(id)
	return nil
}

// copyColumns copies what the contract knows of columns, so that nothing else
// that a client sent gets into the log. The copies share what nobody changes.
func copyColumns(columns []*metadatav1.ColumnSchema) []*metadatav1.ColumnSchema {
	all := make([]metadatav1.ColumnSchema, len(columns)) // one allocation instead of one each
	copies := make([]*metadatav1.ColumnSchema, len(columns))
	for i, c := range columns {
		to := &all[i]
		to.ColumnId, to.Name, to.DataType, to.Nullable = c.ColumnId, c.Name, copyType(c.DataType), c.Nullable
		to.Default, to.Comment, to.ToastStrategy = c.Default, c.Comment, c.ToastStrategy
		copies[i] = to
	}
	return copies
}

// copyType is the same for a type that has passed its check, which bounds the
// recursion: the type itself, if there is nothing in it but what the contract knows.
func copyType(t *metadatav1.DataType) *metadatav1.DataType {
	if knownType(t) {
		return t
	}
	c := &metadatav1.DataType{
		Kind:       t.Kind,
		Precision:  t.Precision,
		Scale:      t.Scale,
		Dimensions: t.Dimensions,
		Element:    copyType(t.Element),
		Key:        copyType(t.Key),
	}
	for _, f := range t.Fields {
		c.Fields = append(c.Fields, &metadatav1.StructField{Name: f.Name, DataType: copyType(f.DataType), Nullable: f.Nullable})
	}
	return c
}

// knownType reports whether all that a type says is known to the contract.
func knownType(t *metadatav1.DataType) bool {
	if t == nil {
		return true
	}
	if len(t.ProtoReflect().GetUnknown()) > 0 || !knownType(t.Element) || !knownType(t.Key) {
		return false
	}
	return !slices.ContainsFunc(t.Fields, func(f *metadatav1.StructField) bool {
		return len(f.ProtoReflect().GetUnknown()) > 0 || !knownType(f.DataType)
	})
}

// orNil returns properties, and nil instead of none, so that equal objects have equal
// messages.
func orNil(m map[string]string) map[string]string {
	if len(m) == 0 {
		return nil
	}
	return m
}
