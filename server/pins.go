package server

import (
	"container/list"
	"sync"
	"time"
)

// revisionKey names one revision of one life of a stream.
type revisionKey struct {
	epoch    uint64 // recovery epoch
	revision uint64
}

// pins keeps models of past revisions for the later pages of lists: the most
// recently used ones, at most limit, each for ttl after its last use. A model
// shares most of its memory with its neighbours.
type pins[S any] struct {
	limit int
	ttl   time.Duration
	now   func() time.Time

	mu    sync.Mutex
	order *list.List // of *pin[S], most recently used first
	byKey map[revisionKey]*list.Element
}

type pin[S any] struct {
	key   revisionKey
	state S
	used  time.Time
}

func newPins[S any](limit int, ttl time.Duration, now func() time.Time) *pins[S] {
	return &pins[S]{limit: limit, ttl: ttl, now: now, order: list.New(), byKey: make(map[revisionKey]*list.Element)}
}

// keep pins a state, or renews its pin.
func (p *pins[S]) keep(key revisionKey, state S) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.expire()
	if e, ok := p.byKey[key]; ok {
		e.Value.(*pin[S]).used = p.now()
		p.order.MoveToFront(e)
		return
	}
	p.byKey[key] = p.order.PushFront(&pin[S]{key: key, state: state, used: p.now()})
	if p.order.Len() > p.limit {
		p.drop(p.order.Back())
	}
}

// find returns a pinned state and renews its pin.
func (p *pins[S]) find(key revisionKey) (state S, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.expire()
	e, ok := p.byKey[key]
	if !ok {
		return state, false
	}
	e.Value.(*pin[S]).used = p.now()
	p.order.MoveToFront(e)
	return e.Value.(*pin[S]).state, true
}

// sweep lets go of what expired.
func (p *pins[S]) sweep() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.expire()
}

func (p *pins[S]) expire() {
	oldest := p.now().Add(-p.ttl)
	for e := p.order.Back(); e != nil && !e.Value.(*pin[S]).used.After(oldest); e = p.order.Back() {
		p.drop(e)
	}
}

func (p *pins[S]) drop(e *list.Element) {
	delete(p.byKey, p.order.Remove(e).(*pin[S]).key)
}
