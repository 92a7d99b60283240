// Package fold holds what the models' folds share: the error with which a fold
// ends the member, reading of encoded objects field by field, and the records
// of checkpoints.
package fold

import (
	"fmt"
	"unsafe"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/internal/canonical"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// Error is the panic of a fold that met an event it cannot apply: a bug, or a
// log that does not belong to the model. The member has to stop: going on would
// make it differ from the others.
type Error struct {
	Stream   metadatav1.Stream
	Revision uint64 // of the change concerned
	Reason   string
}

// Error says which change cannot be applied and why.
func (e *Error) Error() string {
	return fmt.Sprintf("change %d of %v cannot be applied: %s", e.Revision, e.Stream, e.Reason)
}

// Fail panics with an [*Error].
func Fail(s metadatav1.Stream, revision uint64, format string, args ...any) {
	panic(&Error{Stream: s, Revision: revision, Reason: fmt.Sprintf(format, args...)})
}

// FailEvent panics with an [*Error] about one event.
func FailEvent(e events.Event, revision uint64, format string, args ...any) {
	Fail(e.Stream(), revision, "%v: %s", e.Kind(), fmt.Sprintf(format, args...))
}

// Bytes returns the bytes of s without copying. Nobody may write to them: they
// belong to an immutable record.
func Bytes(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }

// Fields calls yield for each field of an encoded message: number for varints,
// value (a part of raw) for length-delimited fields. It returns an error if raw
// is not an encoded message.
func Fields(raw string, yield func(num protowire.Number, number uint64, value string)) error {
	b := Bytes(raw)
	for at := 0; at < len(b); {
		num, typ, n := protowire.ConsumeTag(b[at:])
		if n < 0 {
			return protowire.ParseError(n)
		}
		at += n
		switch typ {
		case protowire.VarintType:
			v, n := protowire.ConsumeVarint(b[at:])
			if n < 0 {
				return protowire.ParseError(n)
			}
			at += n
			yield(num, v, "")
		case protowire.BytesType:
			v, n := protowire.ConsumeBytes(b[at:])
			if n < 0 {
				return protowire.ParseError(n)
			}
			at += n
			yield(num, 0, raw[at-len(v):at])
		default:
			n := protowire.ConsumeFieldValue(num, typ, b[at:])
			if n < 0 {
				return protowire.ParseError(n)
			}
			at += n
		}
	}
	return nil
}

// Decode decodes the encoding of an object that a record holds.
func Decode(raw string, m proto.Message) {
	if err := canonical.Unmarshal(Bytes(raw), m); err != nil {
		panic(fmt.Sprintf("projections: a record does not decode to %T: %v", m, err))
	}
}

// Field numbers of CheckpointRecord.
const (
	RecordNamespace     protowire.Number = 1
	RecordTable         protowire.Number = 2
	RecordNode          protowire.Number = 3
	RecordShard         protowire.Number = 4
	RecordUsedIDs       protowire.Number = 5
	RecordRequest       protowire.Number = 6
	RecordLastNodeEpoch protowire.Number = 7
	RecordConsumer      protowire.Number = 8
	RecordSignedHead    protowire.Number = 9
	RecordHistoryFloor  protowire.Number = 10
)

// AppendRecord appends the encoding of a CheckpointRecord that holds an encoded
// object.
func AppendRecord[V string | []byte](b []byte, num protowire.Number, value V) []byte {
	b = protowire.AppendTag(b, num, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(len(value)))
	return append(b, value...)
}

// Marshal encodes a record deterministically.
func Marshal(m proto.Message) []byte {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		panic(fmt.Sprintf("projections: cannot encode %T: %v", m, err))
	}
	return b
}
