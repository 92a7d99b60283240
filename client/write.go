package client

import (
	"context"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// write makes a call with effect. All attempts carry one request id, so at most
// one takes effect.
func write[Req, Res any, Q interface {
	message[Req]
	GetWrite() *metadatav1.WriteOptions
}, A message[Res]](
	ctx context.Context, c *Client, s metadatav1.Stream, req Q, name string, call func(service, context.Context, Q) (A, error),
) (*Res, error) {
	p := req
	known := uint64(0)
	if p.GetWrite().GetRequestId() == "" {
		p = withOptions(p, func(o *metadatav1.WriteOptions) { o.RequestId = newID() })
		known = c.known.revision(s)
	}
	t := c.tries(s)
	t.effect = true
	res, err := perform(ctx, t, req, func(a try) (*Res, error) {
		if !a.first && known > 0 && p.GetWrite().GetKnownRevision() == 0 {
			// From now on the id may have been used; say how old it is, so that a
			// service that has forgotten it says so instead of writing again.
			p = withOptions(p, func(o *metadatav1.WriteOptions) { o.KnownRevision = known })
		}
		return callOnce(a, p, name, call)
	})
	if err != nil && t.uncertain && !p.GetWrite().GetDryRun() {
		again := proto.CloneOf(p.GetWrite())
		if again.KnownRevision == 0 {
			again.KnownRevision = known
		}
		err = &unknownOutcomeError{again, err}
	}
	return res, err
}

// withOptions returns a command with other write options.
func withOptions[M interface {
	proto.Message
	GetWrite() *metadatav1.WriteOptions
}](m M, change func(*metadatav1.WriteOptions)) M {
	options := new(metadatav1.WriteOptions)
	if own := m.GetWrite(); own != nil {
		options = proto.CloneOf(own)
	}
	change(options)
	if c, ok := any(m).(*metadatav1.CreateTableRequest); ok && len(m.ProtoReflect().GetUnknown()) == 0 {
		// The same without reflection, for what busy clients create.
		return any(&metadatav1.CreateTableRequest{Table: c.GetTable(), Write: options}).(M)
	}
	return withField(m, "write", options)
}

// withField returns a request with another message in a field. It shares the rest with the
// caller's, which stays as it is.
func withField[M proto.Message](m M, name protoreflect.Name, value proto.Message) M {
	from := m.ProtoReflect()
	to := from.New()
	from.Range(func(field protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		to.Set(field, v)
		return true
	})
	to.SetUnknown(from.GetUnknown())
	to.Set(from.Descriptor().Fields().ByName(name), protoreflect.ValueOfMessage(value.ProtoReflect()))
	return to.Interface().(M)
}
