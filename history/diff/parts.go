package diff

import (
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Part is a part of an object that somebody set: a field, an element of a list of
// messages, or an entry of a map.
type Part struct {
	Key   string // the same in each state of the object, also when the part has another name
	Path  string // for people, as in a FieldDiff
	Value string // compact JSON
}

// Parts returns the parts of an object that are set, in order of the contract; of a nil
// message none.
func Parts(m proto.Message) []Part {
	object := reflected(m)
	if object == nil {
		return nil
	}
	var parts []Part
	fields := object.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if !object.Has(f) {
			continue
		}
		at := f.JSONName()
		switch {
		case f.IsMap():
			parts = append(parts, entries(at, f, object.Get(f).Map())...)
		case f.IsList() && f.Message() != nil:
			for _, e := range listed(f, object.Get(f).List()) {
				parts = append(parts, Part{at + "#" + e.key, at + "[" + e.name + "]", valueText(f, e.value)})
			}
		case f.IsList():
			parts = append(parts, Part{at, at, listText(f, object.Get(f).List())})
		default:
			parts = append(parts, Part{at, at, valueText(f, object.Get(f))})
		}
	}
	return parts
}

// entries returns the parts of a map, by key.
func entries(path string, f protoreflect.FieldDescriptor, m protoreflect.Map) []Part {
	texts := make(map[string]string, m.Len())
	for key, value := range m.Range {
		texts[key.String()] = valueText(f.MapValue(), value)
	}
	var parts []Part
	for _, key := range sortedKeys(texts) {
		at := path + "[" + key + "]"
		parts = append(parts, Part{at, at, texts[key]})
	}
	return parts
}

// listText returns a list as compact JSON.
func listText(f protoreflect.FieldDescriptor, list protoreflect.List) string {
	text := []byte{'['}
	for i := range list.Len() {
		if i > 0 {
			text = append(text, ',')
		}
		text = append(text, valueText(f, list.Get(i))...)
	}
	return string(append(text, ']'))
}
