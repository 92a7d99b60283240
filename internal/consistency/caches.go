package consistency

import (
	"time"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// checkCaches checks the reads of caches: at each client they never go back, they
// show nothing that was not committed, and what they show is what the log says at
// their position.
func checkCaches(c *trial) (found []Violation) {
	last := make(map[int]*CachedRead)
	for _, r := range c.cached {
		for _, s := range positioned {
			before := last[r.Client]
			if before != nil && revisionOf(r.Position, s) < revisionOf(before.Position, s) {
				found = append(found, broken(WrongCache, nil, "the cache of client %d was at %v at %v and went back to %v at %v",
					r.Client, before.Position, before.At, r.Position, r.At))
			}
		}
		last[r.Client] = r
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
