package commands

import (
	"fmt"
	"strconv"

	"github.com/heliosdb/metadata/projections/topology"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// updateShardMap carries out the steps of one UpdateShardMap in order. In the
// middle of it ranges may overlap; what counts is the map at the end.
func (d *topologyDraft) updateShardMap(c *metadatav1.UpdateShardMapRequest) error {
	steps := c.GetChanges()
	if n := len(steps); n < 1 || n > MaxShardMapChanges {
		return invalid("changes", "%d were given; 1 to %d are allowed", n, MaxShardMapChanges)
	}
	m := &shardMap{topologyDraft: d, chosen: chosenIDs(steps), touchedBy: make(map[uint64]int)}
	for i, step := range steps {
		m.step = i
		err := m.carryOut(step)
		if err == nil {
			err = d.checkChangeSize()
		}
		if err != nil {
			return element("changes", i, err)
		}
	}
	return m.check()
}

// shardMap is an UpdateShardMap under way.
type shardMap struct {
	*topologyDraft
	step      int             // under way
	chosen    map[uint64]bool // ids that any step names for a new shard
	lastID    uint64          // last one assigned
	touched   []uint64        // shards created or changed, in order
	touchedBy map[uint64]int  // the last step that did
}

func (m *shardMap) carryOut(step *metadatav1.ShardMapChange) error {
	switch s := step.GetAction().(type) {
	case *metadatav1.ShardMapChange_Put:
		return within("put", m.put(s.Put))
	case *metadatav1.ShardMapChange_Delete:
		return within("delete", m.delete(s.Delete))
	case *metadatav1.ShardMapChange_Split:
		return within("split", m.split(s.Split))
	case *metadatav1.ShardMapChange_Merge:
		return within("merge", m.merge(s.Merge))
	case *metadatav1.ShardMapChange_Move:
		return within("move", m.move(s.Move))
	}
	return invalid("", "the step says nothing to do")
}

// touch remembers that the present step made a shard what it is.
func (m *shardMap) touch(id uint64) {
	if _, ok := m.touchedBy[id]; !ok {
		m.touched = append(m.touched, id)
	}
	m.touchedBy[id] = m.step
}

// check judges the map at the end: what the steps touched overlaps nothing and
// lies on no node that is being drained.
func (m *shardMap) check() error {
	if n := m.ShardCount(); n > MaxShards {
		return limit("MaxShards", "there would be %d shards; at most %d are allowed", n, MaxShards)
	}
	for _, id := range m.touched {
		s, ok := m.Shard(id)
		if !ok {
			continue // a later step removed it
		}
		if err := m.checkEnd(s); err != nil {
			return element("changes", m.touchedBy[id], err)
		}
	}
	return nil
}

func (m *shardMap) checkEnd(s *topology.Shard) error {
	if other, ok := m.Overlap(s); ok {
		return reject(metadatav1.ErrorReason_ERROR_REASON_RANGE_OVERLAP,
			"shard %d %s would overlap shard %d %s", s.ID(), showRange(s.Start(), s.End()), other.ID(), showRange(other.Start(), other.End())).
			With("shard_id", strconv.FormatUint(s.ID(), 10)).With("overlaps", strconv.FormatUint(other.ID(), 10))
	}
	for _, id := range [...]string{s.Primary(), s.Mirror(), s.Witness()} {
		if n, ok := m.Node(id); ok && n.Draining() {
			return unsuitable(id, "node %q is being drained and takes no shards; shard %d needs another", id, s.ID())
		}
	}
	return nil
}

// chosenIDs returns the ids that steps name for new shards, so that none of them
// is assigned to another shard in the meantime.
func chosenIDs(steps []*metadatav1.ShardMapChange) map[uint64]bool {
	ids := make(map[uint64]bool)
	for _, step := range steps {
		ids[step.GetPut().GetShard().GetShardId()] = true
		ids[step.GetMerge().GetChildId()] = true
		for _, id := range step.GetSplit().GetChildIds() {
			ids[id] = true
		}
	}
	return ids
}

// claim returns the id that a new shard gets.
func (m *shardMap) claim(path string, id uint64) (uint64, error) {
	if id == 0 {
		return m.assign()
	}
	if id > MaxID {
		return 0, invalid(path, "%d is above %d, the largest shard id", id, MaxID)
	}
	if _, ok := m.Shard(id); ok {
		return 0, within(path, alreadyExists("shard id %d is taken; choose another, or 0 to have one assigned", id).
			With("shard_id", strconv.FormatUint(id, 10)))
	}
	if m.UsedShardID(id) {
		return 0, within(path, usedID("shard", id))
	}
	return id, nil
}

func (m *shardMap) assign() (uint64, error) {
	id := max(m.lastID+1, m.FreeShardID())
	for m.chosen[id] || m.UsedShardID(id) {
		id++
	}
	if id > MaxID {
		return 0, limit("MaxID", "all shard ids up to %d were used", MaxID)
	}
	m.lastID = id
	return id, nil
}

// find returns the shard that a step names, if it has the version that the step
// expects.
func (m *shardMap) find(path string, id uint64, expected *uint64) (*metadatav1.ShardInfo, error) {
	s, ok := m.Shard(id)
	if !ok {
		return nil, within(path, notFound("there is no shard %d", id).With("shard_id", strconv.FormatUint(id, 10)))
	}
	if err := checkVersion(func() string { return fmt.Sprintf("shard %d", id) }, s.Version(), expected); err != nil {
		return nil, err
	}
	return s.Message(), nil
}
