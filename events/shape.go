package events

import (
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

// check reports whether b encodes a message of the shape, with so many levels of
// messages in it at most. Nearly all tags, numbers and lengths are one byte: they are read
// without a call, which takes a third off what decoding a history costs.
func (s *shape) check(b []byte, levels int) error {
	if levels == 0 {
		return errTooNested
	}
	for len(b) > 0 {
		num, typ, n := protowire.Number(b[0]>>3), protowire.Type(b[0]&7), 1
		if num == 0 || b[0] >= 0x80 {
			if num, typ, n = protowire.ConsumeTag(b); n < 0 || num > protowire.MaxValidNumber {
				return errWire
			}
		}
		b = b[n:]
		short := len(b) > 0 && b[0] < 0x80
		switch {
		case short && typ == protowire.VarintType:
			b = b[1:]
			continue
		case typ != protowire.BytesType || int(num) >= len(s.fields): // whatever it is, there is nothing in it
			if n = protowire.ConsumeFieldValue(num, typ, b); n < 0 {
				return errWire
			}
			b = b[n:]
			continue
		}
		var value []byte
		if short && int(b[0]) < len(b) {
			n = 1 + int(b[0])
			value = b[1:n]
		} else if value, n = protowire.ConsumeBytes(b); n < 0 {
			return errWire
		}
		if err := s.fields[num].check(value, levels-1); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// check reports whether b can be the field's value.
func (f *fieldShape) check(b []byte, levels int) error {
	switch {
	case f.message != nil:
		return f.message.check(b, levels)
	case f.text && !utf8.Valid(b):
		return errNoText
	case f.packed != nil:
		for len(b) > 0 {
			n := f.packed(b)
			if n < 0 {
				return errWire
			}
			b = b[n:]
		}
	}
	return nil
}
