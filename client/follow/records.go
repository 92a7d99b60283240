package follow

import (
	"iter"

	"google.golang.org/protobuf/proto"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// records yields the objects of a chunk as a checkpoint has them. epoch is the
// highest epoch of a node in the snapshot so far.
func records(chunk *metadatav1.SnapshotChunk, epoch *uint64) iter.Seq2[[]byte, error] {
	type record = metadatav1.CheckpointRecord
	return func(yield func([]byte, error) bool) {
		put := func(object proto.Message, wrap func(encoded []byte) *record) bool {
			encoded, err := proto.MarshalOptions{Deterministic: true}.Marshal(object)
			if err != nil {
				return yield(nil, err)
			}
			return yield(proto.Marshal(wrap(encoded)))
		}
		for _, n := range chunk.GetNamespaces() {
			if !put(n, func(b []byte) *record { return &record{Record: &metadatav1.CheckpointRecord_Namespace{Namespace: b}} }) {
				return
			}
		}
		for _, t := range chunk.GetTables() {
			if !put(t, func(b []byte) *record { return &record{Record: &metadatav1.CheckpointRecord_Table{Table: b}} }) {
				return
			}
		}
		for _, n := range chunk.GetNodes() {
			*epoch = max(*epoch, n.GetEpoch())
			if !put(n, func(b []byte) *record { return &record{Record: &metadatav1.CheckpointRecord_Node{Node: b}} }) {
				return
			}
		}
		for _, s := range chunk.GetShards() {
			if !put(s, func(b []byte) *record { return &record{Record: &metadatav1.CheckpointRecord_Shard{Shard: b}} }) {
				return
			}
		}
		if chunk.GetLast() && chunk.GetStream() == topologyStream {
			yield(proto.Marshal(&record{Record: &metadatav1.CheckpointRecord_LastNodeEpoch{LastNodeEpoch: *epoch}}))
		}
	}
}
