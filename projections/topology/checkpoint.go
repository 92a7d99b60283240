package topology

import (
	"errors"
	"fmt"

	"github.com/heliosdb/metadata/projections/internal/fold"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// Export yields the records of a checkpoint: nodes by id, shards by id, used
// ids, the last node epoch. Equal models yield equal bytes. A record is valid
// until yield returns. It stops at the first error, which it returns.
func (m *Model) Export(yield func(record []byte) error) error {
	var buf []byte
	for item := range m.nodes.All() {
		buf = fold.AppendRecord(buf[:0], fold.RecordNode, item.node.raw)
		if err := yield(buf); err != nil {
			return err
		}
	}
	for item := range m.shards.All() {
		buf = fold.AppendRecord(buf[:0], fold.RecordShard, item.shard.raw)
		if err := yield(buf); err != nil {
			return err
		}
	}
	if err := fold.ExportUsed(metadatav1.IdKind_ID_KIND_SHARD, m.usedShards, yield); err != nil {
		return err
	}
	buf = protowire.AppendTag(buf[:0], fold.RecordLastNodeEpoch, protowire.VarintType)
	return yield(protowire.AppendVarint(buf, m.lastNodeEpoch))
}

// Restorer returns a restorer of models from what Export yields. The model that
// it is called on does not matter.
func (m *Model) Restorer() fold.Restorer[*Model] { return &restorer{d: New().Draft()} }

type restorer struct {
	d        *Draft
	complete bool // the last record was seen
}

func (r *restorer) Restore(record []byte) error {
	num, number, value, err := fold.SplitRecord(record)
	if err != nil {
		return err
	}
	var why string
	switch num {
	case fold.RecordNode:
		why = r.d.putNode(value, true)
	case fold.RecordShard:
		why = r.d.addShard(value)
	case fold.RecordUsedIDs:
		return r.used(value)
	case fold.RecordLastNodeEpoch:
		r.d.lastNodeEpoch = max(r.d.lastNodeEpoch, number)
		r.complete = true
	default:
		why = fmt.Sprintf("record %d does not belong to the topology stream", num)
	}
	if why != "" {
		return errors.New("a checkpoint is damaged: " + why)
	}
	return nil
}

func (r *restorer) used(value []byte) error {
	var used metadatav1.UsedIds
	if err := proto.Unmarshal(value, &used); err != nil {
		return fmt.Errorf("a checkpoint is damaged: used ids: %w", err)
	}
	if used.Kind != metadatav1.IdKind_ID_KIND_SHARD {
		return fmt.Errorf("a checkpoint is damaged: used ids of kind %v", used.Kind)
	}
	return fold.ImportUsed(&r.d.usedShards, &used)
}

func (r *restorer) Done() (*Model, error) {
	if !r.complete {
		return nil, errors.New("a checkpoint is damaged: the last node epoch is missing")
	}
	return r.d.Freeze(), nil
}
