package examples

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/heliosdb/metadata/internal/sqltype"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// column is a column as a document writes it; an absent nullable means that NULL is allowed.
type column struct {
	Name     string
	Type     string
	Nullable *bool
	Default  *string
	Comment  string
	Toast    string
}

// document is the union of the four kinds.
type document struct {
	Kind       string
	Namespace  string
	Name       string
	Comment    string
	Properties map[string]string
	Columns    []column
	PrimaryKey []string `yaml:"primary_key"`

	NodeID   string `yaml:"node_id"`
	Addr     string
	NodeType string `yaml:"node_type"`
	Labels   map[string]string
	Capacity map[string]uint64

	ShardID     uint64 `yaml:"shard_id"`
	Start       string
	End         string
	PrimaryNode string `yaml:"primary_node"`
	MirrorNode  string `yaml:"mirror_node"`
	WitnessNode string `yaml:"witness_node"`
}

// read decodes all documents of an embedded file; a key that no kind knows is an error.
func read(t *testing.T, name string) []document {
	t.Helper()
	text, err := Files.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	decoder := yaml.NewDecoder(bytes.NewReader(text), yaml.Strict())
	var documents []document
	for {
		var doc document
		err := decoder.Decode(&doc)
		if errors.Is(err, io.EOF) {
			return documents
		}
		if err != nil {
			t.Fatalf("%s, document %d: %v", name, len(documents)+1, err)
		}
		documents = append(documents, doc)
	}
}

// ofKind returns the documents of one kind, in order.
func ofKind(documents []document, kind string) []document {
	return slices.DeleteFunc(slices.Clone(documents), func(doc document) bool { return doc.Kind != kind })
}

func TestSchemas(t *testing.T) {
	for _, c := range []struct {
		file, namespace string
		columns         map[string]int // by table
	}{
		{"tpch.yaml", "tpch", map[string]int{
			"region": 3, "nation": 4, "supplier": 7, "part": 9, "partsupp": 5, "customer": 8, "orders": 9, "lineitem": 16,
		}},
		{"tpcds.yaml", "tpcds", map[string]int{
			"store_sales": 23, "store_returns": 20, "catalog_sales": 34, "catalog_returns": 27, "web_sales": 34,
			"web_returns": 24, "inventory": 4, "store": 29, "call_center": 31, "catalog_page": 9, "web_site": 26,
			"web_page": 14, "warehouse": 14, "customer": 18, "customer_address": 13, "customer_demographics": 9,
			"date_dim": 28, "household_demographics": 5, "item": 22, "income_band": 3, "promotion": 19, "reason": 3,
			"ship_mode": 6, "time_dim": 10, "dbgen_version": 4,
		}},
		{"vectors.yaml", "search", map[string]int{"models": 5, "documents": 16, "passages": 9, "images": 11, "queries": 7}},
	} {
		t.Run(c.file, func(t *testing.T) {
			documents := read(t, c.file)
			if first := documents[0]; first.Kind != "Namespace" || first.Name != c.namespace {
				t.Errorf("the first document is %s %q, want Namespace %q", first.Kind, first.Name, c.namespace)
			}
			tables := ofKind(documents, "Table")
			if len(tables) != len(documents)-1 {
				t.Errorf("%d of %d documents are tables, want all but the first", len(tables), len(documents))
			}
			got := make(map[string]int)
			for _, table := range tables {
				got[table.Name] += len(table.Columns)
				if table.Namespace != c.namespace {
					t.Errorf("table %s is in namespace %q, want %q", table.Name, table.Namespace, c.namespace)
				}
				checkTable(t, table)
			}
			if !maps.Equal(got, c.columns) {
				t.Errorf("columns by table:\ngot  %v\nwant %v", got, c.columns)
			}
		})
	}
}

// checkTable holds one table against what the service asks of it.
func checkTable(t *testing.T, table document) {
	t.Helper()
	columns := make(map[string]column)
	for _, col := range table.Columns {
		if _, twice := columns[col.Name]; twice {
			t.Errorf("%s.%s is there twice", table.Name, col.Name)
		}
		columns[col.Name] = col
		dataType, err := sqltype.Parse(col.Type)
		if err != nil {
			t.Errorf("%s.%s: %v", table.Name, col.Name, err)
			continue
		}
		if canonical := sqltype.Format(dataType); canonical != col.Type {
			t.Errorf("%s.%s has type %q, want it as the service prints it: %q", table.Name, col.Name, col.Type, canonical)
		}
		if col.Toast == "" {
			continue
		}
		if _, known := metadatav1.ToastStrategy_value["TOAST_STRATEGY_"+col.Toast]; !known || !sqltype.Toastable(dataType.GetKind()) {
			t.Errorf("%s.%s: strategy %q does not go with type %s", table.Name, col.Name, col.Toast, col.Type)
		}
	}
	if len(table.PrimaryKey) == 0 && table.Name != "dbgen_version" {
		t.Errorf("%s has no primary key", table.Name)
	}
	for _, name := range table.PrimaryKey {
		if col, ok := columns[name]; !ok || col.Nullable == nil || *col.Nullable {
			t.Errorf("%s: key column %s is missing or may be NULL", table.Name, name)
		}
	}
}

