package client

import (
	"sync/atomic"

	"github.com/heliosdb/metadata/projections/topology"
)

// routesPerLookup is how many routes are laid out for each look-up that has asked for
// them: a topology that changes faster than it is read from costs no more than reading it.
const routesPerLookup = 8

// routes finds routes by key in one topology. The first look-ups go through the model;
// when there were enough of them, all shards are laid out in one array, which costs a
// look-up less than half and nothing for the nodes. The zero value is ready. It is safe
// for concurrent use and takes no locks.
type routes struct {
	lookups atomic.Int64
	flat    atomic.Pointer[[]place] // by key; nil: not laid out
}

// place is one shard of the array.
type place struct {
	start, end string // no end: no upper bound
	shard      *topology.Shard
	route      atomic.Pointer[Route] // nil: nobody has asked
}

// at returns the route of a key in a view's topology, which is always the same; false if
// no shard holds it.
func (r *routes) at(v *View, key []byte) (Route, bool) {
	flat := r.flat.Load()
	if flat == nil {
		paid, price := r.lookups.Add(1)*routesPerLookup, int64(v.topology.ShardCount())
		if paid > price && paid-routesPerLookup <= price { // of all readers one does it
			r.flat.Store(layOut(v.topology.Model))
		}
		s, ok := v.topology.ShardAt(key)
		if !ok {
			return Route{}, false
		}
		return v.route(s), true
	}
	all := *flat
	low, high := 0, len(all) // all before low begin at or before the key, all from high on behind it
	for low < high {
		if middle := int(uint(low+high) / 2); all[middle].start <= string(key) {
			low = middle + 1
		} else {
			high = middle
		}
	}
	if low == 0 {
		return Route{}, false
	}
	p := &all[low-1]
	if p.end != "" && p.end <= string(key) {
		return Route{}, false
	}
	route := p.route.Load()
	if route == nil {
		found := v.route(p.shard)
		route = &found
		p.route.Store(route)
	}
	return *route, true
}

func layOut(m *topology.Model) *[]place {
	all := make([]place, m.ShardCount())
	i := 0
	for s := range m.Shards(nil) {
		p := &all[i]
		p.start, p.end, p.shard = string(s.Start()), string(s.End()), s
		i++
	}
	return &all
}
