package topology

import (
	"fmt"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/projections/internal/fold"
	"google.golang.org/protobuf/encoding/protowire"
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
	switch e.Kind() {
	case events.KindNodeRegistered:
		return d.putNode(e.Object(0), true)
	case events.KindNodeCameOnline, events.KindNodeWentOffline, events.KindNodeDrained, events.KindNodeDrainCancelled:
		return d.putNode(e.Object(0), false)
	case events.KindNodeUnregistered:
		return d.removeNode(e.Object(0))
	case events.KindShardCreated:
		return d.addShard(e.Object(0))
	case events.KindShardChanged, events.KindShardMoved:
		return d.replaceShard(e.Object(0))
	case events.KindShardSplit:
		return d.split(e)
	case events.KindShardsMerged:
		return d.merge(e)
	case events.KindShardDeleted:
		return d.removeShard(shardID(e.Object(0)))
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

func (d *Draft) removeNode(raw []byte) (why string) {
	n, err := newNode(raw)
	if err != nil {
		return err.Error()
	}
	if _, ok := d.nodes.Delete(nodeItem{id: n.id}); !ok {
		return fmt.Sprintf("node %q does not exist", n.id)
	}
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

func (d *Draft) split(e events.Event) (why string) {
	if why := d.removeShard(shardID(e.Before(0))); why != "" {
		return why
	}
	for i := range e.Objects() {
		if why := d.addShard(e.Object(i)); why != "" {
			return why
		}
	}
	return ""
}

func (d *Draft) merge(e events.Event) (why string) {
	for i := 0; e.Before(i) != nil; i++ {
		if why := d.removeShard(shardID(e.Before(i))); why != "" {
			return why
		}
	}
	return d.addShard(e.Object(0))
}

// shardID returns the id of an encoded shard; 0 if it has none.
func shardID(raw []byte) (id uint64) {
	_ = fold.Fields(fold.View(raw), func(num protowire.Number, number uint64, _ string) { // an event's objects can be read
		if num == 1 {
			id = number
		}
	})
	return id
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
