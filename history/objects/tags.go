package objects

import (
	"encoding/binary"
	"iter"
	"slices"

	"github.com/heliosdb/metadata/events"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// public is the namespace that an empty name means.
const public = "public"

// Field numbers of the encodings that are read here without decoding.
const (
	fieldObject            protowire.Number = 1 // of every kind of event: the object
	fieldBefore            protowire.Number = 2 // of kinds that replace objects: those
	fieldPreviousNamespace protowire.Number = 2 // of TableAltered
	fieldPreviousName      protowire.Number = 3 // of TableAltered
	fieldKey               protowire.Number = 1 // of all objects but namespaces: id or name
	fieldSecond            protowire.Number = 2 // of Namespace: name; of TableSchema: namespace
	fieldThird             protowire.Number = 3 // of TableSchema: name
)

// eventShape is what the tags of a kind of event are made from.
type eventShape struct {
	object   metadatav1.ObjectKind // UNSPECIFIED: no logs are kept of its objects
	replaces bool                  // field 2 holds objects too
}

// eventShapes holds the shape of each kind of event, at its number. It is read only,
// computed once from the contract.
var eventShapes = func() (shapes [256]eventShape) {
	kinds := (*metadatav1.Event)(nil).ProtoReflect().Descriptor().Oneofs().ByName("kind").Fields()
	for i := range kinds.Len() {
		fields := kinds.Get(i).Message().Fields()
		object, before := fields.ByNumber(fieldObject).Message(), fields.ByNumber(fieldBefore)
		shapes[kinds.Get(i).Number()] = eventShape{
			object:   objectKinds[object.Name()],
			replaces: before != nil && before.Message() == object,
		}
	}
	return shapes
}()

// objectKinds are the kinds of objects that have logs, by the names of their messages.
var objectKinds = map[protoreflect.Name]metadatav1.ObjectKind{
	"Namespace":   metadatav1.ObjectKind_OBJECT_KIND_NAMESPACE,
	"TableSchema": metadatav1.ObjectKind_OBJECT_KIND_TABLE,
	"NodeInfo":    metadatav1.ObjectKind_OBJECT_KIND_NODE,
	"ShardInfo":   metadatav1.ObjectKind_OBJECT_KIND_SHARD,
	"Consumer":    metadatav1.ObjectKind_OBJECT_KIND_CONSUMER,
}

// Tags returns the tags of a change: one for each name and id of its objects before and
// after it, ascending and each once. They are the same in every build: storages keep them.
// Different objects may share a tag. It decodes no message.
func Tags(c *events.Change) []uint64 { return tagsInto(nil, c) }

// tagsInto is Tags in memory that is used again.
func tagsInto(tags []uint64, c *events.Change) []uint64 {
	tags = tags[:0]
	for _, e := range c.Events() {
		tags = appendTags(tags, e)
	}
	slices.Sort(tags)
	return slices.Compact(tags)
}

// appendTags appends the tags of an event, some perhaps twice.
func appendTags(tags []uint64, e events.Event) []uint64 {
	shape := eventShapes[e.Kind()]
	if shape.object == metadatav1.ObjectKind_OBJECT_KIND_UNSPECIFIED {
		return tags
	}
	var table, previous tableName
	for num, value := range fields(body(e)) {
		switch {
		case num == fieldObject || num == fieldBefore && shape.replaces:
			tags, table = appendObjectTags(tags, shape.object, value.bytes)
		case e.Kind() == events.KindTableAltered && num == fieldPreviousNamespace:
			previous.namespace = value.bytes
		case e.Kind() == events.KindTableAltered && num == fieldPreviousName:
			previous.name = value.bytes
		}
	}
	if len(previous.namespace) > 0 || len(previous.name) > 0 {
		tags = append(tags, previous.or(table).tag())
	}
	return tags
}

// appendObjectTags appends the tags of an encoded object.
func appendObjectTags(tags []uint64, kind metadatav1.ObjectKind, raw []byte) ([]uint64, tableName) {
	var key, second, third fieldValue
	for num, value := range fields(raw) {
		switch num {
		case fieldKey:
			key = value
		case fieldSecond:
			second = value
		case fieldThird:
			third = value
		}
	}
	switch kind {
	case metadatav1.ObjectKind_OBJECT_KIND_NAMESPACE:
		return append(tags, nameTag(kind, second.bytes)), tableName{}
	case metadatav1.ObjectKind_OBJECT_KIND_TABLE:
		name := tableName{namespace: second.bytes, name: third.bytes}
		return append(tags, idTag(kind, key.number), name.tag()), name
	case metadatav1.ObjectKind_OBJECT_KIND_SHARD:
		return append(tags, idTag(kind, key.number)), tableName{}
	}
	return append(tags, nameTag(kind, key.bytes)), tableName{}
}

// tableName is the name of a table as it is encoded.
type tableName struct{ namespace, name []byte }

// or returns the name with what it lacks taken from another one.
func (n tableName) or(other tableName) tableName {
	if len(n.namespace) == 0 {
		n.namespace = other.namespace
	}
	if len(n.name) == 0 {
		n.name = other.name
	}
	return n
}

func (n tableName) tag() uint64 { return tableTag(n.namespace, n.name) }

// What a tag is made of, behind the kind of the object.
const (
	tagOfID   = 'i'
	tagOfName = 'n'
)

func idTag(kind metadatav1.ObjectKind, id uint64) uint64 {
	var digits [8]byte
	binary.BigEndian.PutUint64(digits[:], id)
	return hash(hash(seed, []byte{byte(kind), tagOfID}), digits[:])
}

func nameTag[T string | []byte](kind metadatav1.ObjectKind, name T) uint64 {
	return hash(hash(seed, []byte{byte(kind), tagOfName}), name)
}

// tableTag returns the tag of a table's name. Names have no zero bytes.
func tableTag[T string | []byte](namespace, name T) uint64 {
	kind := metadatav1.ObjectKind_OBJECT_KIND_TABLE
	h := nameTag(kind, namespace)
	if len(namespace) == 0 {
		h = nameTag(kind, public)
	}
	return hash(hash(h, []byte{0}), name)
}

// FNV-1a. It is part of what storages keep.
const (
	seed  = 0xcbf29ce484222325
	prime = 0x100000001b3
)

func hash[T string | []byte](h uint64, text T) uint64 {
	for i := range len(text) {
		h = (h ^ uint64(text[i])) * prime
	}
	return h
}

// fieldValue is what a field holds: a number or bytes.
type fieldValue struct {
	number uint64
	bytes  []byte
}

// fields yields the numbers and bytes of an encoded message. It ends at what is no field.
func fields(raw []byte) iter.Seq2[protowire.Number, fieldValue] {
	return func(yield func(protowire.Number, fieldValue) bool) {
		for rest := raw; len(rest) > 0; {
			num, typ, n := protowire.ConsumeTag(rest)
			if n < 0 {
				return
			}
			m := protowire.ConsumeFieldValue(num, typ, rest[n:])
			if m < 0 {
				return
			}
			var value fieldValue
			switch typ {
			case protowire.VarintType:
				value.number, _ = protowire.ConsumeVarint(rest[n:])
			case protowire.BytesType:
				value.bytes, _ = protowire.ConsumeBytes(rest[n:])
			}
			if !yield(num, value) {
				return
			}
			rest = rest[n+m:]
		}
	}
}

// body returns the message of an event's kind, encoded.
func body(e events.Event) []byte {
	for num, value := range fields(e.Raw()) {
		if num == protowire.Number(e.Kind()) {
			return value.bytes
		}
	}
	return nil
}
