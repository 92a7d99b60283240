// Package canonical writes the canonical encoding of messages, byte by byte what
// proto.MarshalOptions{Deterministic: true} writes, and reads messages as
// proto.Unmarshal does.
//
// Tables, and the messages that carry them (commands, events, answers), are written
// by hand here, because a change of the schema is encoded four times on its way: for
// its hash, for the log, for the answer, and by the client. It takes a third of the
// time that reflection takes, and no memory. Every other message, and whatever cannot be encoded,
// is left to the protobuf module. A test holds both against each other for every
// field of the contract.
//
// The functions are pure and safe for concurrent use, as long as nobody changes the
// message meanwhile.
package canonical

import (
	"bytes"
	"reflect"
	"sync"
	"unicode/utf8"
	"unsafe"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

var reflected = proto.MarshalOptions{Deterministic: true}

// scratch holds buffers to encode into before the size is known.
var scratch = sync.Pool{New: func() any { return new([]byte) }}

// maxScratch bounds the buffers that are kept.
const maxScratch = 1 << 20

// Marshal returns the canonical encoding of a message, in memory of just that size.
// Errors are those of proto.Marshal.
func Marshal(m proto.Message) (b []byte, err error) {
	With(m, func(encoded []byte, failed error) { b, err = bytes.Clone(encoded), failed })
	return b, err
}

// With hands the canonical encoding of a message to use, which may write to it and has
// to forget it when it returns. Errors are those of proto.Marshal.
func With(m proto.Message, use func([]byte, error)) {
	buf := scratch.Get().(*[]byte)
	encoded, err := Append((*buf)[:0], m)
	use(encoded, err)
	if cap(encoded) <= maxScratch {
		*buf = encoded
		scratch.Put(buf)
	}
}

// Append appends the canonical encoding of a message. Errors are those of
// proto.Marshal.
func Append(b []byte, m proto.Message) ([]byte, error) {
	w := writer{b: b}
	if w.message(m); w.refused {
		return reflected.MarshalAppend(b, m)
	}
	return w.b, nil
}

// writer appends fields in the order of their numbers.
type writer struct {
	b       []byte
	refused bool // it met something that it leaves to the protobuf module
}

// unknown appends the fields of a message that this build does not know.
func (w *writer) unknown(m proto.Message) {
	if raw := m.ProtoReflect().GetUnknown(); len(raw) > 0 {
		w.b = append(w.b, raw...)
	}
}

// unknownAt is where messages of a type keep the fields that this build does not know.
// Asking through reflection took a fifth of the time that a table's encoding takes:
// nearly all of its messages are columns and their types.
func unknownAt[T any]() uintptr {
	f, ok := reflect.TypeFor[T]().FieldByName("unknownFields")
	if !ok || f.Type != reflect.TypeFor[[]byte]() {
		panic("canonical: " + reflect.TypeFor[T]().String() + " has no unknownFields")
	}
	return f.Offset
}

// unknownIn is unknown for a message whose unknown fields are at an offset.
func unknownIn[T any](w *writer, m *T, at uintptr) {
	if raw := *(*[]byte)(unsafe.Add(unsafe.Pointer(m), at)); len(raw) > 0 {
		w.b = append(w.b, raw...)
	}
}

func (w *writer) tag(num protowire.Number, typ protowire.Type) {
	w.varint(protowire.EncodeTag(num, typ))
}

// varint is inlined for one byte, which is what nearly all tags and lengths have.
func (w *writer) varint(v uint64) {
	if v < 0x80 {
		w.b = append(w.b, byte(v))
		return
	}
	w.b = protowire.AppendVarint(w.b, v)
}

// number appends a varint field unless it is 0.
func (w *writer) number(num protowire.Number, v uint64) {
	if v != 0 {
		w.tag(num, protowire.VarintType)
		w.varint(v)
	}
}

// flag appends a bool field unless it is false.
func (w *writer) flag(num protowire.Number, v bool) {
	if v {
		w.number(num, 1)
	}
}

// text appends a string field unless it is empty.
func (w *writer) text(num protowire.Number, s string) {
	if s != "" {
		w.present(num, s)
	}
}

// present appends a string field, also an empty one.
func (w *writer) present(num protowire.Number, s string) {
	if !utf8.ValidString(s) {
		w.refused = true
		return
	}
	w.tag(num, protowire.BytesType)
	w.varint(uint64(len(s)))
	w.b = append(w.b, s...)
}

// open begins a length-delimited field and returns what close needs. The length gets
// one byte first, which is enough for most.
func (w *writer) open(num protowire.Number) (body int) {
	w.tag(num, protowire.BytesType)
	w.b = append(w.b, 0)
	return len(w.b)
}

// close ends the field whose body began there.
func (w *writer) close(body int) {
	size := len(w.b) - body
	if size < 0x80 {
		w.b[body-1] = byte(size)
		return
	}
	more := protowire.SizeVarint(uint64(size)) - 1
	for range more {
		w.b = append(w.b, 0)
	}
	copy(w.b[body+more:], w.b[body:body+size])
	protowire.AppendVarint(w.b[:body-1], uint64(size))
}
