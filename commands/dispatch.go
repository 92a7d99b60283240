package commands

import (
	"google.golang.org/protobuf/proto"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// StreamOf returns the stream that carries a command out. A batch belongs to
// the stream of its commands, which all have to agree. What is no command, and
// a batch without commands, is INVALID_FIELD; a mixed batch is MIXED_STREAMS.
func StreamOf(cmd proto.Message) (metadatav1.Stream, error) {
	switch c := cmd.(type) {
	case *metadatav1.CreateNamespaceRequest, *metadatav1.DropNamespaceRequest,
		*metadatav1.CreateTableRequest, *metadatav1.AlterTableRequest, *metadatav1.DropTableRequest:
		return metadatav1.Stream_STREAM_SCHEMA, nil
	case *metadatav1.RegisterNodeRequest, *metadatav1.UnregisterNodeRequest, *metadatav1.DrainNodeRequest,
		*metadatav1.UpdateShardMapRequest, *metadatav1.ExpireNodeLease, *metadatav1.ReviveNode:
		return metadatav1.Stream_STREAM_TOPOLOGY, nil
	case *metadatav1.CreateConsumerRequest, *metadatav1.OpenConsumerRequest, *metadatav1.AcknowledgeConsumerRequest,
		*metadatav1.DeleteConsumerRequest, *metadatav1.SignHead, *metadatav1.TrimHistory:
		return metadatav1.Stream_STREAM_SERVICE, nil
	case *metadatav1.ApplyBatchRequest:
		return streamOfBatch(c)
	case nil:
		return 0, invalid("", "there is no command")
	}
	return 0, invalid("", "%s is not a command", cmd.ProtoReflect().Descriptor().FullName())
}

func streamOfBatch(c *metadatav1.ApplyBatchRequest) (metadatav1.Stream, error) {
	var stream metadatav1.Stream
	for i, command := range c.GetCommands() {
		s, err := StreamOf(inner(command))
		if err != nil {
			return 0, element("commands", i, err)
		}
		if i > 0 && s != stream {
			return 0, reject(metadatav1.ErrorReason_ERROR_REASON_MIXED_STREAMS,
				"commands[%d] belongs to %v and commands[0] to %v; send a batch for each", i, s, stream)
		}
		stream = s
	}
	if stream == 0 {
		return 0, invalid("commands", "none were given; 1 to %d are allowed", MaxCommands)
	}
	return stream, nil
}

// inner returns the command of an element of a batch; nil if it has none.
func inner(c *metadatav1.Command) proto.Message {
	switch k := c.GetCommand().(type) {
	case *metadatav1.Command_CreateNamespace:
		return k.CreateNamespace
	case *metadatav1.Command_DropNamespace:
		return k.DropNamespace
	case *metadatav1.Command_CreateTable:
		return k.CreateTable
	case *metadatav1.Command_AlterTable:
		return k.AlterTable
	case *metadatav1.Command_DropTable:
		return k.DropTable
	case *metadatav1.Command_RegisterNode:
		return k.RegisterNode
	case *metadatav1.Command_UnregisterNode:
		return k.UnregisterNode
	case *metadatav1.Command_DrainNode:
		return k.DrainNode
	case *metadatav1.Command_UpdateShardMap:
		return k.UpdateShardMap
	}
	return nil
}

// MakesRoom reports whether a command lets history be deleted, so that it is carried out on a disk that is
// full up to its reserve too.
func MakesRoom(cmd proto.Message) bool {
	switch cmd.(type) {
	case *metadatav1.TrimHistory, *metadatav1.DeleteConsumerRequest:
		return true
	}
	return false
}

// WriteOptionsOf returns a command's write options; nil if it has none.
func WriteOptionsOf(cmd proto.Message) *metadatav1.WriteOptions {
	if c, ok := cmd.(interface {
		GetWrite() *metadatav1.WriteOptions
	}); ok {
		return c.GetWrite()
	}
	return nil
}

// carryOut decides one command of the schema stream on a draft and records its
// events. The message it returns is the object of a command that changed nothing.
func (d *schemaDraft) carryOut(cmd proto.Message) (unchanged proto.Message, err error) {
	switch c := cmd.(type) {
	case *metadatav1.CreateNamespaceRequest:
		return nil, d.createNamespace(c)
	case *metadatav1.DropNamespaceRequest:
		return nil, d.dropNamespace(c)
	case *metadatav1.CreateTableRequest:
		return nil, d.createTable(c)
	case *metadatav1.AlterTableRequest:
		return d.alterTable(c)
	case *metadatav1.DropTableRequest:
		return nil, d.dropTable(c)
	case *metadatav1.ApplyBatchRequest:
		return nil, carryOutBatch(c, &d.recorder, d.carryOut)
	}
	return nil, invalid("", "%T is not a command of the schema stream", cmd)
}

// carryOut is the same for the topology stream.
func (d *topologyDraft) carryOut(cmd proto.Message) (unchanged proto.Message, err error) {
	switch c := cmd.(type) {
	case *metadatav1.RegisterNodeRequest:
		return d.registerNode(c)
	case *metadatav1.UnregisterNodeRequest:
		return nil, d.unregisterNode(c)
	case *metadatav1.DrainNodeRequest:
		return d.drainNode(c)
	case *metadatav1.UpdateShardMapRequest:
		return nil, d.updateShardMap(c)
	case *metadatav1.ExpireNodeLease:
		d.expireNodeLease(c)
		return nil, nil
	case *metadatav1.ReviveNode:
		d.reviveNode(c)
		return nil, nil
	case *metadatav1.ApplyBatchRequest:
		return nil, carryOutBatch(c, &d.recorder, d.carryOut)
	}
	return nil, invalid("", "%T is not a command of the topology stream", cmd)
}

// carryOut is the same for the service stream, whose commands are in no batch.
func (d *serviceDraft) carryOut(cmd proto.Message) (unchanged proto.Message, err error) {
	switch c := cmd.(type) {
	case *metadatav1.CreateConsumerRequest:
		return nil, d.createConsumer(c)
	case *metadatav1.OpenConsumerRequest:
		return nil, d.openConsumer(c)
	case *metadatav1.AcknowledgeConsumerRequest:
		return d.acknowledgeConsumer(c)
	case *metadatav1.DeleteConsumerRequest:
		return nil, d.deleteConsumer(c)
	case *metadatav1.SignHead:
		return nil, d.signHead(c)
	case *metadatav1.TrimHistory:
		return nil, d.trimHistory(c)
	}
	return nil, invalid("", "%T is not a command of the service stream", cmd)
}
