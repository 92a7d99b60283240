package diff

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Messages returns the fields that differ between two messages of one type, in order of
// the contract. A nil message does not exist: then all fields that are set in the other one
// differ.
//
// Messages that are on both sides are compared field by field, lists and maps element by
// element; an element that is on one side only is one difference, with all of its value.
// Elements of a list that have an id or a name are those of the same id, or else name, on
// the other side, and the path has the name that they have afterwards; if their order
// differs, and of other elements, it is the place that counts.
func Messages(before, after proto.Message) []*metadatav1.FieldDiff {
	b, a := reflected(before), reflected(after)
	switch {
	case b == nil && a == nil:
		return nil
	case b == nil:
		b = a.Type().Zero()
	case a == nil:
		a = b.Type().Zero()
	case b.Descriptor() != a.Descriptor():
		return []*metadatav1.FieldDiff{{Before: messageText(b), After: messageText(a)}}
	}
	var c comparison
	c.messages("", b, a)
	return c.found
}

// reflected returns a message's reflection; nil if there is no message.
func reflected(m proto.Message) protoreflect.Message {
	if m == nil || !m.ProtoReflect().IsValid() {
		return nil
	}
	return m.ProtoReflect()
}

// comparison is a walk through two messages.
type comparison struct{ found []*metadatav1.FieldDiff }

// differ notes two values as JSON, unless they are the same.
func (c *comparison) differ(path, before, after string) {
	if before != after {
		c.found = append(c.found, &metadatav1.FieldDiff{Path: path, Before: before, After: after})
	}
}

func (c *comparison) messages(path string, before, after protoreflect.Message) {
	fields := before.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if before.Has(f) == after.Has(f) && before.Get(f).Equal(after.Get(f)) {
			continue
		}
		at := f.JSONName()
		if path != "" {
			at = path + "." + at
		}
		switch {
		case f.IsMap():
			c.maps(at, f, before.Get(f).Map(), after.Get(f).Map())
		case f.IsList():
			c.lists(at, f, before.Get(f).List(), after.Get(f).List())
		case isOpen(f) && before.Has(f) && after.Has(f):
			c.messages(at, before.Get(f).Message(), after.Get(f).Message())
		default:
			c.differ(at, fieldText(f, before, after), fieldText(f, after, before))
		}
	}
}

// isOpen reports whether a field's values are messages whose fields are compared. Those of
// protobuf itself, such as times, are values.
func isOpen(f protoreflect.FieldDescriptor) bool {
	return f.Message() != nil && f.Message().ParentFile().Package() != "google.protobuf"
}

// fieldText returns a field as JSON; empty if there is none. A field that is not set and
// cannot be told from one that is zero counts as zero, unless the other message does not
// exist: then only what is set is told.
func fieldText(f protoreflect.FieldDescriptor, m, other protoreflect.Message) string {
	if !m.IsValid() || !m.Has(f) && (f.HasPresence() || !other.IsValid()) {
		return ""
	}
	return valueText(f, m.Get(f))
}

func (c *comparison) maps(path string, f protoreflect.FieldDescriptor, before, after protoreflect.Map) {
	keys := make(map[string]protoreflect.MapKey)
	for _, m := range []protoreflect.Map{before, after} {
		for key := range m.Range {
			keys[key.String()] = key
		}
	}
	for _, name := range sortedKeys(keys) {
		key := keys[name]
		c.elements(path+"["+name+"]", f.MapValue(), before.Get(key), after.Get(key))
	}
}

func (c *comparison) lists(path string, f protoreflect.FieldDescriptor, before, after protoreflect.List) {
	b, a := listed(f, before), listed(f, after)
	if !aligned(b, a) {
		for i := range max(len(b), len(a)) {
			c.elements(fmt.Sprintf("%s[%d]", path, i), f, valueAt(b, i), valueAt(a, i))
		}
		return
	}
	now := make(map[string]element, len(a))
	for _, e := range a {
		now[e.key] = e
	}
	for _, e := range b {
		name, after := e.name, now[e.key]
		if after.key != "" {
			name = after.name
			delete(now, e.key)
		}
		c.elements(path+"["+name+"]", f, e.value, after.value)
	}
	for _, e := range a {
		if _, added := now[e.key]; added {
			c.elements(path+"["+e.name+"]", f, protoreflect.Value{}, e.value)
		}
	}
}

// elements compares two elements of a list or map, of which one may be missing.
func (c *comparison) elements(path string, f protoreflect.FieldDescriptor, before, after protoreflect.Value) {
	if before.IsValid() && after.IsValid() && isOpen(f) {
		c.messages(path, before.Message(), after.Message())
		return
	}
	c.differ(path, elementText(f, before), elementText(f, after))
}

func elementText(f protoreflect.FieldDescriptor, v protoreflect.Value) string {
	if !v.IsValid() {
		return ""
	}
	return valueText(f, v)
}

// element is an element of a list.
type element struct {
	key   string // what tells it from the others; empty: it has nothing of that kind
	name  string // for people
	value protoreflect.Value
}

// listed returns the elements of a list.
func listed(f protoreflect.FieldDescriptor, list protoreflect.List) []element {
	all := make([]element, list.Len())
	var id, name protoreflect.FieldDescriptor
	if f.Message() != nil {
		id, name = identity(f.Message())
	}
	for i := range all {
		all[i].value = list.Get(i)
		all[i].key, all[i].name = textOf(id, list.Get(i)), textOf(name, list.Get(i))
		all[i].key, all[i].name = cmp.Or(all[i].key, all[i].name), cmp.Or(all[i].name, all[i].key)
	}
	return all
}

// identity returns the fields that hold a message's own id and its name; nil: it has none.
func identity(m protoreflect.MessageDescriptor) (id, name protoreflect.FieldDescriptor) {
	if first := m.Fields().ByNumber(1); first != nil && strings.HasSuffix(string(first.Name()), "_id") {
		id = first
	}
	return id, m.Fields().ByName("name")
}

// textOf returns a field of an element as text; empty if it is not set.
func textOf(f protoreflect.FieldDescriptor, v protoreflect.Value) string {
	if f == nil || !v.Message().Has(f) {
		return ""
	}
	return v.Message().Get(f).String()
}

// aligned reports whether elements can be compared by their keys: all have one of their
// own, and those that are on both sides come in the same order.
func aligned(before, after []element) bool {
	places := make(map[string]int, len(before))
	for i, e := range before {
		places[e.key] = i
	}
	seen := make(map[string]bool, len(after))
	last := -1
	for _, e := range after {
		seen[e.key] = true
		if at, ok := places[e.key]; ok {
			if at < last {
				return false
			}
			last = at
		}
	}
	keyless := func(e element) bool { return e.key == "" }
	return len(places) == len(before) && len(seen) == len(after) &&
		!slices.ContainsFunc(before, keyless) && !slices.ContainsFunc(after, keyless)
}

func valueAt(list []element, i int) protoreflect.Value {
	if i >= len(list) {
		return protoreflect.Value{}
	}
	return list[i].value
}
