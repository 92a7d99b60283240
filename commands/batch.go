package commands

import (
	"slices"

	"google.golang.org/protobuf/proto"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// carryOutBatch carries out the commands of a batch in order, each on top of
// those before it. The first rejection rejects the batch and says which command
// it was.
func carryOutBatch(c *metadatav1.ApplyBatchRequest, r *recorder, carryOut func(proto.Message) (proto.Message, error)) error {
	if n := len(c.Commands); n > MaxCommands {
		return invalid("commands", "%d were given; at most %d are allowed", n, MaxCommands)
	}
	r.events = slices.Grow(r.events, len(c.Commands)) // most have one
	for i, command := range c.Commands {
		cmd := inner(command)
		r.ordinal = uint32(i)
		err := checkInner(cmd)
		if err == nil {
			_, err = carryOut(cmd)
		}
		if err == nil {
			err = r.checkChangeSize()
		}
		if err != nil {
			return element("commands", i, within(nameOf(command), err))
		}
	}
	return nil
}

// checkInner refuses options of their own to commands of a batch: it has one
// request id and takes effect as a whole.
func checkInner(cmd proto.Message) error {
	if WriteOptionsOf(cmd) != nil {
		return invalid("write", "commands of a batch have no options of their own; set those of the batch")
	}
	return nil
}

// nameOf returns the name of the field that holds a command.
func nameOf(c *metadatav1.Command) string {
	m := c.ProtoReflect()
	return string(m.WhichOneof(m.Descriptor().Oneofs().ByName("command")).Name())
}
