package consistency

import (
	"cmp"
	"slices"
	"time"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// checkCaches checks the reads of caches: at each client they never go back, they
// show nothing that was not committed, what they show is what the log says at
// their position, and that is not before what the cache vouched for.
func checkCaches(c *trial) (found []Violation) {
	last, written := make(map[int]*CachedRead), make(map[int][]ownWrite)
	for _, r := range c.cached {
		for _, s := range positioned {
			before := last[r.Client]
			if before != nil && revisionOf(r.Position, s) < revisionOf(before.Position, s) {
				found = append(found, broken(WrongCache, nil, "the cache of client %d was at %v at %v and went back to %v at %v",
					r.Client, before.Position, before.At, r.Position, r.At))
			}
		}
		last[r.Client] = r
		found = append(found, c.lacksCommitted(r)...)
		if r.vouch {
			if _, known := written[r.own]; !known {
				written[r.own] = c.writesOf(r.own)
			}
			found = append(found, lacksOwn(r, written[r.own])...)
		}
		if why := c.impossible(r.Position, r.At); why != "" {
			found = append(found, broken(AheadOfCommit, nil, "the cache of client %d was at %s", r.Client, why))
			continue
		}
		if r.Query == nil {
			continue
		}
		line := c.lines[streamOf(r.Query)]
		if why := line.mismatch(r.Query, r.Answer, revisionOf(r.Position, line.stream)); why != "" {
			found = append(found, broken(WrongCache, nil, "the cache of client %d, at %v, answered %v with %v: %s",
				r.Client, r.Position, r.Query, r.Answer, why))
		}
	}
	return found
}

// lacksCommitted checks that a cache shows all that was committed before the time that it
// vouched for.
func (c *trial) lacksCommitted(r *CachedRead) (found []Violation) {
	for _, s := range positioned {
		if need := c.lines[s].settled(r.before); revisionOf(r.Position, s) < need {
			found = append(found, broken(WrongCache, nil,
				"the cache of client %d vouched at %v for all that was committed before %v, but was at %v: change %d of %s was committed at %v",
				r.Client, r.At, r.before, r.Position, need, nameOf(s), c.lines[s].latest[need]))
		}
	}
	return found
}

// ownWrite is a write that a client has heard the answer to.
type ownWrite struct {
	op       *Op
	stream   metadatav1.Stream
	revision uint64 // the highest of the stream up to this one
}

// writesOf returns what a client has written, by when it heard so.
func (c *trial) writesOf(client int) (all []ownWrite) {
	for _, o := range c.ops {
		if s := streamOf(o.Request); o.Client == client && s != serviceStream {
			if revision, changed := o.changed(); changed {
				all = append(all, ownWrite{o, s, revision})
			}
		}
	}
	slices.SortStableFunc(all, func(a, b ownWrite) int { return cmp.Compare(a.op.Ended, b.op.Ended) })
	highest := make(map[metadatav1.Stream]uint64)
	for i, w := range all {
		highest[w.stream] = max(highest[w.stream], w.revision)
		all[i].revision = highest[w.stream]
	}
	return all
}

// lacksOwn checks that a cache shows what its client had heard of having written before the
// read.
func lacksOwn(r *CachedRead, writes []ownWrite) (found []Violation) {
	heard, _ := slices.BinarySearchFunc(writes, r.At, func(w ownWrite, at time.Duration) int { return cmp.Compare(w.op.Ended, at) })
	for _, s := range positioned {
		for i := heard - 1; i >= 0; i-- {
			w := writes[i]
			if w.stream != s {
				continue
			}
			if revisionOf(r.Position, s) < w.revision {
				found = append(found, broken(WrongCache, []*Op{w.op}, "the cache of client %d vouched at %v for what client %d had written, but was at %v: revision %d of %s was acknowledged at %v",
					r.Client, r.At, r.own, r.Position, w.revision, nameOf(s), w.op.Ended))
			}
			break
		}
	}
	return found
}

// positionsSeen calls seen with each revision that a subscription or cache showed.
func (c *trial) positionsSeen(seen func(stream metadatav1.Stream, revision uint64, at time.Duration)) {
	for _, s := range c.subscriptions {
		for _, f := range s.Frames {
			switch k := f.Message.GetFrame().(type) {
			case *metadatav1.SubscribeResponse_Changes:
				for _, change := range k.Changes.GetChanges() {
					seen(k.Changes.GetStream(), change.GetRevision(), f.At)
				}
			case *metadatav1.SubscribeResponse_Snapshot:
				seen(k.Snapshot.GetStream(), k.Snapshot.GetRevision(), f.At)
			}
		}
	}
	for _, r := range c.cached {
		for _, s := range positioned {
			seen(s, revisionOf(r.Position, s), r.At)
		}
	}
}
