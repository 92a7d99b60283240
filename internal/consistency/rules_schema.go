package consistency

import (
	"cmp"
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

func (s state) createNamespace(c *metadatav1.CreateNamespaceRequest) (state, verdict) {
	name := c.GetNamespace().GetName()
	if s.namespace(name) != nil {
		return refuse(s, alreadyExists)
	}
	return carriedOut(s.put(object{key: namespaceKey(name), message: &metadatav1.Namespace{Name: name, Version: 1}}))
}

func (s state) dropNamespace(c *metadatav1.DropNamespaceRequest) (state, verdict) {
	n := s.namespace(c.GetName())
	switch {
	case n == nil:
		return refuse(s, notFound)
	case !expects(n.GetVersion(), c.ExpectedVersion):
		return refuse(s, versionMismatch)
	case c.GetName() == publicName:
		return refuse(s, protected)
	case len(s.under(tableKey(c.GetName(), ""))) > 0:
		return refuse(s, notEmpty)
	}
	return carriedOut(s.remove(namespaceKey(c.GetName())))
}

func (s state) createTable(c *metadatav1.CreateTableRequest) (state, verdict) {
	in := c.GetTable()
	key := tableKey(in.GetNamespace(), in.GetName())
	switch {
	case s.namespace(in.GetNamespace()) == nil:
		return refuse(s, notFound)
	case s.get(key) != nil:
		return refuse(s, alreadyExists)
	}
	t := proto.CloneOf(in)
	t.Namespace, t.Version = cmp.Or(in.GetNamespace(), publicName), 1
	next, v := carriedOut(s.put(object{key: key, message: t}))
	v.open = in.GetTableId() != 0
	return next, v
}

func (s state) dropTable(c *metadatav1.DropTableRequest) (state, verdict) {
	t := s.table(c.GetTable())
	switch {
	case t == nil && s.mayHave(c.GetTable()):
		return s, verdict{open: true}
	case t == nil:
		return refuse(s, notFound)
	case !expects(t.GetVersion(), c.ExpectedVersion):
		return refuse(s, versionMismatch)
	}
	return carriedOut(s.remove(tableKey(t.GetNamespace(), t.GetName())))
}

func (s state) alterTable(c *metadatav1.AlterTableRequest) (state, verdict) {
	before := s.table(c.GetTable())
	switch {
	case before == nil && s.mayHave(c.GetTable()):
		return s, verdict{open: true}
	case before == nil:
		return refuse(s, notFound)
	case !expects(before.GetVersion(), c.ExpectedVersion):
		return refuse(s, versionMismatch)
	}
	from := tableKey(before.GetNamespace(), before.GetName())
	t := proto.CloneOf(before)
	open := false
	for _, step := range c.GetAlterations() {
		reason, known := s.alter(t, from, step)
		open = open || !known
		if reason != accepted {
			return s, verdict{reason: reason, open: open}
		}
	}
	if len(t.GetColumns()) == 0 {
		return s, verdict{reason: invalidField, open: open}
	}
	if proto.Equal(t, before) {
		return s, verdict{open: open}
	}
	t.Version++
	return s.remove(from).put(object{key: tableKey(t.GetNamespace(), t.GetName()), message: t}), verdict{changed: true, open: open}
}

// alter carries out one step on a copy of the table that is at key. known is false
// for steps whose content is not judged here.
func (s state) alter(t *metadatav1.TableSchema, key string, step *metadatav1.TableAlteration) (reason metadatav1.ErrorReason, known bool) {
	column := func(name string) int {
		return slices.IndexFunc(t.Columns, func(c *metadatav1.ColumnSchema) bool { return c.GetName() == name })
	}
	switch a := step.GetAction().(type) {
	case *metadatav1.TableAlteration_AddColumn:
		if column(a.AddColumn.GetColumn().GetName()) >= 0 {
			return alreadyExists, true
		}
		t.Columns = append(t.Columns, a.AddColumn.GetColumn())
		return accepted, a.AddColumn.GetColumn().GetColumnId() == 0
	case *metadatav1.TableAlteration_DropColumn:
		at := column(a.DropColumn.GetName())
		if at < 0 || slices.Contains(t.GetPrimaryKey(), a.DropColumn.GetName()) {
			return invalidField, true
		}
		t.RetiredColumnIds = append(t.RetiredColumnIds, t.Columns[at].GetColumnId())
		t.Columns = slices.Delete(t.Columns, at, at+1)
		return accepted, true
	case *metadatav1.TableAlteration_RenameTable:
		return s.rename(t, key, a.RenameTable), true
	case *metadatav1.TableAlteration_SetComment:
		t.Comment = a.SetComment.GetComment()
		return accepted, true
	case *metadatav1.TableAlteration_SetProperties:
		if t.Properties == nil {
			t.Properties = make(map[string]string)
		}
		for _, name := range a.SetProperties.GetRemove() {
			delete(t.Properties, name)
		}
		maps.Copy(t.Properties, a.SetProperties.GetSet())
		return accepted, true
	}
	return accepted, false
}

func (s state) rename(t *metadatav1.TableSchema, key string, r *metadatav1.RenameTable) metadatav1.ErrorReason {
	namespace, name := cmp.Or(r.GetNewNamespace(), t.GetNamespace()), cmp.Or(r.GetNewName(), t.GetName())
	if s.namespace(namespace) == nil {
		return notFound
	}
	if to := tableKey(namespace, name); to != key && s.get(to) != nil {
		return alreadyExists
	}
	if namespace != t.GetNamespace() {
		t.NamespaceId = s.namespace(namespace).GetNamespaceId()
	}
	t.Namespace, t.Name = namespace, name
	return accepted
}
