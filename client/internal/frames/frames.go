// Package frames makes the frames of subscriptions for tests: of a cluster "c" in
// which each schema revision created the table and each topology revision
// registered the node of its number. It is pure.
package frames

import (
	"fmt"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/heliosdb/metadata/events"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// Frame is a frame of a subscription.
type Frame = *metadatav1.SubscribeResponse

// At is a position in cluster "c".
func At(epoch, schema, topology uint64) *metadatav1.Position {
	return &metadatav1.Position{ClusterId: "c", RecoveryEpoch: epoch, SchemaRevision: schema, TopologyRevision: topology}
}

// Bookmark is a bookmark at a position.
func Bookmark(p *metadatav1.Position) Frame {
	return &metadatav1.SubscribeResponse{Frame: &metadatav1.SubscribeResponse_Bookmark{Bookmark: &metadatav1.Bookmark{Position: p}}}
}

// Reset begins a stream anew; stream 0: all.
func Reset(s metadatav1.Stream, reason string) Frame {
	return &metadatav1.SubscribeResponse{Frame: &metadatav1.SubscribeResponse_Reset_{
		Reset_: &metadatav1.Reset{Stream: s, Reason: reason},
	}}
}

// Chunk is a chunk of a snapshot, of feature level 1 unless it says another.
func Chunk(c *metadatav1.SnapshotChunk) Frame {
	if c.FeatureLevel == 0 {
		c.FeatureLevel = 1
	}
	return &metadatav1.SubscribeResponse{Frame: &metadatav1.SubscribeResponse_Snapshot{Snapshot: c}}
}

// Tables is the snapshot of a schema in which each revision created the table
// of its number.
func Tables(revision uint64) Frame {
	c := &metadatav1.SnapshotChunk{
		Stream: metadatav1.Stream_STREAM_SCHEMA, Revision: revision, Last: true,
		Namespaces: []*metadatav1.Namespace{{NamespaceId: 1, Name: "public", Version: 1}},
	}
	for r := uint64(1); r <= revision; r++ {
		c.Tables = append(c.Tables, Table(r))
	}
	return Chunk(c)
}

// Nodes is the snapshot of a topology in which each revision registered the
// node of its number.
func Nodes(revision uint64) Frame {
	c := &metadatav1.SnapshotChunk{Stream: metadatav1.Stream_STREAM_TOPOLOGY, Revision: revision, Last: true}
	for r := uint64(1); r <= revision; r++ {
		c.Nodes = append(c.Nodes, Node(r))
	}
	return Chunk(c)
}

// Table is the table that a schema revision created.
func Table(revision uint64) *metadatav1.TableSchema {
	return &metadatav1.TableSchema{TableId: revision, Namespace: "public", Name: fmt.Sprintf("t%d", revision), Version: 1, CreatedRevision: revision}
}

// Node is the node that a topology revision registered.
func Node(revision uint64) *metadatav1.NodeInfo {
	return &metadatav1.NodeInfo{NodeId: fmt.Sprintf("n%d", revision), Epoch: revision, Status: metadatav1.NodeStatus_NODE_STATUS_ONLINE}
}

// Created are changes first to last, each of which created a table.
func Created(first, last uint64) Frame {
	return Schema(first, last, func(r uint64) *metadatav1.Event {
		return &metadatav1.Event{Kind: &metadatav1.Event_TableCreated{TableCreated: &metadatav1.TableCreated{Table: Table(r)}}}
	})
}

// Schema are changes first to last of the schema, each with one event.
func Schema(first, last uint64, event func(uint64) *metadatav1.Event) Frame {
	changes := &metadatav1.Changes{Stream: metadatav1.Stream_STREAM_SCHEMA}
	for r := first; r <= last; r++ {
		changes.Changes = append(changes.Changes, Change(r, event(r)))
	}
	return &metadatav1.SubscribeResponse{Frame: &metadatav1.SubscribeResponse_Changes{Changes: changes}}
}

// Registered is the change that registered a node.
func Registered(revision uint64) Frame {
	return &metadatav1.SubscribeResponse{Frame: &metadatav1.SubscribeResponse_Changes{Changes: &metadatav1.Changes{
		Stream: metadatav1.Stream_STREAM_TOPOLOGY,
		Changes: []*metadatav1.Change{Change(revision, &metadatav1.Event{
			Kind: &metadatav1.Event_NodeRegistered{NodeRegistered: &metadatav1.NodeRegistered{Node: Node(revision)}},
		})},
	}}}
}

// Change is a change with one event.
func Change(revision uint64, e *metadatav1.Event) *metadatav1.Change {
	return &metadatav1.Change{
		Revision: revision, Time: &timestamppb.Timestamp{Seconds: int64(revision)},
		FeatureLevel: events.FeatureLevel, Events: []*metadatav1.Event{e},
	}
}
