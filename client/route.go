package client

import (
	"bytes"
	"fmt"

	"github.com/heliosdb/metadata/projections/topology"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// Route is where a key lives: a shard and its nodes, all of one revision. The
// messages are shared: do not change them.
type Route struct {
	Shard   *metadatav1.ShardInfo
	Primary *metadatav1.NodeInfo // serves the shard
	Mirror  *metadatav1.NodeInfo // has a copy; nil: none
	Witness *metadatav1.NodeInfo // only votes; nil: none
	// Epoch is the shard's fencing number: send it along, so that a node that has
	// lost the shard since can refuse.
	Epoch uint64
}

// HoleError says that no shard holds a range of keys.
type HoleError struct {
	Start, End []byte // an empty End means no upper bound
}

// Error names the range.
func (e *HoleError) Error() string {
	end := "the end"
	if len(e.End) > 0 {
		end = fmt.Sprintf("%q", e.End)
	}
	return fmt.Sprintf("client: no shard holds the keys from %q to %s; add one with UpdateShardMap", e.Start, end)
}

// Route returns the shard that holds a key, with its nodes. If none does, the
// error is a [*HoleError].
func (v *View) Route(key []byte) (Route, error) {
	if v == nil {
		return Route{}, errEmpty
	}
	r, ok := v.routes.at(v, key)
	if !ok {
		return Route{}, v.holeAt(key)
	}
	return r, nil
}

// RouteRange returns the shards that overlap [start, end), by key, with their
// nodes; an empty end means no upper bound. If no shard holds a part of the
// range, the error is a [*HoleError] for the first such part, and the routes are
// returned nevertheless.
func (v *View) RouteRange(start, end []byte) ([]Route, error) {
	if v == nil {
		return nil, errEmpty
	}
	var (
		routes []Route
		err    error
		next   = start // first key that no route so far holds
		open   = true  // there is such a key
	)
	hole := func(until []byte) {
		if err == nil {
			err = &HoleError{Start: bytes.Clone(next), End: bytes.Clone(until)}
		}
	}
	for s := range v.topology.ShardsWithin(start, end) {
		if bytes.Compare(next, s.Start()) < 0 {
			hole(s.Start())
		}
		routes = append(routes, v.route(s))
		next, open = s.End(), len(s.End()) > 0
	}
	if open && (len(end) == 0 || bytes.Compare(next, end) < 0) {
		hole(end)
	}
	return routes, err
}

func (v *View) route(s *topology.Shard) Route {
	node := func(id string) *metadatav1.NodeInfo {
		if id == "" {
			return nil
		}
		n, _ := v.Node(id)
		return n
	}
	return Route{
		Shard:   messageOf(v.decoded, s),
		Primary: node(s.Primary()), Mirror: node(s.Mirror()), Witness: node(s.Witness()),
		Epoch: s.Epoch(),
	}
}

// holeAt returns the hole around a key, from the key on.
func (v *View) holeAt(key []byte) error {
	e := &HoleError{Start: bytes.Clone(key)}
	for s := range v.topology.Shards(key) {
		e.End = bytes.Clone(s.Start())
		break
	}
	return e
}
