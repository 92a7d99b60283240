package client

import (
	"bytes"
	"errors"
	"fmt"

	"connectrpc.com/connect"

	"github.com/heliosdb/metadata/projections/topology"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// Route is where a key lives: a shard and its nodes, all of one revision, unless a hint or
// the service had to be asked: then the nodes may be of another one. The messages are shared:
// do not change them.
type Route struct {
	Shard   *metadatav1.ShardInfo
	Primary *metadatav1.NodeInfo // serves the shard
	Mirror  *metadatav1.NodeInfo // has a copy; nil: none
	Witness *metadatav1.NodeInfo // only votes; nil: none
	// Epoch is the shard's fencing number: send it along, so that a node that has
	// lost the shard since can refuse.
	Epoch uint64
}

// HoleError says that no shard holds a range of keys. IsNotFound is true of it.
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

// Unwrap returns the error that the service gives for a key without a shard.
func (e *HoleError) Unwrap() error { return errNoShard }

var errNoShard = connect.NewError(connect.CodeNotFound, errors.New("client: no such shard"))

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
	var routes []Route
	for s := range v.topology.ShardsWithin(start, end) {
		routes = append(routes, v.route(s))
	}
	return routes, holeIn(routes, start, end)
}

// holeIn returns a [*HoleError] for the first part of a range that none of its routes, which
// are by key, holds; nil: there is none.
func holeIn(routes []Route, start, end []byte) error {
	next, open := start, true // the first key that no route so far holds, and whether there is one
	for _, r := range routes {
		held := r.Shard.GetKeyRange()
		if bytes.Compare(next, held.GetStart()) < 0 {
			return &HoleError{Start: bytes.Clone(next), End: bytes.Clone(held.GetStart())}
		}
		next, open = held.GetEnd(), len(held.GetEnd()) > 0
	}
	if open && (len(end) == 0 || bytes.Compare(next, end) < 0) {
		return &HoleError{Start: bytes.Clone(next), End: bytes.Clone(end)}
	}
	return nil
}

func (v *View) route(s *topology.Shard) Route {
	r := Route{Shard: messageOf(v.decoded, s), Epoch: s.Epoch()}
	r.Primary, _ = v.named(s.Primary())
	r.Mirror, _ = v.named(s.Mirror())
	r.Witness, _ = v.named(s.Witness())
	return r
}

// named returns the node that a shard names; nil if that is none, false if it is one that the
// view does not have.
func (v *View) named(id string) (*metadatav1.NodeInfo, bool) {
	if id == "" {
		return nil, true
	}
	return v.Node(id)
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
