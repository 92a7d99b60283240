package server

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/internal/canonical"
	"github.com/heliosdb/metadata/internal/failure"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// Connect answers a message that cannot be decoded by itself, before any of our
// code runs and without the details that the contract promises. So the codecs
// here do not fail: they leave a note of the failure in the message, as an
// unknown field, and the first interceptor that sees the message refuses it. A
// client that sends such a note by itself is refused, which harms nobody else.
const (
	noteField    protowire.Number = protowire.MaxValidNumber     // why it cannot be decoded
	tooLargeNote protowire.Number = protowire.MaxValidNumber - 1 // that it is too large
)

// note is the encoding of a message with such a note.
func note(number protowire.Number, text string) []byte {
	return protowire.AppendString(protowire.AppendTag(nil, number, protowire.BytesType), strings.ToValidUTF8(text, "?"))
}

func leaveNote(message proto.Message, err error) {
	proto.Reset(message)
	message.ProtoReflect().SetUnknown(note(noteField, err.Error()))
}

// takeNote returns why a message could not be decoded; nil if it could.
func takeNote(message proto.Message) error {
	for unknown := message.ProtoReflect().GetUnknown(); len(unknown) > 0; {
		number, kind, n := protowire.ConsumeTag(unknown)
		if n < 0 {
			return nil
		}
		if kind == protowire.BytesType && (number == noteField || number == tooLargeNote) {
			text, _ := protowire.ConsumeString(unknown[n:])
			if number == tooLargeNote {
				return tooLarge("the message")
			}
			return badBytes("the request cannot be decoded: %s", text)
		}
		size := protowire.ConsumeFieldValue(number, kind, unknown[n:])
		if size < 0 {
			return nil
		}
		unknown = unknown[n+size:]
	}
	return nil
}

// binaryCodec is protobuf's binary encoding.
type binaryCodec struct{}

func (binaryCodec) Name() string   { return "proto" }
func (binaryCodec) IsBinary() bool { return true }

func (c binaryCodec) Marshal(message any) ([]byte, error) {
	return c.MarshalAppend(nil, message)
}

func (binaryCodec) MarshalAppend(to []byte, message any) ([]byte, error) {
	m, err := protoMessage(message)
	if err != nil {
		return nil, err
	}
	return canonical.Append(to, m)
}

func (binaryCodec) MarshalStable(message any) ([]byte, error) {
	m, err := protoMessage(message)
	if err != nil {
		return nil, err
	}
	return canonical.Marshal(m)
}

func (binaryCodec) Unmarshal(raw []byte, message any) error {
	m, err := protoMessage(message)
	if err != nil {
		return err
	}
	if err := canonical.Unmarshal(raw, m); err != nil {
		leaveNote(m, err)
	}
	return nil
}

// jsonCodec is protobuf's JSON mapping. Fields and enum names that are not in the
// contract are refused: JSON is often written by hand, and a table that was
// created without its misspelled primary key is worse than an error.
type jsonCodec struct{ name string }

func (c jsonCodec) Name() string { return c.name }
func (jsonCodec) IsBinary() bool { return false }

func (c jsonCodec) Marshal(message any) ([]byte, error) {
	return c.MarshalAppend(nil, message)
}

func (jsonCodec) MarshalAppend(to []byte, message any) ([]byte, error) {
	m, err := protoMessage(message)
	if err != nil {
		return nil, err
	}
	return protojson.MarshalOptions{}.MarshalAppend(to, m)
}

func (c jsonCodec) MarshalStable(message any) ([]byte, error) {
	raw, err := c.Marshal(message)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if err := json.Compact(&out, raw); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

func (jsonCodec) Unmarshal(raw []byte, message any) error {
	m, err := protoMessage(message)
	if err != nil {
		return err
	}
	err = protojson.Unmarshal(raw, m)
	switch {
	case len(raw) == 0:
		leaveNote(m, errors.New("an empty body is no JSON object; send {} for an empty message"))
	case !utf8.Valid(raw):
		leaveNote(m, errors.New("the JSON is not UTF-8"))
	case err != nil:
		leaveNote(m, err)
	}
	return nil
}

func protoMessage(message any) (proto.Message, error) {
	m, ok := message.(proto.Message)
	if !ok {
		return nil, fmt.Errorf("%T is no protobuf message", message)
	}
	return m, nil
}

// boundedGzip decompresses at most ReadMaxBytes and then fails. Connect's own
// limit reads a bomb to its end to say how large it was. What is no gzip fails when
// it is read: where Reset fails, Connect answers without the details of the contract.
type boundedGzip struct {
	gzip.Reader
	left  int
	reset error // why the last Reset failed
}

func newBoundedGzip() connect.Decompressor { return &boundedGzip{} }

func (b *boundedGzip) Reset(from io.Reader) error {
	b.left = ReadMaxBytes
	b.reset = b.Reader.Reset(from)
	return nil
}

func (b *boundedGzip) Read(to []byte) (int, error) {
	if b.reset != nil {
		return 0, encode(badBytes("the request cannot be decompressed: %v", b.reset))
	}
	n, err := readBounded(&b.Reader, to, &b.left, "the decompressed message")
	if _, own := errors.AsType[*connect.Error](err); err != nil && !errors.Is(err, io.EOF) && !own {
		err = encode(badBytes("the request cannot be decompressed: %v", err))
	}
	return n, err
}

// Close is not gzip's, which needs a header to have been read.
func (b *boundedGzip) Close() error { return nil }

// readBounded reads at most as many bytes as are left and then fails.
func readBounded(from io.Reader, to []byte, left *int, what string) (int, error) {
	if len(to) > *left+1 {
		to = to[:*left+1]
	}
	n, err := from.Read(to)
	if n > *left {
		return 0, encode(tooLarge(what))
	}
	*left -= n
	return n, err
}

// badBytes is about a request of which no field can be blamed.
func badBytes(format string, args ...any) *failure.Error {
	return failure.New(metadatav1.ErrorReason_ERROR_REASON_INVALID_FIELD, format, args...)
}

func tooLarge(what string) *failure.Error {
	return failure.New(metadatav1.ErrorReason_ERROR_REASON_LIMIT_REACHED,
		"%s is larger than %d bytes; send less in one message", what, ReadMaxBytes).
		With("limit", "message_bytes").With("max", fmt.Sprint(ReadMaxBytes))
}

func newGzipWriter() connect.Compressor { return gzip.NewWriter(io.Discard) }