// TestTPCDSTypes spot-checks what the benchmark's specification says of single columns.
func TestTPCDSTypes(t *testing.T) {
	got := make(map[string]string)
	for _, table := range ofKind(read(t, "tpcds.yaml"), "Table") {
		for _, col := range table.Columns {
			got[col.Name] = fmt.Sprintf("%s null=%t %s", col.Type, col.Nullable == nil || *col.Nullable, col.Comment)
		}
	}
	for name, want := range map[string]string{
		"ss_ticket_number":  "INT64 null=false ",
		"cr_refunded_cash":  "DECIMAL(7, 2) null=true ",
		"p_cost":            "DECIMAL(15, 2) null=true ",
		"s_tax_percentage":  "DECIMAL(5, 2) null=true ",
		"d_date":            "DATE null=false ",
		"dv_create_time":    "TIME null=false ",
		"c_customer_id":     "STRING null=false char(16); business key",
		"c_current_addr_sk": "INT64 null=true references customer_address.ca_address_sk",
		"sr_ticket_number":  "INT64 null=false references store_sales.ss_ticket_number",
	} {
		if got[name] != want {
			t.Errorf("%s is %q, want %q", name, got[name], want)
		}
	}
}

// TestEveryTypeIsShown keeps the schemas a tour of the type system.
func TestEveryTypeIsShown(t *testing.T) {
	shown := make(map[metadatav1.TypeKind]bool)
	strategies := make(map[string]bool)
	for _, file := range []string{"tpch.yaml", "tpcds.yaml", "vectors.yaml"} {
		for _, table := range ofKind(read(t, file), "Table") {
			for _, col := range table.Columns {
				dataType, err := sqltype.Parse(col.Type)
				if err != nil {
					t.Fatal(err)
				}
				shown[dataType.GetKind()] = true
				strategies[col.Toast] = true
			}
		}
	}
	for _, kind := range []metadatav1.TypeKind{
		metadatav1.TypeKind_TYPE_KIND_VECTOR, metadatav1.TypeKind_TYPE_KIND_LIST, metadatav1.TypeKind_TYPE_KIND_STRUCT,
		metadatav1.TypeKind_TYPE_KIND_MAP, metadatav1.TypeKind_TYPE_KIND_JSON, metadatav1.TypeKind_TYPE_KIND_UUID,
		metadatav1.TypeKind_TYPE_KIND_BYTES, metadatav1.TypeKind_TYPE_KIND_INTERVAL, metadatav1.TypeKind_TYPE_KIND_TIMESTAMP,
		metadatav1.TypeKind_TYPE_KIND_TIMESTAMP_TZ, metadatav1.TypeKind_TYPE_KIND_BOOLEAN, metadatav1.TypeKind_TYPE_KIND_UINT16,
	} {
		if !shown[kind] {
			t.Errorf("no column has type %s", sqltype.Name(kind))
		}
	}
	for _, strategy := range []string{"PLAIN", "EXTENDED", "EXTERNAL", "MAIN"} {
		if !strategies[strategy] {
			t.Errorf("no column has the TOAST strategy %s", strategy)
		}
	}
}

func TestTopology(t *testing.T) {
	documents := read(t, "topology.yaml")
	types := make(map[string]string)
	for _, node := range ofKind(documents, "Node") {
		types[node.NodeID] = node.NodeType
	}
	want := map[string]string{
		"storage-1": "STORAGE", "storage-2": "STORAGE", "storage-3": "STORAGE", "compute-1": "COMPUTE", "compute-2": "COMPUTE",
	}
	if !maps.Equal(types, want) {
		t.Errorf("nodes are %v, want %v", types, want)
	}
	shards := ofKind(documents, "Shard")
	if len(shards) != 8 {
		t.Fatalf("%d shards, want 8", len(shards))
	}
	var bound []byte
	for i, shard := range shards {
		if start := key(t, shard.Start); !bytes.Equal(start, bound) {
			t.Errorf("shard %d begins at %x, want %x, where the one before ends", shard.ShardID, start, bound)
		}
		bound = key(t, shard.End)
		if last := i == len(shards)-1; last != (len(bound) == 0) {
			t.Errorf("shard %d ends at %x; only the last has no upper bound", shard.ShardID, bound)
		}
		placed := []string{shard.PrimaryNode, shard.MirrorNode, shard.WitnessNode}
		for _, node := range placed {
			if types[node] != "STORAGE" {
				t.Errorf("shard %d is placed on %q, which is no storage node", shard.ShardID, node)
			}
		}
		slices.Sort(placed)
		if len(slices.Compact(placed)) != 3 {
			t.Errorf("shard %d names a node twice", shard.ShardID)
		}
	}
}

// key decodes a key as documents write it.
func key(t *testing.T, text string) []byte {
	t.Helper()
	digits, isHex := strings.CutPrefix(text, "0x")
	if !isHex {
		return []byte(text)
	}
	decoded, err := hex.DecodeString(digits)
	if err != nil {
		t.Fatalf("key %q: %v", text, err)
	}
	return decoded
}
