package main

import (
	"strconv"
	"strings"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

const objectUsage = "KIND/NAME: table/shop.orders (or shop.orders alone), namespace/shop, node/storage-1, shard/7 or consumer/audit; table/17 is the table with that id"

// parseObject reads an object as people name it.
func parseObject(text string) (*metadatav1.ObjectRef, error) {
	kind, name, named := strings.Cut(text, "/")
	if !named {
		kind, name = "table", text
	}
	if name == "" {
		return nil, usage("%q names no object; write %s", text, objectUsage)
	}
	id, err := strconv.ParseUint(name, 10, 64)
	number := err == nil
	switch kind {
	case "table":
		ref := tableRef(name)
		if number && named {
			ref = &metadatav1.TableRef{TableId: id}
		}
		return tableObject(ref), nil
	case "namespace":
		return &metadatav1.ObjectRef{Object: &metadatav1.ObjectRef_Namespace{Namespace: name}}, nil
	case "node":
		return &metadatav1.ObjectRef{Object: &metadatav1.ObjectRef_NodeId{NodeId: name}}, nil
	case "shard":
		if !number {
			return nil, usage("shard %q: write its id, a number", name)
		}
		return &metadatav1.ObjectRef{Object: &metadatav1.ObjectRef_ShardId{ShardId: id}}, nil
	case "consumer":
		return &metadatav1.ObjectRef{Object: &metadatav1.ObjectRef_Consumer{Consumer: name}}, nil
	}
	return nil, usage("there is no kind %q; write %s", kind, objectUsage)
}

func tableObject(ref *metadatav1.TableRef) *metadatav1.ObjectRef {
	return &metadatav1.ObjectRef{Object: &metadatav1.ObjectRef_Table{Table: ref}}
}

// refOf names an object that an event is about, if it can be asked for; else nil.
func refOf(object any) *metadatav1.ObjectRef {
	switch o := object.(type) {
	case *metadatav1.TableSchema:
		return tableObject(&metadatav1.TableRef{TableId: o.GetTableId()})
	case *metadatav1.Namespace:
		return &metadatav1.ObjectRef{Object: &metadatav1.ObjectRef_Namespace{Namespace: o.GetName()}}
	case *metadatav1.NodeInfo:
		return &metadatav1.ObjectRef{Object: &metadatav1.ObjectRef_NodeId{NodeId: o.GetNodeId()}}
	case *metadatav1.ShardInfo:
		return &metadatav1.ObjectRef{Object: &metadatav1.ObjectRef_ShardId{ShardId: o.GetShardId()}}
	case *metadatav1.Consumer:
		return &metadatav1.ObjectRef{Object: &metadatav1.ObjectRef_Consumer{Consumer: o.GetName()}}
	}
	return nil
}
