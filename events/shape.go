package events

import (
	"encoding/binary"
	"errors"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// shape is what protobuf asks of a type's encoding. A value that passes check is
// exactly one that proto.Unmarshal takes, so that what was checked when it came in
// can be decoded later, or never: checking allocates nothing and costs a tenth.
type shape struct {
	fields []fieldShape // by field number; longer numbers are not known
}

// fieldShape is what is asked of a field. The zero fieldShape asks nothing but that
// the field can be skipped: so it is for bytes, numbers and unknown fields.
type fieldShape struct {
	message *shape // of a message or a map's entry
	text    bool   // has to be UTF-8
	packed  func([]byte) (length int)
}

var (
	errWire      = errors.New("it is cut short or no protobuf message")
	errNoText    = errors.New("a string is not UTF-8")
	errTooNested = errors.New("its messages are nested too deeply")
)

// maxNesting is protobuf's own limit.
const maxNesting = protowire.DefaultRecursionLimit

// bodies holds the shape of each kind's message, at the kind's number. It is read
// only, computed once from the contract.
var bodies = func() []*shape {
	known := make(map[protoreflect.FullName]*shape)
	all := make([]*shape, len(kinds))
	for i := range oneof.Fields().Len() {
		f := oneof.Fields().Get(i)
		all[f.Number()] = shapeOf(f.Message(), known)
	}
	return all
}()

func shapeOf(m protoreflect.MessageDescriptor, known map[protoreflect.FullName]*shape) *shape {
	if s := known[m.FullName()]; s != nil {
		return s
	}
	s := new(shape)
	known[m.FullName()] = s // before its fields: a type may contain itself
	for i := range m.Fields().Len() {
		f := m.Fields().Get(i)
		for int(f.Number()) >= len(s.fields) {
			s.fields = append(s.fields, fieldShape{})
		}
		s.fields[f.Number()] = fieldShapeOf(f, known)
	}
	return s
}

func fieldShapeOf(f protoreflect.FieldDescriptor, known map[protoreflect.FullName]*shape) fieldShape {
	switch f.Kind() {
	case protoreflect.MessageKind:
		return fieldShape{message: shapeOf(f.Message(), known)}
	case protoreflect.StringKind:
		return fieldShape{text: true}
	case protoreflect.BytesKind:
		return fieldShape{}
	}
	if !f.IsList() {
		return fieldShape{}
	}
	// Lists of numbers may come in one field.
	switch f.Kind() {
	case protoreflect.Fixed32Kind, protoreflect.Sfixed32Kind, protoreflect.FloatKind:
		return fieldShape{packed: func(b []byte) int { _, n := protowire.ConsumeFixed32(b); return n }}
	case protoreflect.Fixed64Kind, protoreflect.Sfixed64Kind, protoreflect.DoubleKind:
		return fieldShape{packed: func(b []byte) int { _, n := protowire.ConsumeFixed64(b); return n }}
	}
	return fieldShape{packed: func(b []byte) int { _, n := protowire.ConsumeVarint(b); return n }}
}

// longByte is the least first byte of a tag, a number or a length that has several bytes.
const longByte = 0x80

// shortMessage is the length in bytes up to which a message is looked at as a whole. A bound,
// because each message in a message would be looked at again.
const shortMessage = 128

// check reports whether b encodes a message of the shape, with so many levels of
// messages in it at most. Of nearly all fields the tag is one byte, and the number or length
// another: they are read without a call. ascii says that b is, and so all text in it UTF-8; of a
// short message one look at all of it costs less than one at each of its texts.
func (s *shape) check(b []byte, levels int, ascii bool) error {
	if levels == 0 {
		return errTooNested
	}
	ascii = ascii || len(b) <= shortMessage && isASCII(b)
	for len(b) > 0 {
		var value []byte
		num, n := int(b[0]>>3), 2
		switch {
		case len(b) < 2 || b[0] >= longByte || b[1] >= longByte || num == 0:
			num, value, n = consumeField(b)
		case protowire.Type(b[0]&7) == protowire.BytesType:
			if n += int(b[1]); n <= len(b) {
				value = b[2:n]
			}
		case protowire.Type(b[0]&7) != protowire.VarintType:
			num, value, n = consumeField(b)
		}
		if n < 0 || n > len(b) {
			return errWire
		}
		b = b[n:]
		if value == nil || num >= len(s.fields) { // there is nothing to look into
			continue
		}
		switch f := &s.fields[num]; {
		case f.message != nil:
			if err := f.message.check(value, levels-1, ascii); err != nil {
				return err
			}
		case f.text:
			if !ascii && !utf8.Valid(value) {
				return errNoText
			}
		case f.packed != nil:
			if err := f.checkPacked(value); err != nil {
				return err
			}
		}
	}
	return nil
}

// consumeField reads the field that b begins with: its number, what it holds if it has a
// length, and its size, which is negative for what is no field.
func consumeField(b []byte) (num int, value []byte, size int) {
	number, typ, tag := protowire.ConsumeTag(b)
	if tag < 0 || number > protowire.MaxValidNumber {
		return 0, nil, -1
	}
	n := protowire.ConsumeFieldValue(number, typ, b[tag:])
	if n < 0 {
		return 0, nil, -1
	}
	if typ == protowire.BytesType {
		value, _ = protowire.ConsumeBytes(b[tag:])
	}
	return int(number), value, tag + n
}

// checkPacked reports whether b is numbers of a list that came in one field.
func (f *fieldShape) checkPacked(b []byte) error {
	for len(b) > 0 {
		n := f.packed(b)
		if n < 0 {
			return errWire
		}
		b = b[n:]
	}
	return nil
}

// highBits are those of eight bytes.
const highBits = 0x8080808080808080

// isASCII reports whether no byte has its highest bit set. It looks at eight at a time.
func isASCII(b []byte) bool {
	for len(b) >= 8 {
		if binary.NativeEndian.Uint64(b)&highBits != 0 {
			return false
		}
		b = b[8:]
	}
	for _, c := range b {
		if c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
