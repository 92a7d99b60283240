package topology

import (
	"fmt"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/projections/internal/fold"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// Draft is a private copy of a model, for deciding several steps on top of each
// other. Read it through Model, which shows what was applied so far. It belongs
// to one goroutine.
type Draft struct{ Model }

// Freeze returns what the draft holds as a model of its own. The draft can be
// used on.
func (d *Draft) Freeze() *Model {
	d.freeze()
	m := d.Model
	return &m
}

// Apply folds one event of the change with this revision. It is the one meaning
// of the events of the topology stream. It panics with a fold error if the event
// does not fit the model.
func (d *Draft) Apply(e events.Event, revision uint64) {
	if why := d.apply(e); why != "" {
		fold.FailEvent(e, revision, "%s", why)
	}
}

// apply returns why it cannot; nothing if it did.
func (d *Draft) apply(e events.Event) (why string) {
	switch k := e.Message().GetKind().(type) {
	case *metadatav1.Event_NodeRegistered:
		return d.putNode(e.Object(0), true)
	case *metadatav1.Event_NodeCameOnline, *metadatav1.Event_NodeWentOffline,
		*metadatav1.Event_NodeDrained, *metadatav1.Event_NodeDrainCancelled:
		return d.putNode(e.Object(0), false)
	case *metadatav1.Event_NodeUnregistered:
		id := k.NodeUnregistered.GetNode().GetNodeId()
		if _, ok := d.nodes.Delete(nodeItem{id: id}); !ok {
			return fmt.Sprintf("node %q does not exist", id)
		}
		return ""
	case *metadatav1.Event_ShardCreated:
		return d.addShard(e.Object(0))
	case *metadatav1.Event_ShardChanged, *metadatav1.Event_ShardMoved:
		return d.replaceShard(e.Object(0))
	case *metadatav1.Event_ShardSplit:
		return d.split(e, k.ShardSplit.GetParent())
	case *metadatav1.Event_ShardsMerged:
		for _, parent := range k.ShardsMerged.GetParents() {
			if why := d.removeShard(parent.GetShardId()); why != "" {
				return why
			}
		}
		return d.addShard(e.Object(0))
	case *metadatav1.Event_ShardDeleted:
		return d.removeShard(k.ShardDeleted.GetShard().GetShardId())
	}
	return "not an event of the topology stream"
}

// putNode stores a node as it is now. Only a registration brings a new node.
func (d *Draft) putNode(raw []byte, registers bool) (why string) {
	n, err := newNode(raw)
	if err != nil {
		return err.Error()
	}
	if _, known := d.nodes.Put(nodeItem{n.id, n}); !known && !registers {
		return fmt.Sprintf("node %q does not exist", n.id)
	}
	d.lastNodeEpoch = max(d.lastNodeEpoch, n.epoch)
	return ""
}

func (d *Draft) addShard(raw []byte) (why string) {
	s, err := newShard(raw)
	if err != nil {
		return err.Error()
	}
	if d.usedShards.Contains(s.id) {
		return fmt.Sprintf("shard id %d was given before", s.id)
	}
	d.usedShards.Add(s.id)
	d.index(s)
	return ""
}

func (d *Draft) replaceShard(raw []byte) (why string) {
	s, err := newShard(raw)
	if err != nil {
		return err.Error()
	}
	if why := d.removeShard(s.id); why != "" {
		return why
	}
	d.index(s)
	return ""
}

func (d *Draft) split(e events.Event, parent *metadatav1.ShardInfo) (why string) {
	if why := d.removeShard(parent.GetShardId()); why != "" {
		return why
	}
	for i := range e.Objects() {
		if why := d.addShard(e.Object(i)); why != "" {
			return why
		}
	}
	return ""
}

func (d *Draft) removeShard(id uint64) (why string) {
	gone, ok := d.shards.Delete(shardItem{id: id})
	if !ok {
		return fmt.Sprintf("shard %d does not exist", id)
	}
	at := keyItem{start: gone.shard.start, id: id}
	d.keys.Delete(at)
	for _, node := range gone.shard.nodes {
		if node != "" {
			d.placements.Delete(placementItem{node, at})
		}
	}
	return ""
}

func (d *Draft) index(s *Shard) {
	d.shards.Put(shardItem{s.id, s})
	at := keyItem{s.start, s.id, s}
	d.keys.Put(at)
	for _, node := range s.nodes {
		if node != "" {
			d.placements.Put(placementItem{node, at})
		}
	}
}
