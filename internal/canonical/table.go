package canonical

import (
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/timestamppb"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

var (
	unknownInColumn = unknownAt[metadatav1.ColumnSchema]()
	unknownInType   = unknownAt[metadatav1.DataType]()
)

// table appends a field that is a table; nothing if there is none.
func (w *writer) table(num protowire.Number, t *metadatav1.TableSchema) {
	if t == nil {
		return
	}
	body := w.open(num)
	w.fields(t)
	w.close(body)
}

func (w *writer) fields(t *metadatav1.TableSchema) {
	w.number(1, t.TableId)
	w.text(2, t.Namespace)
	w.text(3, t.Name)
	for _, c := range t.Columns {
		w.column(4, c)
	}
	for _, name := range t.PrimaryKey {
		w.present(5, name)
	}
	w.text(6, t.Comment)
	w.pairs(7, t.Properties)
	w.number(8, t.Version)
	w.number(9, t.CreatedRevision)
	w.number(10, t.UpdatedRevision)
	w.timestamp(11, t.CreateTime)
	w.timestamp(12, t.UpdateTime)
	if len(t.RetiredColumnIds) > 0 {
		ids := w.open(13)
		for _, id := range t.RetiredColumnIds {
			w.b = protowire.AppendVarint(w.b, uint64(id))
		}
		w.close(ids)
	}
	w.number(14, t.NamespaceId)
	w.unknown(t)
}

func (w *writer) column(num protowire.Number, c *metadatav1.ColumnSchema) {
	body := w.open(num)
	if c != nil {
		w.number(1, uint64(c.ColumnId))
		w.text(2, c.Name)
		w.dataType(3, c.DataType)
		w.flag(4, c.Nullable)
		if c.Default != nil {
			w.present(5, *c.Default)
		}
		w.text(6, c.Comment)
		w.number(7, enum(c.ToastStrategy))
		unknownIn(w, c, unknownInColumn)
	}
	w.close(body)
}

func (w *writer) dataType(num protowire.Number, t *metadatav1.DataType) {
	if t == nil {
		return
	}
	body := w.open(num)
	w.number(1, enum(t.Kind))
	w.number(2, uint64(t.Precision))
	w.number(3, uint64(t.Scale))
	w.number(4, uint64(t.Dimensions))
	w.dataType(5, t.Element)
	w.dataType(6, t.Key)
	for _, f := range t.Fields {
		field := w.open(7)
		if f != nil {
			w.text(1, f.Name)
			w.dataType(2, f.DataType)
			w.flag(3, f.Nullable)
			w.unknown(f)
		}
		w.close(field)
	}
	unknownIn(w, t, unknownInType)
	w.close(body)
}

// enum is the encoding of an enum's number: sign extended, as that of an int32.
func enum[E ~int32](v E) uint64 { return uint64(int64(v)) }

// pairs appends a map by its keys in order.
func (w *writer) pairs(num protowire.Number, pairs map[string]string) {
	if len(pairs) == 0 {
		return
	}
	var few [8]string // so many need no allocation
	keys := few[:0]
	for key := range pairs {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	for _, key := range keys {
		body := w.open(num)
		w.present(1, key)
		w.present(2, pairs[key])
		w.close(body)
	}
}

func (w *writer) timestamp(num protowire.Number, t *timestamppb.Timestamp) {
	if t == nil {
		return
	}
	body := w.open(num)
	w.number(1, uint64(t.Seconds)) //nolint:gosec // two's complement is the encoding
	w.number(2, enum(t.Nanos))
	w.unknown(t)
	w.close(body)
}
