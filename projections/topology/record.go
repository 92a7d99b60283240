package topology

import (
	"github.com/heliosdb/metadata/projections/internal/fold"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"google.golang.org/protobuf/encoding/protowire"
)

// Node is one node as it was logged. It is immutable.
type Node struct {
	raw             string
	id, incarnation string // parts of raw
	epoch           uint64
	kind            metadatav1.NodeType
	status          metadatav1.NodeStatus
	draining        bool
}

func newNode(raw []byte) (*Node, error) {
	n := &Node{raw: string(raw)}
	err := fold.Fields(n.raw, func(num protowire.Number, number uint64, value string) {
		switch num {
		case 1:
			n.id = value
		case 3:
			n.kind = metadatav1.NodeType(number)
		case 4:
			n.status = metadatav1.NodeStatus(number)
		case 5:
			n.epoch = number
		case 8:
			n.incarnation = value
		case 9:
			n.draining = number != 0
		}
	})
	return n, err
}

// ID returns the node's id.
func (n *Node) ID() string { return n.id }

// Incarnation returns the name of the run of the node's process.
func (n *Node) Incarnation() string { return n.incarnation }

// Epoch returns the epoch of the node's registration.
func (n *Node) Epoch() uint64 { return n.epoch }

// Type returns what the node does.
func (n *Node) Type() metadatav1.NodeType { return n.kind }

// Status returns whether the node can be used.
func (n *Node) Status() metadatav1.NodeStatus { return n.status }

// Draining reports whether no shard may be placed on the node any more.
func (n *Node) Draining() bool { return n.draining }

// Bytes returns the encoding. It is shared: never write to it.
func (n *Node) Bytes() []byte { return fold.Bytes(n.raw) }

// Message decodes the node. The message is the caller's.
func (n *Node) Message() *metadatav1.NodeInfo {
	m := new(metadatav1.NodeInfo)
	fold.Decode(n.raw, m)
	return m
}

// Shard is one shard as it was logged. It is immutable.
type Shard struct {
	raw                string
	id, epoch, version uint64
	start, end         string    // parts of raw
	nodes              [3]string // parts of raw: primary, mirror, witness
}

func newShard(raw []byte) (*Shard, error) {
	s := &Shard{raw: string(raw)}
	var keys string
	err := fold.Fields(s.raw, func(num protowire.Number, number uint64, value string) {
		switch num {
		case 1:
			s.id = number
		case 2:
			keys = value
		case 3, 4, 5:
			s.nodes[num-3] = value
		case 6:
			s.epoch = number
		case 7:
			s.version = number
		}
	})
	if err != nil {
		return s, err
	}
	err = fold.Fields(keys, func(num protowire.Number, _ uint64, value string) {
		switch num {
		case 1:
			s.start = value
		case 2:
			s.end = value
		}
	})
	return s, err
}

// ID returns the shard's id.
func (s *Shard) ID() uint64 { return s.id }

// Epoch returns the shard's fencing number.
func (s *Shard) Epoch() uint64 { return s.epoch }

// Version returns the shard's version.
func (s *Shard) Version() uint64 { return s.version }

// Start returns the first key of the shard. It is shared: never write to it.
func (s *Shard) Start() []byte { return fold.Bytes(s.start) }

// End returns the first key behind the shard; empty: no upper bound. It is
// shared: never write to it.
func (s *Shard) End() []byte { return fold.Bytes(s.end) }

// Contains reports whether the shard holds a key.
func (s *Shard) Contains(key []byte) bool {
	return s.start <= string(key) && (s.end == "" || string(key) < s.end)
}

// Primary returns the node that serves the shard.
func (s *Shard) Primary() string { return s.nodes[0] }

// Mirror returns the node with a copy; empty: none.
func (s *Shard) Mirror() string { return s.nodes[1] }

// Witness returns the node that only votes; empty: none.
func (s *Shard) Witness() string { return s.nodes[2] }

// Bytes returns the encoding. It is shared: never write to it.
func (s *Shard) Bytes() []byte { return fold.Bytes(s.raw) }

// Message decodes the shard. The message is the caller's.
func (s *Shard) Message() *metadatav1.ShardInfo {
	m := new(metadatav1.ShardInfo)
	fold.Decode(s.raw, m)
	return m
}
