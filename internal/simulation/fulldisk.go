package simulation

import (
	"fmt"
	"math"
	"time"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/history/retention"
)

// cramped is a cluster at rest in which the member that decides about histories has a disk that is full
// up to its reserve, and was told, as all were, to keep less: trimming is what makes room, and has to go on.
type cramped struct {
	w        *world
	full     *member
	floors   map[metadatav1.Stream]uint64 // where the histories have to begin
	looked   time.Duration
	deadline time.Duration
}

// trimWithin is how long the member may take, beside the time between its looks.
const trimWithin = 10 * time.Second

// trimOnAFullDisk fills that disk, and empties it when the histories are trimmed.
func (w *world) trimOnAFullDisk() {
	c := &cramped{w: w, floors: make(map[metadatav1.Stream]uint64), deadline: w.now + 3*w.plan.retain + trimWithin}
	for _, m := range w.members {
		if m.run.service.status().Leading {
			c.full = m
		}
	}
	c.full.log("its disk is full, and histories are to be smaller")
	c.full.store.SetFree(0)
	w.plan.retention = retention.Policy{MaxBytes: 1}
	if w.chance(0.7) {
		w.plan.retention.MaxBytes += c.half(pick(w.rng, positioned...))
	}
	for _, s := range positioned {
		verdict, err := w.policyOf(s).Decide(c.full.store, s, w.agreedTime(), retention.KeptOf(c.full.run.service.replica.View().Model, s))
		if err != nil {
			w.violate("full disk", "member %d: where the history of the %s should begin: %v", c.full.id, events.StreamName(s), err)
		}
		if verdict.Floor != nil {
			c.floors[s] = verdict.Floor.GetOldestRevision()
			w.counts.add("histories to be trimmed on a full disk", 1)
		}
	}
	w.until(c.over)
	c.full.store.SetFree(math.MaxUint64)
}

// half returns half of the bytes of a history.
func (c *cramped) half(s metadatav1.Stream) uint64 {
	size, err := c.full.store.HistoryBytes(groupOf(s), 1)
	if err != nil {
		c.w.violate("full disk", "member %d: %v", c.full.id, err)
	}
	return size / 2
}

// over reports whether the histories are trimmed. It is a violation if that takes too long.
func (c *cramped) over() bool {
	const interval = 100 * time.Millisecond
	if c.w.now-c.looked < interval {
		return false
	}
	c.looked = c.w.now
	missing := c.missing()
	if missing != "" && c.w.now > c.deadline {
		c.w.violate("full disk", "member %d, whose disk is full up to its reserve, %s", c.full.id, missing)
	}
	return missing == ""
}

// missing says what is not trimmed, or what keeps the member from deleting it.
func (c *cramped) missing() string {
	for _, s := range positioned {
		oldest, floor := c.floors[s], c.w.judge.floor(s)
		if floor < oldest {
			return fmt.Sprintf("has the history of the %s begin at revision %d, which should begin at %d", events.StreamName(s), floor, oldest)
		}
		if base, err := retention.BaseOf(c.full.store, groupOf(s), floor); err != nil || base == retention.BaseFold {
			return fmt.Sprintf("does not archive the model of the %s before revision %d (%v), and deletes nothing", events.StreamName(s), floor, err)
		}
	}
	return ""
}
