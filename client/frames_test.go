package client

import (
	"fmt"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/heliosdb/metadata/events"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

type frame = *metadatav1.SubscribeResponse

// at is a position in cluster "c".
func at(epoch, schema, topology uint64) *metadatav1.Position {
	return &metadatav1.Position{ClusterId: "c", RecoveryEpoch: epoch, SchemaRevision: schema, TopologyRevision: topology}
}

func bookmark(p *metadatav1.Position) frame {
	return &metadatav1.SubscribeResponse{Frame: &metadatav1.SubscribeResponse_Bookmark{Bookmark: &metadatav1.Bookmark{Position: p}}}
}

func reset(s metadatav1.Stream, reason string) frame {
	return &metadatav1.SubscribeResponse{Frame: &metadatav1.SubscribeResponse_Reset_{
		Reset_: &metadatav1.Reset{Stream: s, Reason: reason},
	}}
}

func chunk(c *metadatav1.SnapshotChunk) frame {
	if c.FeatureLevel == 0 {
		c.FeatureLevel = 1
	}
	return &metadatav1.SubscribeResponse{Frame: &metadatav1.SubscribeResponse_Snapshot{Snapshot: c}}
}

// tablesAt is the snapshot of a schema in which each revision created the table
// of its number.
func tablesAt(revision uint64) frame {
	c := &metadatav1.SnapshotChunk{
		Stream: schemaStream, Revision: revision, Last: true,
		Namespaces: []*metadatav1.Namespace{{NamespaceId: 1, Name: "public", Version: 1}},
	}
	for r := uint64(1); r <= revision; r++ {
		c.Tables = append(c.Tables, table(r))
	}
	return chunk(c)
}

// nodesAt is the snapshot of a topology in which each revision registered the
// node of its number.
func nodesAt(revision uint64) frame {
	c := &metadatav1.SnapshotChunk{Stream: topologyStream, Revision: revision, Last: true}
	for r := uint64(1); r <= revision; r++ {
		c.Nodes = append(c.Nodes, node(r))
	}
	return chunk(c)
}

func table(revision uint64) *metadatav1.TableSchema {
	return &metadatav1.TableSchema{TableId: revision, Namespace: "public", Name: fmt.Sprintf("t%d", revision), Version: 1, CreatedRevision: revision}
}

func node(revision uint64) *metadatav1.NodeInfo {
	return &metadatav1.NodeInfo{NodeId: fmt.Sprintf("n%d", revision), Epoch: revision, Status: metadatav1.NodeStatus_NODE_STATUS_ONLINE}
}

// created are changes first to last, each of which created a table.
func created(first, last uint64) frame {
	return schemaChanges(first, last, func(r uint64) *metadatav1.Event {
		return &metadatav1.Event{Kind: &metadatav1.Event_TableCreated{TableCreated: &metadatav1.TableCreated{Table: table(r)}}}
	})
}

func schemaChanges(first, last uint64, event func(uint64) *metadatav1.Event) frame {
	changes := &metadatav1.Changes{Stream: schemaStream}
	for r := first; r <= last; r++ {
		changes.Changes = append(changes.Changes, change(r, event(r)))
	}
	return &metadatav1.SubscribeResponse{Frame: &metadatav1.SubscribeResponse_Changes{Changes: changes}}
}

func registered(revision uint64) frame {
	return &metadatav1.SubscribeResponse{Frame: &metadatav1.SubscribeResponse_Changes{Changes: &metadatav1.Changes{
		Stream: topologyStream,
		Changes: []*metadatav1.Change{change(revision, &metadatav1.Event{
			Kind: &metadatav1.Event_NodeRegistered{NodeRegistered: &metadatav1.NodeRegistered{Node: node(revision)}},
		})},
	}}}
}

func change(revision uint64, e *metadatav1.Event) *metadatav1.Change {
	return &metadatav1.Change{
		Revision: revision, Time: &timestamppb.Timestamp{Seconds: int64(revision)},
		FeatureLevel: events.FeatureLevel, Events: []*metadatav1.Event{e},
	}
}
