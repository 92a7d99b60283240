package main

import (
	"fmt"
	"regexp"
	"strconv"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// batchError is a batch that the service did not carry out.
type batchError struct {
	stream string
	object string // the object that is to blame, if known
	err    error
}

// Error says it with the service's own words.
func (e *batchError) Error() string {
	message := reason(e.err)
	if e.object != "" {
		return fmt.Sprintf("the %s batch was refused as a whole, for %s: %s", e.stream, e.object, message)
	}
	return fmt.Sprintf("the %s batch failed as a whole: %s", e.stream, message)
}

func (e *batchError) Unwrap() error { return e.err }

// ordinal is how the service names a command of a batch.
var ordinal = regexp.MustCompile(`\bcommands\[(\d+)\]`)

// blamed names the object of the command that an error is about: people know
// their tables, not the places of commands in a batch.
func blamed(batch []*metadatav1.Command, err error) string {
	found := ordinal.FindStringSubmatch(err.Error())
	if found == nil {
		return ""
	}
	n, err := strconv.Atoi(found[1])
	if err != nil || n >= len(batch) {
		return ""
	}
	switch c := batch[n].GetCommand().(type) {
	case *metadatav1.Command_CreateNamespace:
		return "namespace " + c.CreateNamespace.GetNamespace().GetName()
	case *metadatav1.Command_CreateTable:
		return "table " + tableName(c.CreateTable.GetTable())
	case *metadatav1.Command_AlterTable:
		return fmt.Sprintf("the table with id %d", c.AlterTable.GetTable().GetTableId())
	case *metadatav1.Command_RegisterNode:
		return "node " + c.RegisterNode.GetNode().GetNodeId()
	case *metadatav1.Command_DrainNode:
		return "node " + c.DrainNode.GetNodeId()
	case *metadatav1.Command_UpdateShardMap:
		return "the shard map"
	}
	return ""
}
