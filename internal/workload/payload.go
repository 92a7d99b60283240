package workload

import (
	"fmt"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// TableBytes is about how many bytes a table of Table has when it is encoded.
const TableBytes = 480

// TableName is the name of a table by its number. Names sort as numbers do.
func TableName(n int64) string { return fmt.Sprintf("t%010d", n) }

// TableNumber is the number of a table by its name; -1 if the name is none of ours.
func TableNumber(name string) int64 {
	if len(name) != 11 || name[0] != 't' {
		return -1
	}
	n := int64(0)
	for _, digit := range []byte(name[1:]) {
		if digit < '0' || digit > '9' {
			return -1
		}
		n = n*10 + int64(digit-'0')
	}
	return n
}

// Table is the table that all measurements create: ten columns such as an order has,
// some with defaults, comments and lengths, TableBytes encoded.
func Table(namespace string, n int64) *metadatav1.TableSchema {
	return &metadatav1.TableSchema{
		Namespace: namespace, Name: TableName(n),
		Columns: []*metadatav1.ColumnSchema{
			column("order_id", metadatav1.TypeKind_TYPE_KIND_INT64, "Number of the order"),
			column("customer_id", metadatav1.TypeKind_TYPE_KIND_INT64, "Who has ordered"),
			withDefault(column("status", metadatav1.TypeKind_TYPE_KIND_STRING, "open, paid, sent"), "open"),
			{Name: "total", DataType: &metadatav1.DataType{Kind: metadatav1.TypeKind_TYPE_KIND_DECIMAL, Precision: 15, Scale: 2}, Comment: "With tax"},
			column("ordered_at", metadatav1.TypeKind_TYPE_KIND_TIMESTAMP_TZ, "When it came in"),
			nullable(column("shipped_at", metadatav1.TypeKind_TYPE_KIND_TIMESTAMP_TZ, "When it went out")),
			nullable(column("address", metadatav1.TypeKind_TYPE_KIND_STRING, "Where it goes")),
			withDefault(column("priority", metadatav1.TypeKind_TYPE_KIND_INT32, "Smaller is sooner"), "5"),
			nullable(column("attributes", metadatav1.TypeKind_TYPE_KIND_JSON, "What else is known")),
			{Name: "embedding", Nullable: true, DataType: &metadatav1.DataType{
				Kind: metadatav1.TypeKind_TYPE_KIND_VECTOR, Dimensions: 768,
			}, Comment: "What it is like"},
		},
		PrimaryKey: []string{"order_id"},
		Comment:    "Orders of the shop, one row each, never deleted",
		Properties: map[string]string{"owner": "orders", "tier": "hot"},
	}
}

func column(name string, kind metadatav1.TypeKind, comment string) *metadatav1.ColumnSchema {
	return &metadatav1.ColumnSchema{Name: name, DataType: &metadatav1.DataType{Kind: kind}, Comment: comment}
}

func nullable(c *metadatav1.ColumnSchema) *metadatav1.ColumnSchema {
	c.Nullable = true
	return c
}

func withDefault(c *metadatav1.ColumnSchema, text string) *metadatav1.ColumnSchema {
	c.Default = &text
	return c
}
