package consistency

import (
	"fmt"
	"time"

	"github.com/heliosdb/metadata/events"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// Holding is the time for which a process has a consumer: from when it hears that it has
// opened it.
type Holding struct {
	h *History

	Client   int
	Consumer *metadatav1.Consumer // as it was opened
	Carried  []Carried            // in the order in which they were carried out
}

// Carried is a change that a process has carried out.
type Carried struct {
	Stream   metadatav1.Stream
	Revision uint64
	At       time.Duration
}

// Holding records that a client has opened a consumer, which it was answered.
func (h *History) Holding(client int, consumer *metadatav1.Consumer) *Holding {
	consumer = decoded(consumer)
	h.mu.Lock()
	defer h.mu.Unlock()
	g := &Holding{h: h, Client: client, Consumer: consumer}
	h.holdings = append(h.holdings, g)
	return g
}

// CarriedOut records that the client has carried out a change.
func (g *Holding) CarriedOut(s metadatav1.Stream, revision uint64, at time.Duration) {
	g.h.mu.Lock()
	defer g.h.mu.Unlock()
	g.Carried = append(g.Carried, Carried{s, revision, at})
}

// String names the holding.
func (g *Holding) String() string {
	return fmt.Sprintf("client %d, which opened consumer %q with epoch %d", g.Client, g.Consumer.GetName(), g.Consumer.GetEpoch())
}

// epochKey names a holding: no two have the same epoch.
type epochKey struct {
	consumer string
	epoch    uint64
}

// checkConsumers checks that whoever opens a consumer goes on behind its kept position,
// carries out each change that matches once and in order, and that no position is kept that
// is ahead of what its holder had carried out when it said so, or of commit. That a position
// never goes back and that nobody moves it with an old epoch are rules, see
// acknowledgeConsumer and applyConsumer.
func checkConsumers(c *trial) (found []Violation) {
	holdings := make(map[epochKey]*Holding)
	for _, g := range c.holdings {
		holdings[epochKey{g.Consumer.GetName(), g.Consumer.GetEpoch()}] = g
		if why := c.misheld(g); why != "" {
			found = append(found, broken(WrongConsumer, nil, "%v: %s", g, why))
		}
	}
	line := c.lines[serviceStream]
	for _, change := range line.changes {
		for _, e := range change.Events() {
			m := e.Message()
			consumer := events.ConsumerOf(m)
			if consumer == nil {
				continue
			}
			why := c.notYet(consumer, line.earliest[change.Revision()])
			if m.GetConsumerAcknowledged() != nil && why == "" {
				why = c.unfounded(change, consumer, holdings)
			}
			if why != "" {
				found = append(found, broken(WrongConsumer, nil, "revision %d: consumer %q: %s", change.Revision(), consumer.GetName(), why))
			}
		}
	}
	return found
}

// misheld returns what is wrong with what a holder was given and carried out, or "".
func (c *trial) misheld(g *Holding) string {
	last := make(map[metadatav1.Stream]uint64)
	for _, s := range positioned {
		last[s] = revisionOf(g.Consumer.GetPosition(), s)
	}
	for _, done := range g.Carried {
		if done.Revision <= last[done.Stream] {
			return fmt.Sprintf("it carried out revision %d of %s at %v behind revision %d (ordered, unique)", done.Revision, nameOf(done.Stream), done.At, last[done.Stream])
		}
		if lost := c.matching(g.Consumer, done.Stream, last[done.Stream]+1, done.Revision-1); lost != 0 {
			return fmt.Sprintf("it carried out revision %d of %s at %v, but never revision %d, which matches (nothing is lost)", done.Revision, nameOf(done.Stream), done.At, lost)
		}
		last[done.Stream] = done.Revision
	}
	return ""
}

// matching returns the first revision between two, both included, that a consumer has to
// carry out; 0 if there is none.
func (c *trial) matching(consumer *metadatav1.Consumer, s metadatav1.Stream, first, last uint64) uint64 {
	filter := events.NewFilter(consumer.GetFilter())
	for revision := first; revision <= last; revision++ {
		if change := c.lines[s].change(revision); change != nil {
			if _, matches := filter.Change(change); matches {
				return revision
			}
		}
	}
	return 0
}

// notYet returns what of a kept position was not committed at a time, or "".
func (c *trial) notYet(consumer *metadatav1.Consumer, at time.Duration) string {
	for _, s := range positioned {
		if why := c.lines[s].ahead(revisionOf(consumer.GetPosition(), s), at); why != "" {
			return "its position is at " + why
		}
	}
	return ""
}

// unfounded returns why a position should not have been kept, or "": somebody has to have
// acknowledged it after having carried out everything up to there.
func (c *trial) unfounded(change *events.Change, now *metadatav1.Consumer, holdings map[epochKey]*Holding) string {
	w := c.byID[requestKey{serviceStream, change.RequestID()}]
	if w == nil {
		return "nobody acknowledged it"
	}
	asked, _ := w.ops[0].Request.(*metadatav1.AcknowledgeConsumerRequest)
	g := holdings[epochKey{now.GetName(), asked.GetEpoch()}]
	if g == nil {
		return fmt.Sprintf("it was acknowledged with epoch %d, which nobody was given", asked.GetEpoch())
	}
	before := c.lines[serviceStream].at(change.Revision() - 1).consumer(now.GetName())
	for _, s := range positioned {
		is := revisionOf(now.GetPosition(), s)
		if want := kept(before, asked.GetPosition(), s); is != want {
			return fmt.Sprintf("its position in %s is %d, but %d was acknowledged behind %d", nameOf(s), is, revisionOf(asked.GetPosition(), s), revisionOf(before.GetPosition(), s))
		}
		if missing := c.undone(g, s, is, w.began); missing != 0 {
			return fmt.Sprintf("its position in %s is %d, but its holder, client %d, had not carried out revision %d by %v, when it acknowledged that", nameOf(s), is, g.Client, missing, w.began)
		}
	}
	return ""
}

// undone returns the first revision up to another one that a holder had to carry out, and
// had not by a time; 0 if there is none.
func (c *trial) undone(g *Holding, s metadatav1.Stream, upTo uint64, by time.Duration) uint64 {
	done := make(map[uint64]bool)
	for _, carried := range g.Carried {
		if carried.Stream == s && carried.At <= by {
			done[carried.Revision] = true
		}
	}
	for next := revisionOf(g.Consumer.GetPosition(), s) + 1; next <= upTo; next++ {
		if next = c.matching(g.Consumer, s, next, upTo); next == 0 || !done[next] {
			return next
		}
	}
	return 0
}
