package workload

import (
	"errors"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/heliosdb/metadata/client/follow"
)

// Field numbers on the way from a change to the names of the table that it created.
const (
	changeEvents      protowire.Number = 15
	eventTableCreated protowire.Number = 3
	tableCreatedTable protowire.Number = 1
	tableNamespace    protowire.Number = 2
	tableNameInTable  protowire.Number = 3
)

var errNoChange = errors.New("a change that cannot be read")

// created yields the names of the tables that a change created. Of a change in its
// encoding it looks at no more than that: a listener that is told bytes, as etcd's are,
// decodes what it wants of them.
func created(change follow.Change, yield func(namespace, name []byte)) error {
	raw := change.Raw()
	if raw == nil {
		m, err := change.Message()
		if err != nil {
			return err
		}
		for _, event := range m.GetEvents() {
			if t := event.GetTableCreated().GetTable(); t != nil {
				yield([]byte(t.GetNamespace()), []byte(t.GetName()))
			}
		}
		return nil
	}
	return each(raw, changeEvents, func(event []byte) error {
		return each(event, eventTableCreated, func(made []byte) error {
			return each(made, tableCreatedTable, func(table []byte) error {
				var namespace, name []byte
				err := each(table, tableNamespace, func(v []byte) error { namespace = v; return nil })
				if err == nil {
					err = each(table, tableNameInTable, func(v []byte) error { name = v; return nil })
				}
				yield(namespace, name)
				return err
			})
		})
	})
}

// each calls back for each field of bytes with a number.
func each(raw []byte, want protowire.Number, found func([]byte) error) error {
	for len(raw) > 0 {
		num, typ, n := protowire.ConsumeTag(raw)
		if n < 0 {
			return errNoChange
		}
		m := protowire.ConsumeFieldValue(num, typ, raw[n:])
		if m < 0 {
			return errNoChange
		}
		if num == want && typ == protowire.BytesType {
			value, _ := protowire.ConsumeBytes(raw[n:])
			if err := found(value); err != nil {
				return err
			}
		}
		raw = raw[n+m:]
	}
	return nil
}
