package service

import (
	"fmt"
	"slices"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/projections/internal/fold"
)

// Draft is a private copy of a model, for deciding several steps on top of each
// other. Read it through Model, which shows what was applied so far. It belongs
// to one goroutine.
type Draft struct{ Model }

// View returns the model as it is.
func (d *Draft) View() *Model { return &d.Model }

// Freeze returns what the draft holds as a model of its own. The draft can be
// used on.
func (d *Draft) Freeze() *Model {
	d.freeze()
	m := d.Model
	return &m
}

// Apply folds one event of the change with this revision. It is the one meaning
// of the events of the service stream. It panics with a fold error if the event
// does not fit the model.
func (d *Draft) Apply(e events.Event, revision uint64) {
	if why := d.apply(e); why != "" {
		fold.FailEvent(e, revision, "%s", why)
	}
}

// apply returns why it cannot; nothing if it did.
func (d *Draft) apply(e events.Event) (why string) {
	switch e.Kind() {
	case events.KindConsumerCreated:
		return d.addConsumer(e.Object(0))
	case events.KindConsumerOpened, events.KindConsumerAcknowledged:
		return d.replaceConsumer(e.Object(0))
	case events.KindConsumerDeleted:
		return d.removeConsumer(e.Object(0))
	case events.KindHeadSigned:
		return d.addSignedHead(e.Object(0))
	case events.KindHistoryTrimmed:
		return d.raiseFloor(e.Object(0))
	}
	return "not an event of the service stream"
}

func (d *Draft) addConsumer(raw []byte) (why string) {
	c, err := newConsumer(raw)
	if err != nil {
		return err.Error()
	}
	if _, taken := d.consumers.Put(c); taken {
		return fmt.Sprintf("consumer %q exists", c.name)
	}
	d.size += len(c.raw)
	return ""
}

func (d *Draft) replaceConsumer(raw []byte) (why string) {
	c, err := newConsumer(raw)
	if err != nil {
		return err.Error()
	}
	before, known := d.consumers.Put(c)
	if !known {
		return fmt.Sprintf("consumer %q does not exist", c.name)
	}
	d.size += len(c.raw) - len(before.raw)
	return ""
}

func (d *Draft) removeConsumer(raw []byte) (why string) {
	c, err := newConsumer(raw)
	if err != nil {
		return err.Error()
	}
	gone, known := d.consumers.Delete(c)
	if !known {
		return fmt.Sprintf("consumer %q does not exist", c.name)
	}
	d.size -= len(gone.raw)
	return ""
}

// addSignedHead keeps a signed head, and drops the oldest one of the stream if there are
// too many.
func (d *Draft) addSignedHead(raw []byte) (why string) {
	h, err := newSignedHead(raw)
	if err != nil {
		return err.Error()
	}
	p := d.past(h.stream)
	if newest, ok := p.newest(); ok && h.revision <= newest.revision {
		return fmt.Sprintf("revision %d of %v is signed after revision %d", h.revision, h.stream, newest.revision)
	}
	d.size += len(h.raw)
	if len(p.heads) == MaxSignedHeads {
		d.size -= len(p.heads[0].raw)
		p.heads = p.heads[1:]
	}
	p.heads = append(slices.Clip(p.heads), h) // clipped, so that it is copied
	d.pasts.Put(p)
	return ""
}

func (d *Draft) raiseFloor(raw []byte) (why string) {
	f, err := newFloor(raw)
	if err != nil {
		return err.Error()
	}
	p := d.past(f.stream)
	if f.oldest <= p.floor.oldest {
		return fmt.Sprintf("the history of %v is to begin at revision %d and begins at %d", f.stream, f.oldest, p.floor.oldest)
	}
	d.size += len(f.raw) - len(p.floor.raw)
	p.floor = f
	d.pasts.Put(p)
	return ""
}
