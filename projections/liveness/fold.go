package liveness

import (
	"time"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/projections/internal/fold"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"google.golang.org/protobuf/encoding/protowire"
)

// Apply folds one event of the change with this revision. Events that are not
// about nodes change nothing. It panics with a fold error if the event does not
// fit the model.
func (d *Draft) Apply(e events.Event, revision uint64) {
	if !e.Kind().AboutNode() {
		return
	}
	node, err := newNode(e.Object(0))
	if err != nil {
		fold.FailEvent(e, revision, "%v", err)
	}
	var known bool
	if e.Kind() == events.KindNodeUnregistered {
		known = d.remove(node.ID)
	} else {
		known = d.put(node)
	}
	if !known && e.Kind() != events.KindNodeRegistered {
		fold.FailEvent(e, revision, "node %q does not exist", node.ID)
	}
}

// Put stores an encoded node as it is now.
func (d *Draft) Put(raw []byte) error {
	n, err := newNode(raw)
	if err == nil {
		d.put(n)
	}
	return err
}

func newNode(raw []byte) (n Node, err error) {
	var since string
	err = fold.Fields(string(raw), func(num protowire.Number, number uint64, value string) {
		switch num {
		case 1:
			n.ID = value
		case 4:
			n.Status = metadatav1.NodeStatus(number)
		case 5:
			n.Epoch = number
		case 12:
			since = value
			n.Since = time.Unix(0, 0)
		}
	})
	if err != nil || n.Since.IsZero() {
		return n, err
	}
	var seconds, nanos int64
	err = fold.Fields(since, func(num protowire.Number, number uint64, _ string) {
		switch num {
		case 1:
			seconds = int64(number)
		case 2:
			nanos = int64(number)
		}
	})
	n.Since = time.Unix(seconds, nanos).UTC()
	return n, err
}

// put reports whether the node was known.
func (d *Draft) put(n Node) (known bool) {
	before, known := d.nodes.Put(n)
	if known {
		d.count(before.Status, -1)
	}
	d.count(n.Status, 1)
	return known
}

func (d *Draft) remove(id string) (known bool) {
	gone, known := d.nodes.Delete(Node{ID: id})
	if known {
		d.count(gone.Status, -1)
	}
	return known
}

func (d *Draft) count(s metadatav1.NodeStatus, by int) {
	if s >= 0 && int(s) < len(d.counts) {
		d.counts[s] += by
	}
}
