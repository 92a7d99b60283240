package schema

import (
	"errors"
	"fmt"

	"github.com/heliosdb/metadata/projections/internal/fold"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"google.golang.org/protobuf/proto"
)

// Export yields the records of a checkpoint: namespaces and tables by id, then
// used ids. Equal models yield equal bytes. A record is valid until yield
// returns. It stops at the first error, which it returns.
func (m *Model) Export(yield func(record []byte) error) error {
	var buf []byte
	for item := range m.namespacesByID.All() {
		buf = fold.AppendRecord(buf[:0], fold.RecordNamespace, item.namespace.raw)
		if err := yield(buf); err != nil {
			return err
		}
	}
	for item := range m.tables.All() {
		buf = fold.AppendRecord(buf[:0], fold.RecordTable, item.table.raw)
		if err := yield(buf); err != nil {
			return err
		}
	}
	if err := fold.ExportUsed(metadatav1.IdKind_ID_KIND_NAMESPACE, m.usedNamespaces, yield); err != nil {
		return err
	}
	return fold.ExportUsed(metadatav1.IdKind_ID_KIND_TABLE, m.usedTables, yield)
}

// Restorer returns a restorer of models from what Export yields. The model that
// it is called on does not matter.
func (m *Model) Restorer() fold.Restorer[*Model] { return &restorer{Draft{empty()}} }

type restorer struct{ d Draft }

func (r *restorer) Restore(record []byte) error {
	num, _, value, err := fold.SplitRecord(record)
	if err != nil {
		return err
	}
	var why string
	switch num {
	case fold.RecordNamespace:
		why = r.d.addNamespace(value)
	case fold.RecordTable:
		why = r.d.addTable(value)
	case fold.RecordUsedIDs:
		return r.used(value)
	default:
		why = fmt.Sprintf("record %d does not belong to the schema stream", num)
	}
	if why != "" {
		return errors.New("a checkpoint is damaged: " + why)
	}
	return nil
}

func (r *restorer) used(value []byte) error {
	var used metadatav1.UsedIds
	if err := proto.Unmarshal(value, &used); err != nil {
		return fmt.Errorf("a checkpoint is damaged: used ids: %w", err)
	}
	switch used.Kind {
	case metadatav1.IdKind_ID_KIND_NAMESPACE:
		return fold.ImportUsed(&r.d.usedNamespaces, &used)
	case metadatav1.IdKind_ID_KIND_TABLE:
		return fold.ImportUsed(&r.d.usedTables, &used)
	}
	return fmt.Errorf("a checkpoint is damaged: used ids of kind %v", used.Kind)
}

func (r *restorer) Done() (*Model, error) {
	if _, ok := r.d.Namespace(Public); !ok {
		return nil, errors.New(`a checkpoint is damaged: namespace "public" is missing`)
	}
	return r.d.Freeze(), nil
}
