package server

import (
	"cmp"
	"context"
	"iter"
	"strings"

	"github.com/heliosdb/metadata/internal/failure"
	"github.com/heliosdb/metadata/projections/schema"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// GetTable is of the contract.
func (s service) GetTable(ctx context.Context, r *metadatav1.GetTableRequest) (*metadatav1.GetTableResponse, error) {
	ref := r.GetTable()
	if ref.GetTableId() == 0 && ref.GetName() == "" {
		return nil, failure.InvalidField("table", "names neither a table_id nor a name; give one")
	}
	state, position, err := s.schema.read(ctx, r.GetRead())
	if err != nil {
		return nil, err
	}
	table, ok := findTable(state.Model, ref)
	if !ok {
		return nil, noTable(ref)
	}
	answer := &metadatav1.GetTableResponse{Position: position}
	answer.Table = single(ctx, answer, 1, table)
	return answer, nil
}

func findTable(m *schema.Model, ref *metadatav1.TableRef) (*schema.Table, bool) {
	if id := ref.GetTableId(); id != 0 {
		return m.Table(id)
	}
	return m.TableByName(ref.GetNamespace(), ref.GetName())
}

func noTable(ref *metadatav1.TableRef) error {
	if id := ref.GetTableId(); id != 0 {
		return failure.New(metadatav1.ErrorReason_ERROR_REASON_NOT_FOUND, "there is no table with id %d", id)
	}
	return failure.New(metadatav1.ErrorReason_ERROR_REASON_NOT_FOUND, "there is no table %q in namespace %q",
		ref.GetName(), cmp.Or(ref.GetNamespace(), schema.Public))
}

// ListTables is of the contract.
func (s service) ListTables(ctx context.Context, r *metadatav1.ListTablesRequest) (*metadatav1.ListTablesResponse, error) {
	filter := filterHash([]byte(r.GetNamespace()))
	t, err := parseToken(r.GetPageToken(), listTables, filter)
	if err != nil {
		return nil, err
	}
	state, position, err := s.schema.page(ctx, t, r.GetRead())
	if err != nil {
		return nil, err
	}
	if name := r.GetNamespace(); name != "" {
		if _, ok := state.Model.Namespace(name); !ok {
			return nil, failure.New(metadatav1.ErrorReason_ERROR_REASON_NOT_FOUND, "there is no namespace %q", name)
		}
	}
	answer := &metadatav1.ListTablesResponse{Position: position}
	p := newPage(ctx, r.GetPageSize())
	var last *schema.Table
	for table := range tablesBehind(state.Model, r.GetNamespace(), t) {
		if !put(p, &answer.Tables, 1, table) {
			answer.NextPageToken = s.schema.next(state, listTables, filter, tableKey(last))
			break
		}
		last = table
	}
	p.into(answer)
	return answer, nil
}

// tablesBehind yields the tables behind a token, of one namespace or of all.
func tablesBehind(m *schema.Model, only string, t *token) iter.Seq[*schema.Table] {
	namespace, name := only, ""
	if t != nil {
		namespace, name = parseTableKey(t.cursor)
	}
	return func(yield func(*schema.Table) bool) {
		for table := range m.TablesByName(namespace, name) {
			if only != "" && table.Namespace() != only {
				return
			}
			if t != nil && table.Namespace() == namespace && table.Name() == name {
				continue // the last one of the page before
			}
			if !yield(table) {
				return
			}
		}
	}
}

// A table's key in tokens is its namespace and name with a zero between, which
// no name contains.
func tableKey(t *schema.Table) []byte { return []byte(t.Namespace() + "\x00" + t.Name()) }

func parseTableKey(key []byte) (namespace, name string) {
	namespace, name, _ = strings.Cut(string(key), "\x00")
	return namespace, name
}

// ListNamespaces is of the contract.
func (s service) ListNamespaces(ctx context.Context, r *metadatav1.ListNamespacesRequest) (*metadatav1.ListNamespacesResponse, error) {
	filter := filterHash()
	t, err := parseToken(r.GetPageToken(), listNamespaces, filter)
	if err != nil {
		return nil, err
	}
	state, position, err := s.schema.page(ctx, t, r.GetRead())
	if err != nil {
		return nil, err
	}
	answer := &metadatav1.ListNamespacesResponse{Position: position}
	p := newPage(ctx, r.GetPageSize())
	var last string
	for namespace := range state.Model.Namespaces(cursor(t)) {
		if t != nil && namespace.Name() == cursor(t) {
			continue
		}
		if !put(p, &answer.Namespaces, 1, namespace) {
			answer.NextPageToken = s.schema.next(state, listNamespaces, filter, []byte(last))
			break
		}
		last = namespace.Name()
	}
	p.into(answer)
	return answer, nil
}

// cursor is the key behind which a page begins; empty: at the beginning.
func cursor(t *token) string {
	if t == nil {
		return ""
	}
	return string(t.cursor)
}
