// Package service is the read model of the service stream: named consumers and how far
// they are, the signed heads of the streams, and where their histories begin.
//
// A [Model] is an immutable value: any number of goroutines read it while its
// successors are made, and anybody may fold from it. A [Draft] is a private copy
// that changes in place; it belongs to one goroutine. Both fold with the one
// function [Draft.Apply]. Records hold an object's own encoding, as it was
// logged; it is never encoded again.
//
// Folding is total: an event that cannot be applied panics with a fold error
// (projections.FoldError), because nothing validates a logged event again. The
// package knows nothing of how far the other streams are, and checks no signature.
package service

import (
	"iter"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/internal/cow"
	"github.com/heliosdb/metadata/projections/internal/fold"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// MaxSignedHeads is the number of signed heads that are kept of a stream: of more, the
// oldest are dropped.
const MaxSignedHeads = 1000

// Model is consumers, signed heads and history floors at one revision.
type Model struct {
	consumers cow.Set[*Consumer]
	pasts     cow.Set[past]
	size      int // encoded size of all objects
}

// past is what is kept about the history of one stream.
type past struct {
	stream metadatav1.Stream
	heads  []*SignedHead // oldest first; replaced and never written to
	floor  Floor
}

// New returns the service's own state at revision 0: nothing.
func New() *Model {
	m := &Model{
		consumers: cow.New(func(a, b *Consumer) bool { return a.name < b.name }),
		pasts:     cow.New(func(a, b past) bool { return a.stream < b.stream }),
	}
	m.freeze()
	return m
}

// Fold returns the model after some changes, given in order. The maps are copied
// once, whatever the number of changes.
func (m *Model) Fold(changes ...*events.Change) *Model {
	d := m.Draft()
	for _, c := range changes {
		for _, e := range c.Events() {
			d.Apply(e, c.Revision())
		}
	}
	d.freeze()
	return &d.Model
}

// Draft returns a private copy to apply events to. It costs next to nothing.
func (m *Model) Draft() *Draft {
	m.freeze() // m may be the view of a live draft
	return &Draft{*m}
}

// Begin is Draft for those who do not know the domain.
func (m *Model) Begin() fold.Draft[*Model] { return m.Draft() }

func (m *Model) freeze() {
	m.consumers.Freeze()
	m.pasts.Freeze()
}

// Size returns about how many bytes a checkpoint of the model has. It is the same for
// equal models.
func (m *Model) Size() int { return m.size }

// Consumer returns a consumer by name.
func (m *Model) Consumer(name string) (*Consumer, bool) {
	return m.consumers.Get(&Consumer{name: name})
}

// Consumers yields the consumers whose names are not less than from, by name.
func (m *Model) Consumers(from string) iter.Seq[*Consumer] {
	return func(yield func(*Consumer) bool) {
		m.consumers.From(&Consumer{name: from})(yield)
	}
}

// ConsumerCount returns the number of consumers.
func (m *Model) ConsumerCount() int { return m.consumers.Len() }

// Behind yields the consumers, by name, that read a stream and have not acknowledged all of
// it before oldest, those that were passed included. It looks at all consumers.
func (m *Model) Behind(s metadatav1.Stream, oldest uint64) iter.Seq[*Consumer] {
	return func(yield func(*Consumer) bool) {
		for c := range m.consumers.All() {
			// A consumer needs the revision behind the one that it has acknowledged. The
			// comparison is made without that 1, which could overflow.
			if oldest > 0 && c.Revision(s) < oldest-1 && c.Reads(s) && !yield(c) {
				return
			}
		}
	}
}

// Passed reports whether a consumer that reads a stream has lost the next revision that it needs
// to a trim. What it needs behind that is of no use to it: it has to be made anew.
func (m *Model) Passed(s metadatav1.Stream, c *Consumer) bool {
	oldest := m.Floor(s).OldestRevision()
	return oldest > 0 && c.Revision(s) < oldest-1 && c.Reads(s)
}

// Acknowledged returns the revision of a stream up to which all consumers that read it
// have acknowledged, but for those that were passed; false if no other reads it. It looks at
// all consumers.
func (m *Model) Acknowledged(s metadatav1.Stream) (revision uint64, read bool) {
	for c := range m.consumers.All() {
		if at := c.Revision(s); (!read || at < revision) && c.Reads(s) && !m.Passed(s, c) {
			revision, read = at, true
		}
	}
	return revision, read
}

// SignedHeads yields the signed heads of a stream that are kept, oldest first.
func (m *Model) SignedHeads(s metadatav1.Stream) iter.Seq[*SignedHead] {
	return func(yield func(*SignedHead) bool) {
		for _, h := range m.past(s).heads {
			if !yield(h) {
				return
			}
		}
	}
}

// NewestSignedHead returns the signed head of a stream's highest revision.
func (m *Model) NewestSignedHead(s metadatav1.Stream) (*SignedHead, bool) {
	return m.past(s).newest()
}

// Floor returns where the history of a stream begins. It is zero if nothing was
// trimmed.
func (m *Model) Floor(s metadatav1.Stream) Floor { return m.past(s).floor }

// past returns what is kept about the history of a stream.
func (m *Model) past(s metadatav1.Stream) past {
	p, _ := m.pasts.Get(past{stream: s})
	p.stream = s
	return p
}

func (p past) newest() (*SignedHead, bool) {
	if len(p.heads) == 0 {
		return nil, false
	}
	return p.heads[len(p.heads)-1], true
}
