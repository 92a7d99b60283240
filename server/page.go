package server

import (
	"context"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/samber/lo"
)

// jsonGrowth is how much larger a message may be in JSON.
const jsonGrowth = 6

// page gathers the objects of one answer until it is full. In a binary answer
// the objects' own encodings are copied to the wire as they are: as the unknown
// fields of the message, which are encoded by being appended. Only for JSON are
// objects decoded.
type page struct {
	json  bool
	count int // objects that still fit
	bytes int // bytes that still fit
	empty bool
	raw   []byte
}

func newPage(ctx context.Context, size uint32) *page {
	p := &page{
		json:  callerOf(ctx).json,
		count: int(lo.Clamp(lo.CoalesceOrEmpty(size, defaultPageSize), 1, maxPageSize)),
		bytes: pageBytes,
		empty: true,
	}
	if p.json {
		p.bytes /= jsonGrowth
	}
	return p
}

// takes reports whether an object of this size fits, and makes room for it. The
// first one always fits.
func (p *page) takes(size int) bool {
	if p.count == 0 || (p.bytes < size && !p.empty) {
		return false
	}
	p.count--
	p.bytes -= size
	p.empty = false
	return true
}

// record is an object of a model.
type record[M proto.Message] interface {
	Bytes() []byte
	Message() M
}

// put adds an object to a list field of an answer; false if the page is full.
func put[M proto.Message](p *page, list *[]M, field protowire.Number, object record[M]) bool {
	raw := object.Bytes()
	if !p.takes(len(raw)) {
		return false
	}
	if p.json {
		*list = append(*list, object.Message())
		return true
	}
	p.raw = protowire.AppendTag(p.raw, field, protowire.BytesType)
	p.raw = protowire.AppendBytes(p.raw, raw)
	return true
}

// into moves the gathered encodings into the message that has the list fields.
func (p *page) into(message proto.Message) {
	message.ProtoReflect().SetUnknown(p.raw)
	p.raw = nil
}

// single returns an object for an answer, encoded as it was logged.
func single[M proto.Message](ctx context.Context, answer proto.Message, field protowire.Number, object record[M]) M {
	if callerOf(ctx).json {
		return object.Message()
	}
	raw := protowire.AppendTag(nil, field, protowire.BytesType)
	answer.ProtoReflect().SetUnknown(protowire.AppendBytes(raw, object.Bytes()))
	var none M
	return none
}
