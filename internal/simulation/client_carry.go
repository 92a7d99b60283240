package simulation

import (
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/client/consume"
	"github.com/heliosdb/metadata/internal/consistency"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// ackInterval is after what time a consuming process acknowledges.
const ackInterval = 500 * time.Millisecond

// take takes a frame of the present session.
func (h *holder) take(frame *metadatav1.SubscribeResponse) {
	fresh := h.resumption.See(frame)
	if fresh == nil {
		return
	}
	if err := h.machine.See(fresh, h.clock()); err != nil {
		h.of.c.w.violate("consumer", "%s: %v", h.of.name, err)
		return
	}
	h.step()
}

// clock is what the machine takes for the time.
func (h *holder) clock() time.Time { return wallStart.Add(h.of.c.w.now) }

// step begins what the machine wants begun.
func (h *holder) step() {
	if h.opened == nil {
		return
	}
	if batch := h.machine.Begin(); batch != nil {
		h.carryOut(batch)
	}
	if p := h.machine.Acknowledge(h.clock()); p != nil {
		h.acknowledge(p, h.heard)
	}
}

// carryOut carries out what is left of a batch, one change after the other.
func (h *holder) carryOut(batch []consume.Delivery) {
	w, epoch, pace := h.of.c.w, h.opened.GetEpoch(), h.of.pace
	if h.of.c.settling {
		pace = time.Millisecond // however much is left
	}
	h.later(pace, func() {
		if h.opened.GetEpoch() != epoch {
			return
		}
		w.counts.add("changes carried out", 1)
		h.holding.CarriedOut(batch[0].Stream, batch[0].Change.GetRevision(), w.now)
		if h.crashes() {
			return
		}
		if len(batch) > 1 {
			h.carryOut(batch[1:])
			return
		}
		h.machine.Handled(h.clock())
		h.step()
	})
}

// acknowledge says how far the process is.
func (h *holder) acknowledge(position *metadatav1.Position, then func(*consistency.Op)) {
	epoch := h.opened.GetEpoch()
	h.call(&metadatav1.AcknowledgeConsumerRequest{Name: h.of.name, Epoch: epoch, Position: position, Write: h.options()}, func(o *consistency.Op) {
		if h.opened.GetEpoch() == epoch {
			then(o)
		}
	})
}

// heard takes the answer to an acknowledgement.
func (h *holder) heard(o *consistency.Op) {
	w := h.of.c.w
	switch {
	case o.Response != nil && h.crashes():
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
		h.machine.Acknowledged(o.Response != nil, h.clock())
		h.step()
	}
}

// tick lets the machine see that time passes; now and then an acknowledgement of long ago, or
// one that is sent twice, comes late.
func (h *holder) tick() {
	h.later(ackInterval/2, func() {
		h.step()
		if h.opened != nil && !h.of.c.settling && h.of.c.w.chance(0.02) {
			h.acknowledge(proto.CloneOf(h.opened.GetPosition()), func(*consistency.Op) {})
		}
		h.tick()
	})
}
