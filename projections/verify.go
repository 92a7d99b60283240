package projections

import (
	"github.com/heliosdb/metadata/projections/internal/fold"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// Verify reports whether every object decodes, as readers rely on. Fold makes no
// others, and a checksum vouches for what a member has written itself: only an
// imported state of somebody else needs it. It reads everything once, and may run
// beside anything.
func (s *State[D]) Verify() error {
	into := map[protowire.Number]proto.Message{
		fold.RecordNamespace: new(metadatav1.Namespace),
		fold.RecordTable:     new(metadatav1.TableSchema),
		fold.RecordNode:      new(metadatav1.NodeInfo),
		fold.RecordShard:     new(metadatav1.ShardInfo),

		fold.RecordConsumer:     new(metadatav1.Consumer),
		fold.RecordSignedHead:   new(metadatav1.SignedHead),
		fold.RecordHistoryFloor: new(metadatav1.HistoryFloor),
	}
	return s.Model.Export(func(record []byte) error {
		num, _, value, err := fold.SplitRecord(record)
		if m := into[num]; err == nil && m != nil {
			if err := proto.Unmarshal(value, m); err != nil {
				return damaged("a record does not decode to %T: %w", m, err)
			}
		}
		return err
	})
}
