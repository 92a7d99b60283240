package schema

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/heliosdb/metadata/internal/idset"
	"github.com/heliosdb/metadata/projections/internal/fold"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"google.golang.org/protobuf/proto"
)

// Export yields the records of a checkpoint: namespaces by id, tables by name (in
// that order their index is the fastest to build), then used ids. Equal models yield
// equal bytes. A record is valid until yield returns. It stops at the first error,
// which it returns.
func (m *Model) Export(yield func(record []byte) error) error {
	var buf []byte
	for item := range m.namespacesByID.All() {
		buf = fold.AppendRecord(buf[:0], fold.RecordNamespace, item.namespace.raw)
		if err := yield(buf); err != nil {
			return err
		}
	}
	for t := range m.TablesByName("", "") {
		buf = fold.AppendRecord(buf[:0], fold.RecordTable, t.Bytes())
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
func (m *Model) Restorer() fold.Restorer[*Model] { return &restorer{d: Draft{empty()}} }

// restorer builds each index of tables in its order, which takes a third of the time
// of putting them in one by one.
type restorer struct {
	d         Draft
	tables    []tableItem // as they came
	namespace string      // of the last one
	counted   int         // tables at the end of it in this namespace, not yet counted there
}

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
		why = r.table(value)
	case fold.RecordUsedIDs:
		return r.used(value)
	default:
		why = fmt.Sprintf("record %d does not belong to the schema stream", num)
	}
	return damaged(why)
}

func damaged(why string) error {
	if why == "" {
		return nil
	}
	return errors.New("a checkpoint is damaged: " + why)
}

// table returns why a table cannot be; nothing if it can.
func (r *restorer) table(value []byte) (why string) {
	t, err := newTable(value)
	if err != nil {
		return err.Error()
	}
	if _, taken := r.d.names.Append(nameOf(t)); taken {
		return fmt.Sprintf("table %q exists in namespace %q", t.Name(), t.Namespace())
	}
	r.tables = append(r.tables, tableItem{t.id, t})
	if t.Namespace() != r.namespace {
		why = r.count()
		r.namespace = t.Namespace()
	}
	r.counted++
	return why
}

// count adds up the tables of the last namespace.
func (r *restorer) count() (why string) {
	if r.counted > 0 && !r.d.count(r.namespace, r.counted) {
		return fmt.Sprintf("namespace %q does not exist", r.namespace)
	}
	r.counted = 0
	return ""
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
		return nil, damaged(`namespace "public" is missing`)
	}
	if why := cmp.Or(r.count(), r.byID()); why != "" {
		return nil, damaged(why)
	}
	return r.d.Freeze(), nil
}

// byID puts the tables in order of their ids. Those that no record says are used, as
// in a snapshot for a subscriber, are from now on.
func (r *restorer) byID() (why string) {
	slices.SortFunc(r.tables, func(a, b tableItem) int { return cmp.Compare(a.id, b.id) })
	var run idset.Range // of ids without a gap between them, to be added at once
	for i, item := range r.tables {
		if _, taken := r.d.tables.Append(item); taken {
			return fmt.Sprintf("table %d exists", item.id)
		}
		r.d.tableBytes += len(item.table.Bytes())
		if i == 0 || item.id != run.Last+1 {
			run.First = item.id
		}
		run.Last = item.id
		if i+1 == len(r.tables) || r.tables[i+1].id != run.Last+1 {
			r.d.usedTables.AddRange(run)
		}
	}
	return ""
}
