package client

import (
	"context"
	"sync"
	"time"
)

// sharing has many who ask the service for the same thing at the same moment ask once. An
// answer is shared only among those who came before it was asked for, so that it shows all
// that they have seen: who comes while somebody asks waits for the next question, and shares
// that with the others who wait. The zero value is ready. It is safe for concurrent use.
type sharing struct {
	mu    sync.Mutex
	asked map[string]*question // under way, by what is asked for
}

// question is asked by one for several.
type question struct {
	next *question     // is asked when this one has ended; nil: nobody waits
	done chan struct{} // closed when it has ended, and what follows is there

	answer any
	err    error
	again  bool // who asked was not answered in the time that he had
}

// await returns whether the question has ended before the context did.
func (q *question) await(ctx context.Context) bool {
	select {
	case <-q.done:
		return true
	case <-ctx.Done():
		return false
	}
}

// shared asks for what a key stands for, or takes the answer to somebody else's question. It
// takes as long as the context allows or, if that has no deadline, the timeout.
func shared[A any](
	ctx context.Context, s *sharing, timeout time.Duration, key string, ask func(context.Context) (A, error),
) (answer A, err error) {
	if _, limited := ctx.Deadline(); !limited {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	for {
		q, before, mine := s.enter(key)
		if mine {
			return asked(ctx, s, key, q, before, ask)
		}
		if !q.await(ctx) {
			return answer, asConnect(context.Cause(ctx))
		}
		if !q.again {
			answer, _ = q.answer.(A) // nil is none
			return answer, q.err
		}
	}
}

// asked asks a question when the one before, if any, has ended.
func asked[A any](
	ctx context.Context, s *sharing, key string, q, before *question, ask func(context.Context) (A, error),
) (answer A, err error) {
	q.again = true
	defer func() { s.leave(key, q) }()
	if before != nil && !before.await(ctx) {
		return answer, asConnect(context.Cause(ctx))
	}
	answer, err = ask(ctx)
	q.answer, q.err, q.again = answer, err, err != nil && (ctx.Err() != nil || IsUnavailable(err))
	return answer, err
}

// enter returns the question that the caller is to share. If it is his, he has to ask it when
// the one before (nil: none) has ended, and then to leave.
func (s *sharing) enter(key string) (q, before *question, mine bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.asked[key]
	if now != nil && now.next != nil {
		return now.next, nil, false
	}
	q = &question{done: make(chan struct{})}
	if now != nil {
		now.next = q
		return q, now, true
	}
	if s.asked == nil {
		s.asked = make(map[string]*question)
	}
	s.asked[key] = q
	return q, nil, true
}

// leave ends a question.
func (s *sharing) leave(key string, q *question) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch now := s.asked[key]; {
	case now != q:
		now.next = nil // it was given up before its turn
	case q.next != nil:
		s.asked[key] = q.next
	default:
		delete(s.asked, key)
	}
	close(q.done)
}
