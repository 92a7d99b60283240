package document

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/heliosdb/metadata/internal/keytext"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

type namespaceDocument struct {
	Kind       string            `yaml:"kind"`
	Name       string            `yaml:"name"`
	Comment    string            `yaml:"comment"`
	Properties map[string]string `yaml:"properties"`
}

func (d *decoder) namespace(at Place, doc *namespaceDocument) error {
	if doc.Name == "" {
		return fmt.Errorf("%s: the namespace has no name", at)
	}
	d.set.Namespaces = append(d.set.Namespaces, &metadatav1.Namespace{
		Name: doc.Name, Comment: doc.Comment, Properties: doc.Properties,
	})
	return d.claim(at, "namespace "+doc.Name)
}

type tableDocument struct {
	Kind       string            `yaml:"kind"`
	TableID    uint64            `yaml:"table_id"`
	Namespace  string            `yaml:"namespace"`
	Name       string            `yaml:"name"`
	Comment    string            `yaml:"comment"`
	Properties map[string]string `yaml:"properties"`
	Columns    []columnDocument  `yaml:"columns"`
	PrimaryKey []string          `yaml:"primary_key"`
}

type columnDocument struct {
	ColumnID uint32   `yaml:"column_id"`
	Name     string   `yaml:"name"`
	Type     dataType `yaml:"type"`
	Nullable *bool    `yaml:"nullable"` // absent: yes, unless in the primary key
	Default  *string  `yaml:"default"`
	Comment  string   `yaml:"comment"`
	Toast    toast    `yaml:"toast"`
}

func (d *decoder) table(at Place, doc *tableDocument) error {
	if doc.Name == "" {
		return fmt.Errorf("%s: the table has no name", at)
	}
	table := &metadatav1.TableSchema{
		TableId: doc.TableID, Namespace: cmp.Or(doc.Namespace, "public"), Name: doc.Name, Comment: doc.Comment,
		Properties: doc.Properties, PrimaryKey: doc.PrimaryKey,
	}
	object := "table " + table.Namespace + "." + table.Name
	if len(doc.Columns) == 0 {
		return fmt.Errorf("%s: %s has no columns", at, object)
	}
	for i, c := range doc.Columns {
		if c.Name == "" {
			return fmt.Errorf("%s: %s: column %d has no name", at, object, i+1)
		}
		if c.Type.message == nil {
			return fmt.Errorf("%s: %s: column %q has no type", at, object, c.Name)
		}
		column := &metadatav1.ColumnSchema{
			ColumnId: c.ColumnID, Name: c.Name, DataType: c.Type.message, Default: c.Default, Comment: c.Comment,
			ToastStrategy: c.Toast.value, Nullable: !slices.Contains(doc.PrimaryKey, c.Name),
		}
		if c.Nullable != nil {
			column.Nullable = *c.Nullable
		}
		table.Columns = append(table.Columns, column)
	}
	d.set.Tables = append(d.set.Tables, table)
	return d.claim(at, object)
}

type nodeDocument struct {
	Kind        string            `yaml:"kind"`
	NodeID      string            `yaml:"node_id"`
	Addr        string            `yaml:"addr"`
	NodeType    nodeType          `yaml:"node_type"`
	Labels      map[string]string `yaml:"labels"`
	Capacity    capacityDocument  `yaml:"capacity"`
	Incarnation string            `yaml:"incarnation"`
}

type capacityDocument struct {
	CPUMillis   uint64 `yaml:"cpu_millis"`
	MemoryBytes uint64 `yaml:"memory_bytes"`
	DiskBytes   uint64 `yaml:"disk_bytes"`
}

func (d *decoder) node(at Place, doc *nodeDocument) error {
	switch {
	case doc.NodeID == "":
		return fmt.Errorf("%s: the node has no node_id", at)
	case doc.Addr == "":
		return fmt.Errorf("%s: node %s has no addr", at, doc.NodeID)
	case doc.NodeType.value == 0:
		return fmt.Errorf("%s: node %s has no node_type; write COMPUTE or STORAGE", at, doc.NodeID)
	}
	node := &metadatav1.NodeInfo{
		NodeId: doc.NodeID, Addr: doc.Addr, NodeType: doc.NodeType.value, Labels: doc.Labels, Incarnation: doc.Incarnation,
	}
	if doc.Capacity != (capacityDocument{}) {
		node.Capacity = &metadatav1.NodeCapacity{
			CpuMillis: doc.Capacity.CPUMillis, MemoryBytes: doc.Capacity.MemoryBytes, DiskBytes: doc.Capacity.DiskBytes,
		}
	}
	d.set.Nodes = append(d.set.Nodes, node)
	return d.claim(at, "node "+doc.NodeID)
}

type shardDocument struct {
	Kind        string `yaml:"kind"`
	ShardID     uint64 `yaml:"shard_id"` // absent: the shard with this range
	Start       key    `yaml:"start"`
	End         key    `yaml:"end"`
	PrimaryNode string `yaml:"primary_node"`
	MirrorNode  string `yaml:"mirror_node"`
	WitnessNode string `yaml:"witness_node"`
}

func (d *decoder) shard(at Place, doc *shardDocument) error {
	shard := &metadatav1.ShardInfo{
		ShardId: doc.ShardID, KeyRange: &metadatav1.KeyRange{Start: doc.Start.bytes, End: doc.End.bytes},
		PrimaryNode: doc.PrimaryNode, MirrorNode: doc.MirrorNode, WitnessNode: doc.WitnessNode,
	}
	if doc.PrimaryNode == "" {
		return fmt.Errorf("%s: the shard has no primary_node", at)
	}
	d.set.Shards = append(d.set.Shards, shard)
	if doc.ShardID != 0 {
		if err := d.claim(at, fmt.Sprintf("shard %d", doc.ShardID)); err != nil {
			return err
		}
	}
	return d.claim(at, "the shard with range "+keytext.Range(shard.KeyRange))
}
