package chaos

import (
	"context"
	"fmt"

	"github.com/heliosdb/metadata/client"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// tableNames is how many tables are fought over in an era.
const tableNames = 8

// tables creates, alters, drops and reads tables whose names it shares with others.
func (w *worker) tables(ctx context.Context) {
	w.loop(ctx, w.createTable, w.createTable, w.alterTable, w.alterTable, w.dropTable,
		w.getTable, w.getTable, w.listTables, w.batchTables, w.namespace)
}

func schemaRevision(p *metadatav1.Position) uint64 { return p.GetSchemaRevision() }

func (w *worker) tableName() string { return w.pick("t", tableNames) }

// tableOf is a small table.
func tableOf(name string) *metadatav1.TableSchema {
	return &metadatav1.TableSchema{
		Name: name,
		Columns: []*metadatav1.ColumnSchema{
			{Name: "id", DataType: &metadatav1.DataType{Kind: metadatav1.TypeKind_TYPE_KIND_INT64}},
			{Name: "body", DataType: &metadatav1.DataType{Kind: metadatav1.TypeKind_TYPE_KIND_STRING}, Nullable: true},
		},
		PrimaryKey: []string{"id"},
	}
}

func (w *worker) createTable() {
	request := &metadatav1.CreateTableRequest{Table: tableOf(w.tableName()), Write: w.write(schemaRevision)}
	_, err := ask(w, request, (*client.Client).CreateTable)
	if err == nil && w.random.IntN(8) == 0 {
		// The answer got lost, thinks this client, and asks somebody else.
		_, _ = ask(w.elsewhere(), request, (*client.Client).CreateTable)
	}
}

// elsewhere is the same worker with another client, for one call.
func (w *worker) elsewhere() *worker {
	other := *w
	other.client, other.member = w.run.anyClient(w.random)
	return &other
}

func (w *worker) alterTable() {
	ref := &metadatav1.TableRef{Name: w.tableName()}
	found, err := ask(w, &metadatav1.GetTableRequest{Table: ref, Read: w.read()}, (*client.Client).GetTable)
	if err != nil {
		return
	}
	version := found.GetTable().GetVersion()
	request := &metadatav1.AlterTableRequest{
		Table: ref, ExpectedVersion: &version, Write: w.write(schemaRevision),
		Alterations: []*metadatav1.TableAlteration{{Action: &metadatav1.TableAlteration_SetComment{
			SetComment: &metadatav1.SetComment{Comment: fmt.Sprintf("by %d, number %d", w.number, w.ids)},
		}}},
	}
	if w.random.IntN(4) == 0 {
		request.Alterations = append(request.Alterations, &metadatav1.TableAlteration{
			Action: &metadatav1.TableAlteration_AddColumn{AddColumn: &metadatav1.AddColumn{Column: &metadatav1.ColumnSchema{
				Name:     fmt.Sprintf("c%d_%d", w.number, w.ids),
				DataType: &metadatav1.DataType{Kind: metadatav1.TypeKind_TYPE_KIND_INT64}, Nullable: true,
			}}},
		})
	}
	_, _ = ask(w, request, (*client.Client).AlterTable)
}

func (w *worker) dropTable() {
	request := &metadatav1.DropTableRequest{Table: &metadatav1.TableRef{Name: w.tableName()}, Write: w.write(schemaRevision)}
	_, _ = ask(w, request, (*client.Client).DropTable)
}

func (w *worker) getTable() {
	request := &metadatav1.GetTableRequest{Table: &metadatav1.TableRef{Name: w.tableName()}, Read: w.read()}
	_, _ = ask(w, request, (*client.Client).GetTable)
}

func (w *worker) listTables() {
	request := &metadatav1.ListTablesRequest{Namespace: "public", PageSize: 1000, Read: w.read()}
	_, _ = ask(w, request, (*client.Client).ListTables)
}

// batchTables creates a table and alters it, or drops one and creates it anew.
func (w *worker) batchTables() {
	name := w.tableName()
	create := &metadatav1.Command{Command: &metadatav1.Command_CreateTable{
		CreateTable: &metadatav1.CreateTableRequest{Table: tableOf(name)},
	}}
	drop := &metadatav1.Command{Command: &metadatav1.Command_DropTable{
		DropTable: &metadatav1.DropTableRequest{Table: &metadatav1.TableRef{Name: name}},
	}}
	alter := &metadatav1.Command{Command: &metadatav1.Command_AlterTable{
		AlterTable: &metadatav1.AlterTableRequest{
			Table: &metadatav1.TableRef{Name: name},
			Alterations: []*metadatav1.TableAlteration{{Action: &metadatav1.TableAlteration_SetComment{
				SetComment: &metadatav1.SetComment{Comment: "in a batch"},
			}}},
		},
	}}
	request := &metadatav1.ApplyBatchRequest{Commands: []*metadatav1.Command{create, alter}, Write: w.write(schemaRevision)}
	if w.random.IntN(2) == 0 {
		request.Commands = []*metadatav1.Command{drop, create}
	}
	_, _ = ask(w, request, (*client.Client).ApplyBatch)
}

// namespace creates or drops a namespace.
func (w *worker) namespace() {
	name := w.pick("n", 2)
	if w.random.IntN(2) == 0 {
		request := &metadatav1.CreateNamespaceRequest{Namespace: &metadatav1.Namespace{Name: name}, Write: w.write(schemaRevision)}
		_, _ = ask(w, request, (*client.Client).CreateNamespace)
		return
	}
	_, _ = ask(w, &metadatav1.DropNamespaceRequest{Name: name, Write: w.write(schemaRevision)}, (*client.Client).DropNamespace)
}
