package simulation

import (
	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/projections"
	"github.com/heliosdb/metadata/projections/schema"
	"github.com/heliosdb/metadata/projections/service"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// pastBook has all states that the streams ever had: the judge's own fold of what was
// committed.
type pastBook struct {
	schema   book[*schema.Model]
	topology book[*projections.TopologyModel]
	service  book[*service.Model]
}

func newPastBook(w *world) pastBook {
	return pastBook{
		schema:   book[*schema.Model]{w.genesisSchema()},
		topology: book[*projections.TopologyModel]{w.genesisTopology()},
		service:  book[*service.Model]{w.genesisService()},
	}
}

// changed takes a change when it is first applied.
func (p *pastBook) changed(c *events.Change) {
	switch c.Stream() {
	case metadatav1.Stream_STREAM_SCHEMA:
		p.schema.fold(c)
	case metadatav1.Stream_STREAM_TOPOLOGY:
		p.topology.fold(c)
	case metadatav1.Stream_STREAM_SERVICE:
		p.service.fold(c)
	}
}

// book has the states of one stream, by revision.
type book[D projections.Domain[D]] []*projections.State[D]

func (b *book[D]) fold(c *events.Change) { *b = append(*b, b.newest().Fold(c)) }

func (b book[D]) newest() *projections.State[D] { return b[len(b)-1] }

// record is an object in one state.
type record interface{ Bytes() []byte }

// foundIn returns a record if it is there.
func foundIn[R record](r R, ok bool) record {
	if !ok {
		return nil
	}
	return r
}

// object returns an object as it was at a revision of its stream; nil if there was none.
func (p *pastBook) object(ref *metadatav1.ObjectRef, revision uint64) record {
	switch o := ref.GetObject().(type) {
	case *metadatav1.ObjectRef_Table:
		return foundIn(findTable(p.schema[revision].Model, o.Table))
	case *metadatav1.ObjectRef_Namespace:
		return foundIn(p.schema[revision].Model.Namespace(o.Namespace))
	case *metadatav1.ObjectRef_NodeId:
		return foundIn(p.topology[revision].Model.Node(o.NodeId))
	case *metadatav1.ObjectRef_ShardId:
		return foundIn(p.topology[revision].Model.Shard(o.ShardId))
	case *metadatav1.ObjectRef_Consumer:
		return foundIn(p.service[revision].Model.Consumer(o.Consumer))
	}
	return nil
}
