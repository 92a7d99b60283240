package schema

import (
	"fmt"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/projections/internal/fold"
)

// Draft is a private copy of a model, for deciding several commands on top of
// each other. Read it through Model, which shows what was applied so far. It
// belongs to one goroutine.
type Draft struct{ Model }

// View returns the model as it is.
func (d *Draft) View() *Model { return &d.Model }

// Freeze returns what the draft holds as a model of its own. The draft can be
// used on.
func (d *Draft) Freeze() *Model {
	d.freeze()
	m := d.Model
	return &m
}

// Apply folds one event of the change with this revision. It is the one meaning
// of the events of the schema stream. It panics with a fold error if the event
// does not fit the model.
func (d *Draft) Apply(e events.Event, revision uint64) {
	switch e.Kind() {
	case events.KindNamespaceCreated:
		if why := d.addNamespace(e.Object(0)); why != "" {
			fold.FailEvent(e, revision, "%s", why)
		}
	case events.KindNamespaceDropped:
		d.dropNamespace(e, revision)
	case events.KindTableCreated:
		if why := d.addTable(e.Object(0)); why != "" {
			fold.FailEvent(e, revision, "%s", why)
		}
	case events.KindTableAltered:
		d.alterTable(e, revision)
	case events.KindTableDropped:
		d.dropTable(e, revision)
	default:
		fold.FailEvent(e, revision, "not an event of the schema stream")
	}
}

// addNamespace returns why it cannot; nothing if it did.
func (d *Draft) addNamespace(raw []byte) (why string) {
	n, err := newNamespace(raw)
	if err != nil {
		return err.Error()
	}
	if d.usedNamespaces.Contains(n.id) {
		return fmt.Sprintf("namespace id %d was given before", n.id)
	}
	if _, taken := d.namespaces.Put(namespaceItem{n.name, n, 0}); taken {
		return fmt.Sprintf("namespace %q exists", n.name)
	}
	d.namespacesByID.Put(namespaceIDItem{n.id, n})
	d.usedNamespaces.Add(n.id)
	return ""
}

func (d *Draft) dropNamespace(e events.Event, revision uint64) {
	n, err := newNamespace(e.Object(0))
	if err != nil {
		fold.FailEvent(e, revision, "%v", err)
	}
	gone, ok := d.namespaces.Delete(namespaceItem{name: n.name})
	if !ok || gone.tables != 0 {
		fold.FailEvent(e, revision, "namespace %q does not exist or has %d tables", n.name, gone.tables)
	}
	d.namespacesByID.Delete(namespaceIDItem{id: gone.namespace.id})
}

// addTable returns why it cannot; nothing if it did.
func (d *Draft) addTable(raw []byte) (why string) {
	t, err := newTable(raw)
	if err != nil {
		return err.Error()
	}
	if d.usedTables.Contains(t.id) {
		return fmt.Sprintf("table id %d was given before", t.id)
	}
	d.usedTables.Add(t.id)
	return d.putTable(t)
}

// putTable puts a table into the indexes.
func (d *Draft) putTable(t *Table) (why string) {
	if _, taken := d.tables.Put(tableItem{t.id, t}); taken {
		return fmt.Sprintf("table %d exists", t.id)
	}
	d.tableBytes += len(t.Bytes())
	if _, taken := d.names.Put(nameOf(t)); taken {
		return fmt.Sprintf("table %q exists in namespace %q", t.Name(), t.Namespace())
	}
	if !d.count(t.Namespace(), 1) {
		return fmt.Sprintf("namespace %q does not exist", t.Namespace())
	}
	return ""
}

func (d *Draft) alterTable(e events.Event, revision uint64) {
	now, err := newTable(e.Object(0))
	if err != nil {
		fold.FailEvent(e, revision, "%v", err)
	}
	before, ok := d.tables.Put(tableItem{now.id, now})
	if !ok {
		fold.FailEvent(e, revision, "table %d does not exist", now.id)
	}
	was := before.table
	d.tableBytes += len(now.Bytes()) - len(was.Bytes())
	moved := was.Namespace() != now.Namespace()
	if !moved && was.Name() == now.Name() {
		return
	}
	d.names.Delete(nameOf(was))
	if _, taken := d.names.Put(nameOf(now)); taken {
		fold.FailEvent(e, revision, "table %q exists in namespace %q", now.Name(), now.Namespace())
	}
	if moved && !(d.count(was.Namespace(), -1) && d.count(now.Namespace(), 1)) {
		fold.FailEvent(e, revision, "namespace %q does not exist", now.Namespace())
	}
}

func (d *Draft) dropTable(e events.Event, revision uint64) {
	t, err := newTable(e.Object(0))
	if err != nil {
		fold.FailEvent(e, revision, "%v", err)
	}
	gone, ok := d.tables.Delete(tableItem{id: t.id})
	if !ok {
		fold.FailEvent(e, revision, "table %d does not exist", t.id)
	}
	d.tableBytes -= len(gone.table.Bytes())
	d.names.Delete(nameOf(gone.table))
	d.count(gone.table.Namespace(), -1)
}

// count changes the number of tables in a namespace; false if there is no such
// namespace.
func (d *Draft) count(namespace string, by int) bool {
	item, ok := d.namespaces.Get(namespaceItem{name: namespace})
	if ok {
		item.tables += by
		d.namespaces.Put(item)
	}
	return ok
}
