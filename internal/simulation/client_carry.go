package simulation

import (
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/client/follow"
	"github.com/heliosdb/metadata/internal/consistency"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// step is what a consuming process does next: it carries a change out, or hears of a
// position that there is nothing to carry out before.
type step struct {
	stream   metadatav1.Stream
	revision uint64
	bookmark *metadatav1.Position
}

// take takes a frame of the present session.
func (h *holder) take(frame *metadatav1.SubscribeResponse) {
	fresh := h.resumption.See(frame)
	for _, c := range fresh.GetChanges().GetChanges() {
		h.todo = append(h.todo, step{stream: fresh.GetChanges().GetStream(), revision: c.GetRevision()})
	}
	if position := fresh.GetBookmark().GetPosition(); position != nil {
		h.todo = append(h.todo, step{bookmark: position})
	}
	h.work()
}

// work carries out what waits, one after the other.
func (h *holder) work() {
	if h.working || len(h.todo) == 0 {
		return
	}
	h.working = true
	epoch := h.opened.GetEpoch()
	pace := h.of.pace
	if h.of.c.settling {
		pace = time.Millisecond // however much is left
	}
	h.later(pace, func() {
		if h.opened.GetEpoch() != epoch {
			return
		}
		h.working = false
		if len(h.todo) == 0 {
			return // it subscribed anew meanwhile
		}
		next := h.todo[0]
		h.todo = h.todo[1:]
		h.carryOut(next)
	})
}

func (h *holder) carryOut(next step) {
	w := h.of.c.w
	if next.bookmark == nil {
		w.counts.add("changes carried out", 1)
		h.holding.CarriedOut(next.stream, next.revision, w.now)
		follow.SetRevision(h.done, next.stream, next.revision)
		h.since++
	} else {
		for _, s := range positioned {
			follow.SetRevision(h.done, s, max(revisionOf(h.done, s), revisionOf(next.bookmark, s)))
		}
	}
	if h.crashes() {
		return
	}
	if next.bookmark != nil || h.since >= h.of.batch {
		h.acknowledge()
	}
	h.work()
}

// acknowledge says how far the process is, unless it has said so, or an answer is still to
// come; a few do not wait for that, and a few say again what they said before.
func (h *holder) acknowledge() {
	w := h.of.c.w
	if h.asking > 0 && !w.chance(0.1) {
		return
	}
	position := proto.CloneOf(h.done)
	switch {
	case !h.of.c.settling && w.chance(0.05):
		position = h.opened.GetPosition()
	case samePosition(h.done, h.told):
		return
	default:
		h.told, h.since = position, 0
	}
	epoch := h.opened.GetEpoch()
	h.asking++
	h.call(&metadatav1.AcknowledgeConsumerRequest{Name: h.of.name, Epoch: epoch, Position: position, Write: h.options()}, func(o *consistency.Op) {
		if h.opened.GetEpoch() == epoch {
			h.asking--
			h.heard(o)
		}
	})
}

// heard takes the answer to an acknowledgement.
func (h *holder) heard(o *consistency.Op) {
	w := h.of.c.w
	switch {
	case o.Response != nil:
		if !h.crashes() {
			h.acknowledge()
		}
	case o.Reason == metadatav1.ErrorReason_ERROR_REASON_CONSUMER_FENCED:
		w.counts.add("consuming processes fenced off", 1)
		h.letGo()
		wait := 15 * time.Second
		if h.of.c.settling {
			wait = time.Second
		}
		h.later(wait, h.open)
	case o.Reason == metadatav1.ErrorReason_ERROR_REASON_NOT_FOUND:
		h.letGo()
		h.later(time.Second, h.open)
	default:
		h.told = nil // nobody knows: it says so again
		h.later(200*time.Millisecond, func() {
			if h.opened != nil {
				h.acknowledge()
			}
		})
	}
}

// insist says again now and then how far the process is: only so it hears that it has been
// fenced off, or that the consumer is gone, when there is nothing to carry out.
func (h *holder) insist() {
	h.later(3*time.Second, func() {
		if h.opened != nil && h.asking == 0 {
			h.told = nil
			h.acknowledge()
		}
		h.insist()
	})
}

func samePosition(a, b *metadatav1.Position) bool {
	for _, s := range positioned {
		if revisionOf(a, s) != revisionOf(b, s) {
			return false
		}
	}
	return true
}
