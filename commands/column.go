package commands

import (
	"maps"
	"slices"

	"github.com/heliosdb/metadata/internal/sqltype"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

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
	used map[uint32]struct{} // of present and dropped columns
	last uint32              // no id up to it is free
}

func newColumnIDs(t *metadatav1.TableSchema) *columnIDs {
	ids := &columnIDs{used: make(map[uint32]struct{}, len(t.GetColumns())+len(t.GetRetiredColumnIds()))}
	for _, c := range t.GetColumns() {
		if c.GetColumnId() != 0 {
			ids.used[c.GetColumnId()] = struct{}{}
		}
	}
	for _, id := range t.GetRetiredColumnIds() {
		ids.used[id] = struct{}{}
	}
	return ids
}

// next returns the smallest id that was never used.
func (ids *columnIDs) next() (uint32, error) {
	for id := ids.last + 1; id <= MaxColumnID; id++ {
		if _, ok := ids.used[id]; !ok {
			ids.used[id] = struct{}{}
			ids.last = id
			return id, nil
		}
	}
	return 0, limit("MaxColumnID", "the table has used all %d column ids; create a new table", MaxColumnID)
}

// take marks an id that a client chose.
func (ids *columnIDs) take(id uint32) error {
	if _, ok := ids.used[id]; ok {
		return within("column_id", usedID("column", uint64(id)))
	}
	ids.used[id] = struct{}{}
	return nil
}

// copyColumn copies what the contract knows of a column, so that nothing else
// that a client sent gets into the log.
func copyColumn(c *metadatav1.ColumnSchema) *metadatav1.ColumnSchema {
	return &metadatav1.ColumnSchema{
		ColumnId:      c.ColumnId,
		Name:          c.Name,
		DataType:      copyType(c.DataType),
		Nullable:      c.Nullable,
		Default:       copyOptional(c.Default),
		Comment:       c.Comment,
		ToastStrategy: c.ToastStrategy,
	}
}

// copyType copies a type that has passed its check, which bounds the recursion.
func copyType(t *metadatav1.DataType) *metadatav1.DataType {
	if t == nil {
		return nil
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

func copyOptional[T any](v *T) *T {
	if v == nil {
		return nil
	}
	return new(*v)
}

// copyPairs copies properties; no pairs are nil, so that equal objects have
// equal messages.
func copyPairs(m map[string]string) map[string]string {
	if len(m) == 0 {
		return nil
	}
	return maps.Clone(m)
}
