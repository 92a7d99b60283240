package member

import "sync"

// queue hands values from any goroutine to one. It never blocks the sender:
// what bounds it is written beside each use. Two goroutines that send to each
// other through queues cannot deadlock.
type queue[T any] struct {
	mu    sync.Mutex
	items []T
	ready chan struct{} // holds a token while items is not empty
}

func newQueue[T any]() *queue[T] {
	return &queue[T]{ready: make(chan struct{}, 1)}
}

// push appends an item.
func (q *queue[T]) push(item T) {
	q.mu.Lock()
	q.items = append(q.items, item)
	q.mu.Unlock()
	q.wake()
}

// offer appends an item unless limit items are waiting.
func (q *queue[T]) offer(item T, limit int) bool {
	q.mu.Lock()
	full := len(q.items) >= limit
	if !full {
		q.items = append(q.items, item)
	}
	q.mu.Unlock()
	if !full {
		q.wake()
	}
	return !full
}

func (q *queue[T]) wake() {
	select {
	case q.ready <- struct{}{}:
	default:
	}
}

// take returns all items and keeps spare as the room for the next ones.
func (q *queue[T]) take(spare []T) []T {
	q.mu.Lock()
	defer q.mu.Unlock()
	items := q.items
	clear(spare[:cap(spare)])
	q.items = spare[:0]
	return items
}
